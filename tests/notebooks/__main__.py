"""Execute notebooks: ``python -m tests.notebooks FOLDER AT_A_TIME PATH…``; each `Run` is left in the folder. An interrupt ends it in good order."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from tests.notebooks.execution import execute

if __name__ == "__main__":
    folder, at_a_time, *paths = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(execute(list(map(Path, paths)), Path(folder), at_a_time=int(at_a_time)))
