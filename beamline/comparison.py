"""Whether two results are the same: array by array, byte by byte, with their histories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import provenance, store

if TYPE_CHECKING:
    import xarray as xr

History = list[dict[str, Any]]


def compare(
    original: xr.Dataset | xr.DataTree, again: xr.Dataset | xr.DataTree
) -> tuple[list[str], list[str]]:
    """Compare a result with the one made again, both as they are stored.

    Returns
    -------
    list, list
        Variables and histories that differ, each as a sentence; and attributes of Datasets that differ.
    """
    one, other = (dict(store.leaves(_stored(result))) for result in (original, again))
    differences: list[str] = []
    remarks: list[str] = []
    for place in one:
        where = "" if place == "/" else f"{place}: "
        a, b = one[place], other[place]
        differences += [f"{where}{text}" for text in _different(a, b)]
        if not _same_history(provenance.history(a), provenance.history(b)):
            differences.append(f"{where}history differs")
        keys = sorted({*a.attrs, *b.attrs} - {"history"})
        odd = [key for key in keys if repr(a.attrs.get(key)) != repr(b.attrs.get(key))]
        if odd:
            remarks.append(f"{where}attributes that the recorded steps do not give: {', '.join(odd)}")
    return differences, remarks


def _stored(result: xr.Dataset | xr.DataTree) -> xr.Dataset | xr.DataTree:
    with tempfile.TemporaryDirectory(prefix="redoxlight-compare-") as folder:
        path = Path(folder, "result.nc")
        store.save(result, path)
        return store.open_result(path)


def _different(a: xr.Dataset, b: xr.Dataset) -> Iterator[str]:
    """Say which variables differ."""
    import numpy as np

    for name in sorted(map(str, {*a.variables, *b.variables})):
        if name not in a.variables or name not in b.variables:
            yield f"{name} is only in the {'replay' if name in b.variables else 'original'}"
            continue
        x, y = a.variables[name], b.variables[name]
        if (x.dims, x.shape, x.dtype) != (y.dims, y.shape, y.dtype):
            yield f"{name} is {x.dtype} {x.sizes} in the original and {y.dtype} {y.sizes} in the replay"
        elif np.ascontiguousarray(x.values).tobytes() != np.ascontiguousarray(y.values).tobytes():
            amount = ""
            if x.dtype.kind in "iuf":
                gap = np.abs(x.values.astype(float) - y.values.astype(float))
                finite = gap[np.isfinite(gap)]
                amount = (
                    f" by up to {finite.max():.3g} {x.attrs.get('units', '')}".rstrip() if finite.size else ""
                )
            yield f"{name} differs{amount}"
        elif repr(sorted(x.attrs.items())) != repr(sorted(y.attrs.items())):
            yield f"{name} has other attributes"


def _same_history(a: History, b: History) -> bool:
    """Compare histories; those of different versions by what was done, since their ids differ."""
    return a == b or ({s["version"] for s in a} != {s["version"] for s in b} and _deeds(a) == _deeds(b))


def _deeds(steps: History) -> list[Any]:
    places = {step["id"]: i for i, step in enumerate(steps)}
    return [
        {
            **{key: value for key, value in step.items() if key not in ("id", "version")},
            "inputs": {key: [places[i] for i in ids] for key, ids in step.get("inputs", {}).items()},
        }
        for step in steps
    ]
