"""Every fault of every raw format: an error that names file and cause within 5 s, or a correct reading.

A correct reading is that of the undamaged file wherever the damage did not reach, and says what is missing.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from beamline.errors import DataFileError
from beamline.readers import registry
from tests.beamline.readers import files
from tests.corrupt import faults
from tests.corrupt.faults import Fault
from tests.corrupt.judge import Damage, judge, read
from tests.corrupt.specimens import EXPOSURE, SPECIMENS, Specimen

TEXTS = tuple(specimen for specimen in SPECIMENS if specimen.first >= 0)

_GOOD: dict[str, dict[str, xr.Dataset]] = {}


def good(specimen: Specimen, folder: Path) -> dict[str, xr.Dataset]:
    """Return the reading of the undamaged file."""
    if specimen.name not in _GOOD:
        whole, _ = read(specimen.write(folder / "whole"), specimen)
        assert whole is not None
        _GOOD[specimen.name] = whole
    return _GOOD[specimen.name]


def test_every_format_has_a_specimen() -> None:
    known = {name.removeprefix("beamline.readers.") for name in registry.FORMATS}
    assert {specimen.format for specimen in SPECIMENS} | {"als_irixs:EXPOSURE"} == known


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_specimens_are_of_the_format_they_stand_for(specimen: Specimen, tmp_path: Path) -> None:
    from beamline._lazy import resolve

    path = specimen.write(tmp_path)
    assert registry.format_of(path, specimen.kind) is resolve(f"beamline.readers.{specimen.format}")
    whole, warned = read(path, specimen)
    assert whole
    assert not warned


@pytest.mark.parametrize("fault", faults.BYTES, ids=lambda f: f.name)
@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_damaged_bytes(
    specimen: Specimen, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = good(specimen, tmp_path)
    monkeypatch.chdir(tmp_path)
    damaged = fault.apply(specimen)
    found, warned = read(specimen.write(tmp_path / "damaged", damaged), specimen)
    assert not (tmp_path / "pickled").exists()
    if found is not None:
        judge(whole, found, Damage.of(specimen.content, damaged, fault.points), warned)


@pytest.mark.parametrize("fault", faults.ROWS, ids=lambda f: f.name)
@pytest.mark.parametrize("specimen", TEXTS, ids=lambda s: s.name)
def test_damaged_rows(specimen: Specimen, fault: Fault, tmp_path: Path) -> None:
    whole = good(specimen, tmp_path)
    damaged = fault.apply(specimen)
    found, warned = read(specimen.write(tmp_path / "damaged", damaged), specimen)
    if found is not None:
        judge(whole, found, Damage.of(specimen.content, damaged, fault.points), warned)


@pytest.mark.parametrize("count", [1, 8, 100])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_flipped_bits(specimen: Specimen, seed: int, count: int, tmp_path: Path) -> None:
    """A flipped digit is a digit; what is left is a valid reading or an error, in time."""
    read(specimen.write(tmp_path, faults.flipped(specimen, seed, count)), specimen)


@pytest.mark.parametrize("other", ["images", "xas.scans", "xrd.patterns", "channels"])
@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_a_file_of_another_kind_under_its_name(specimen: Specimen, other: str, tmp_path: Path) -> None:
    for foreign in SPECIMENS:
        same_table = foreign.format.startswith("als_irixs") and specimen.format.startswith("als_irixs")
        if foreign.kind == other != specimen.kind and not same_table:
            found, _ = read(specimen.write(tmp_path, foreign.content), specimen)
            assert found is None, f"reads {foreign.name} as {specimen.kind}"


def test_an_exposure_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="states neither its energy"):
        registry.read(files.write(tmp_path / "scan-00001-1D.txt", EXPOSURE))
