"""What the system is asked for: a process with the channels to it, and its end together with all that it has started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from kit.errors import ServerStartError

__all__ = ["end_group", "exit_code", "exit_words", "started"]

# Run with -P: no file beside the notebook may stand in for a module that the child itself imports.
_CHILD = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from kit.workers.child import main; main()"


def started(settings: dict[str, Any]) -> tuple[subprocess.Popen[bytes], socket.socket, dict[str, Any]]:
    """A process with its settings under way, the control channel to it, and the pipes to read from: its reports and what it writes.

    Raises:
        ServerStartError: this process is in a folder that is gone.
        OSError: the system starts no more processes.
    """
    first = json.dumps({**settings, "path": _python_path()}).encode() + b"\n"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    reports, pipe = os.pipe()
    try:
        popen = _child(theirs.fileno(), pipe)
    except BaseException:
        ours.close()
        os.close(reports)
        raise
    finally:
        theirs.close()
        os.close(pipe)
    with contextlib.suppress(OSError):  # it has ended already: that is told by whoever waits for it
        ours.settimeout(1.0)
        ours.sendall(first)
    return popen, ours, {"reports": os.fdopen(reports, "rb", buffering=0), "stdout": popen.stdout, "stderr": popen.stderr}


def exit_code(popen: subprocess.Popen[bytes]) -> int | None:
    """How a process has ended, or None while it runs; once it has, what it has started ends with it. On one thread only."""
    with contextlib.suppress(ChildProcessError):
        if popen.returncode is None and os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            end_group(popen)
    return popen.poll()


def end_group(popen: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it has started; from any thread. Nothing happens once it was waited for: its number may be another's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if popen.returncode is None:
            os.killpg(popen.pid, signal.SIGKILL)


def exit_words(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"


def _child(control: int, pipe: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _CHILD, str(control), str(pipe)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pass_fds=(control, pipe),
        start_new_session=True,  # the kernel's interrupts are not meant for it
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"},
    )


def _python_path() -> list[str]:
    """Where this process finds modules, with the folder that it is in first."""
    try:
        here = str(Path.cwd())
    except OSError as error:
        text = f"this kernel's folder is gone ({error.strerror}), so no other process can work in it. Go to another one: os.chdir('/a/folder/that/exists')"
        raise ServerStartError(text) from None
    return [here, *(place for place in sys.path if isinstance(place, str) and place not in ("", here))]
