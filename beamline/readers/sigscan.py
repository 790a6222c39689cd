"""SigScan text of ALS beamline 8.0.1: an absorption scan, one row per energy.

The header begins ``Date: 7/5/2024``; the columns begin where a line starts with ``Time (s)``. Three traps:
``Mono Energy`` stands there twice and only the first has values; the first ``Time (s)`` is an absolute clock
while the others count from the start; the ``Counter`` columns do not say what is wired to them, and the
wiring changes over the years. The default (0: I0, 1: TEY, 2: TFY) is the one Acquaman's plugin for this
beamline uses; in July 2024 the ratios of the counters to Counter 0 agree with those of the named columns of
iRIXS scans taken the same day. What was taken for what stands in the attributes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import ConfigError, DataFileError
from beamline.readers.registry import Format
from beamline.readers.text import parse_number

if TYPE_CHECKING:
    import xarray as xr


def read_sigscan(path: Path, *, i0: int = 0, signal: int = 1) -> xr.Dataset:
    """Read a scan: mu (energy) = signal/I0 with its counting error, and every counter that counted.

    Parameters
    ----------
    path
        The text file; repeats (``-0001``) and sums (``-Sum``) are read alike.
    i0
        Number of the counter with the incident flux.
    signal
        Number of the counter with the yield: 1 for electrons (TEY), 2 for fluorescence (TFY) by the wiring
        known for 2024.
    """
    import xarray as xr

    text = path.read_text(encoding="latin-1")
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Time (s)\t")), None)
    if start is None:
        raise DataFileError(path, "has no table (no line starts with 'Time (s)')", "is it complete?")
    columns = [name.strip() for name in lines[start].split("\t")]
    rows = [line for line in lines[start + 1 :] if line.strip()]
    if rows and not text.endswith("\n"):  # its last number may be cut short
        rows[-1] = ""
    table, cut = _table(path, rows, len(columns))
    energy = table[:, columns.index("Mono Energy")]
    counters = {name: table[:, i] for i, name in enumerate(columns) if name.startswith("Counter ")}
    chosen = {}
    for role, number in (("i0", i0), ("signal", signal)):
        name = f"Counter {number}"
        if name not in counters:
            raise ConfigError(
                f"{role}={number}", f"is no counter of {path.name}", f"has: {', '.join(counters)}"
            )
        if not (counters[name] > 0).all():
            raise DataFileError(path, f"{name}, taken for {role}, has points without counts", f"set {role}=")
        chosen[role] = counters[name]

    order = np.argsort(energy, kind="stable")
    if (np.diff(energy[order]) <= 0).any():
        raise DataFileError(path, "measured an energy twice", "read the repeats from their own files")
    mu = chosen["signal"] / chosen["i0"]
    counting = mu * np.sqrt(1 / chosen["signal"] + 1 / chosen["i0"])
    ds = xr.Dataset(
        {
            "mu": ("energy", mu[order], {"long_name": f"Counter {signal} / Counter {i0}"}),
            "mu_errors": ("energy", counting[order]),
        },
        coords={"energy": energy[order]},
        attrs=_attrs(lines[:start], i0, signal, cut),
    )
    for name, counts in counters.items():
        if counts.any():
            label = {"units": "count", "long_name": name}
            ds[name.lower().replace(" ", "_")] = ("energy", counts[order], label)
    elapsed = table[:, columns.index("Time (s)")].copy()
    elapsed[0] = 0.0
    if (np.diff(elapsed) > 0).all():  # a sum of scans repeats one clock
        label = {"units": "s", "long_name": "time since the first point"}
        ds = ds.assign_coords(elapsed=("energy", elapsed[order], label))
    return ds


def _table(path: Path, lines: list[str], width: int) -> tuple[np.ndarray[Any, np.dtype[np.float64]], int]:
    """Return the complete rows, and how many incomplete ones the end of the file has (none or one)."""
    rows = []
    for i, line in enumerate(lines):
        try:
            row = [parse_number(cell) for cell in line.split("\t")]
        except ValueError:
            row = []
        if len(row) == width and np.isfinite(row).all():
            rows.append(row)
        elif i + 1 < len(lines):
            raise DataFileError(path, f"row {i + 1} is damaged", "restore the file")
    if not rows:
        raise DataFileError(path, "has no complete point", "was the scan aborted at once?")
    return np.array(rows), len(lines) - len(rows)


def _attrs(header: list[str], i0: int, signal: int, cut: int) -> dict[str, Any]:
    entries = dict(line.split(": ", 1) for line in header if ": " in line)
    attrs: dict[str, Any] = {
        "beamline": "ALS 8.0.1",
        "i0": f"Counter {i0}",
        "signal": f"Counter {signal}",
        "scan_number": entries.get("Scan Number", "").strip(),
        "count_time": f"{entries.get('Count Time (s)', '').strip()} s",
        "broken_rows": cut,
    }
    try:
        day = datetime.strptime(entries["Date"].strip(), "%m/%d/%Y").date()  # noqa: DTZ007 - a day
        attrs["date"] = day.isoformat()
    except (KeyError, ValueError):
        pass
    return attrs


FORMAT = Format(
    name="SigScan",
    kind="xas.scans",
    suffixes=(),
    read=read_sigscan,
    sniff=lambda head, path: head.startswith(b"Date: ") and b"\nTime (s)\tMono Energy\t" in head,
)
