"""The kit's tests. They start Python by the dozen: where no bytecode may lie beside its source, it is kept in pytest's cache.

With `PYTHONDONTWRITEBYTECODE` alone each of these processes would compile all that it imports, which takes longer than most of what they do.
"""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # python -B sets none
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    sys.dont_write_bytecode = False
