"""Columns of text with a name and a unit in their header, made into channels of the model.

Cyclers, furnaces and gas analysers write the same table in many dialects: ``Ewe/V``, ``Voltage [V]``,
``Voltage / V``, ``Amps``; decimal points or commas; cp1252, UTF-8 or UTF-16. Here the header is taken apart
into name and unit, the name is brought to the model's (`beamline.model.NAMES`) and the numbers to its unit.
Columns whose unit is nowhere stated are left out and named in ``attrs["left_out"]``, but for current and
capacity, which the user is asked for: they are why the file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beamline import model, units
from beamline.errors import ConfigError, DataFileError, SchemaError
from beamline.readers import stamps
from beamline.readers.text import decode

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

_SYNONYMS = {
    "voltage": "voltage volts ewe ecell potential cell_voltage",
    "current": "current amps i cur",
    "capacity": "capacity cap amp_hr",
    "temperature": "temperature temp temp_1 t temperature_1 aux_temperature",
    "cycle": "cycle cycle_c cyc cycle_number cycle_index cycle_id cycle_count cycle_counter",
    "step": "step ns step_index step_id step_number step_count",
    "resistance": "resistance r",
    "power": "power p",
    "cell_energy": "cell_energy energy ener watt_hr",
}
_CHANNEL = {synonym: name for name, synonyms in _SYNONYMS.items() for synonym in synonyms.split()}
_UNIT_IN_NAME = {"volts": "V", "amps": "A", "amp_hr": "A*h", "watt_hr": "W*h"}
_UNIT_WORDS = {"sec": "s", "min": "min", "amps": "A", "volts": "V", "ohm": "ohm", "ohms": "ohm", "c": "degC"}
_SIGNS = {
    " ": "",
    "\ufffd": "°",  # what is left of a degree sign after a wrong code page
    "℃": "degC",
    "°C": "degC",
    "\u2126": "ohm",
    "Ω": "ohm",
    "²": "**2",
    "³": "**3",
    ".": "*",
}
_MAX_BYTES = 2**30
_DISCRETE = frozenset({"cycle", "step"})
_ASKED_FOR = frozenset({"current", "capacity"})
_MASS = re.compile(r"(?:m_z|mz|mass|amu|m)_?(\d{1,3})(?:_.*)?")


@dataclass(frozen=True)
class Table:
    """Cells of a text table.

    Attributes
    ----------
    path
        The file.
    headers
        Column headers as written.
    columns
        The cells of each column, stripped.
    first_line
        Number of the line (from 1) of the first row.
    notes
        What had to be interpreted.
    """

    path: Path
    headers: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    first_line: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    def find(self, *names: str) -> int | None:
        """Return the first column whose name, without its unit, is one of `names`."""
        plain = [plain_name(split_header(header)[0]) for header in self.headers]
        return next((plain.index(name) for name in names if name in plain), None)

    def numbers(self, column: int) -> Floats:
        """Return a column as floats; blank cells and what is not finite are NaN.

        Raises
        ------
        DataFileError
            A cell is not a number, or decimal points and commas are mixed.
        """
        cells = self.columns[column]
        commas = any("," in cell for cell in cells)
        if commas and any("." in cell for cell in cells):
            raise DataFileError(
                self.path,
                f"mixes '.' and ',' in column {self.headers[column]!r}",
                "export without thousands marks",
            )
        if commas:
            cells = tuple(cell.replace(",", ".") for cell in cells)
        try:
            # Python reads 1_000 and digits of other scripts, which no instrument writes.
            if any("_" in cell or not cell.isascii() for cell in cells):
                raise ValueError
            values = np.array([cell or "nan" for cell in cells], dtype=np.float64)
        except ValueError:
            row = next(row for row, cell in enumerate(cells) if not _is_number(cell))
            raise self.error(column, row, "not a number") from None
        values[~np.isfinite(values)] = np.nan
        return values

    def error(self, column: int, row: int, problem: str) -> DataFileError:
        """Return the error that a cell is not what it should be."""
        cell, line = self.columns[column][row][:40], self.first_line + row
        return DataFileError(
            self.path, f"has {cell!r} for {self.headers[column]!r} in line {line}, {problem}"
        )


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file (`beamline.readers.text.decode`), up to 1 GiB: a test lasts months.

    Raises
    ------
    DataFileError
        The file is not text, or larger.
    """
    return decode(path, _MAX_BYTES).split("\n")


