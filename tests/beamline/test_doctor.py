"""The doctor says what works, what is missing and what is broken."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

import beamline
from beamline import doctor, techniques
from beamline.cli import main
from beamline.doctor import Finding, examine
from beamline.errors import FitError
from tests.beamline import fake


def broken(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.name: str(finding) for finding in findings if finding.state == "broken"}


def test_this_environment_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    for name in ("Python", "numpy", "names", "HDF5 compression", "pyFAI", "time zones"):
        assert findings[name]["state"] == "ok"
    assert "FEFF" not in findings
    assert findings["GSAS-II"]["state"] in ("ok", "missing")
    assert main(["doctor"]) == 0
    assert "ok       numpy" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["module", "package"])
def test_module_with_one_of_our_names_is_found(shape: str, tmp_path: Path) -> None:
    place = tmp_path / ("rixs.py" if shape == "module" else "rixs/__init__.py")
    place.parent.mkdir(exist_ok=True)
    place.write_text("")
    for search, here in (([str(tmp_path)], tmp_path.parent), ([], tmp_path)):
        found = broken(doctor._shadows(search, here))
        assert found == {"rixs": f"rixs: another module rixs is at {place}; rename or remove it"}
    assert not broken(doctor._shadows([str(tmp_path / "none")], tmp_path.parent))


def test_package_that_installs_one_of_our_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"xrd": ["pyxrd", "redoxlight"]}
    )
    found = broken(doctor._shadows([], tmp_path))
    assert found["xrd"].startswith("xrd: the package pyxrd installs a module xrd too; pip uninstall pyxrd")


def test_libraries_that_are_old_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=99.1", "pytest>=8.3", "nothing-like-it>=1.0", 'silly>=3; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    findings = {finding.name: finding for finding in doctor._libraries()}
    assert set(findings) == {"numpy", "pytest", "nothing-like-it"}
    assert findings["numpy"].state == "broken"
    assert "older than 99.1; pip install -U numpy" in str(findings["numpy"])
    assert findings["pytest"].state == "ok"
    assert (
        str(findings["nothing-like-it"])
        == "nothing-like-it: is not installed; pip install 'nothing-like-it>=1.0'"
    )


def refuse() -> Finding:
    raise FitError("FEFF", "does not run", "install it")


def crash() -> Finding:
    raise OSError("libgfortran.so.5")


def test_check_that_raises_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {"one": f"{__name__}:refuse", "other": f"{__name__}:crash"}
    technique = techniques.Technique("fake", "", "", f"{fake.HERE}:recipe", "", full_checks=checks)
    monkeypatch.setattr(techniques, "techniques", lambda: {"fake": technique})
    assert not broken(examine())
    found = broken(examine(full=True))
    assert found["one"] == "one: FEFF does not run; install it"
    assert "does not work (OSError: libgfortran.so.5)" in found["other"]


def test_raw_files_are_compared_with_what_they_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake.install(monkeypatch)
    rows = {f"raw/f{i}.fake": [[i, 1.0, 2.0]] for i in range(3)}
    toml = fake.write(tmp_path, rows)
    assert [f.state for f in examine(toml) if f.name == "raw files"] == ["missing"]
    beamline.process(toml)
    assert [str(f) for f in examine(toml) if f.name == "raw files"] == [
        "raw files: 3 have the bytes they had when first seen"
    ]
    changed = tmp_path / "raw/f1.fake"
    before = changed.stat()
    changed.write_text(changed.read_text().replace("2.0", "2.1"))
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))  # nothing but its bytes tells
    (tmp_path / "raw/f2.fake").unlink()
    found = [str(f) for f in examine(toml) if f.state == "broken"]
    assert [text.partition(";")[0] for text in found] == [
        "raw files: 1 are not what they were when first seen: raw/f1.fake",
        "raw files: 1 cannot be read any more: raw/f2.fake",
    ]
    assert main(["doctor", str(toml)]) == 1


def test_folder_that_is_full_or_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "LEAST_SPACE", 1e18)
    assert "results need room" in broken(doctor._folder(tmp_path / "new"))[str(tmp_path / "new")]

    def no(dir: Path) -> None:  # noqa: A002
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", no)
    assert "cannot be written to (Permission denied)" in str(next(iter(doctor._folder(tmp_path))))


def test_configuration_that_is_wrong(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in broken(examine(tmp_path / "none.toml"))


def test_feff_runs() -> None:
    from xas.checks import feff

    finding = feff()
    assert (finding.state, finding.text[:4]) == ("ok", "runs")
