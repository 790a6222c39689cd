"""Scans on a common axis, of which some are not there everywhere, and what is said of each.

A scan that ended early, or was measured elsewhere, has NaN where it has no data. Scans with the same points
are worked on together, on the part of the axis they have; each keeps its own result and its own ``status``:

* "ok";
* "partial: …": the scan ends early or lacks points; its numbers are those of what is there;
* "suspect: …": there are numbers, and something that speaks against them;
* "failed: …": there are none.

A series never ends in an exception because of one of its scans. A single scan without the dim ``scan`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import FitError, SchemaError

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

FEWEST = 10
"""Fewer finite points than these are no scan."""


@dataclass(frozen=True)
class Part:
    """Scans that have data at the same points.

    Attributes
    ----------
    rows
        Which scans.
    points
        Which points of the axis, in the order of increasing energy.
    energy
        Their energies, eV, shape (points,).
    mu
        Shape (rows, points).
    sigma
        Standard deviation of mu, same shape; None where the scans do not state it.
    """

    rows: Integers
    points: Integers
    energy: Array
    mu: Array
    sigma: Array | None

    def put(self, out: Array, values: Array, rows: Integers | None = None) -> None:
        """Write values of these scans (or of `rows` among them) to their places in `out` (scan, axis)."""
        chosen = self.rows if rows is None else self.rows[rows]
        if self.points.size == out.shape[1] and self.points[0] == 0 and self.points[-1] == out.shape[1] - 1:
            out[chosen] = values
        else:
            out[np.ix_(chosen, self.points)] = values


def parts(scans: xr.Dataset) -> Iterator[Part]:
    """Yield the scans in parts of equal points, those with fewer than `FEWEST` points too.

    Raises
    ------
    SchemaError
        There is no μ, or the axis of energies is none.
    """
    if "mu" not in scans:
        raise SchemaError("scans", "have no variable 'mu'", "read them with beamline.read")
    energy = _axis(scans)
    mu = np.atleast_2d(scans["mu"].values.astype(float))
    sigma = np.atleast_2d(scans["mu_errors"].values.astype(float)) if "mu_errors" in scans else None
    order = np.arange(energy.size) if energy[0] < energy[-1] else np.arange(energy.size)[::-1]
    good = np.isfinite(mu) if sigma is None else np.isfinite(mu) & (sigma > 0)
    if good.all():
        groups: Iterable[tuple[Integers, Any]] = [(np.arange(mu.shape[0]), good[0])]
    else:
        patterns, which = np.unique(np.packbits(good, axis=1), axis=0, return_inverse=True)
        which = which.ravel()
        rows_of = [np.flatnonzero(which == i) for i in range(len(patterns))]
        groups = [(rows, good[rows[0]]) for rows in rows_of]
    for rows, mask in groups:
        points = order[mask[order]]
        whole = points.size == energy.size and order[0] == 0
        part = mu[rows] if whole else mu[np.ix_(rows, points)]
        errors = None if sigma is None else sigma[rows] if whole else sigma[np.ix_(rows, points)]
        yield Part(rows, points, energy[points], part, errors)


def _axis(scans: xr.Dataset) -> Array:
    """Return the energies, after a look at whether they are energies."""
    energy = np.asarray(scans["energy"].values, dtype=float)
    if energy.size < FEWEST:
        raise SchemaError("energy", f"has {energy.size} points", f"a scan has at least {FEWEST}")
    steps = np.diff(energy)
    if not np.isfinite(energy).all():
        raise SchemaError("energy", "is not finite everywhere", "drop those points")
    if not ((steps > 0).all() or (steps < 0).all()):
        where = energy[1:][np.sign(steps) != np.sign(energy[-1] - energy[0])][0]
        raise SchemaError(
            "energy",
            f"goes back or stands still at {where:g} eV",
            "sort the points and average repeated ones, as beamline.read does",
        )
    if energy.max() < 130:
        raise SchemaError("energy", f"ends at {energy.max():g}, which looks like keV or an angle", "give eV")
    return energy


class Statuses:
    """What is said of every scan.

    Parameters
    ----------
    scans
        Theirs are the names, and the statuses so far.
    """

    def __init__(self, scans: xr.Dataset, count: int) -> None:
        self._scans = scans
        self._single = "scan" not in scans.dims
        before = scans["status"].values if "status" in scans else "ok"
        self.texts = np.array(np.broadcast_to(before, count), dtype=object)
        self._remedies: dict[int, str] = {}

    def fail(self, rows: Iterable[Any], problem: str, remedy: str = "") -> None:
        """Say that a scan has no numbers."""
        for row in rows:
            self.texts[row] = f"failed: {problem}"
            self._remedies[row] = remedy
            if self._single:
                raise FitError(scan_name(self._scans, row), problem, remedy)

    def note(self, row: Any, kind: str, text: str) -> None:
        """Say "partial" or "suspect" of a scan, after what is said of it."""
        if str(self.texts[row]) == "ok":
            self.texts[row] = f"{kind}: {text}"
        elif not str(self.texts[row]).startswith("failed") and text not in str(self.texts[row]):
            self.texts[row] = f"{self.texts[row]}; {text}"

    def variable(self) -> tuple[tuple[str, ...], Any]:
        """Return dims and values of the variable ``status``."""
        texts = self.texts.astype(str)
        return ((), np.array(texts[0])) if self._single else (("scan",), texts)


def scan_name(scans: xr.Dataset, index: int) -> str:
    """Return what figures and errors call a scan; the label of a single one serves whatever its `index`."""
    if "label" in scans.coords:
        labels = np.atleast_1d(scans["label"].values)
        return str(labels[index if labels.size > 1 else 0])
    return str(scans.attrs.get("label", f"scan {index}"))
