"""The package keeps its own rules: who imports whom, what is public, and which versions are pinned."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import kit
from kit.hub.broker import BROKERS

ROOT = Path(__file__).parent.parent
KIT = ROOT / "kit"
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(KIT.rglob("*.py"))}


@functools.cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@functools.cache
def imports(module: str) -> set[str]:
    """The modules that ``module`` imports, anywhere in its source, under their full names."""
    found: set[str] = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules
            if len(submodules) < len(node.names):
                found.add(node.module or "")
    return found


def kit_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name == "kit" or name.startswith("kit.")}


def everything_under(module: str) -> set[str]:
    """The kit's modules that come with ``module``: its imports, and theirs."""
    reached, todo = set(), [module]
    while todo:
        for name in kit_imports(todo.pop()) & MODULES.keys():
            if name not in reached:
                reached.add(name)
                todo.append(name)
    return reached


def public_names(module: str) -> list[str]:
    for node in parsed(module).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{module} has no __all__")


def test_the_modules_of_the_design_are_there() -> None:
    assert {"kit", "kit.server", "kit.client", "kit.loops", "kit.timeline", "kit.taps", "kit.closing", "kit.hub.hub", "kit.hub.memory"} <= MODULES.keys()


@pytest.mark.parametrize("module", ["kit.redaction", "kit.printable", "kit.payload", "kit.close_codes", "kit.waiting"])
def test_the_innermost_imports_nothing_of_the_kit(module: str) -> None:
    assert kit_imports(module) == set()


def test_the_timeline_knows_what_it_records_and_what_to_blot_out_and_nothing_else_of_the_kit() -> None:
    assert everything_under("kit.timeline") == {"kit.connection", "kit.connection_book", "kit.payload", "kit.redaction"}


PURE = ["kit.timeline", "kit.closing", "kit.frames", "kit.recording", "kit.wire_rows", "kit.wire_inspection", "kit.json_tree"]
PURE += ["kit.workers.relay", "kit.workers.retelling"]
PURE += ["kit.hub.message", "kit.hub.delivery", "kit.hub.catch_up", "kit.hub.presence", "kit.hub.statistics"]
PURE += ["kit.hub.roll_call", "kit.hub.peers"]


@pytest.mark.parametrize("module", PURE)
def test_the_pure_middle_knows_neither_sockets_nor_loops_nor_widgets(module: str) -> None:
    forbidden = {"socket", "asyncio", "uvicorn", "websockets", "starlette", "fastapi", "ipywidgets", "anywidget", "IPython"}
    reached = everything_under(module) | {module}
    assert {name.partition(".")[0] for each in reached for name in imports(each)} & forbidden == set()


@pytest.mark.parametrize("module", [name for name in MODULES if re.fullmatch(r"kit\.(server|client|wire|line|protocol|(taps|hub|faults)(\..*)?)", name)])
def test_what_serves_and_connects_never_imports_panels(module: str) -> None:
    assert [name for name in everything_under(module) if name.startswith("kit.panels")] == []
    assert not {name.partition(".")[0] for name in imports(module)} & {"ipywidgets", "anywidget", "traitlets", "IPython"}


BROKER_MODULES = tuple(sorted({place.partition(":")[0] for place in BROKERS.values()}))


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("kit.hub") and not name.startswith(BROKER_MODULES)])
def test_the_hub_knows_its_brokers_by_their_urls_only(module: str) -> None:
    """So that a broker's package is needed only by whoever uses that broker."""
    assert [name for name in imports(module) if name.startswith(BROKER_MODULES) or name.partition(".")[0] in ("redis", "psycopg")] == []


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("kit.hub")])
def test_the_hub_serves_any_app_without_the_kit_s_own_server(module: str) -> None:
    assert [name for name in everything_under(module) if name.startswith(("kit.server", "kit.client", "kit.taps", "kit.protocol"))] == []


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("kit.panels")])
def test_panels_never_import_a_broker(module: str) -> None:
    brokers = BROKER_MODULES
    assert [name for name in imports(module) if name.startswith(brokers) or name.partition(".")[0] in ("redis", "psycopg")] == []


@pytest.mark.parametrize("module", [name for name in MODULES if not re.fullmatch(r"kit\.loops(\..*)?", name)])
def test_only_loops_knows_threads(module: str) -> None:
    """A lock is not a thread: what may be touched from two threads may hold one."""
    tree = parsed(module)
    assert not imports(module) & {"_thread", "concurrent.futures", "concurrent", "multiprocessing"}
    taken = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "threading" for alias in node.names]
    assert set(taken) <= {"Lock", "RLock"}
    assert "threading" not in [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("to_thread", "run_in_executor")]


