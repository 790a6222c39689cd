from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from beamline.errors import ConfigError, DataFileError, FitError
from xrd import checks
from xrd import gsas2_installation as gsas2


def package(folder: Path, body: str = "") -> Path:
    """Make a folder that looks like a GSAS-II."""
    (folder / "GSASII").mkdir(parents=True)
    (folder / "GSASII" / "__init__.py").touch()
    (folder / "GSASII" / "GSASIIpwd.py").write_text("pyd = None\n")
    (folder / "GSASII" / "GSASIIscriptable.py").write_text(
        body or "class GSASIIpath:\n    GetVersionNumber = staticmethod(lambda: 4711)\n"
    )
    return folder


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gsas2.VARIABLE, raising=False)
    monkeypatch.setattr(gsas2, "find_spec", lambda name: None)


@pytest.mark.usefixtures("nowhere")
def test_without_gsas2_one_sentence_says_how_to_get_it() -> None:
    assert gsas2.find() is None
    with pytest.raises(ConfigError, match=r"GSAS-II: is not installed; install it .*REDOXLIGHT_GSASII"):
        gsas2.required()
    assert checks.gsas().state == "missing"
    assert checks.gsas_runs().state == "missing"


@pytest.mark.parametrize("place", [".", "GSASII", "sources"])
def test_the_variable_names_a_folder(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = package(tmp_path / "GSAS-II" if place == "sources" else tmp_path)
    monkeypatch.setenv(gsas2.VARIABLE, str(tmp_path if place == "sources" else folder / place))
    assert gsas2.find() == gsas2.Installation(Path(sys.executable), folder)


def test_the_folder_of_the_installer_has_its_own_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "GSAS-II")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    monkeypatch.setenv(gsas2.VARIABLE, str(tmp_path))
    assert gsas2.find() == gsas2.Installation(tmp_path / "bin" / "python", tmp_path / "GSAS-II")


def test_the_variable_names_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gsas2.VARIABLE, sys.executable)
    assert gsas2.find() == gsas2.Installation(Path(sys.executable), None)


def test_the_variable_names_nothing_of_the_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gsas2.VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="names no GSAS-II"):
        gsas2.find()
    assert checks.gsas().state == "broken"
    assert checks.gsas_runs().state == "broken"


def test_doctor_starts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gsas2.VARIABLE, str(package(tmp_path)))
    assert str(checks.gsas_runs()) == "GSAS-II: starts, version 4711"


@pytest.mark.parametrize(
    ("files", "problem"),
    [({"GSASIIpwd.py": ""}, "compiled parts"), ({"GSASIIscriptable.py": "1/0"}, "ZeroDivisionError")],
)
def test_what_does_not_start_is_said(
    files: dict[str, str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path)
    for name, text in files.items():
        (folder / "GSASII" / name).write_text(text)
    monkeypatch.setenv(gsas2.VARIABLE, str(folder))
    finding = checks.gsas_runs()
    assert (finding.state, problem in finding.text) == ("broken", True)


def test_modules_of_ours_do_not_shadow_those_gsas2_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = sorted(path.stem for path in Path(gsas2.__file__).parent.glob("*.py"))
    assert "figures" in ours
    names = [name for name in ours if name != "__init__"]
    body = f"import importlib.util\nfound = [name for name in {names} if importlib.util.find_spec(name)]\n"
    folder = package(
        tmp_path / "package",
        f"{body}class GSASIIpath:\n    GetVersionNumber = staticmethod(lambda: found)\n",
    )
    monkeypatch.setenv(gsas2.VARIABLE, str(folder))
    (tmp_path / "job").mkdir()
    # the program itself is beside it
    assert gsas2.version(gsas2.required(), tmp_path / "job") == "['gsas2_process']"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("import os\nos._exit(3)\n", "ended without a result .code 3"),
        ("raise RuntimeError('no')\n", "RuntimeError: no"),
    ],
)
def test_a_process_that_fails_is_a_sentence(
    body: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gsas2.VARIABLE, str(package(tmp_path / "package", body)))
    job: dict[str, Any] = {"stages": []}
    with pytest.raises(FitError, match=f"GSAS-II: .*{problem}"):
        gsas2.do(job, tmp_path)


def test_a_project_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="missing"):
        gsas2.read_project(tmp_path / "no.gpx", tmp_path)
