"""An app that is named by a text, ``"module:attribute"``: finding it, and saying in words why it cannot be had."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from kit import source
from kit.binding import check_app
from kit.errors import ServerStartError

__all__ = ["check_import_string", "imported_app"]

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


def check_import_string(text: str) -> None:
    """Raise `ServerStartError` for a text that names no attribute of a module which another process can import."""
    module, _, attribute = text.partition(":")
    if re.fullmatch(f"{_NAME}:{_NAME}", text) is None or module.endswith(".py"):
        right = f"{_module_of(module)}:{attribute if re.fullmatch(_NAME, attribute) else 'app'}"
        raise ServerStartError(f"serve() expects an app or a text such as 'chat:app', module and attribute, but got {text!r}. Write: serve({right!r})")
    if module == "__main__":
        file = "Write the app to a file, in a cell that begins with %%writefile chat.py, then: await serve('chat:app')"
        raise ServerStartError(f"{text!r} is of this notebook, and another process cannot import a notebook. {file}")


def imported_app(text: str) -> Any:
    """The app that ``text`` names; its module is imported, with ``sys.path`` as it is.

    Raises:
        ServerStartError: there is no such module, it cannot be imported, or it has no such app; with the line at fault.
    """
    name, _, attributes = text.partition(":")
    found: Any = _imported(name)
    module = found
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise ServerStartError(_no_attribute(module, attributes))
        found = getattr(found, attribute)
    check_app(found)
    return found


def _module_of(file: str) -> str:
    """The module that a file's path means, or a name for one where it means none."""
    if not file.endswith(".py"):
        return re.split(r"\W", file)[0] or "chat"
    name = file.removesuffix(".py").removeprefix("./").replace("/", ".")
    return name if re.fullmatch(_NAME, name) else Path(file).stem


def _imported(name: str) -> ModuleType:
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a file written anew within a second would be taken for the one before
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ServerStartError(_raised(name, error)) from error
        raise ServerStartError(f"there is no module {error.name!r} in {Path.cwd()} or where else Python looks. {_advice(error.name)}") from None
    except Exception as error:
        raise ServerStartError(_raised(name, error)) from error
    except SystemExit as error:
        raise ServerStartError(_raised(name, error)) from error
    finally:
        sys.dont_write_bytecode = before


def _advice(missing: str) -> str:
    first = missing.partition(".")[0]
    near = difflib.get_close_matches(first, [file.stem for file in Path().glob("*.py")], n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Write it there first, in a cell that begins with %%writefile {first}.py"


def _raised(name: str, error: BaseException) -> str:
    """What importing a module raised, with the reader's own line."""
    lines = source.readers_lines(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        where = f" at {Path(error.filename).name}, line {error.lineno}: {(error.text or '').strip()}"
        return f"importing {name!r} raised {type(error).__name__}: {error.msg},{where}. Mend it and call serve() again."
    where = f" It came from {lines[-1]}." if lines else ""
    return f"importing {name!r} raised {type(error).__name__}: {str(error).rstrip('.')}.{where} Mend it and call serve() again."


def _no_attribute(module: ModuleType, wanted: str) -> str:
    names = [name for name in vars(module) if not name.startswith("_")]
    near = difflib.get_close_matches(wanted, names, n=1)
    apps = [name for name in names if _looks_like_an_app(getattr(module, name))]
    there = f"Did you mean '{module.__name__}:{(near or apps)[0]}'?" if near or apps else "Define it there: app = FastAPI()"
    found, own = getattr(module, "__file__", None), Path(f"{module.__name__}.py")
    if own.exists() and not (found and own.samefile(found)):
        there = f"Python found that one, not your {own}: give your file another name."
    return f"the module {module.__name__!r} ({found or 'built in'}) has no {wanted!r}. {there}"


def _looks_like_an_app(value: Any) -> bool:
    return not isinstance(value, type) and callable(value) and hasattr(value, "routes")
