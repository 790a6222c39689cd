"""Cyclers' own binary files: recognised, and refused with the way out.

Their layouts are not published and change with the version of the program; the packages that follow them
(galvani, yadg, cellpy) are under licences or of a weight this suite does not take on. A package that reads
them can register its reader under ``redoxlight.readers``; it is asked before this refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from beamline.errors import DataFileError
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import xarray as xr

_BINARIES: tuple[tuple[bytes, str, str, str], ...] = (
    (b"BIO-LOGIC MODULAR FILE", ".mpr", "a BioLogic binary", "export it as text (.mpt) in EC-Lab"),
    (b"NEWARE", ".nda", "a Neware binary", "export it as csv in BTSDA"),
    (b"PK\x03\x04", ".ndax", "a Neware archive", "export it as csv in BTSDA"),
    (b"\0\1\0\0Standard Jet DB", ".res", "an Arbin database", "export it as csv in MITS Pro"),
)
_PLUGIN = "or convert it with yadg, galvani (.mpr), cellpy or NewareNDA (.nda, .ndax) and read the csv"


def read(
    path: Path,
    *,
    timezone: str | None = None,
    start: str | None = None,
    day_first: bool | None = None,
    reference: str = "",
    in_situ: str = "",
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Refuse the file, naming what would read it."""
    with open(path, "rb") as file:
        head = file.read(32)
    suffix = path.suffix.lower()
    for magic, ending, what, remedy in _BINARIES:
        if suffix == ending or (head.startswith(magic) and magic != b"PK\x03\x04"):
            raise DataFileError(path, f"is {what}, which redoxlight does not read", f"{remedy}, {_PLUGIN}")
    raise DataFileError(path, "is not a cycler's file")


def _sniff(head: bytes, path: Path) -> bool:
    return any(head.startswith(magic) for magic, *_ in _BINARIES if magic != b"PK\x03\x04")


BINARY = Format(
    name="cycler binary",
    kind="channels",
    suffixes=tuple(ending for _, ending, *_ in _BINARIES),
    read=read,
    sniff=_sniff,
)
