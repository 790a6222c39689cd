"""What a file holds and how it came to be, for people (`describe`) and for programs (`describe_json`)."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from beamline import model, provenance, store
from beamline.readers import registry

if TYPE_CHECKING:
    import xarray as xr

_SHOWN = 8
"""Items of a list, or entries of a record, that are shown."""

_LONGEST = 60
"""Characters of an attribute or of labels that are shown."""


def describe(path: str | os.PathLike[str]) -> str:
    """Return a text that says what a file holds: kind, sizes, ranges, gaps, and the steps that made it.

    Parameters
    ----------
    path
        A result, ``file::/group`` for a part of one, or a raw file.

    Raises
    ------
    DataFileError
        The file cannot be read.
    ConfigError
        A raw file needs options to be read.
    """
    summary = describe_json(path)
    blocks = [f"{summary['file']}: {summary['is']}"]
    for part in summary["parts"]:
        place = f"{part['place']}: " if part["place"] != "/" else ""
        sizes = " × ".join(f"{size} {dim}" for dim, size in part["dims"].items())
        lines = [f"{place}{part['kind']}{f', {sizes}' if sizes else ''}"]
        rows = [(_line(entry)) for entry in part["coordinates"] + part["variables"]]
        widths = [max(len(row[i]) for row in rows) for i in range(2)] if rows else []
        for name, values, remark in rows:
            lines.append(f"  {name:<{widths[0]}}  {values:<{widths[1]}}  {remark}".rstrip())
        attributes = [f"{key} = {value}" for key, value in part["attributes"].items()]
        if short := [text for text in attributes if len(text) <= _LONGEST]:
            lines.append(f"  {', '.join(short)}")
        lines += [f"  {line}" for line in _lines(part["history"])]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def describe_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `describe` says as plain JSON.

    Returns
    -------
    dict
        ``file``, ``is`` ("result" or "raw file") and ``parts``, one for each Dataset: ``place``, ``kind``,
        ``dims``, ``coordinates``, ``variables``, ``attributes`` and ``history``. A number that does not exist
        (the range of nothing) is None.

    Raises
    ------
    DataFileError, ConfigError
        As `describe`.
    """
    file, _ = store.split(path)
    is_result = store.is_result(path) or file.suffix == ".nc"  # so that a damaged one is named as such
    data = store.open_result(path) if is_result else registry.read(file)
    parts = [_part(place, ds) for place, ds in store.leaves(data)]
    return {"file": os.fspath(path), "is": "result" if is_result else "raw file", "parts": parts}


def _part(place: str, ds: xr.Dataset) -> dict[str, Any]:
    """Return what is to be said of one Dataset."""
    shown = [name for name in map(str, ds.variables) if not _belongs_to_another(name, ds)]
    attributes = {key: value for key, value in ds.attrs.items() if key not in ("kind", "history")}
    return {
        "place": place,
        "kind": model.kind_of(ds),
        "dims": {str(dim): size for dim, size in ds.sizes.items()},
        "coordinates": [_entry(ds, name) for name in shown if name in ds.coords],
        "variables": [_entry(ds, name) for name in shown if name in ds.data_vars],
        "attributes": _json(attributes),
        "history": list(_steps(provenance.history(ds))),
    }


def _belongs_to_another(name: str, ds: xr.Dataset) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in ds for end in (model.ERRORS, model.MASK))


def _entry(ds: xr.Dataset, name: str) -> dict[str, Any]:
    """Return what is to be said of one variable."""
    import numpy as np

    array = ds[name]
    values, kind = array.values, array.dtype.kind
    entry: dict[str, Any] = {
        "name": name,
        "dims": [str(dim) for dim in array.dims],
        "dtype": str(array.dtype),
        "units": array.attrs.get("units", ""),
        "long_name": array.attrs.get("long_name", ""),
    }
    if kind in "biufc":
        magnitudes = np.abs(values) if kind == "c" else values
        present = magnitudes[np.isfinite(magnitudes)]
        entry |= {"missing": int(values.size - present.size), "minimum": None, "maximum": None}
        if present.size:
            entry |= {"minimum": _json(present.min()), "maximum": _json(present.max())}
    elif kind in "Mm":
        present = values[~np.isnat(values)]
        entry |= {"missing": int(values.size - present.size), "minimum": None, "maximum": None}
        if present.size:
            entry |= {"minimum": _moment(present.min()), "maximum": _moment(present.max())}
    else:
        entry["values"] = list(dict.fromkeys(values.ravel().tolist()))
    if name + model.ERRORS in ds:
        errors = ds[name + model.ERRORS].values
        known = np.isfinite(errors)
        entry["median_error"] = _json(np.median(errors[known])) if known.any() else None
    if name + model.MASK in ds:
        entry["flags"] = _flags(ds[name + model.MASK])
    return entry


