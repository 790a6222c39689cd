"""Athena projects (.prj), written by Athena and Demeter as Perl or JSON, usually gzipped.

Every line ``@x = ('1.2', …);`` is a literal; a parser of Perl's literals reads it and nothing is ever run.
What Athena means by its parameters (Demeter's source and documentation):

* ``bkg_eshift`` belongs to the energy axis: E = x + eshift. It is applied, and kept as ``energy_shift``, so
  that subtracting it gives the axis as measured. ``bkg_e0`` is on the shifted axis.
* ``bkg_nnorm`` counts coefficients: 3 is a quadratic. It is kept as ``athena_nnorm``.
* clamps are words ("None", "Slight", … "Rigid") in older files and the numbers 0, 3, 6, 12, 24, 96 later.
* ``referencegroup`` (or ``reference``) ties a scan to its reference foil; the foil becomes ``mu_ref`` of the
  scan and no scan of its own.

Stored results (e0, edge step, ranges) are kept as ``athena_*`` attributes, to compare with.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import DataFileError
from beamline.readers import absorption
from beamline.readers.registry import Format
from beamline.readers.text import parse_number

if TYPE_CHECKING:
    import xarray as xr

MAX_BYTES = 500_000_000
MAX_RATIO = 200

CLAMPS = {"none": 0.0, "slight": 3.0, "weak": 6.0, "medium": 12.0, "strong": 24.0, "rigid": 96.0}
"""Athena's names for the strength of its spline clamps."""

_NULL = "@&^^null^^&@"
_STORED = {
    "bkg_e0": "athena_e0",
    "bkg_step": "athena_edge_step",
    "bkg_fitted_step": "athena_fitted_step",
    "bkg_fixstep": "athena_fixed_step",
    "bkg_nnorm": "athena_nnorm",
    "bkg_pre1": "athena_pre1",
    "bkg_pre2": "athena_pre2",
    "bkg_nor1": "athena_nor1",
    "bkg_nor2": "athena_nor2",
    "bkg_rbkg": "athena_rbkg",
    "bkg_kw": "athena_kweight",
    "bkg_spl1": "athena_spl1",
    "bkg_spl2": "athena_spl2",
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
         |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
         |(?P<word>undef|bless|[A-Za-z_][\w:]*)
         |(?P<mark>=>|[()\[\]{},;]))""",
    re.VERBOSE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def read(
    path: Path,
    *,
    groups: Sequence[str] | None = None,
    element: str | None = None,
    edge: str | None = None,
    d_spacing: float | None = None,
) -> xr.DataTree:
    """Read the scans of a project, one leaf per scan.

    Parameters
    ----------
    path
        The project.
    groups
        Labels of the scans to read; None reads all. Groups that are no scan in energy (χ(k), dispersive
        scans still in pixels) are left out with a warning, or refused when asked for by name. Of groups with
        the same μ the first is kept, with a warning.
    element, edge
        What was measured, to be checked against the energy.
    d_spacing
        Lattice spacing of the monochromator in angstrom, which projects do not hold; kept with the scans.

    Raises
    ------
    DataFileError
        The file is no project, is damaged or too large, or holds no scan.
    """
    import xarray as xr

    records = list(_records(_text(Path(path)), path))
    if not records:
        raise DataFileError(path, "is an Athena project without a group of data")
    by_id = {record["id"]: record for record in records}
    chosen = _chosen(records, groups, path)
    labels, scans, refused = [], [], []
    for record in _once(chosen, path):
        try:
            scan = _scan(record, by_id, path, element, edge)
        except DataFileError as error:
            if groups is not None:
                raise
            refused.append(f"{record['label']} ({error.problem})")
            continue
        if d_spacing:
            scan.attrs["d_spacing"] = d_spacing
        labels.append(record["label"])
        scans.append(scan)
    if not scans:
        raise DataFileError(path, f"holds no scan in energy: {'; '.join(refused[:3])}")
    if refused:
        warnings.warn(f"{path}: left out {len(refused)} group(s): {'; '.join(refused)}", stacklevel=2)
    return xr.DataTree.from_dict(dict(zip(absorption.leaf_names(labels), scans, strict=True)))


def sniff(head: bytes, path: Path) -> bool:
    """Tell whether the file begins like a project, gzipped or not."""
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 2048)
        except zlib.error:
            return False
    return b"Athena project file" in head[:2048]


def _text(path: Path) -> str:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = _unzipped(data, path)
    if len(data) > MAX_BYTES:
        raise DataFileError(path, f"is larger than {MAX_BYTES // 1_000_000} MB")
    if b"Athena project file" not in data[:4096]:
        raise DataFileError(path, "is no Athena project")
    return data.decode("utf-8", errors="replace")


def _unzipped(data: bytes, path: Path) -> bytes:
    """Unzip, but never more than a project can be: a small file can be made to fill a disk."""
    limit = min(MAX_BYTES, MAX_RATIO * len(data))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            out = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(path, f"is damaged ({error})", "copy it again") from error
    if len(out) > limit:
        raise DataFileError(path, f"unzips to more than {limit} bytes, which no project does")
    return out


def _records(text: str, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the groups of the project: id, label, args (name to value) and arrays."""
    if text.lstrip().startswith("{"):
        yield from _json_records(text, path)
        return
    current: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("[record]"):
            if "args" in current and "x" in current and "y" in current:
                yield _finished(current)
            current = {}
            continue
        match = re.match(r"([@$%])(old_group|args|x|y|i0|signal|stddev)\s*=\s*(.*)$", line)
        if not match:
            continue
        value = _literal(match[3], path)
        current[match[2]] = value if match[1] == "@" else value[0]