@pytest.mark.parametrize("package", ["kit.loops", "kit.taps"])
def test_what_a_package_gathers_is_imported_from_there_only(package: str) -> None:
    inner = {name for name in MODULES if name.startswith(f"{package}.")}
    assert inner <= everything_under(package)
    assert {name: sorted(inner & imports(name)) for name in MODULES if not name.startswith(package) and inner & imports(name)} == {}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "kit"])
def test_every_module_says_what_is_public_and_has_it(module: str) -> None:
    names = public_names(module)
    assert len(names) == len(set(names))
    loaded = importlib.import_module(module)
    assert [name for name in names if not hasattr(loaded, name)] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_and_public_object_has_a_docstring(module: str) -> None:
    tree = parsed(module)
    assert ast.get_docstring(tree)
    public = public_names(module)
    defined = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name in public]
    assert [node.name for node in defined if not ast.get_docstring(node)] == []


def test_the_package_is_exactly_the_union_of_what_it_imports() -> None:
    tree = parsed("kit")
    imported = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names if node.module.startswith("kit.")
    }
    public = {name for name in imported if name[0].isupper() or name in kit.__all__}
    assert len(kit.__all__) == len(set(kit.__all__))
    assert set(kit.__all__) == public
    assert [name for name in kit.__all__ if name not in public_names(imported[name])] == []
    assert [name for name in kit.__all__ if not hasattr(kit, name)] == []


def test_without_a_notebook_panels_are_imported_when_they_are_asked_for() -> None:
    asked = "import sys, kit; print('kit.panels' in sys.modules, 'ipywidgets' in sys.modules); print(kit.ChatPanel.__module__)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "kit.panels.chat"]
    with pytest.raises(AttributeError, match="'kit' has no attribute 'Panell'"):
        kit.Panell  # noqa: B018


def test_the_names_of_the_design_are_exported() -> None:
    assert {"Client", "Hub", "Server", "connect", "serve", "stop_all"} <= set(kit.__all__)


def test_every_public_coroutine_has_a_docstring() -> None:
    for owner in (kit.Client, kit.Hub, kit.Server):
        public = {name: member for name, member in vars(owner).items() if not name.startswith("_")}
        assert [name for name, member in public.items() if not (member.__doc__ or getattr(getattr(member, "fget", None), "__doc__", ""))] == []


def test_importing_the_kit_starts_no_thread_binds_nothing_and_touches_no_stream() -> None:
    script = (
        "import logging, signal, sys, threading\n"
        "before = sys.stdout, sys.stderr, logging.getLogRecordFactory(), signal.getsignal(signal.SIGINT)\n"
        "import kit\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert before == (sys.stdout, sys.stderr, logging.getLogRecordFactory(), signal.getsignal(signal.SIGINT))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_modules_stay_of_a_size_that_one_reads_in_one_go() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 450} == {}


def test_the_environment_pins_the_versions_that_the_project_was_tested_with() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = dict(re.fullmatch(r"([\w.-]+)(?:\[[^\]]*\])?==([\w.]+).*", line).groups() for line in pip if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    constraints = dict(re.fullmatch(r"([\w.-]+)==([\w.]+).*", line).groups() for line in project["tool"]["uv"]["constraint-dependencies"])
    assert pinned
    assert {name: version for name, version in pinned.items() if constraints.get(name) != version} == {}
    needed = {re.match(r"[\w.-]+", line)[0] for line in project["project"]["dependencies"]}
    assert needed - pinned.keys() == set(), "every dependency of the kit is pinned"
    conda = {re.match(r"[\w.-]+", entry)[0] for entry in environment["dependencies"] if isinstance(entry, str)}
    assert conda == {"python", "pip"}


def test_the_pythons_that_it_names_are_those_that_it_lets_itself_be_installed_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", " ".join(project["classifiers"]))]
    assert named == list(range(named[0], named[-1] + 1))
    assert project["requires-python"] == f">=3.{named[0]},<3.{named[-1] + 1}"
    (pinned,) = re.findall(r"- python=3\.(\d+)\n", (ROOT / "environment.yml").read_text("utf-8"))
    assert int(pinned) in named
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [minor for minor in named if f"3.{minor}" not in readme] == []
