"""Private servers: what readers start, kill and start again in a notebook."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kit.errors import ServiceError
from kit.hub import Hub, HubError
from kit.services import PrivatePostgres, PrivateRedis, PrivateService
from tests.hub.conftest import available

KINDS = pytest.mark.parametrize("kind", [PrivateRedis, PrivatePostgres])
STARTED_AND_LEFT = """
import asyncio, os, sys
from kit.services import PrivateRedis
service = PrivateRedis()
asyncio.run(service.start())
print(service.pid, service.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def redis() -> AsyncIterator[PrivateRedis]:
    service = available(PrivateRedis)
    yield service
    service.close()


def runs(pid: int) -> bool:
    """Whether the process does something; one that has ended and that nobody has asked about does not."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return listed.stdout.strip()[:1] not in ("", "Z")


def commands() -> str:
    """The arguments of all processes, as everybody can see them."""
    return subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True, check=True).stdout


@pytest.mark.broker
async def test_it_is_there_after_start_and_nothing_of_it_after_close(redis: PrivateRedis) -> None:
    assert redis.pid is None
    url = await redis.start()
    assert url == redis.url == await redis.start()
    pid = redis.pid
    assert runs(pid)
    assert redis.folder.exists()
    redis.close()
    assert not runs(pid)
    assert not redis.folder.exists()


@pytest.mark.broker
async def test_killed_and_started_again_it_has_the_same_address(redis: PrivateRedis) -> None:
    url, pid = await redis.start(), redis.pid
    redis.kill()
    redis.kill()
    assert (redis.pid, runs(pid)) == (None, False)
    assert await redis.start() == url
    assert redis.pid != pid


@pytest.mark.broker
async def test_it_ends_with_the_process_that_started_it_however_that_ends(eventually: Any) -> None:
    available(PrivateRedis)
    command = (sys.executable, "-c", STARTED_AND_LEFT)
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    pid, folder = (await process.stdout.readline()).decode().split()
    assert runs(int(pid))
    process.kill()
    await process.communicate()
    await eventually(lambda: not runs(int(pid)))
    await eventually(lambda: not Path(folder).exists())


@pytest.mark.broker
async def test_it_ends_when_nobody_holds_it_any_more() -> None:
    service = available(PrivateRedis)
    await service.start()
    pid, folder = service.pid, service.folder
    del service
    gc.collect()
    assert not runs(pid)
    assert not folder.exists()


@pytest.mark.broker
async def test_one_that_ends_at_once_says_why() -> None:
    class Misconfigured(PrivateRedis):
        settings: ClassVar = {"no-such-setting": "1"}

    available(PrivateRedis)
    service = Misconfigured()
    with pytest.raises(ServiceError, match=r"redis-server ended at once.*\n(.|\n)*no-such-setting"):
        await service.start()
    assert service.pid is None
    service.close()


@pytest.mark.broker
@KINDS
async def test_others_on_this_machine_get_in_only_with_its_password_which_is_shown_nowhere(kind: type[PrivateService]) -> None:
    service = available(kind)
    try:
        async with Hub(await service.start()) as hub:
            await hub.publish("room", "let in")
        stranger = service.url.replace(service._password, "guessed")
        with pytest.raises(HubError, match="cannot be used"):
            await Hub(stranger).open()
        assert service._password not in repr(service) + commands()
        assert service.folder.stat().st_mode & 0o077 == 0
    finally:
        service.close()


@pytest.mark.broker
@KINDS
async def test_two_starts_at_once_are_one_and_a_cancelled_one_leaves_nothing(kind: type[PrivateService]) -> None:
    service = available(kind)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service.start(), 0.05)
        assert service.pid is None or await service.start()
        await asyncio.gather(service.start(), service.start())
        assert runs(service.pid)
    finally:
        service.close()


@pytest.mark.broker
async def test_one_that_died_by_itself_is_known_to_be_gone_and_can_be_started_again(redis: PrivateRedis, eventually: Any) -> None:
    await redis.start()
    os.kill(redis.pid, signal.SIGKILL)
    await eventually(lambda: redis.pid is None)
    assert repr(redis).endswith("not running>")
    assert redis.pids() == []
    await redis.start()
    assert runs(redis.pid)


@pytest.mark.broker
async def test_one_whose_folder_is_gone_says_so(redis: PrivateRedis) -> None:
    redis.close()
    with pytest.raises(ServiceError, match=r"cannot be started: .*No such file.*PrivateRedis\(\)"):
        await redis.start()


@KINDS
async def test_without_its_program_it_says_what_to_install(kind: type[PrivateService], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.services.find_program", lambda name: None)
    assert kind.missing() == f"{' and '.join(kind.programs)} not found on the PATH. Debian and Ubuntu: apt-get install {kind.package}"
    service = kind()
    with pytest.raises(ServiceError, match="apt-get install"):
        await service.start()
    service.close()