def _flags(mask: xr.DataArray) -> dict[str, int]:
    """Return how many points have each flag of a CF mask."""
    import numpy as np

    bits = np.atleast_1d(mask.attrs["flag_masks"])
    words = str(mask.attrs["flag_meanings"]).split()
    return {word: int(((mask.values & bit) != 0).sum()) for word, bit in zip(words, bits, strict=False)}


def _line(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return name, values and remarks of one variable as text."""
    if "values" in entry:
        words = entry["values"]
        values = ", ".join(words)
        if len(values) > _LONGEST:
            values = f"{words[0][:_LONGEST]} ... ({len(words)} different)"
    elif entry["minimum"] is None:
        values = "nothing"
    else:
        ends = dict.fromkeys(_text(entry[end]) for end in ("minimum", "maximum"))
        values = " ... ".join(ends)
    remarks = [entry["long_name"]]
    if entry.get("median_error") is not None:
        remarks.append(f"± {_text(entry['median_error'])} (median)")
    if entry.get("missing"):
        remarks.append(f"{entry['missing']} missing")
    remarks += [f"{number} {flag}" for flag, number in entry.get("flags", {}).items() if number]
    return entry["name"], f"{values} {entry['units']}".strip(), ", ".join(filter(None, remarks))


def _steps(history: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each step with its number and a sentence."""
    numbers = {step["id"]: number for number, step in enumerate(history, start=1)}
    for number, step in enumerate(history, start=1):
        words = ["read"] if step["step"] == "beamline.read" else [step["step"]]
        if "files" in step:
            words.append(_files(step["files"]))
        words += [f"{key}={_value(value)}" for key, value in _parameters(step) if value is not None]
        inputs = [i for ids in step.get("inputs", {}).values() for i in ids]
        origins = [str(numbers.get(i, "values without a history")) for i in dict.fromkeys(inputs)]
        if origins and origins != [str(number - 1)]:
            words.append(f"(of {', '.join(dict.fromkeys(origins))})")
        yield {"number": number, "text": " ".join(words), **_json(step)}


def _lines(steps: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each step; readings of one kind that follow each other share one."""
    for text, group in itertools.groupby(steps, lambda step: str(step["text"])):
        same = list(group)
        first, last = same[0]["number"], same[-1]["number"]
        if first == last:
            yield f"{first}. {text}"
        elif all("leaf" in step for step in same):
            yield f"{first}-{last}. {text}, {len(same)} parts of it"
        else:
            yield f"{first}-{last}. {text}, {len(same)} times"


def _parameters(step: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of a step; ``options`` of open signatures are spread out."""
    for key, value in step.get("parameters", {}).items():
        if key == "options" and isinstance(value, Mapping):
            yield from value.items()
        else:
            yield key, value


def _files(files: list[dict[str, Any]]) -> str:
    """Return the files of a step: how many, the first and the last."""
    names = [file["name"] for file in files]
    distinct = list(dict.fromkeys(names))
    ends = distinct[0] if len(distinct) == 1 else f"{distinct[0]} ... {distinct[-1]}"
    frames = [file["frames"] for file in files if "frames" in file]
    part = f", frames {min(f[0] for f in frames)} to {max(f[1] for f in frames) - 1}" if frames else ""
    return f"{len(distinct)} file{'s' if len(distinct) > 1 else ''} ({ends}{part})"


def _value(value: Any) -> str:
    """Return a parameter as a short text."""
    if isinstance(value, Mapping):
        if "record" in value:
            numbers = {k: v for k, v in value.items() if isinstance(v, int | float) and k != "record"}
            inner = ", ".join(f"{key} {_text(number)}" for key, number in list(numbers.items())[:_SHOWN])
            return f"{value['record'].rpartition(':')[2]}({inner})"
        if "file" in value:
            return str(value["file"])
        if set(value) == {"array"}:
            return "array"
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        shown = ", ".join(_value(item) for item in value[:_SHOWN])
        return f"[{shown}, ... {len(value)} values]" if len(value) > _SHOWN else f"[{shown}]"
    return _text(value)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _moment(value: Any) -> str:
    """Return a time without the zeros at its end."""
    return re.sub(r"\.?0+$", "", str(value)) if "." in str(value) else str(value)


def _json(value: Any) -> Any:
    """Return a value as plain JSON; NaN and infinity, which JSON does not know, are None."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
