"""XDI, the XAFS Data Interchange format.

Version 1.0 (B. Ravel and M. Newville, J. Phys. Conf. Ser. 712 (2016) 012148; the specification is at
github.com/XraySpectroscopy/XAS-Data-Interchange), and the step-scan files of GSECARS that call themselves so.

The first line is ``# XDI/version``; fields are ``# Family.key: value``; ``# ///`` ends them and begins the
user's comments; ``# ---`` ends the header; then a line of labels and the columns. ``Column.N: name units``
names the columns. Where the clock's time zone is given, the middle of the scan becomes its ``time``.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import DataFileError
from beamline.readers import absorption
from beamline.readers.registry import Format
from beamline.readers.stamps import zone_of
from beamline.readers.text import is_binary, is_unfinished, parse_number

if TYPE_CHECKING:
    import xarray as xr

_FIELD = re.compile(r"#\s*(?P<family>\w+)\.(?P<key>\w+)\s*:\s*(?P<value>.*)$")
_PLAIN = re.compile(r"[0-9.eE+-]*")
_KEPT = {
    "sample.name": "sample",
    "sample.formula": "formula",
    "sample.temperature": "sample_temperature",
    "beamline.name": "beamline",
    "facility.name": "facility",
    "mono.name": "monochromator",
    "scan.start_time": "start_time",
    "scan.end_time": "end_time",
    "scanparameters.e0": "nominal_e0",
    "scan.edge_energy": "nominal_e0",
}


def read(
    path: Path,
    *,
    element: str | None = None,
    edge: str | None = None,
    mode: str | None = None,
    d_spacing: float | None = None,
    timezone: str | None = None,
) -> xr.Dataset:
    """Read one scan.

    Parameters
    ----------
    path
        The file.
    element, edge
        What was measured, where the file does not say or must be checked.
    mode
        "transmission" or "fluorescence" where both are in the file.
    d_spacing
        Lattice spacing of the monochromator in angstrom, over that of the header; for files of angles.
    timezone
        Zone of the beamline's clock ("America/Chicago"): XDI gives local times. Where the file states begin
        and end, the middle of the scan becomes its ``time``.

    Raises
    ------
    DataFileError
        The file has no columns, or none that make μ(E).
    """
    data = Path(path).read_bytes()
    if is_binary(data):
        raise DataFileError(path, "is binary, not text", "copy it again")
    content = data.decode("utf-8", errors="replace")
    lines = content.splitlines()
    fields, comments, header = _header(lines)
    rows = {n: line.split() for n, line in enumerate(lines, 1) if line.strip() and line.lstrip()[0] != "#"}
    labels, units = _labels(fields, header, len(next(iter(rows.values()))) if rows else 0)
    if not rows or len(labels) < 2:
        raise DataFileError(path, "has no columns of data")
    columns = _numbers(path, rows, len(labels), is_unfinished(content))
    stated = fields.get("element.symbol", ""), fields.get("element.edge", "")
    for family in ("scan", "scanparameters"):
        if not stated[0]:
            stated = fields.get(f"{family}.element", ""), fields.get(f"{family}.edge", "")
    d_header = _number(fields.get("mono.d_spacing", fields.get("mono.dspacing", "")))
    ds = absorption.scan(
        labels,
        columns,
        units=units,
        name=str(path),
        element=element,
        edge=edge,
        stated=stated,
        reference=fields.get("sample.reference"),
        d_spacing=d_spacing or d_header,
        mode=mode,
    )
    ds.attrs["label"] = Path(path).stem
    ds.attrs |= {name: fields[key] for key, name in _KEPT.items() if key in fields}
    if d := d_spacing or d_header:
        ds.attrs["d_spacing"] = d
    if comments:
        ds.attrs["comments"] = comments
    if timezone and (ends := _ends(fields, timezone, path)) is not None:
        start, end = ends
        ds = ds.assign_coords(
            time=start + (end - start) // 2, exposure=(end - start) / np.timedelta64(1, "s")
        )
        ds["exposure"].attrs["long_name"] = "duration of the scan"
    return ds


def _header(lines: list[str]) -> tuple[dict[str, str], str, list[str]]:
    """Return fields (keys in lower case), the user's comments, and all header lines."""
    fields: dict[str, str] = {}
    comments: list[str] = []
    header = [line for line in lines if line.lstrip().startswith("#")]
    in_comments = False
    for line in header[1:]:
        text = line.lstrip("# \t").rstrip()
        if re.match(r"#\s*/{3,}", line):
            in_comments = True
        elif re.match(r"#\s*-{3,}", line):
            break
        elif in_comments:
            comments.append(text)
        elif match := _FIELD.match(line):
            # GSECARS appends the name of the process variable after "||"
            fields.setdefault(
                f"{match['family']}.{match['key']}".lower(), match["value"].split("||")[0].strip()
            )
    return fields, "\n".join(c for c in comments if c), header


def _labels(fields: dict[str, str], header: list[str], count: int) -> tuple[list[str], list[str]]:
    """Return names and units of the columns: from ``Column.N``, else from the last line of the header."""
    labels, units = [], []
    for n in range(1, count + 1):
        words = fields.get(f"column.{n}", "").split(maxsplit=1)
        if not words:
            break
        labels.append(words[0])
        units.append(words[1] if len(words) > 1 else "")
    if len(labels) == count:
        return labels, units
    words = header[-1].lstrip("# \t").split() if header else []
    return (words, [""] * count) if len(words) == count else ([], [])


def _numbers(path: Path, rows: dict[int, list[str]], width: int, is_cut: bool) -> Any:
    """Return the rows, by their lines, as numbers; the last one is left out where it may be cut off."""
    last = max(rows)
    if len(rows) > 1 and (is_cut or len(rows[last]) < width):
        del rows[last]
        warnings.warn(f"{path}: its last line may be cut off and is left out", stacklevel=3)
    for line, row in rows.items():
        if len(row) != width:
            raise DataFileError(
                path, f"has {len(row)} columns instead of {width} in line {line}", "restore it"
            )
    words = [word for row in rows.values() for word in row]
    try:
        if _PLAIN.fullmatch("".join(words)):  # at once, where nothing is that only Python reads as a number
            return np.array(words, dtype=float).reshape(len(rows), width)
        return np.array([parse_number(word) for word in words]).reshape(len(rows), width)
    except ValueError as error:
        raise DataFileError(path, f"has a column that is no number ({error})") from error


def _number(text: str) -> float | None:
    """Return the number a field begins with ("3.1356369 Å")."""
    match = re.match(r"\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)", text)
    return float(match[1]) if match else None


def _ends(fields: dict[str, str], timezone: str, path: Path) -> tuple[np.datetime64, np.datetime64] | None:
    """Return when the scan began and ended, UTC; None where the file does not state both."""
    from datetime import UTC, datetime

    zone = zone_of(timezone)
    stamps = []
    for key in ("scan.start_time", "scan.end_time"):
        if key in fields:
            try:
                moment = datetime.fromisoformat(fields[key])
            except ValueError as error:
                raise DataFileError(path, f"has the {key} {fields[key]!r}, which is no ISO time") from error
            moment = moment.replace(tzinfo=zone) if moment.tzinfo is None else moment
            stamps.append(np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns"))
    return (stamps[0], stamps[1]) if len(stamps) == 2 else None


FORMAT = Format(
    name="XDI",
    kind="xas.scans",
    suffixes=(".xdi",),
    read=read,
    sniff=lambda head, path: head.lstrip(b"# \t").startswith(b"XDI/"),
)