def table(path: Path, lines: Sequence[str], header: int, separator: str, first: int | None = None) -> Table:
    """Cut the lines of a table into columns.

    An incomplete last line, as a program that is still writing leaves it, is left out and noted.

    Parameters
    ----------
    path
        The file.
    lines
        All its lines.
    header
        Index of the line of headers.
    separator
        What stands between cells.
    first
        Index of the first row; the line after `header` by default.

    Raises
    ------
    DataFileError
        There is no row, or a row has too few or too many cells.
    """
    headers = [_clean(cell) for cell in lines[header].split(separator)]
    while headers and not headers[-1]:
        headers.pop()
    start = header + 1 if first is None else first
    stop = len(lines)
    while stop > start and not lines[stop - 1].strip():
        stop -= 1
    while start < stop and not lines[start].strip():
        start += 1
    width = len(headers)
    rows: list[list[str]] = []
    notes: list[str] = []
    for index in range(start, stop):
        cells = [_clean(cell) for cell in lines[index].split(separator)]
        if len(cells) < width or any(cells[width:]):
            if index == stop - 1 == len(lines) - 1 and len(cells) < width:
                notes.append("the last line is incomplete and left out")
                break
            raise DataFileError(path, f"has {len(cells)} cells instead of {width} in line {index + 1}")
        rows.append(cells[:width])
    # Without a line feed at its end the file may be cut within its last number.
    if rows and stop == len(lines) and not notes:
        lengths = {len(row[-1]) for row in rows[:-1]}
        if lengths and len(rows[-1][-1]) < min(lengths):
            rows.pop()
            notes.append("the last line may be cut off and is left out")
        elif not lengths:
            notes.append("the last line does not end, its last number may be cut short")
    if not rows:
        raise DataFileError(path, "has column headers and no data")
    return Table(path, tuple(headers), tuple(zip(*rows, strict=True)), start + 1, tuple(notes))


def split_header(header: str) -> tuple[str, str | None]:
    """Take a header apart into name and unit (None where it states none).

    ``Ewe/V``, ``Voltage [V]``, ``Voltage (V)``, ``Voltage / V`` and ``Amps`` state one; ``ox/red`` does not.
    """
    bracket = re.fullmatch(r"(.+?)\s*[\[(]([^\[\]()]*)[\])]\s*", header)
    if bracket:
        return bracket[1].strip(), as_unit(bracket[2])
    name, slash, unit = header.rpartition("/")
    if slash and name.strip() and as_unit(unit) is not None:
        return name.strip(), as_unit(unit)
    return header.strip(), _UNIT_IN_NAME.get(plain_name(header))


def as_unit(text: str) -> str | None:
    """Return what a header writes for a unit as pint writes it, or None if it is none."""
    text = (
        text.strip().replace("\ufffd", "°").replace("℃", "degC").replace("\u2126", "ohm").replace("Ω", "ohm")
    )
    text = (
        text.replace(" ", "").replace("°C", "degC").replace("²", "**2").replace("³", "**3").replace(".", "*")
    )
    text = _UNIT_WORDS.get(text.lower(), text) if text != "C" else text
    if not text:
        return None
    try:
        units.parse(text)
    except SchemaError:
        return None
    return text


def plain_name(name: str) -> str:
    """Return a name in lower case with ``_`` between words: ``Q charge/discharge`` is q_charge_discharge."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def channel_name(header: str) -> str:
    """Return the model's name of a channel: ``Ewe`` is voltage, ``M32-O2`` is mz_32."""
    plain = plain_name(header)
    mass = _MASS.fullmatch(plain)
    name = f"mz_{int(mass[1])}" if mass else _CHANNEL.get(plain, plain)
    # What the model calls q or phase is no column of a cycler.
    taken = name not in _SYNONYMS and (name in model.NAMES or name in model.INDICES)
    return f"{name}_channel" if taken else name