def _json_records(text: str, path: Path) -> Iterator[dict[str, Any]]:
    try:
        project = json.loads(text)
    except ValueError as error:
        raise DataFileError(path, f"is damaged ({error})", "copy it again") from error
    order = project.get("_____order", []) or list(project)
    for key in order:
        record = project.get(key)
        if isinstance(record, dict) and {"args", "x", "y"} <= set(record):
            yield _finished({**record, "old_group": key})


def _finished(record: dict[str, Any]) -> dict[str, Any]:
    args = record["args"]
    if isinstance(args, list):
        args = dict(zip(map(str, args[::2]), args[1::2], strict=False))
    arrays = {key: record[key] for key in ("x", "y", "i0", "signal", "stddev") if record.get(key)}
    label = str(args.get("label") or record.get("old_group", "")).strip()
    return {"id": str(record.get("old_group", "")), "label": label, "args": args, "arrays": arrays}


def _literal(text: str, path: Path) -> list[Any]:
    """Return the values of a Perl literal: text, numbers, lists and hashes (as lists); nothing else."""
    position = 0
    stack: list[tuple[str, list[Any]]] = [("", [])]
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            if not text[position:].strip():
                break
            raise DataFileError(path, f"is damaged near {text[position : position + 20]!r}")
        position = match.end()
        if match["text"] is not None:
            stack[-1][1].append(re.sub(r"\\(.)", r"\1", match["text"][1:-1]))
        elif match["number"] is not None:
            stack[-1][1].append(match["number"])
        elif match["word"] is not None:
            if match["word"] not in ("undef", "bless"):
                raise DataFileError(path, f"holds {match['word']!r} where data should be; code is not run")
            if match["word"] == "undef":
                stack[-1][1].append(None)
        elif match["mark"] in _CLOSING:
            stack.append((_CLOSING[match["mark"]], []))
        elif match["mark"] == ";":
            break
        elif match["mark"] in ")]}":
            expected, values = stack.pop()
            if match["mark"] != expected:
                raise DataFileError(path, "is damaged: brackets do not match")
            stack[-1][1].append(values)
    if len(stack) != 1:
        raise DataFileError(path, "is damaged: a list does not end", "copy it again")
    values = stack[0][1]
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _chosen(records: list[dict[str, Any]], groups: Sequence[str] | None, path: Path) -> list[dict[str, Any]]:
    """Return the groups to read: those named, else all that are not the reference of another."""
    if groups is not None:
        missing = [name for name in groups if name not in {r["label"] for r in records}]
        if missing:
            known = ", ".join(r["label"] for r in records)
            raise DataFileError(path, f"has no group {missing[0]!r}", f"it has: {known}")
        return [record for record in records if record["label"] in groups]
    ids = {record["id"] for record in records}
    references = {
        _reference_id(r) for r in records if _reference_id(r) in ids and not _is_reference(r, records)
    }
    return [record for record in records if record["id"] not in references]


