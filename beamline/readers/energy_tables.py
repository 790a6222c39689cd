"""The energy of every frame of a stack, from a table beside it.

A stack of images (FITS, TIFF, HDF5) of a scan over excitation energies seldom states them. A text beside it
does: ``<stem>.energies.txt`` or ``.csv``, one line per frame in the order of the stack, below a line of
titles::

    energy (eV)  i0  exposure (s)
    528.00  29983112  300
    528.20  29971205  300

``energy`` (or ``excitation_energy``) must be there; ``i0`` (counts), ``exposure`` (s), ``tey`` and ``tfy``
(counts), ``repeat`` and ``spot`` may. Titles may state another unit in parentheses. Energies may come in any
order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import units
from beamline.errors import DataFileError, SchemaError
from beamline.readers import text

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

SUFFIXES = (".energies.txt", ".energies.csv")

ENERGY = "excitation_energy"

_KNOWN = {
    ENERGY: "eV",
    "i0": "count",
    "exposure": "s",
    "tey": "count",
    "tfy": "count",
    "repeat": "",
    "spot": "",
}
_LABELS = {"i0": "incident flux monitor", "tey": "total electron yield", "tfy": "total fluorescence yield"}
_TITLE = re.compile(r"([A-Za-z_]\w*)\s*(?:[\[(]\s*([^\])]*?)\s*[\])])?")
_LEAST, _MOST = 1.0, 1e6


def companions(path: Path) -> list[Path]:
    """Return the table beside a stack, where there is one."""
    beside = (path.with_name(path.stem + suffix) for suffix in SUFFIXES)
    return [file for file in beside if file.is_file()][:1]


def complete(path: Path, ds: xr.Dataset, chosen: range, total: int) -> xr.Dataset:
    """Return the frames of a stack with what the table beside it says of them.

    Parameters
    ----------
    path
        The stack.
    ds
        Kind ``images``: the `chosen` frames of `total`.

    Raises
    ------
    DataFileError
        The table is damaged, lacks the energies, or has another number of lines than the stack has frames.
    """
    for file in companions(path):
        columns = read(file)
        rows = len(columns[ENERGY])
        if rows != total:
            raise DataFileError(
                file, f"has {rows} lines, {path.name} has {total} frames", "one line for each frame"
            )
        for name, values in columns.items():
            label = {"units": _KNOWN[name]} if _KNOWN[name] else {}
            if name in _LABELS:
                label["long_name"] = _LABELS[name]
            ds = ds.assign_coords({name: ("frame", values[chosen.start : chosen.stop], label)})
        ds = ds.assign_attrs(energy_table=file.name)
    return ds


def read(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns of a table by name, in the units of the data model.

    Raises
    ------
    DataFileError
        It is not such a table.
    """
    import numpy as np

    table = text.table(file)
    titles = _titles(file, table.head)
    if table.is_cut:
        raise DataFileError(file, "ends within a line", "is it complete?")
    if len(titles) != table.columns.shape[1]:
        raise DataFileError(
            file, f"has {len(titles)} titles above {table.columns.shape[1]} columns", "one for each column"
        )
    found: dict[str, np.ndarray[Any, Any]] = {}
    for (name, unit), values in zip(titles, table.columns.T, strict=True):
        if name not in _KNOWN:
            continue
        if name in found:
            raise DataFileError(file, f"has two columns {name}")
        if unit:
            try:
                values = np.asarray(units.convert(values, unit, _KNOWN[name]))
            except SchemaError as error:
                raise DataFileError(
                    file, f"has {name} in {unit!r}, not in {_KNOWN[name] or 'numbers'}"
                ) from error
        found[name] = values
    if ENERGY not in found:
        raise DataFileError(file, "has no column energy", "name it in the line of titles: energy (eV)")
    check_energies(file, found[ENERGY])
    for name in ("repeat", "spot"):
        if name in found:
            if not (np.isfinite(found[name]).all() and (found[name] == np.rint(found[name])).all()):
                raise DataFileError(file, f"has a {name} that is not a whole number")
            found[name] = found[name].astype(int)
    return found


def check_energies(file: Path, energies: np.ndarray[Any, Any]) -> None:
    """Refuse numbers that cannot be photon energies in eV.

    Raises
    ------
    DataFileError
        One is not finite, or not between 1 eV and 1 MeV.
    """
    import numpy as np

    wrong = ~(np.isfinite(energies) & (energies >= _LEAST) & (energies <= _MOST))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataFileError(file, f"has the energy {energies[first]} eV for frame {first}", "is it damaged?")


def _titles(file: Path, head: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return names and units of the columns, from the last line before the numbers."""
    for line in reversed(head):
        found = _TITLE.findall(line.lstrip("#").strip())
        if found:
            return [("excitation_energy" if n.lower() == "energy" else n.lower(), unit) for n, unit in found]
    raise DataFileError(file, "has no line of titles", "name the columns above the numbers: energy (eV)  i0")
