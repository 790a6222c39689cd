"""Maccor cyclers: text and csv exports.

A block of ``key<tab>value`` lines, the line of column headers that begins with ``Rec``, and one line per
record. Headers and units vary with the export settings: ``Current [A]``, ``Amps``, or no unit at all.

Two clocks are in the file. ``DPT Time`` is the wall clock of the PC in whole seconds, without a time zone;
the test time has fractions but stops while a test is suspended, and its unit is often not written. Each gives
what the other lacks: see `beamline.readers.stamps.refine`. Where the unit of the test time is open, it is the
one that runs like the wall clock.

Maccor writes the current without a sign; the state column tells charge (C) from discharge (D). It is made
positive on charge, negative on discharge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beamline.errors import DataFileError
from beamline.readers import columns, stamps
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import xarray as xr

_HEADER = re.compile(r'^"?Rec#?"?\s*[\t,;].*\bCyc', re.IGNORECASE)
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_DAYS = re.compile(r"(?:(\d+)d\s*)?(\d+):(\d{2}):(\d{2}(?:[.,]\d+)?)", re.ASCII)


def read(
    path: Path,
    *,
    timezone: str | None = None,
    day_first: bool | None = None,
    reference: str = "",
    in_situ: str = "",
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read a Maccor export.

    Parameters
    ----------
    path
        The file.
    timezone
        Time zone of the cycler's PC.
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
    header = next((i for i, line in enumerate(lines) if _HEADER.match(line)), None)
    if header is None:
        raise DataFileError(path, "has no line of column headers (Rec, Cycle, Step, ...)", "is it cut off?")
    separator = max("\t,;", key=lines[header].count)
    table = columns.table(path, lines, header, separator)
    wall = table.find("dpt_time")
    test = table.find("testtime", "test_time", "test")
    if wall is None:
        raise DataFileError(path, "has no column DPT Time, the time of day", "export it with the data")
    elapsed = None if test is None else _elapsed(table, test)
    local, is_utc = stamps.parse(table.columns[wall], str(path), day_first, elapsed)
    if test is not None and elapsed is None:
        elapsed = table.numbers(test) * _unit_by_clock(table, test, local)
    times, notes = stamps.to_utc(local, "UTC" if is_utc else timezone, str(path), elapsed)
    attrs: dict[str, str | float] = {"instrument": "Maccor"}
    if elapsed is not None:
        times, attrs["clock_spread"], more = stamps.refine(times, elapsed)
        notes += more
    ds = columns.dataset(
        table,
        times,
        skip=(wall, test, table.find("rec"), table.find("steptime", "step_time"), _state(table)),
        unit_of=units,
        reference=reference,
        in_situ=in_situ,
        notes=notes,
        attrs=attrs,
    )
    return _signed(ds, table)


def _elapsed(table: columns.Table, test: int) -> NDArray[np.float64] | None:
    """Return the test time in s, or None where its unit is not written."""
    cells = table.columns[test]
    if ":" in cells[0]:
        return np.array([_clock(cell, table, row) for row, cell in enumerate(cells)])
    values = table.numbers(test)
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        raise DataFileError(table.path, f"has no test time in line {table.first_line + row}")
    factor = _SECONDS.get(columns.split_header(table.headers[test])[1] or "")
    return None if factor is None else values * factor


def _unit_by_clock(table: columns.Table, test: int, wall: NDArray[np.datetime64]) -> float:
    """Return the seconds in a unit of test time, from how fast it runs against the wall clock."""
    seconds = (wall - wall[0]) / np.timedelta64(1, "s")
    values = table.numbers(test)
    # Over two minutes, whole seconds of the wall clock cannot hide a factor of 60.
    apart = int(np.clip(np.searchsorted(seconds, 120.0), 1, max(seconds.size // 2, 1)))
    ran = seconds[apart:] - seconds[:-apart]
    tested = values[apart:] - values[:-apart]
    long = ran >= 60.0
    for factor in _SECONDS.values():
        if long.any() and np.mean(np.abs(ran[long] - factor * tested[long]) < 3.0) > 0.5:
            return factor
    raise DataFileError(
        table.path,
        f"does not say in which unit {table.headers[test]!r} is, and the wall clock does not tell",
        "export the test time in seconds",
    )


def _clock(cell: str, table: columns.Table, row: int) -> float:
    match = _DAYS.fullmatch(cell.strip())
    if match is None:
        raise DataFileError(table.path, f"has the test time {cell!r} in line {table.first_line + row}")
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))


def _state(table: columns.Table) -> int | None:
    return table.find("md", "state", "mode")


def _signed(ds: xr.Dataset, table: columns.Table) -> xr.Dataset:
    """Give the current its sign where the file has it as a magnitude."""
    state = _state(table)
    if "current" not in ds:
        return ds
    current = ds["current"].values
    if state is None or bool((current < 0).any()):
        ds["current"].attrs["sign"] = "as in the file"
        return ds
    discharge = np.array([cell.upper().startswith("D") for cell in table.columns[state]])
    ds["current"].values = np.where(discharge, -current, current)
    ds["current"].attrs["sign"] = "positive on charge"
    return ds


def _sniff(head: bytes, path: Path) -> bool:
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252", errors="replace")
    return any(_HEADER.match(line) and "olt" in line for line in text.splitlines())


MACCOR = Format(name="Maccor text", kind="channels", suffixes=(), read=read, sniff=_sniff)
