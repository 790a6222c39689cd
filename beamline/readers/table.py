"""Any table of channels with a header: csv, tsv, or columns parted by semicolons.

Headers state name and unit (``Voltage / V``, ``temperature [degC]``, ``Ewe/V``); lines before them that begin
with ``#`` are comments. Time is, in this order of preference,

* a column of time stamps (``time``, ``date``, ``timestamp``, ...), ISO 8601 or in numbers, with or without
  a zone, or a column of dates beside one of times of day;
* a column of seconds since 1970 (``uts``, ``unix time``), which are UTC;
* a column of elapsed time in s, min or h, with the option ``start``.

Where whole-second stamps stand beside elapsed seconds, the latter give the fractions
(`beamline.readers.stamps.refine`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beamline.errors import DataFileError, SchemaError
from beamline.readers import columns, stamps
from beamline.readers.registry import Format
from beamline.units import convert

if TYPE_CHECKING:
    import xarray as xr

_STAMPS = (
    *("date", "date_time", "datetime", "timestamp", "time_stamp", "time", "date_and_time", "dpt_time", "utc"),
    *("time_utc", "real_time", "realtime", "absolute_time", "test_time", "testtime", "total_time"),
    *("elapsed_time", "elapsed"),
)
_UNIX = ("uts", "unix_time", "unix_timestamp", "epoch")
_ELAPSED = ("test_time", "testtime", "total_time", "elapsed_time", "elapsed", "time")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[AaPp][Mm])?", re.ASCII)


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
    """Read a table of channels.

    Parameters
    ----------
    path
        The file.
    timezone
        Time zone of its time stamps (or of `start`), where they state none.
    start
        ISO time stamp elapsed times count from.
    day_first
        Order of day and month in its time stamps, where they leave it open.
    reference
        Reference electrode of the voltage.
    in_situ
        "yes", "no" or "".
    units
        Units of columns that state none.
    """
    lines = columns.read_lines(path)
    header, separator = _header(path, lines)
    table = columns.table(path, lines, header, separator)
    times, used, notes, attrs = _times(table, timezone, start, day_first)
    return columns.dataset(
        table,
        times,
        skip=(*used, table.find("step_time", "steptime")),
        unit_of=units,
        reference=reference,
        in_situ=in_situ,
        notes=notes,
        attrs=attrs,
    )


def _header(path: Path, lines: list[str]) -> tuple[int, str]:
    """Find the line of headers and what stands between its cells."""
    for index, line in enumerate(lines[:200]):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        separator = max("\t;,", key=line.count)
        names = {columns.plain_name(columns.split_header(cell)[0]) for cell in line.split(separator)}
        if line.count(separator) and names & {*_STAMPS, *_UNIX, *_ELAPSED}:
            return index, separator
    raise DataFileError(
        path,
        "has no line of column headers with a time among them",
        "name the columns as in 'time / s, voltage / V'",
    )


def _times(
    table: columns.Table, timezone: str | None, start: str | None, day_first: bool | None
) -> tuple[NDArray[np.datetime64], tuple[int | None, ...], list[str], dict[str, str | float]]:
    """Return the times, the columns they are from, what was interpreted, and attributes."""
    subject = str(table.path)
    stamped, texts, used = _stamps(table)
    elapsed = next((i for name in _ELAPSED if (i := table.find(name)) is not None and i not in used), None)
    seconds = None if elapsed is None else _seconds(table, elapsed, needed=not stamped)
    if stamped:
        local, is_utc = stamps.parse(texts, subject, day_first, seconds)
        times, notes = stamps.to_utc(local, "UTC" if is_utc else timezone, subject, seconds)
        attrs: dict[str, str | float] = {}
        if seconds is not None and _whole_seconds(times):
            times, attrs["clock_spread"], more = stamps.refine(times, seconds)
            notes += more
        return times, (*used, elapsed), notes, attrs
    unix = table.find(*_UNIX)
    if unix is not None:
        since = _complete(table, unix)
        if not bool(((since >= 0) & (since < 9e9)).all()):
            raise DataFileError(table.path, f"column {table.headers[unix]!r} is not in seconds since 1970")
        return stamps.after(np.datetime64(0, "ns"), since), (unix, elapsed), [], {}
    if seconds is None:
        raise DataFileError(
            table.path, "has no column of times that can be read", "write them as 2022-04-06T16:17:23Z"
        )
    if start is None:
        raise DataFileError(
            table.path,
            "has elapsed times and does not say when they began",
            'give it: start="2022-04-06T16:17:23+02:00"',
        )
    began = stamps.start_of(start, timezone, subject)
    return stamps.after(began, seconds), (elapsed,), [], {"start": str(began)}


def _stamps(table: columns.Table) -> tuple[bool, list[str], tuple[int, ...]]:
    """Return the texts of the time stamps, and the columns they are in."""
    for name in _STAMPS:
        index = table.find(name)
        if index is not None and stamps.is_stamp(table.columns[index][0]):
            return True, list(table.columns[index]), (index,)
    date, time = table.find("date"), table.find("time")
    if date is not None and time is not None and _TIME_OF_DAY.fullmatch(table.columns[time][0]):
        both = [f"{d} {t}" for d, t in zip(table.columns[date], table.columns[time], strict=True)]
        return True, both, (date, time)
    return False, [], ()


def _seconds(table: columns.Table, index: int, needed: bool) -> NDArray[np.float64] | None:
    """Return elapsed times in s; None where the column is something else and not `needed`."""
    name, unit = columns.split_header(table.headers[index])
    if not needed and (unit is None or ":" in table.columns[index][0]):
        return None
    if unit is None:
        raise DataFileError(
            table.path, f"does not say in which unit {table.headers[index]!r} is", f"name it '{name} / s'"
        )
    try:
        return np.asarray(convert(_complete(table, index), unit, "s"), dtype=np.float64)
    except SchemaError as error:
        raise DataFileError(table.path, f"has times in {unit!r}, which is not a unit of time") from error


def _complete(table: columns.Table, index: int) -> NDArray[np.float64]:
    values = table.numbers(index)
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        raise DataFileError(table.path, f"has no time in line {table.first_line + row}")
    return values


def _whole_seconds(times: NDArray[np.datetime64]) -> bool:
    return not (times.astype(np.int64) % 1_000_000_000).any()


def _sniff(head: bytes, path: Path) -> bool:
    """Tell whether a line of headers has a time and a channel of a cell, a furnace or a gas analyser."""
    if b"\0" in head:
        return False
    for line in head.decode("utf-8", errors="replace").splitlines()[:20]:
        if line.lstrip().startswith("#"):  # the headers of absorption scans are comments
            continue
        cells = line.split(max("\t;,", key=line.count))
        names = [columns.plain_name(columns.split_header(cell)[0]) for cell in cells]
        known = {columns.channel_name(columns.split_header(cell)[0]) for cell in cells}
        if set(names) & {*_STAMPS, *_UNIX} and known & {"voltage", "current", "capacity", "temperature"}:
            return True
    return False


TABLE = Format(name="table of channels", kind="channels", suffixes=(".csv", ".tsv"), read=read, sniff=_sniff)
