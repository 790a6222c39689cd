"""How a monochromator drifted over a series: smooth pieces between jumps, from one shift of each scan.

Shifts δᵢ with errors σᵢ, in the order (or at the times) they were measured, are described by pieces of
polynomials, of degree 0 to 3 each, with jumps between them (an injection, a new crystal, a lost step). A jump
may be where straight lines through up to five scans before and after differ by more than four standard
deviations; which of these are jumps, and the degrees, is what makes

    χ² + (number of parameters) ln n

smallest (G. Schwarz, Ann. Statist. 6 (1978) 461), each jump counting as two more beside those of its piece.
The pieces are then fitted with one degree more: what that criterion leaves out is not seen in the data, but
may be as large as the errors. Errors of the model are those of the fitted polynomials, made larger by √χ² per
degree of freedom.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamline.errors import FitError

Array = np.ndarray[Any, np.dtype[np.float64]]

DEGREES = (0, 1, 2, 3)
SIDE = 5
"""Scans to either side a jump is looked for with."""
CLEAR = 4.0
"""A jump may be where the two sides differ by so many standard deviations."""
MOST = 40
"""Largest number of places, the clearest, that are tried as jumps."""


@dataclass(frozen=True)
class Drift:
    """A smooth drift with jumps.

    Attributes
    ----------
    shift, errors
        The model at every scan and its standard deviation, eV, shape (scan,).
    jumps
        Of every jump: index of the first scan after it, its size and the error of that, eV.
    reduced_chi2
        χ² per degree of freedom of the shifts about the model.
    """

    shift: Array
    errors: Array
    jumps: tuple[tuple[int, float, float], ...]
    reduced_chi2: float


def model_drift(shifts: Array, errors: Array, position: Array | None = None) -> Drift:
    """Return the drift of a series.

    Parameters
    ----------
    shifts, errors
        Shift of each scan and its standard deviation, eV; NaN where there is none.
    position
        When the scans were taken, increasing, in any unit; their numbers by default.

    Raises
    ------
    FitError
        Fewer than four scans have a shift.
    """
    position = np.arange(shifts.size, dtype=float) if position is None else position.astype(float)
    good = np.flatnonzero(np.isfinite(shifts))
    if good.size < 4:
        raise FitError("drift", f"has {good.size} shifts, 4 are needed", "align without drift=")
    t = 2 * (position - position[good[0]]) / max(float(np.ptp(position[good])), 1e-300) - 1
    x, y, sigma = t[good], shifts[good], errors[good]
    bounds = [0, *_places(x, y, sigma), good.size]
    pieces = [_one_degree_more(x, y, sigma, piece) for piece in _best_pieces(x, y, sigma, bounds)]
    chi2 = sum(piece[2] for piece in pieces)
    freedom = good.size - sum(piece[3].size for piece in pieces) - (len(pieces) - 1)
    reduced = chi2 / freedom if freedom > 0 else 1.0
    widen = max(1.0, reduced)
    shift, variance = np.empty(t.size), np.empty(t.size)
    owner = np.searchsorted([good[piece[0]] for piece in pieces[1:]], np.arange(t.size), side="right")
    for n, (_, _, _, coefficients, covariance) in enumerate(pieces):
        mine = owner == n
        basis = _basis(t[mine], coefficients.size - 1)
        shift[mine] = basis @ coefficients
        variance[mine] = np.einsum("ti,ij,tj->t", basis, covariance, basis) * widen
    jumps = []
    for before, after in itertools.pairwise(pieces):
        at = int(good[after[0]])
        middle = np.array([0.5 * (x[after[0] - 1] + x[after[0]])])
        ends = [_basis(middle, piece[3].size - 1)[0] for piece in (before, after)]
        size = float(ends[1] @ after[3] - ends[0] @ before[3])
        error = sum(float(b @ piece[4] @ b) for b, piece in zip(ends, (before, after), strict=True)) * widen
        jumps.append((at, size, float(np.sqrt(error))))
    return Drift(shift, np.sqrt(variance), tuple(jumps), float(reduced))


Piece = tuple[int, int, float, Array, Array]
"""Begin, end, χ², coefficients and their covariance."""


def _places(x: Array, y: Array, sigma: Array) -> list[int]:
    """Return where there may be jumps: the clearest place of each run of clear ones, and its neighbours."""
    clear = np.zeros(x.size)
    for i in range(2, x.size - 1):
        sides = [slice(max(0, i - SIDE), i), slice(i, min(x.size, i + SIDE))]
        middle = np.array([0.5 * (x[i - 1] + x[i])])
        difference, variance = 0.0, 0.0
        for sign, side in zip((-1, 1), sides, strict=True):
            degree = 1 if side.stop - side.start > 2 else 0
            coefficients, covariance, _ = _polynomial(x[side], y[side], sigma[side], degree)
            at = _basis(middle, degree)[0]
            difference += sign * float(at @ coefficients)
            variance += float(at @ covariance @ at)
        clear[i] = abs(difference) / np.sqrt(variance)
    found = np.flatnonzero(clear > CLEAR)
    return sorted(found[np.argsort(clear[found])[::-1][:MOST]].tolist())


def _best_pieces(x: Array, y: Array, sigma: Array, bounds: list[int]) -> list[Piece]:
    """Return the pieces with the smallest sum of χ² and of what their parameters cost."""
    cost_of_one = np.log(x.size)
    best: list[tuple[float, list[Piece]]] = [(0.0, [])]
    for end in range(1, len(bounds)):
        options = []
        for begin in range(end):
            if bounds[end] - bounds[begin] < 2 or not np.isfinite(best[begin][0]):
                continue
            cost, piece = _piece(x, y, sigma, bounds[begin], bounds[end], cost_of_one)
            before, pieces = best[begin]
            options.append((before + cost + (2 * cost_of_one if pieces else 0.0), [*pieces, piece]))
        best.append(min(options, key=lambda option: option[0]) if options else (np.inf, []))
    return best[-1][1]


def _piece(x: Array, y: Array, sigma: Array, begin: int, end: int, each: float) -> tuple[float, Piece]:
    part = slice(begin, end)
    options = []
    for degree in DEGREES:
        if end - begin < degree + 2 and degree:
            break
        coefficients, covariance, chi2 = _polynomial(x[part], y[part], sigma[part], degree)
        options.append((chi2 + each * (degree + 1), (begin, end, chi2, coefficients, covariance)))
    return min(options, key=lambda option: option[0])


def _one_degree_more(x: Array, y: Array, sigma: Array, piece: Piece) -> Piece:
    begin, end, _, coefficients, _ = piece
    degree = min(coefficients.size, end - begin - 2)
    if degree < coefficients.size:
        return piece
    part = slice(begin, end)
    more, covariance, chi2 = _polynomial(x[part], y[part], sigma[part], degree)
    return begin, end, chi2, more, covariance


def _polynomial(x: Array, y: Array, sigma: Array, degree: int) -> tuple[Array, Array, float]:
    design = _basis(x, degree) / sigma[:, None]
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ (y / sigma)
    return coefficients, inverse @ inverse.T, float(np.sum((y / sigma - design @ coefficients) ** 2))


def _basis(x: Array, degree: int) -> Array:
    return np.asarray(np.polynomial.legendre.legvander(x, degree))
