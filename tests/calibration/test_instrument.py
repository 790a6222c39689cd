"""The instrument record, and the files of GSAS-II and GSAS."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from beamline.errors import CalibrationError
from calibration.instrument import Instrument
from calibration.records import load_record

FILE = """#GSAS-II instrument parameter file; do not add/delete items!
Type:PXC
Bank:1.0
Lam:0.1173
Polariz.:0.99
Azimuth:0.0
Zero:0.0012
U:30.0
V:-1.0
W:1.20
X:0.15
Y:4.0
Z:0.0
SH/L:0.002
"""

GSAS = """            123456789012345678901234567890123456789012345678901234567890
INS   BANK      1
INS   HTYPE   PXCR
INS  1 ICONS  1.540500  1.544300       1.5         0       0.7    0       0.5
INS  1PRCF1     3    8      0.01
INS  1PRCF11   2.000000E+00  -2.000000E+00   5.000000E+00   0.100000E+00
INS  1PRCF12   0.300000E+00   0.400000E+00   0.150000E-01   0.150000E-01
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "beam.instprm"
    path.write_text(text)
    return path


def test_an_instprm_is_read_and_written(tmp_path: Path) -> None:
    found = Instrument.from_instprm(_file(tmp_path, FILE))
    assert (found.wavelength, found.zero, found.U, found.W, found.Y, found.SHL) == (
        *(0.1173, 0.0012, 30.0, 1.2, 4.0, 0.002),
    )
    assert found.geometry == "debye-scherrer"
    found.save(tmp_path / "again.instprm")
    assert Instrument.from_instprm(tmp_path / "again.instprm") == found


def test_a_doublet_is_read_from_a_file_of_gsas(tmp_path: Path) -> None:
    found = Instrument.from_instprm(_file(tmp_path, GSAS))
    assert (found.wavelength, found.wavelength2, found.ratio) == (1.5405, 1.5443, 0.5)
    assert (found.zero, found.X, found.Y, found.SHL) == (0.015, 0.3, 0.4, 0.03)
    assert found.geometry == "bragg-brentano"
    found.save(tmp_path / "lab.instprm")
    assert Instrument.from_instprm(tmp_path / "lab.instprm") == found


def test_a_record_keeps_the_covariance(tmp_path: Path) -> None:
    found = dataclasses.replace(
        Instrument.from_instprm(_file(tmp_path, FILE)),
        varied=("U", "W"),
        covariance=((4.0, 0.1), (0.1, 0.09)),
    )
    found.save(tmp_path / "beam.json")
    assert load_record(tmp_path / "beam.json") == found
    assert found.errors() == pytest.approx({"U": 2.0, "W": 0.3})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no .instprm"),
        (FILE.replace("PXC", "PNT"), "only PXC"),
        (FILE.replace("Lam:0.1173\n", ""), "lacks wavelength"),
        (FILE.replace("U:30.0\n", ""), "lacks U"),
        (FILE.replace("U:30.0", "U:thirty"), "no number"),
        (FILE.replace("Lam:0.1173", "Lam:-1"), "no positive wavelength"),
        (FILE.replace("Polariz.:0.99", "Polariz.:99"), "polarization of 99"),
        (GSAS.replace("PXCR", "PNTR"), "not of X-rays"),
        (GSAS.replace("PRCF1     3", "PRCF1     2"), "profile function"),
        (GSAS.replace("   0.150000E-01   0.150000E-01", ""), "has 2 numbers in PRCF12, 4 are needed"),
    ],
)
def test_a_wrong_file_is_refused_by_name(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=complaint) as caught:
        Instrument.from_instprm(_file(tmp_path, text))
    assert "beam.instprm" in str(caught.value)


@pytest.mark.parametrize("change", [{"axial": "none"}, {"geometry": "guinier"}])
def test_what_an_instrument_cannot_be_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(CalibrationError, match=f"has {next(iter(change))}="):
        dataclasses.replace(Instrument(0.1173), **change)  # type: ignore[arg-type]


def test_one_of_several_banks_is_chosen(tmp_path: Path) -> None:
    both = FILE.replace("Type", "#Bank 1: one\nType") + FILE.replace("Type", "#Bank 2: two\nType").replace(
        "0.1173", "0.2"
    )
    assert Instrument.from_instprm(_file(tmp_path, both), bank=2).wavelength == 0.2
    with pytest.raises(CalibrationError, match="give bank="):
        Instrument.from_instprm(_file(tmp_path, both))


def test_widths_follow_the_angle_and_are_refused_where_there_are_none() -> None:
    beam = Instrument(0.1173, U=30.0, V=-1.0, W=1.2, X=0.15, Y=4.0)
    variance, gamma = beam.widths(10.0)
    tan, cos = np.tan(np.radians(5.0)), np.cos(np.radians(5.0))
    assert float(variance) == pytest.approx(30 * tan**2 - tan + 1.2)
    assert float(gamma) == pytest.approx(0.15 / cos + 4 * tan)
    with pytest.raises(CalibrationError, match="has no width"):
        Instrument(0.1173, U=0.0, V=-50.0, W=1.0, X=0.0, Y=0.0).check_range((1.0, 40.0))
