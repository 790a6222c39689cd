"""Absorption scans in columns of text, as beamlines write them.

Every beamline has its own header; what they share is a table of numbers and, somewhere above it, the names of
its columns. The names are looked for where the known headers have them (XDAC and MRCAT, the LabVIEW scans of
APS sectors 9 and 20, APS 12-BM, GSECARS, SSRL, CLS HXMA, NSLS-II ISS, Photon Factory 9809), else in the last
line before the numbers. Columns without names are only taken for ``energy, mu`` where there are just two;
otherwise the reader asks for ``columns=``. What was taken for what is written into ``attrs``.

Photon Factory files give Bragg angles: the measured one, Angle(o), becomes the energy through
E = hc / (2 d sin θ) with the d spacing of the header. Their dark offsets are stated but not subtracted, as
Athena does.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import DataFileError
from beamline.readers import absorption
from beamline.readers.registry import Format
from beamline.readers.text import comma_of, is_binary, is_unfinished, parse_number

if TYPE_CHECKING:
    import xarray as xr

_SIGNATURES = (
    b"XDAC V",
    b"MRCAT_XAFS",
    b"KEK-PF",
    b"SSRL   EXAFS",
    b"# CLS Data Acquisition",
    b"; Epics Scan",
    b"LabVIEW Control Panel",
    b"# Beamline: ISS",
    b"#S Scan",
)
_REMARKS = "#;%!*/C"
_WIDEST = 1000
_EMPTY = re.compile(r",\s*,")
_LABVIEW_WIDTH = 21
_HXMA = {"mcs03": "Idiode", "mcs04": "I0", "mcs05": "I1", "mcs06": "I2"}
_KEK_MODES = {"1": "i0", "2": "it", "3": "if"}


def read(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    element: str | None = None,
    edge: str | None = None,
    mode: str | None = None,
    d_spacing: float | None = None,
) -> xr.Dataset | xr.DataTree:
    """Read the scan or scans of one file.

    Parameters
    ----------
    path
        The file.
    columns
        What the columns are, in order: "energy" (eV), "energy_kev", "angle" (deg), "mu", "i0", "it", "ir",
        "if", "mu_ref"; any other word is ignored. For files whose header does not say, or says it wrong.
    element, edge
        What was measured, to be checked against the energy.
    mode
        "transmission" or "fluorescence" where both are in the file.
    d_spacing
        Lattice spacing of the monochromator in angstrom, for files of angles whose header has none.

    Returns
    -------
    Dataset or DataTree
        A Dataset for one scan, else one leaf per scan.

    Raises
    ------
    DataFileError
        There are no numbers, commas that may be decimal signs or not, no names of columns, or no energy and μ
        among them.
    """
    content = _with_points(_text(Path(path)), path)
    if "real[2*phc]" in content:
        raise DataFileError(path, "is a scattering path of FEFF, not a scan", "xas.feff makes these")
    lines, is_cut = _whole_rows(content, path)
    tables = _tables(lines)
    if not tables:
        raise DataFileError(path, "has no table of numbers", "is it complete?")
    scans: list[xr.Dataset] = []
    for header, table in tables:
        labels = _given(columns, table, path) or _labels(header, table.shape[1])
        if not labels:
            if _names_others(header, table.shape[1]):
                raise DataFileError(
                    path,
                    f"has no column of energy ({header[-1].strip()})",
                    'if it has, give columns=["energy", …]',
                )
            if table.shape[1] != 2 or not _looks_like_energy(table[:, 0]):
                raise DataFileError(
                    path,
                    f"does not name its {table.shape[1]} columns",
                    'name them with columns=["energy", "i0", "it", …]',
                )
            labels = ["energy", "mu"]
        energy_like = table[:, _axis(labels)]
        for part in absorption.split_scans(energy_like):
            ds = absorption.scan(
                labels,
                table[part],
                name=str(path),
                element=element,
                edge=edge,
                stated=_stated(header),
                d_spacing=d_spacing or _d_spacing(header),
                mode=mode,
            )
            ds.attrs |= {"label": Path(path).stem, "columns": " | ".join(labels)}
            if d := d_spacing or _d_spacing(header):
                ds.attrs["d_spacing"] = d
            offsets = _dark_offsets(header)
            if offsets:
                ds.attrs["dark_offsets"] = f"{offsets} counts per second, not subtracted"
            scans.append(ds)
    if is_cut:
        warnings.warn(f"{path}: its last line may be cut off and is left out", stacklevel=2)
    if len(scans) == 1:
        return scans[0]
    import xarray as xr

    for number, ds in enumerate(scans, 1):
        ds.attrs["label"] = f"{Path(path).stem}_{number}"
    names = absorption.leaf_names([ds.attrs["label"] for ds in scans])
    return xr.DataTree.from_dict(dict(zip(names, scans, strict=True)))


def sniff(head: bytes, path: Path) -> bool:
    """Tell whether the file begins like a scan: a header we know, or columns named as those of one."""
    if any(signature in head[:400] for signature in _SIGNATURES):
        return True
    if b"\x00" in head:
        return False
    text = "\n".join(head.decode("utf-8", errors="replace").splitlines()[:-1])
    with contextlib.suppress(DataFileError):  # the reader says what is wrong with the commas
        text = _with_points(text, path)
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if _row(line) is not None), None)
    if first is None:
        return False
    found = absorption.roles(_labels(lines[:first], len(_row(lines[first]) or [])))
    if {"energy", "energy_kev"} & set(found):
        return bool({"mu", "i0"} & set(found))
    # angles are also those of a diffractometer, where there may be a monitor, but no transmission
    return "angle" in found and bool("mu" in found or ("i0" in found and {"it", "fluorescence"} & set(found)))


def _text(path: Path) -> str:
    data = path.read_bytes()
    if is_binary(data):
        raise DataFileError(path, "is binary, not columns of text", "export it as text")
    return data.decode("utf-8", errors="replace")


def _with_points(content: str, path: Path) -> str:
    """Return the text with decimal points where its numbers have decimal commas."""
    lines = content.splitlines(keepends=True)
    if comma_of(lines, path, _REMARKS) == " ":
        return content
    return "".join(points if _row(points := line.replace(",", ".")) else line for line in lines)


def _whole_rows(content: str, path: Path) -> tuple[list[str], bool]:
    """Return the lines without a last row that is cut off, and whether there is one.

    A row that is damaged within a table is an error. It stands between rows of as many columns as the table
    has, holds a number, and is neither a row of the table nor marked as a remark.
    """
    lines = content.splitlines()
    widths = [len(_row(line) or ()) for line in lines]
    filled = [n for n, line in enumerate(lines) if line.strip()]
    for place in range(2, len(filled)):
        first, before, at = filled[place - 2 : place + 1]
        width, is_last = widths[before], at == filled[-1]
        in_table = width > 0 and widths[first] == width
        if not in_table or not (is_last or widths[filled[place + 1]] == width):
            continue
        is_short = widths[at] < width and len(lines[at].split()) < width and _holds_a_number(lines[at])
        if is_last and (is_short or (widths[at] == width and is_unfinished(content))):
            return lines[:at], True
        if widths[at] != width and _holds_a_number(lines[at]):
            raise DataFileError(
                path, f"line {at + 1} is not a row of {width} numbers: {lines[at][:60]!r}", "restore the file"
            )
    return lines, False


def _holds_a_number(line: str) -> bool:
    words = line.replace(",", " ").split()
    return line.lstrip()[0] not in _REMARKS and any(_is_number(word) for word in words)


def _row(line: str) -> list[float] | None:
    """Return the numbers of a line of nothing but numbers, as many as a scan can have columns; else None."""
    words = line.replace(",", " ").split()
    if not 2 <= len(words) <= _WIDEST or _EMPTY.search(line):
        return None
    try:
        return [parse_number(re.sub(r"(?<=\d)[dD](?=[-+]?\d)", "e", word)) for word in words]
    except ValueError:
        return None


def _tables(lines: list[str]) -> list[tuple[list[str], Any]]:
    """Return the tables of the file, each with the lines above it.

    A line of another kind between rows of the same width is a remark, unless it begins a new scan ("#S") or
    names the columns anew.
    """
    tables: list[tuple[list[str], list[list[float]]]] = []
    header: list[str] = []
    for line in lines:
        row = _row(line)
        if row is None:
            header.append(line)
            continue
        new_scan = any(text.startswith("#S") for text in header) or bool(
            tables and header and _labels(header, len(tables[-1][1][0]))
        )
        if not tables or len(row) != len(tables[-1][1][0]) or new_scan:
            tables.append((header, []))
            header = []
        tables[-1][1].append(row)
        if tables[-1][0] is not header:
            header = []
    long = max((len(rows) for _, rows in tables), default=0)
    kept: list[tuple[list[str], Any]] = []
    above: list[str] = []
    for head, rows in tables:
        above = [*above, *head]
        # tables of regions and weights in a header are short, and a scan is not
        if len(rows) >= min(10, long) and (len(rows) >= 10 or len(tables) == 1):
            kept.append((above, np.array(rows)))
            above = []
    if kept and not kept[-1][0]:
        kept[-1] = (kept[0][0], kept[-1][1])
    return kept


def _labels(header: list[str], width: int) -> list[str]:
    """Return the names of the columns; empty where the header does not give as many as there are columns."""
    for find in (_kek, _ssrl, _gse, _labview, _hxma, _last_line):
        labels = find(header, width)
        # as many words as columns are no names yet: one must be the axis
        if len(labels) == width and {"energy", "energy_kev", "angle", "k"} & set(absorption.roles(labels)):
            return labels
    return []


def _names_others(header: list[str], width: int) -> bool:
    """Tell whether the line above the table, unless it is a remark, names columns, but none of a scan."""
    words = header[-1].split() if header else []
    return len(words) == width and header[-1].lstrip()[0] not in _REMARKS


def _kek(header: list[str], width: int) -> list[str]:
    """Photon Factory 9809: "Angle(c)  Angle(o)  time/s  2  3", and "Mode  0  0  1  2" says which is which."""
    if not any("KEK-PF" in line for line in header[:3]):
        return []
    names = next((line.split() for line in header if "Angle(o)" in line), [])
    modes = next((line.split()[1:] for line in header if line.split()[:1] == ["Mode"]), [])
    modes = ["0"] * (len(names) - len(modes)) + modes  # the first columns are no detectors and have no mode
    return [_KEK_MODES.get(mode, name) for mode, name in zip(modes, names, strict=True)]


def _ssrl(header: list[str], width: int) -> list[str]:
    """SSRL: one name a line after "Data:"."""
    starts = [n for n, line in enumerate(header) if line.strip() == "Data:"]
    return [line.strip() for line in header[starts[-1] + 1 :] if line.strip()] if starts else []


def _gse(header: list[str], width: int) -> list[str]:
    """GSECARS: "; P1 = {Energy} --> PV", one line a column."""
    found = [re.match(r";\s*[PD]\d+\s*=\s*\{([^}]*)\}", line) for line in header]
    return [match[1].strip() for match in found if match]


def _labview(header: list[str], width: int) -> list[str]:
    """LabVIEW scans of APS: after "Column Headings:", names in fields of 21 characters."""
    for n, line in enumerate(header[:-1]):
        if "Column Headings:" in line:
            text = header[n + 1].lstrip("#")
            fields = [text[i : i + _LABVIEW_WIDTH] for i in range(0, len(text), _LABVIEW_WIDTH)]
            return [field.strip(" *") for field in fields if field.strip()]
    return []


def _hxma(header: list[str], width: int) -> list[str]:
    """CLS HXMA: quoted names of process variables for event 1; the scaler is always wired the same way."""
    if not any("CLS Data Acquisition" in line for line in header):
        return []
    best: list[str] = []
    for line in header:
        if line.startswith("#(1)"):
            words = re.findall(r'"([^"]*)"', line) or line[4:].split()
            if len(words) == width and (not best or "mcs0" in line):
                best = words
    labels = [next((v for k, v in _HXMA.items() if k in word), word) for word in best]
    return [
        "energy_achieved" if word.endswith("Energy:sp") else "energy_fbk" if "Energy:fbk" in word else word
        for word in labels
    ]


def _last_line(header: list[str], width: int) -> list[str]:
    """Split the last line above the numbers that is not a ruler in the way that gives one name a column."""
    for line in reversed([text for text in header if text.strip(" #;%-=*/\t")][-3:]):
        text = line.strip().lstrip("#;%!*/ \t")
        if numbered := re.findall(r"(?:^|\s)\d+_(.+?)(?=\s+\d+_|\s*$)", text.removeprefix("C ")):
            words = numbered  # APS 12-BM: "#C 1_Energy (keV) 2_sec …"
        else:
            splits = [re.split(pattern, text) for pattern in (r"\s*,\s*", r"\t+", r"\s{2,}", r"[\s,]+")]
            words = next((split for split in splits if len(split) == width), [])
        if len(words) == width and all(not _is_number(word) for word in words):
            return [word.strip() for word in words]
    return []


def _given(columns: Sequence[str] | None, table: Any, path: Path) -> list[str]:
    if columns is None:
        return []
    if len(columns) > table.shape[1]:
        raise DataFileError(path, f"has {table.shape[1]} columns, not the {len(columns)} that were named")
    names = list(columns) + [f"column{n + 1}" for n in range(len(columns), table.shape[1])]
    return [str(name) for name in names]


def _axis(labels: Sequence[str]) -> int:
    found = absorption.roles(labels)
    return next((found[role][0] for role in ("energy", "energy_kev", "angle") if role in found), 0)


def _looks_like_energy(values: Any) -> bool:
    """Energies of X-rays in eV, going one way: χ(k) and pixel tables do not look like this."""
    steps = np.diff(values)
    return bool(values[0] > 200 and (np.all(steps >= 0) or np.all(steps <= 0)) and np.ptp(values) > 20)


def _stated(header: list[str]) -> tuple[str, str]:
    """Return element and edge as the header gives them, by name or by a nominal E0."""
    text = "\n".join(header)
    if symbol := re.search(r"^#\s*Element:\s*([A-Z][a-z]?)\s*$", text, re.MULTILINE):
        edge = re.search(r"^#\s*Edge:\s*(\w+)", text, re.MULTILINE)
        return symbol[1], edge[1] if edge else "K"
    nominal = re.search(r"\bE0\s*[=:]\s*([\d.]+)", text) or re.search(r"edge_energy:?\s+([\d.]+)", text)
    if not nominal:
        return "", ""
    e0 = float(nominal[1])
    return absorption.nearest_edge(1000 * e0 if e0 < 100 else e0)


def _d_spacing(header: list[str]) -> float | None:
    match = next((m for line in header if (m := re.search(r"\bD=\s*([\d.]+)\s*A\b", line))), None)
    return float(match[1]) if match else None


def _dark_offsets(header: list[str]) -> str:
    words = next((line.split() for line in header if line.split()[:1] == ["Offset"]), [])
    return " ".join(word for word in words[1:] if float(word) != 0)


def _is_number(word: str) -> bool:
    try:
        parse_number(word)
    except ValueError:
        return False
    return True


FORMAT = Format(
    name="columns of an absorption scan",
    kind="xas.scans",
    suffixes=(".xmu", ".chi", ".dat", ".txt", ".asc", ".nor"),
    read=read,
    sniff=sniff,
)
