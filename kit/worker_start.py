"""The script that a server's process runs: the worker without all that only a kernel needs, which would double the time that it takes to start.

Importing any module of the kit first imports the package, and with it clients, servers and FastAPI. Here the package is in
place before, and comes to its own names only when an app asks for one, as with ``from kit import Hub``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["LatePackage"]

HERE = Path(__file__).parent


class LatePackage(ModuleType):
    """A package that is executed when a name is missing that is none of its modules."""

    def __getattr__(self, name: str) -> Any:
        if (name.startswith("__") and name != "__all__") or (HERE / name).is_dir() or (HERE / f"{name}.py").is_file():
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


if __name__ == "__main__":
    sys.path[0] = str(HERE.parent)
    spec = importlib.util.spec_from_file_location("kit", HERE / "__init__.py", submodule_search_locations=[str(HERE)])
    package = importlib.util.module_from_spec(spec)
    package.__class__ = LatePackage
    sys.modules["kit"] = package

    from kit.worker import main

    main()