def dataset(
    source: Table,
    times: NDArray[np.datetime64],
    *,
    skip: Iterable[int | None] = (),
    unit_of: Mapping[str, str] | None = None,
    reference: str = "",
    in_situ: str = "",
    notes: Sequence[str] = (),
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Make the columns of a table channels on one clock.

    Parameters
    ----------
    source
        The table.
    times
        Time of its rows, UTC, as the file has them.
    skip
        Columns that are no channels (the time itself).
    unit_of
        Units of columns that state none, by header, or by name in the model.
    reference
        Reference electrode of the voltage ("Li/Li+"); "" where it is not known.
    in_situ
        "yes" where the cell was in the beam when the voltage was measured, "no", or "" for not known.
    notes
        What was interpreted before.
    attrs
        More attributes.

    Raises
    ------
    DataFileError
        Time runs backward, no column is a channel, or current or capacity state no unit.
    ConfigError
        `unit_of` names no column, or `in_situ` is none of the three words.
    """
    import xarray as xr

    if in_situ not in {"yes", "no", ""}:
        raise ConfigError(f"in_situ={in_situ!r}", "is not known", 'write "yes", "no" or ""')
    given = dict(unit_of or {})
    times, apart = stamps.increasing(times, str(source.path), source.first_line)
    skipped = set(skip)
    variables: dict[str, Any] = {}
    left_out: list[str] = []
    used: set[str] = set()
    for index, header in enumerate(source.headers):
        if index in skipped or not header:
            continue
        name, unit = split_header(header)
        channel = channel_name(name)
        if channel in variables:
            channel = plain_name(name)
        used |= {header, channel} & set(given)
        unit = given.get(header, given.get(channel, unit))
        if unit is None and channel in model.NAMES:
            unit = model.NAMES[channel].units
        if channel in _DISCRETE:
            variables[channel] = ("time", _integers(source, index), {"long_name": channel})
        elif channel in variables or channel == "time" or not channel:
            left_out.append(header)
        elif unit is None and channel in _ASKED_FOR:
            example = "mA" if channel == "current" else "mA*h"
            raise DataFileError(
                source.path, f"states no unit for {header!r}", f'give it: units={{"{header}": "{example}"}}'
            )
        elif unit is None:
            left_out.append(header)
        else:
            variables[channel] = ("time", *_measured(source, index, name, channel, unit))
    if set(given) - used:
        raise ConfigError(
            f"units of {sorted(set(given) - used)[0]!r}",
            f"name no column of {source.path.name}",
            f"columns: {', '.join(source.headers)}",
        )
    if not variables:
        raise DataFileError(source.path, "has no column that is a channel with a unit")
    if "voltage" in variables:
        variables["voltage"][2].update(reference=reference, in_situ=in_situ)
    elif reference:
        raise DataFileError(source.path, "has no voltage the reference electrode could belong to")
    kept = dict(attrs or {})
    if left_out:
        kept["left_out"] = ", ".join(left_out)
    kept.update(stamps.report(str(source.path), [*source.notes, *notes, *apart]))
    return xr.Dataset(variables, coords={"time": ("time", times)}, attrs=kept)


def _measured(source: Table, index: int, name: str, channel: str, unit: str) -> tuple[Floats, dict[str, Any]]:
    """Return a measured quantity in the unit of the model, with the resolution its digits show."""
    values = source.numbers(index)
    target = model.NAMES[channel].units if channel in model.NAMES else unit
    to = unit if target is None else target
    try:
        if channel == "temperature" and unit in {"C", "c"}:
            unit = "degC"
        converted = np.asarray(units.convert(values, unit, to), dtype=np.float64)
        attributes: dict[str, Any] = {"units": to, "long_name": name}
        step = _last_digit(source.columns[index])
        if step is not None:
            ends = units.convert(np.array([0.0, step]), unit, to)
            attributes["resolution"] = float(abs(ends[1] - ends[0]))
    except SchemaError as error:
        raise DataFileError(source.path, f"column {source.headers[index]!r}: {error}") from error
    return converted, attributes


def _integers(source: Table, index: int) -> NDArray[np.int64]:
    """Return a counter; it may be written as a float (``1.000E+000``) but not be between two integers."""
    values = source.numbers(index)
    whole = np.round(values)
    bad = ~(np.abs(values - whole) < 1e-6) | (np.abs(whole) > 2**53)
    if bad.any():
        raise source.error(index, int(np.flatnonzero(bad)[0]), "not an integer")
    return whole.astype(np.int64)


def _last_digit(cells: Sequence[str]) -> float | None:
    """Return the value of the last decimal written, or None for numbers with an exponent."""
    decimals = 0
    for cell in cells:
        if "e" in cell or "E" in cell:
            return None
        _, _, fraction = cell.replace(",", ".").partition(".")
        decimals = max(decimals, len(fraction))
    return float(10.0**-decimals)


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
        return "_" not in cell and cell.isascii()
    except ValueError:
        return False


def _clean(cell: str) -> str:
    return cell.strip().strip('"').strip()