def _once(records: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Return the groups without copies of one measurement, which would count twice in a mean."""
    kept: dict[tuple[tuple[Any, ...], tuple[Any, ...]], dict[str, Any]] = {}
    copies = []
    for record in records:
        arrays = record["arrays"]
        first = kept.setdefault((tuple(arrays.get("x", ())), tuple(arrays.get("y", ()))), record)
        if first is not record:
            copies.append(f"{record['label']!r} ({record['id']}) is {first['label']!r} ({first['id']})")
    if copies:
        warnings.warn(f"{path}: of the same measurement the first is kept: {'; '.join(copies)}", stacklevel=3)
    return list(kept.values())


def _reference_id(record: dict[str, Any]) -> str:
    args = record["args"]
    return str(args.get("referencegroup") or args.get("reference") or "")


def _is_reference(record: dict[str, Any], records: list[dict[str, Any]]) -> bool:
    """Tell which of two groups tied to each other is the foil.

    It is the one Athena marked, or labelled "Ref"; where neither is, the later one, as Athena reads them.
    """
    partner = next((r for r in records if r["id"] == _reference_id(record)), None)
    if _is_marked(record):
        return True
    if partner is None or _reference_id(partner) != record["id"] or _is_marked(partner):
        return False
    return records.index(record) > records.index(partner)


def _is_marked(record: dict[str, Any]) -> bool:
    if str(record["args"].get("is_ref", "0")) not in ("", "0", "0.0", "None"):
        return True
    return record["label"].lower().startswith("ref ") and _reference_id(record) != ""


def _scan(
    record: dict[str, Any],
    by_id: dict[str, dict[str, Any]],
    path: Path,
    element: str | None,
    edge: str | None,
) -> xr.Dataset:
    args, name = record["args"], f"{path}: {record['label']}"
    if (
        str(args.get("is_chi") or "0") not in ("0", "0.0")
        or "chi" in str(args.get("recordtype") or "").lower()
    ):
        raise DataFileError(name, "holds χ(k), not μ(E)", "read the scan it was made from")
    energy = _array(record, "x", name)
    channels = {"mu": _array(record, "y", name)}
    attributes: dict[str, Any] = {"energy_from": "array x + bkg_eshift", "mu_from": "array y"}
    if str(args.get("is_nor") or "0") not in ("0", "0.0"):
        attributes["mu_from"] = "array y, already normalised"
    if channels["mu"].shape != energy.shape:
        raise DataFileError(name, f"has {channels['mu'].size} μ for {energy.size} energies")
    if "i0" in record["arrays"]:
        i0 = _array(record, "i0", name)
        if i0.shape == energy.shape:
            channels["i0"] = i0
    reference = by_id.get(_reference_id(record))
    if reference is not None and not _is_reference(record, list(by_id.values())):
        axis = _array(reference, "x", name)
        if axis.shape == energy.shape and np.allclose(axis, energy, rtol=0, atol=1e-3):
            channels["mu_ref"] = _array(reference, "y", name)
            attributes |= {"mu_ref_from": f"group {reference['label']!r}", "reference": reference["label"]}
        else:
            attributes["mu_ref_from"] = f"not used: group {reference['label']!r} has another energy axis"
    shift = float(args.get("bkg_eshift") or 0.0)
    for key, target in _STORED.items():
        if (value := _float(args.get(key))) is not None:
            attributes[target] = value
    for key in ("bkg_clamp1", "bkg_clamp2"):
        value = args.get(key)
        if value is not None:
            number = CLAMPS.get(str(value).lower(), _float(value))
            if number is not None:
                attributes[f"athena_{key[4:]}"] = number
    stated = str(args.get("bkg_z") or ""), str(args.get("fft_edge") or "")
    ds = absorption.dataset(
        energy + shift,
        channels,
        name=name,
        element=element,
        edge=edge,
        stated=("", "") if stated[0] in ("", "H", _NULL) else stated,
        attributes={"label": record["label"], **attributes},
    )
    ds = ds.assign_coords(energy_shift=shift)
    ds.energy_shift.attrs |= {"units": "eV", "long_name": "energy shift since measured"}
    return ds


def _array(record: dict[str, Any], key: str, name: str) -> Any:
    try:
        return np.array([parse_number(str(value)) for value in record["arrays"][key]])
    except (TypeError, ValueError) as error:
        raise DataFileError(name, f"has an array {key} that is not numbers ({error})") from error


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


FORMAT = Format(name="Athena project", kind="xas.scans", suffixes=(".prj",), read=read, sniff=sniff)
