"""Zilien: electrochemistry and mass spectrometry in one tsv, every series with its own clock.

Header lines of five cells (key, description, series, type, value) are counted in the first; then one line
names the series, one their columns, and the data follow, each series filled up with NaN to the longest. A
series is a leaf of the tree that is read, because no two share their time stamps.

Times are seconds since the measurement began; the moment itself is only in the file's name, which the program
begins with ``YYYY-mm-dd HH_MM_SS``. The potentiostat's clock is another one: its offset is in the header
(time = EC-Lab time + offset) and is kept as ``header_clock_offset`` (s) with the leaf of the potentiostat,
whose times the program has already converted; it is not applied to anything here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import DataFileError
from beamline.readers import columns, stamps
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import xarray as xr

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2}) (\d{2})_(\d{2})_(\d{2})(?!\d)")


def read(
    path: Path,
    *,
    timezone: str | None = None,
    start: str | None = None,
    reference: str = "",
    in_situ: str = "",
) -> xr.DataTree:
    """Read a Zilien tsv.

    Parameters
    ----------
    path
        The file.
    timezone
        Time zone of the PC.
    start
        ISO time stamp of the beginning, instead of that in the file's name.
    reference
        Reference electrode of the voltage.
    in_situ
        "yes", "no" or "".

    Returns
    -------
    DataTree
        One leaf per series: ``pot`` (voltage, current, cycle), ``mz_32`` and so on.
    """
    import xarray as xr

    lines = columns.read_lines(path)
    header = _header(path, lines)
    rows = header[("", "data_start")]
    began, notes = _began(path, timezone, start)
    table = columns.table(path, lines, int(rows) - 1, "\t")
    series = [cell.strip() for cell in lines[int(rows) - 2].split("\t")]
    series = [*series[: len(table.headers)], *[""] * (len(table.headers) - len(series))]
    begins = [i for i, name in enumerate(series) if name]
    if not begins or begins[0] != 0:
        raise DataFileError(path, "does not name the series its columns belong to")
    leaves = {}
    for first, stop in zip(begins, [*begins[1:], len(series)], strict=True):
        leaf = _leaf(table, series[first], range(first, stop), header, began, notes, reference, in_situ)
        if leaf is None:
            continue
        name = (
            str(next(iter(leaf.data_vars))) if len(leaf.data_vars) == 1 else columns.plain_name(series[first])
        )
        if name in leaves:
            raise DataFileError(path, f"has two series named {name!r}")
        leaves[name] = leaf
    if not leaves:
        raise DataFileError(path, "has no series with data")
    return xr.DataTree.from_dict(leaves)


def _header(path: Path, lines: list[str]) -> dict[tuple[str, str], str]:
    """Return the header by series and key."""
    first = lines[0].split("\t")
    try:
        count = int(first[4])
        header: dict[tuple[str, str], str] = {}
        for line in lines[:count]:
            key, _, series, _, value = line.split("\t")[:5]
            header[series, key] = value.strip()
        rows = int(header["", "data_start"])
    except (IndexError, ValueError, KeyError) as error:
        raise DataFileError(path, "has a header that is not as it says", "is it cut off?") from error
    if not count < rows - 1 < len(lines):
        raise DataFileError(
            path, f"has {len(lines)} lines; its data should begin in line {rows + 1}", "is it cut off?"
        )
    return header


def _began(path: Path, timezone: str | None, start: str | None) -> tuple[np.datetime64, list[str]]:
    name = _NAME.match(path.name)
    if start is not None:
        return stamps.start_of(start, timezone, str(path)), []
    if name is None:
        raise DataFileError(
            path,
            "counts seconds from a beginning that is neither in it nor in its name",
            'give it: start="2022-04-06T16:17:23"',
        )
    local, _ = stamps.parse([f"{name[1]} {name[2]}:{name[3]}:{name[4]}"], str(path), None)
    times, notes = stamps.to_utc(local, timezone, str(path))
    return times[0], notes


def _leaf(
    table: columns.Table,
    series: str,
    own: range,
    header: dict[tuple[str, str], str],
    began: np.datetime64,
    notes: list[str],
    reference: str,
    in_situ: str,
) -> xr.Dataset | None:
    """Make one series a Dataset; None where it has no sample."""
    path = table.path
    headers = [table.headers[i] for i in own]
    if columns.split_header(headers[0])[0].lower() != "time":
        raise DataFileError(path, f"has no time for the series {series!r}")
    seconds = table.numbers(own[0])
    size = int(np.isfinite(seconds).sum())
    stated = header.get((series, f"{series}_count"))
    if stated is not None and stated != str(size):
        raise DataFileError(path, f"has {size} samples of {series!r} instead of {stated}", "is it cut off?")
    if not np.isfinite(seconds[:size]).all():
        raise DataFileError(path, f"has samples of {series!r} without a time")
    if size == 0:
        return None
    attrs: dict[str, Any] = {"instrument": "Zilien", "start": str(began)}
    for key, name in (
        ("offset", "header_clock_offset"),
        ("offset_meas_time", "header_clock_offset_duration"),
    ):
        # The header numbers its potentiostats (pot_01); the columns of the only one are just "pot".
        value = next((v for (s, k), v in header.items() if k == key and s.startswith("pot")), None)
        if series.startswith("pot") and value is not None:
            attrs[name] = float(value)
    if len(own) == 2 and columns.channel_name(columns.split_header(headers[1])[0]).startswith("mz_"):
        names = headers[1]
    elif len(own) == 2:
        names = f"{series} [{columns.split_header(headers[1])[1] or ''}]"
    else:
        names = ""
    part = columns.Table(
        path,
        (headers[0], names) if names else tuple(headers),
        tuple(table.columns[i][:size] for i in own),
        table.first_line,
        table.notes if own[0] == 0 else (),
    )
    has_voltage = any(columns.channel_name(columns.split_header(h)[0]) == "voltage" for h in part.headers)
    return columns.dataset(
        part,
        stamps.after(began, seconds[:size]),
        skip=(0,),
        reference=reference if has_voltage else "",
        in_situ=in_situ,
        notes=notes if own[0] == 0 else (),
        attrs=attrs,
    )


ZILIEN = Format(
    name="Zilien tsv",
    kind="channels",
    suffixes=(),
    read=read,
    sniff=lambda head, path: head.startswith(b"num_header_lines\t"),
)
