"""BioLogic EC-Lab and BT-Lab: text exports (.mpt).

The second line counts the header lines; the last of them names the columns, separated by tabs. The encoding
is the PC's (cp1252 as a rule), the decimal mark that of its language. ``time/s`` counts from ``Acquisition
started on``, a local time without a zone, or holds absolute time stamps; the program writes the month first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beamline.errors import DataFileError
from beamline.readers import columns, stamps
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import xarray as xr

_FIRST_LINES = (b"EC-Lab ASCII FILE", b"BT-Lab ASCII FILE")


def read(
    path: Path,
    *,
    timezone: str | None = None,
    start: str | None = None,
    day_first: bool = False,
    reference: str = "",
    in_situ: str = "",
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read an .mpt file.

    Parameters
    ----------
    path
        The file.
    timezone
        Time zone of the potentiostat's PC.
    start
        ISO time stamp elapsed times count from, instead of the header's start of acquisition.
    day_first
        Day before month in the header's dates.
    reference
        Reference electrode of the voltage.
    in_situ
        "yes", "no" or "".
    units
        Units of columns that state none.
    """
    subject = str(path)
    lines = columns.read_lines(path)
    count = re.search(r"Nb header lines\s*:\s*(\d{1,6})\s*$", lines[1]) if len(lines) > 1 else None
    if count is None:
        raise DataFileError(path, "does not count its header lines", "export it again with the header")
    header = int(count[1]) - 1
    if header < 2 or header >= len(lines):
        raise DataFileError(path, f"has {len(lines)} lines, fewer than the {count[1]} of its header")
    table = columns.table(path, lines, header, "\t")
    clock = table.find("time")
    if clock is None:
        raise DataFileError(path, "has no column time/s", "export it with the time")
    attrs: dict[str, str] = {"instrument": "BioLogic", "technique": _technique(lines)}
    if stamps.is_stamp(table.columns[clock][0]):
        local, is_utc = stamps.parse(table.columns[clock], subject, day_first)
        times, notes = stamps.to_utc(local, "UTC" if is_utc else timezone, subject)
    else:
        began, notes = _began(lines[:header], subject, timezone, start, day_first)
        seconds = table.numbers(clock)
        if np.isnan(seconds).any():
            row = int(np.flatnonzero(np.isnan(seconds))[0])
            raise DataFileError(path, f"has no time in line {table.first_line + row}")
        times = stamps.after(began, seconds)
        attrs["start"] = str(began)
    return columns.dataset(
        table,
        times,
        skip=(clock, table.find("step_time")),
        unit_of=units,
        reference=reference,
        in_situ=in_situ,
        notes=notes,
        attrs=attrs,
    )


def _began(
    header: list[str], subject: str, timezone: str | None, start: str | None, day_first: bool
) -> tuple[np.datetime64, list[str]]:
    """Return the start of the acquisition in UTC."""
    if start is not None:
        return stamps.start_of(start, timezone, subject), []
    for line in header:
        key, _, value = line.partition(" : ")
        if key.strip() == "Acquisition started on":
            local, is_utc = stamps.parse([value], subject, day_first)
            times, notes = stamps.to_utc(local, "UTC" if is_utc else timezone, subject)
            return times[0], notes
    raise DataFileError(
        subject, "does not say when the acquisition started", 'give it: start="2022-04-06T16:19:01"'
    )


def _technique(lines: list[str]) -> str:
    """Return the name of the technique, the first line after the count that is not blank."""
    return next((line.strip() for line in lines[2:] if line.strip()), "")


MPT = Format(
    name="BioLogic text",
    kind="channels",
    suffixes=(".mpt",),
    read=read,
    sniff=lambda head, path: head.removeprefix(b"\xef\xbb\xbf").startswith(_FIRST_LINES),
)
