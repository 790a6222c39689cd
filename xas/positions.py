"""Four ways to say where a normalised edge lies, for many scans at once, each with its error.

All give E as a function of norm at the points around the edge; dE = Σ wⱼ d normⱼ, and the sensitivity of norm
(`xas.fits`) makes an error of the weights w. Nothing asks an edge to lie above or below another one.

``half_height``
    norm(E) = 0.5 in the rise to the white line. With one passage this is the interpolation between two
    points; where noise makes norm pass several times, a line is fitted through all points from before the
    first to after the last passage.
``integral``
    The mean of the energies at which norm passes the values from 0.15 to 1,
    E = 1/(b - a) ∫ E(norm) d norm = E_b - ∫ (norm - a) dE / (b - a), from the last passage of a to the first
    of b (H. Dau, P. Liebisch, M. Haumann, Anal. Bioanal. Chem. 376 (2003) 562).
``centroid``
    The first moment of d norm/dE where norm goes from 0 to 1: E = E_h + 40 eV - ∫ norm dE, from 20 eV below
    to 40 eV above the half height E_h. It takes the white line and the first fine structure with it, and the
    edge step: its error is five times that of the others.
``inflection``
    The zero of the second derivative of cubics fitted locally (tricube weights, 3 eV to either side, more on
    a coarse axis: W. S. Cleveland, J. Am. Stat. Assoc. 74 (1979) 829), nearest to where their slope is
    largest within 10 eV of the half height. The window moves with the energy, not with the points: that is
    smooth in the data, as the steepest point of the axis is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from xas.fits import Fits
from xas.grid import Grid

Array = np.ndarray[Any, np.dtype[np.float64]]

LEVELS = (0.15, 1.0)
"""Between these values of norm is the integral taken."""
MOMENT = (-20.0, 40.0)
"""Window of the centroid, eV from the half height."""
NEAR = 10.0
"""How far from the half height the inflection can be, eV."""
HALF_WIDTH = 3.0
"""Of the local cubics, eV."""
FINE = 0.1
"""Step of the axis the derivatives are evaluated on, eV."""
AROUND = (-30.0, 60.0)
"""Where the rise is looked for, eV from E0."""


@dataclass(frozen=True)
class Positions:
    """Positions of several edges.

    Attributes
    ----------
    energy, errors
        eV, shape (scan,); NaN where there is none.
    weights
        d energy / d norm, shape (scan, energy).
    problem, remedy
        Shape (scan,), texts; "" where there is a position.
    """

    energy: Array
    errors: Array
    weights: Array
    problem: Any
    remedy: Any

    def problems(self) -> Iterator[tuple[int, str, str]]:
        """Yield place, problem and remedy of scans without a position."""
        for row in np.flatnonzero(self.problem != ""):
            yield int(row), str(self.problem[row]), str(self.remedy[row])


def half_height(fits: Fits, level: float = 0.5) -> Positions:
    """Return the energies at which norm passes `level`."""
    norm, energy = fits.norm, fits.energy
    inside = (energy > fits.e0[:, None] + AROUND[0]) & (energy < fits.e0[:, None] + AROUND[1])
    high = _first(inside & (norm > 0.5 * (1 + level)))
    begin = np.take_along_axis(norm, _first(inside)[:, None], axis=1)[:, 0]
    index = np.arange(energy.size)
    rise = inside & (index <= high[:, None])
    last = _last(rise & (norm < level))
    first = _first(rise & (norm >= level)) - 1
    exists = (rise & (norm > 0.5 * (1 + level))).any(axis=1) & (begin < level)
    points = (index >= np.minimum(first, last)[:, None]) & (index <= last[:, None] + 1) & exists[:, None]
    count = np.maximum(points.sum(axis=1), 1)
    centre = np.where(points, energy, 0.0).sum(axis=1) / count
    off = np.where(points, energy - centre[:, None], 0.0)
    scatter = np.maximum(np.einsum("ne,ne->n", off, off), 1e-30)
    slope = np.einsum("ne,ne->n", off, norm) / scatter
    mean = np.where(points, norm, 0.0).sum(axis=1) / count
    rises = exists & (slope > 0)
    safe = np.where(rises, slope, 1.0)
    found = np.where(rises, centre + (level - mean) / safe, np.nan)
    # dE = -(d norm at E) / slope, and norm at E is a weighted mean of these points
    at = np.where(rises, (found - centre) / scatter, 0.0)
    weights = -(points / count[:, None] + at[:, None] * off) / safe[:, None]
    problem = np.where(
        exists,
        np.where(rises, "", "is too noisy to say where the edge is"),
        f"the normalised absorption does not rise through {level:g}",
    )
    remedy = np.where(exists, "average scans first", "check e0 and pre")
    return _positions(fits, norm, found, weights, problem, remedy)


def integral(fits: Fits) -> Positions:
    """Return the mean energies of the rise between two levels."""
    low, high = LEVELS
    norm, energy = fits.norm, fits.energy
    inside = (energy > fits.e0[:, None] + AROUND[0]) & (energy < fits.e0[:, None] + AROUND[1])
    index = np.arange(energy.size)
    end = _first(inside & (norm >= high))
    begin = _last(inside & (index < end[:, None]) & (norm < low))
    exists = (inside & (norm >= high)).any(axis=1) & (begin >= 0) & (end > 0)
    begin, end = np.where(exists, begin, 0), np.where(exists, end, 1)
    first = _passage(energy, norm, begin, low)
    last = _passage(energy, norm, end - 1, high)
    areas = _areas(energy, first, last)
    weights = -areas / (high - low)
    found = last + (np.einsum("ne,ne->n", weights, norm) + low * (last - first) / (high - low))
    problem = np.where(exists, "", f"the normalised absorption does not rise from {low:g} to {high:g}")
    remedy = np.full(problem.shape, "take another method, or check e0 and post")
    return _positions(fits, norm, np.where(exists, found, np.nan), weights, problem, remedy)


def centroid(fits: Fits) -> Positions:
    """Return the first moments of the derivative around the half heights."""
    half = half_height(fits)
    norm, energy = fits.norm, fits.energy
    first, last = half.energy + MOMENT[0], half.energy + MOMENT[1]
    exists = (half.problem == "") & (first >= energy[0]) & (last <= energy[-1])
    first, last = np.where(exists, first, energy[0]), np.where(exists, last, energy[-1])
    areas = _areas(energy, first, last)
    found = np.where(exists, last - np.einsum("ne,ne->n", areas, norm), np.nan)
    ends = [_at(energy, norm, at) for at in (first, last)]
    # the window moves with the half height
    weights = (1 - ends[1] + ends[0])[:, None] * half.weights - areas
    short = f"the scan does not hold {MOMENT[0]:g} to {MOMENT[1]:g} eV around the half height"
    problem = np.where((half.problem == "") & ~exists, short, half.problem)
    remedy = np.where(half.problem == "", "take another method", half.remedy)
    return _positions(fits, norm, found, weights, problem, remedy)


def inflection(fits: Fits) -> Positions:
    """Return the inflections of the rise."""
    half = half_height(fits)
    norm = fits.norm
    exists = half.problem == ""
    found = np.full(exists.size, np.nan)
    weights = np.zeros_like(norm)
    missing = np.where(exists, "has no inflection within 10 eV of the half height", half.problem)
    if exists.any():
        low, high = np.min(half.energy[exists]) - NEAR, np.max(half.energy[exists]) + NEAR
        # the axis is laid on multiples of its step, so that a scan's answer does not depend on the others
        fine = FINE * np.arange(np.floor(low / FINE), np.ceil(high / FINE) + 1)
        slopes, bends = _derivatives(Grid(fits.energy), Grid(fine))
        slope, bend = norm @ slopes.T, norm @ bends.T
        near = np.abs(fine - half.energy[:, None]) <= NEAR
        top = np.argmax(np.where(near, slope, -np.inf), axis=1)
        turns = (bend[:, :-1] > 0) & (bend[:, 1:] <= 0) & near[:, :-1]
        distance = np.where(turns, np.abs(np.arange(fine.size - 1) - top[:, None]), fine.size)
        at = np.argmin(distance, axis=1)
        good = exists & turns.any(axis=1)
        rows = np.flatnonzero(good)
        left, right = bend[rows, at[rows]], bend[rows, at[rows] + 1]
        share = left / (left - right)
        found[rows] = fine[at[rows]] + FINE * share
        third = (right - left) / FINE
        own = (1 - share)[:, None] * bends[at[rows]] + share[:, None] * bends[at[rows] + 1]
        weights[rows] = -own / third[:, None]
        missing[rows] = ""
    remedy = np.where(exists, "average scans first", half.remedy)
    return _positions(fits, norm, found, weights, missing, remedy)


METHODS: dict[str, Callable[[Fits], Positions]] = {
    "half_height": half_height,
    "integral": integral,
    "centroid": centroid,
    "inflection": inflection,
}
"""How an edge position can be measured, by name."""


def _positions(fits: Fits, norm: Array, found: Array, weights: Array, problem: Any, remedy: Any) -> Positions:
    errors = fits.errors_of(weights, norm)
    there = np.isfinite(found)
    return Positions(found, np.where(there, errors, np.nan), weights, problem, remedy)


def _first(mask: Any) -> Any:
    """Return the index of the first True of every row; 0 where there is none."""
    return np.argmax(mask, axis=1)


def _last(mask: Any) -> Any:
    """Return the index of the last True of every row; -1 where there is none."""
    return np.where(mask.any(axis=1), mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1), -1)


def _passage(energy: Array, norm: Array, before: Any, level: float) -> Array:
    """Return the energy at which norm passes `level` between the point `before` and the next."""
    rows = np.arange(norm.shape[0])
    left, right = norm[rows, before], norm[rows, before + 1]
    rise = np.where(right > left, right - left, 1.0)
    return np.asarray(energy[before] + (level - left) / rise * (energy[before + 1] - energy[before]))


def _at(energy: Array, norm: Array, where: Array) -> Array:
    """Return norm at one energy of every scan, interpolated linearly."""
    before = np.clip(np.searchsorted(energy, where, side="right") - 1, 0, energy.size - 2)
    rows = np.arange(norm.shape[0])
    share = (where - energy[before]) / (energy[before + 1] - energy[before])
    return np.asarray((1 - share) * norm[rows, before] + share * norm[rows, before + 1])


def _areas(energy: Array, first: Array, last: Array) -> Array:
    """Return the weights of ∫ norm dE from `first` to `last` (scan,): shape (scan, energy).

    They are the integrals of the hats that interpolate linearly between the points.
    """
    width = np.diff(energy)
    begin = np.clip((first[:, None] - energy[:-1]) / width, 0, 1)
    end = np.clip((last[:, None] - energy[:-1]) / width, 0, 1)
    end = np.maximum(end, begin)
    upper = 0.5 * (end**2 - begin**2) * width
    weights = np.zeros((first.size, energy.size))
    weights[:, 1:] = upper
    weights[:, :-1] += (end - begin) * width - upper
    return weights


@lru_cache(maxsize=32)
def _derivatives(grid: Grid, at: Grid) -> tuple[Array, Array]:
    """Return the operators of first and second derivative of local cubics, shape (at, energy) each."""
    x, fine = grid.energy, at.energy
    near = (x > fine[0] - 2 * HALF_WIDTH) & (x < fine[-1] + 2 * HALF_WIDTH)
    spacing = float(np.median(np.diff(x[near]))) if near.sum() > 1 else HALF_WIDTH
    reach = max(HALF_WIDTH, 4 * spacing)
    off = (x - fine[:, None]) / reach
    tricube = np.clip(1 - np.abs(off) ** 3, 0, None) ** 3
    powers = off[:, :, None] ** np.arange(4)
    # off beyond 1 has no weight; powers of it would only lose digits
    powers[np.abs(off) > 1] = 0.0
    normal = np.einsum("fei,fe,fej->fij", powers, tricube, powers)
    solved = np.linalg.pinv(normal, hermitian=True, rcond=1e-10)
    operators = np.einsum("fij,fej,fe->fie", solved, powers, tricube)
    return operators[:, 1] / reach, 2 * operators[:, 2] / reach**2
