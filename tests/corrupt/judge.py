"""Judges what came of reading a damaged file: an error that names it, or a correct reading that says what is
missing."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
from beamline.errors import ConfigError, DataFileError
from beamline.readers import sandbox
from tests.corrupt.specimens import Specimen

SECONDS = 5.0


@dataclass(frozen=True)
class Damage:
    """What a fault may cost.

    Attributes
    ----------
    points
        Number of readings that may be missing; None for any number.
    changed
        Number of bytes that were changed in place.
    is_hidden
        The file ends behind a whole line: nothing tells that there were more.
    is_binary
        Numbers are stored as they are in memory: no checksum tells that one was changed.
    """

    points: int | None
    changed: int
    is_hidden: bool
    is_binary: bool

    @classmethod
    def of(cls, good: bytes, damaged: bytes, points: int | None) -> Damage:
        """Compare the bytes of a file before and after."""
        changed = sum(a != b for a, b in zip(good, damaged, strict=False)) if len(good) == len(damaged) else 0
        last = damaged.splitlines()[-1:]
        is_hidden = last != [] and last[0] in good.splitlines()
        return cls(points, changed, is_hidden, b"\0" in good)


_AXES = ("energy", "time", "two_theta", "excitation_energy")


_warm: set[str] = set()


def read(path: Path, specimen: Specimen) -> tuple[dict[str, xr.Dataset] | None, list[str]]:
    """Return the Datasets of a file by their places (None for an error), and what was warned of.

    What a format loads when it is first used is loaded before the clock runs.

    Raises
    ------
    AssertionError
        It took too long, or the error does not name the file and a cause.
    """
    if specimen.format not in _warm:
        beamline.read(specimen.write(path.parent / "warm"), kind=specimen.kind, **specimen.options)
        _warm.add(specimen.format)
    sandbox._give_back(sandbox._take())  # one that was killed is started again
    begin = time.process_time()  # not of the clock: other programs may be running
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found, sentence = _outcome(path, specimen)
    assert time.process_time() - begin < SECONDS
    if found is None:
        assert path.name in sentence, f"names no file: {sentence}"
        assert "\n" not in sentence, "is more than one sentence"
        return None, []
    leaves = {"": found} if isinstance(found, xr.Dataset) else {n.path: n.to_dataset() for n in found.leaves}
    return leaves, [str(item.message) for item in warned]


def _outcome(path: Path, specimen: Specimen) -> tuple[xr.Dataset | xr.DataTree | None, str]:
    """Return what is read, or the sentence of the error."""
    try:
        return beamline.read(path, kind=specimen.kind, **specimen.options), ""
    except (DataFileError, ConfigError) as error:
        return None, str(error) if error.problem else "no cause"


def judge(
    good: Mapping[str, xr.Dataset], found: Mapping[str, xr.Dataset], damage: Damage, warned: list[str]
) -> None:
    """Compare a reading of a damaged file with that of the whole one.

    Raises
    ------
    AssertionError
        It differs in more than the damage explains, or does not say what is missing.
    """
    points = damage.points
    assert set(found) <= set(good), f"reads {sorted(set(found) - set(good))}, which do not exist"
    assert points is None or set(found) == set(good), f"lost {sorted(set(good) - set(found))}"
    for place in found:
        _compare(good[place], found[place], damage, warned)


def _compare(good: xr.Dataset, found: xr.Dataset, damage: Damage, warned: list[str]) -> None:
    along = next((name for name in _AXES if name in good.coords and good[name].ndim == 1), None)
    if along is None or damage.is_binary:
        assert found.sizes == good.sizes or damage.changed  # a damaged link hides the frames behind it
        good = good.isel(frame=slice(found.sizes["frame"]))
        compared = [*good.data_vars, *({"excitation_energy"} & set(found.coords))]
        for name in compared:
            assert (found[name].values != good[name].values).sum() <= damage.changed, name
        return
    dim = good[along].dims[0]
    whole, left = list(_rounded(good[along].values)), list(_rounded(found[along].values))
    if warned and good[along].dtype.kind == "M":  # readings at one moment are told apart by 1 ns
        _, kept = np.unique(left, return_index=True)
        found, left = found.isel({dim: kept}), [left[i] for i in kept]
    odd = [value for value in left if value not in whole]
    assert not odd, f"reads {along} {odd[:3]}, which the whole file does not have"
    assert len(set(left)) == len(left), f"reads a point of {along} twice"
    same = good.isel({dim: [whole.index(value) for value in left]})
    assert set(found.data_vars) == set(good.data_vars)
    damaged = 0
    for name in good.data_vars:
        if dim in good[name].dims:
            damaged = max(
                damaged, _different(same[name].transpose(dim, ...), found[name].transpose(dim, ...))
            )
    lost = len(whole) - len(left)
    points = damage.points
    assert points is None or lost + damaged <= points, f"lost {lost} points, {damaged} have no value"
    if lost and not damage.is_hidden:
        said = warned or _said(found) != _said(good)
        assert said, f"lost {lost} of {len(whole)} points in silence"


def _different(good: xr.DataArray, found: xr.DataArray) -> int:
    """Return how many readings have become NaN; any other difference is wrong."""
    if good.dtype.kind not in "iuf":
        return int((good.values != found.values).sum())
    gone = np.isnan(found.values.astype(float)) & ~np.isnan(good.values.astype(float))
    np.testing.assert_allclose(
        np.where(gone, 0, found.values), np.where(gone, 0, good.values), rtol=1e-12, err_msg=str(good.name)
    )
    return int(gone.reshape(len(gone), -1).any(axis=1).sum())


def _rounded(values: Any) -> Any:
    return values.astype("datetime64[us]") if values.dtype.kind == "M" else values


def _said(ds: xr.Dataset) -> dict[str, Any]:
    return {key: value for key, value in ds.attrs.items() if key != "history"}
