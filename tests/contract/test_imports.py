"""What imports what, what it costs, and that names mean what they say."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("beamline", "calibration", "rixs", "xrd", "xas")
BASE = {"beamline.model", "beamline.units", "beamline.errors"}
MAY_IMPORT = {
    "beamline": {"beamline"},
    "calibration": {"beamline", "calibration"},
    "rixs": {"beamline", "calibration", "rixs"},
    "xrd": {"beamline", "calibration", "xrd"},
    "xas": {"beamline", "calibration", "xas"},
}
HEAVY = [
    *("numpy", "scipy", "xarray", "pint", "pydantic", "h5py", "h5netcdf", "hdf5plugin", "fabio", "pyFAI"),
    *("silx", "matplotlib", "gemmi", "xraydb", "larch", "lmfit", "numba", "dask", "distributed", "pandas"),
]

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in SOURCES}


def imported(source: str) -> Iterator[str]:
    """Yield the full name of everything a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(source: str) -> set[str]:
    """Return our modules among what a source imports; a package stands for itself only."""
    found = set()
    for name in imported(source):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name:
            found.add(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    source = MODULES[module].read_text()
    package = module.partition(".")[0]
    wrong = {name for name in ours(source) if name.partition(".")[0] not in MAY_IMPORT[package]}
    if module in BASE:
        wrong |= ours(source) - BASE - {"beamline"}
    assert not wrong
    if package == "beamline":  # nor by way of a name that is resolved later
        names = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)]
        assert not [n for n in names if re.fullmatch(r"(calibration|rixs|xrd|xas)[\w.]*:\w+", str(n))]


def test_the_check_of_imports_sees_what_it_has_to() -> None:
    source = "import xrd.masks\nfrom beamline import model, open\ndef f():\n    from rixs import simulate"
    assert ours(source) >= {"xrd.masks", "beamline.model", "rixs.simulate"}


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import beamline, calibration, rixs, xrd, xas",
        "from beamline.cli import main; main(['--help'])",
        "from beamline.cli import main; main(['--version'])",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code: str) -> None:
    out = _run(f"{code}; import sys; print('loaded:', *sorted(set({HEAVY}) & set(sys.modules)))")
    assert out.splitlines()[-1] == "loaded:"


def test_help_answers_at_once() -> None:
    # The time of the processor, which other work on the machine does not change.
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run("from beamline.cli import main; main(['--help'])")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    sys.stdout.write(f"redoxlight --help: {min(times):.2f} s\n")
    assert min(times) < 0.5


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_function_has_the_name_of_a_module(name: str) -> None:
    package = importlib.import_module(name)
    if package.__file__ is None:
        pytest.skip(f"{name} has no public names yet")
    for path in Path(package.__file__).parent.iterdir():
        module = path.stem
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert module not in dir(package) or isinstance(getattr(package, module), ModuleType), module


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name: str) -> None:
    package = importlib.import_module(name)
    for public in dir(package):
        assert getattr(package, public) is not None


def _steps() -> list[tuple[str, str, str]]:
    """Return the name, module and function of every recorded step in the sources."""
    found = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            for decorator in getattr(node, "decorator_list", []):
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "step":
                    argument = decorator.args[0]
                    assert isinstance(argument, ast.Constant), f"a step of {module} has no plain name"
                    found.append((str(argument.value), module, node.name))  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(("step", "module", "function"), _steps())
def test_the_name_of_a_step_leads_to_its_function(step: str, module: str, function: str) -> None:
    package, *path = step.split(".")
    value: object = importlib.import_module(package)
    for part in path:
        value = getattr(value, part)
    original = inspect.unwrap(value)  # type: ignore[arg-type]
    assert (original.__module__, original.__name__) == (module, function)


def test_names_of_steps_are_used_once() -> None:
    names = [step for step, _, _ in _steps()]
    assert len(names) == len(set(names))
