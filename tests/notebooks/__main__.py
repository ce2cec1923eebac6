"""Execute one notebook: ``python -m tests.notebooks PATH FOLDER``; its `Run` is left in the folder."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.notebooks.execution import execute

if __name__ == "__main__":
    execute(*map(Path, sys.argv[1:]))
