"""Instrument parameter files: ``.instprm`` of GSAS-II and ``.prm`` of GSAS.

References: GSAS-II, GSASIIfiles.py (format of ``.instprm``); A. C. Larson, R. B. Von Dreele, GSAS manual
(LAUR 86-748), "Instrument parameter file", profile function 3 (GU GV GW GP LX LY S/L H/L).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from beamline.atomic import write_atomic
from beamline.errors import CalibrationError
from calibration.records import read_text

if TYPE_CHECKING:
    from calibration.instrument import Instrument

_KEYS = {
    "Lam": "wavelength",
    "Lam1": "wavelength",
    "Lam2": "wavelength2",
    "I(L2)/I(L1)": "ratio",
    "Zero": "zero",
    "Polariz.": "polarization",
    "Azimuth": "azimuth",
    "SH/L": "SHL",
    **{name: name for name in "UVWXYZ"},
}
"""Names in an ``.instprm``, and ours."""

_MAY_BE_MISSING = {"wavelength2", "ratio", "azimuth", "Z"}


def read(path: str | os.PathLike[str], bank: int | None = None) -> dict[str, Any]:
    """Return the arguments of `calibration.instrument.Instrument` in a file.

    Raises
    ------
    CalibrationError
        As `Instrument.from_instprm` says.
    """
    text = read_text(path)
    values = _gsas(text, path, bank) if re.search(r"(?m)^INS\s", text) else _gsas2(text, path, bank)
    if not values.get("wavelength2"):
        values.pop("wavelength2", None)
        values.pop("ratio", None)
    return values


def write(path: str | os.PathLike[str], instrument: Instrument) -> None:
    """Write an ``.instprm``."""
    doublet = instrument.wavelength2 is not None
    names = {"wavelength": "Lam1" if doublet else "Lam", **{ours: key for key, ours in _KEYS.items()}}
    names["wavelength"] = "Lam1" if doublet else "Lam"
    order = ["wavelength", *(["wavelength2", "ratio"] if doublet else [])]
    order += ["zero", "polarization", *"UVWXYZ", "SHL", "azimuth"]
    lines = ["#GSAS-II instrument parameter file; do not add/delete items!", "Type:PXC", "Bank:1.0"]
    lines += [f"{names[name]}:{float(getattr(instrument, name))!r}" for name in order]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def _gsas2(text: str, path: str | os.PathLike[str], bank: int | None) -> dict[str, Any]:
    """Read ``key:value`` lines, or one of the banks of a file with several."""
    parts = re.split(r"(?m)^#Bank\s+(\d+).*$", text)
    if len(parts) > 1:
        banks = {int(number): body for number, body in zip(parts[1::2], parts[2::2], strict=True)}
        if bank is None and len(banks) > 1:
            raise CalibrationError(path, f"has the banks {', '.join(map(str, banks))}", "give bank=")
        number = next(iter(banks)) if bank is None else bank
        if number not in banks:
            raise CalibrationError(path, f"has no bank {bank}")
        text = banks[number]
    lines = (re.split(r"[:=]", line, maxsplit=1) for line in text.splitlines() if not line.startswith("#"))
    entries = {pair[0].strip(): pair[1].strip() for pair in lines if len(pair) == 2}
    kind = entries.get("Type")
    if kind is None:
        raise CalibrationError(path, "is no .instprm", "it should state Type, Lam, U, V, W ...")
    if not kind.startswith("PXC"):
        raise CalibrationError(
            path, f"is of type {kind}", "only PXC, X-rays of constant wavelength, is known"
        )
    values: dict[str, Any] = {
        ours: _number(entries[key], key, path) for key, ours in _KEYS.items() if key in entries
    }
    missing = {*_KEYS.values()} - values.keys() - _MAY_BE_MISSING
    if missing:
        raise CalibrationError(path, f"lacks {', '.join(sorted(missing))}", "export it from GSAS-II again")
    if "wavelength2" in values:
        values["geometry"] = "bragg-brentano"
    return values


def _gsas(text: str, path: str | os.PathLike[str], bank: int | None) -> dict[str, Any]:
    """Read the fixed columns of a GSAS file: wavelengths and zero (centideg), profile function 3."""
    number = bank or 1
    records = {line[:12].rstrip(): line[12:] for line in text.splitlines() if line.startswith("INS")}
    if not records.get("INS   HTYPE", "").split()[:1] == ["PXCR"]:
        raise CalibrationError(path, "is not of X-rays of constant wavelength (PXCR)")
    prefix = f"INS{number:3d}"
    needed = {key: f"{prefix}{key}" for key in (" ICONS", "PRCF1", "PRCF11", "PRCF12")}
    missing = [key for key in needed.values() if key not in records]
    if missing:
        raise CalibrationError(path, f"lacks the record {missing[0]!r}", f"is there a bank {number}?")
    constants = records[needed[" ICONS"]].ljust(65)
    first, second, zero, polarization, ratio = (
        _number(constants[a:b].strip() or "0", "ICONS", path)
        for a, b in ((0, 10), (10, 20), (20, 30), (40, 50), (55, 65))
    )
    if records[needed["PRCF1"]].split()[:1] != ["3"]:
        raise CalibrationError(path, "has a profile function other than 3", "export it with function 3")
    gauss = [_number(word, "PRCF11", path) for word in records[needed["PRCF11"]].split()]
    lorentz = [_number(word, "PRCF12", path) for word in records[needed["PRCF12"]].split()]
    for key, words, fewest in (("PRCF11", gauss, 3), ("PRCF12", lorentz, 4)):
        if len(words) < fewest:
            raise CalibrationError(path, f"has {len(words)} numbers in {key}, {fewest} are needed")
    values: dict[str, Any] = {"wavelength": first, "zero": zero / 100, "polarization": polarization}
    values |= dict(zip("UVW", gauss, strict=False)) | dict(zip("XY", lorentz, strict=False))
    values["SHL"] = lorentz[2] + lorentz[3]
    if second:
        values |= {"wavelength2": second, "ratio": ratio, "geometry": "bragg-brentano"}
    return values


def _number(text: str, key: str, path: str | os.PathLike[str]) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise CalibrationError(path, f"has {key} {text!r}, which is no number") from error
