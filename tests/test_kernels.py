"""Whole kernels with a server: nest-asyncio applied before, after or never, and an end that waits for nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def one_file(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in a Python of its own, as a fresh kernel would be."""

    def run(script: str, *, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(script))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=timeout, env=environment, check=False)

    return run


SERVE_AND_ECHO = """
    async def main():
        from kit import connect, serve
        from tests.apps import app
        server = await serve(app, port=0)
        async with connect(server, "/ws") as client:
            await client.send_text("hi")
            assert await client.receive_text(timeout=5) == "hi"
        await server.stop()
        print("echoed")
"""


@pytest.mark.parametrize("when", ["never", "before", "after"])
def test_it_works_with_nest_asyncio_applied_before_or_after(one_file: Callable, when: str) -> None:
    apply = "import nest_asyncio; nest_asyncio.apply()"
    lines = {
        "never": ["import asyncio, kit"],
        "before": [apply, "import asyncio, kit"],
        "after": ["import asyncio, kit", apply],
    }[when]
    twice = "asyncio.run(main()); asyncio.run(main())"
    result = one_file("\n".join(lines) + "\n" + textwrap.dedent(SERVE_AND_ECHO) + twice)
    assert result.stdout.split() == ["echoed", "echoed"], result.stderr
    assert result.returncode == 0
    assert result.stderr == ""


def test_nest_asyncio_may_be_applied_while_a_server_runs(one_file: Callable) -> None:
    result = one_file(
        """
        import asyncio
        from kit import connect, serve
        from tests.apps import app

        async def main():
            server = await serve(app, port=0)
            import nest_asyncio
            nest_asyncio.apply()

            async def echo():
                async with connect(server, "/ws") as client:
                    await client.send_text("hi")
                    return await client.receive_text(timeout=5)

            print(await echo(), asyncio.get_event_loop().run_until_complete(echo()))  # nested, as a blocking call in a cell
            await server.stop()

        asyncio.run(main())
        """
    )
    assert result.stdout.split() == ["hi", "hi"], result.stderr


BLOCKED_SECONDS = 3600  # longer than a script may take
EXITS = {
    "a running server": "await asyncio.sleep(0)",
    "a client that takes nothing": "clients.append(await connect(server, '/flood'))",
    "a blocked handler": "clients.append(await connect(server, '/block')); await clients[-1].send_text('x'); await until(lambda: server.blocked)",
    "a handler stuck in C": "clients.append(await connect(server, '/block-in-c')); await clients[-1].send_text('x'); await until(lambda: server.blocked)",
    "a handler that waits for a thread": "clients.append(await connect(server, '/thread')); await clients[-1].receive_text(timeout=5)",
}


@pytest.mark.parametrize("what", EXITS)
def test_a_kernel_leaves_with(one_file: Callable, what: str) -> None:
    """... although nobody stopped anything, and long before what holds it up would end."""
    result = one_file(
        f"""
        import asyncio, time
        from fastapi import WebSocket
        from kit import connect, serve
        from tests.apps import app

        @app.websocket("/block")
        async def block(websocket: WebSocket):
            await websocket.accept()
            await websocket.receive()
            while True:
                pass

        @app.websocket("/block-in-c")
        async def block_in_c(websocket: WebSocket):
            await websocket.accept()
            await websocket.receive()
            time.sleep({BLOCKED_SECONDS})

        @app.websocket("/thread")
        async def thread(websocket: WebSocket):
            await websocket.accept()
            await websocket.send_text("waiting for a thread")
            await asyncio.to_thread(time.sleep, {BLOCKED_SECONDS})

        clients = []

        async def until(condition):
            while not condition():
                await asyncio.sleep(0.01)

        async def main():
            server = await serve(app, port=0)
            {EXITS[what]}
            print("leaving")

        asyncio.run(main())
        """
    )
    assert result.stdout == "leaving\n", result.stderr
    assert result.returncode == 0
    assert result.stderr == ""


FORKING = """
    import asyncio, os, sys
    from kit import connect, serve
    from tests.apps import app

    async def begin():
        server = await serve({app}, port=0)
        return server, await connect(server, "/ws")

    async def go_on(server, client):
        await client.send_text("hi")
        assert await client.receive_text(timeout=5) == "hi"
        async with connect(server, "/ws"):
            print("both go on")
        await client.close()
        await server.stop()

    both = asyncio.run(begin())
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    os.waitpid(pid, 0)
    asyncio.run(go_on(*both))
"""


@pytest.mark.parametrize("which", ["app", "'tests.apps:app'"])
def test_a_forked_process_that_exits_leaves_the_kernels_server_alone(one_file: Callable[..., subprocess.CompletedProcess[str]], which: str) -> None:
    done = one_file(FORKING.format(app=which))
    assert done.stdout == "both go on\n", done.stderr
