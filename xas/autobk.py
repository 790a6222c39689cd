"""The background of EXAFS: AUTOBK, solved exactly for many scans at once.

μ₀ is a cubic spline, B c on the points of the scan, with about as many knots as there are independent numbers
below rbkg. χ = L (μ - B c) on the even grid of k, L the interpolating cubic spline, and c is where

    f(c) = |D - H c|² + λ(c) |V - W c|²,    λ = (0.1 + 10 |D - H c|² / m)²,

is least: D - H c are the m numbers of the Fourier transform of k^w Ω χ below rbkg, V - W c the first and last
points of χ, each times its clamp, which keep the ends of the spline from running away (M. Newville, P.
Līviņš, Y. Yacoby, J. J. Rehr, E. A. Stern, Phys. Rev. B 47 (1993) 14126; the knots, the windows and λ are
those of larch, M. Newville, J. Phys. Conf. Ser. 430 (2013) 012007).

Everything but λ is linear and the same for all scans of an axis and E0, so `Plan` calculates it once. At the
minimum c solves the linear problem with one number l in place of λ,

    l = λ / (1 + 20 √λ |V - W c|² / m),

(∇f = 0, with the derivative of λ). In the basis that makes HᵀH the unit matrix and WWᵀ diagonal, both squares
are sums of a few terms in l, and the fixed point is found by bisection: no iteration over c, no start, no
tolerance of a minimiser.

A change of μ changes c by the linear problem at that l, and χ by L dμ - L B dc: the errors of χ hold both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

from xas.constants import ETOK
from xas.grid import Grid
from xas.ranges import NoRoom
from xas.transforms import KSTEP, NFFT, window_function

Array = np.ndarray[Any, np.dtype[np.float64]]

DK = 0.1
"""Width of the window's rise, 1/angstrom."""
SHORTEST = 5
"""Least range of k, 1/angstrom."""
SAME, GRID = 1.5, 24
"""Between limits closer than the first there is one fixed point; else it is looked for at so many places."""
STEPS = 60
"""Most steps towards it."""
BLOCK = 256
"""Scans worked on together, so that their arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Settings:
    """What AUTOBK is told.

    Attributes
    ----------
    rbkg
        Distance below which χ(R) is background, angstrom.
    kweight
        Power of k.
    kmin, kmax
        Range of the spline, 1/angstrom; None goes to the end of the data.
    clamp_low, clamp_high
        Weights of the clamps.
    clamped
        Points of either end they act on.
    window, dk
        Of the transform.
    """

    rbkg: float = 1.0
    kweight: int = 2
    kmin: float = 0.0
    kmax: float | None = None
    clamp_low: float = 0.0
    clamp_high: float = 1.0
    clamped: int = 3
    window: str = "hanning"
    dk: float = DK


@dataclass(frozen=True)
class Background:
    """What `Plan.remove` finds: χ Δμ and its standard deviation, shape (scan, k); μ₀, shape (scan, used)."""

    chi: Array
    errors: Array
    mu0: Array


@dataclass(frozen=True)
class Plan:
    """The operators of one axis and E0.

    Attributes
    ----------
    k
        Even grid of k, shape (k,).
    used
        Points of the axis above E0 that take part.
    spline
        B: values of the basis of μ₀ at these points, shape (used, knots).
    grid
        L: from values at these points to the grid of k, shape (k, used).
    free
        From μ to the c of no clamps, in the basis where HᵀH is the unit matrix; shape (knots, used).
    inverse
        From that basis to c, shape (knots, knots).
    rest
        From μ to the part of D that no c can reach, shape (numbers, used), m rows or fewer.
    clamp
        From μ to V - W c of the free c, in the basis where WWᵀ is diagonal, shape (clamps, used).
    back
        From these to the change of c, shape (knots, clamps).
    stiffness
        The diagonal of WWᵀ, shape (clamps,).
    numbers
        m.
    of_standard
        What free, rest and clamp are of χ Δμ on the grid of k, shapes (…, k).
    shape, bends
        O = shape - Σ gain · (bends of the clamp, shape (k, clamps)) ⊗ (clamp): from μ to χ Δμ, (k, used).
    """

    k: Array
    used: slice
    spline: Array
    grid: Array
    free: Array
    inverse: Array
    rest: Array
    clamp: Array
    back: Array
    stiffness: Array
    numbers: int
    of_standard: tuple[Array, Array, Array]
    shape: Array
    bends: Array

    def remove(self, mu: Array, sigma: Array, standard: Array | None = None) -> Background:
        """Return χ Δμ and background of scans.

        Parameters
        ----------
        mu, sigma
            Shape (scan, energy), on the whole axis of the plan.
        standard
            χ Δμ of a model, shape (scan, k): what it has below rbkg is no background.
        """
        mu, sigma = mu[:, self.used], sigma[:, self.used]
        chi = np.empty((mu.shape[0], self.k.size))
        errors, mu0 = np.empty_like(chi), np.empty(mu.shape)
        for start in range(0, mu.shape[0], BLOCK):
            block = slice(start, start + BLOCK)
            known = None if standard is None else standard[block]
            chi[block], errors[block], mu0[block] = self._block(mu[block], sigma[block], known)
        return Background(chi, errors, mu0)

    def _block(self, mu: Array, sigma: Array, standard: Array | None) -> tuple[Array, Array, Array]:
        free, rest, clamps = (mu @ operator.T for operator in (self.free, self.rest, self.clamp))
        if standard is not None:
            own = (standard @ operator.T for operator in self.of_standard)
            free, rest, clamps = (
                of_mu - known for of_mu, known in zip((free, rest, clamps), own, strict=True)
            )
        lost = np.einsum("nm,nm->n", rest, rest)
        level = fixed_point(lost, clamps**2, self.stiffness, self.numbers)
        # c = free + l Wᵀ (1 + l WWᵀ)⁻¹ (V - W free)
        gain = level[:, None] / (1 + level[:, None] * self.stiffness)
        c = (free + (gain * clamps) @ self.back.T) @ self.inverse.T
        mu0 = c @ self.spline.T
        return (mu - mu0) @ self.grid.T, self._errors(sigma, gain), mu0

    def _errors(self, sigma: Array, gain: Array) -> Array:
        """Return the standard deviation of χ Δμ: the root of the sum of O² σ² over the points."""
        variance = sigma**2
        count = gain.shape[1]
        if np.all(sigma == sigma[:, :1]):  # one σ above the edge, as `xas.noise` estimates it
            pairs = [gain[:, i] * gain[:, j] for i in range(count) for j in range(count)]
            total = variance[:, :1] * (np.column_stack([np.ones(len(gain)), gain, *pairs]) @ self._sums)
        else:  # single precision is plenty for an error, and twice as fast
            weights = variance.astype(np.float32)
            squares, crossed = self._products
            bent = gain[:, None, :] * self.bends
            total = (weights @ squares).astype(float)
            for j in range(count):
                total -= 2 * bent[:, :, j] * (weights @ crossed[j])
                for i in range(count):
                    among = variance @ (self.clamp[i] * self.clamp[j])
                    total += bent[:, :, i] * bent[:, :, j] * among[:, None]
        # a clamp that is all but rigid holds the last points to 0, and the sum cancels: no error is 0
        return np.asarray(np.sqrt(np.maximum(total, 1e-12 * variance.max(axis=1, keepdims=True))))

    @cached_property
    def _sums(self) -> Array:
        """What 1, the gains and their products are in Σ O², shape (1 + clamps + clamps², k)."""
        linear = -2 * self.bends * (self.shape @ self.clamp.T)
        among = self.clamp @ self.clamp.T
        count = self.clamp.shape[0]
        pairs = [
            self.bends[:, i] * self.bends[:, j] * among[i, j] for i in range(count) for j in range(count)
        ]
        return np.vstack([np.sum(self.shape**2, axis=1), *linear.T, *pairs])

    @cached_property
    def _products(self) -> tuple[Any, Any]:
        """Return shape² and shape · clamp at every point, (used, k), in single precision."""
        crossed = self.clamp[:, :, None] * self.shape.T
        return (self.shape.T**2).astype(np.float32), crossed.astype(np.float32)


def fixed_point(lost: Array, clamps: Array, stiffness: Array, numbers: int) -> Array:
    """Return l of every scan, shape (scan,).

    Parameters
    ----------
    lost
        |D - H c|² without clamps, shape (scan,).
    clamps
        Squares of V - W c without clamps, shape (scan, clamps).
    stiffness
        Eigenvalues of WWᵀ, shape (clamps,).
    numbers
        m.
    """

    def terms(level: Array) -> tuple[Array, Array, Array]:
        """Return |D - H c|², the root of λ and |V - W c|² at `level`, which may have a second axis."""
        reduced = 1 / (1 + level[..., None] * stiffness) ** 2
        clamp = np.einsum("n...c,nc->n...", reduced, clamps)
        bent = np.einsum("n...c,nc->n...", reduced, clamps * stiffness)
        low = (lost + (level**2 * bent).T).T
        return low, 0.1 + 10 / numbers * low, clamp

    def mapped(level: Array) -> Array:
        _, scale, clamp = terms(level)
        return np.asarray(scale**2 / (1 + 20 / numbers * scale * clamp))

    # f anywhere bounds |D - H c|² at its minimum, and that bounds λ and l
    free = 0.1 + 10 / numbers * lost
    squares, scale, clamp = terms(free**2)
    highest = 0.1 + 10 / numbers * (squares + scale**2 * clamp)
    low = free**2 / (1 + 20 / numbers * highest * clamps.sum(axis=1))
    high = highest**2 * (1 + 1e-12)
    several = high > SAME * low
    if several.any():  # the deepest of several minima: f falls where mapped(l) > l, and rises elsewhere
        steps = np.exp(np.linspace(0, 1, GRID) * np.log(high / low)[:, None]) * low[:, None]
        squares, scale, clamp = terms(steps)
        best = np.argmin(squares + scale**2 * clamp, axis=1)[:, None]
        low = np.take_along_axis(steps, np.maximum(best - 1, 0), axis=1)[:, 0]
        high = np.take_along_axis(steps, np.minimum(best + 1, GRID - 1), axis=1)[:, 0]
    level = np.sqrt(low * high)
    for step in range(STEPS):
        found = mapped(level)
        if (np.abs(found - level) <= 1e-13 * level).all():
            break
        falls = found > level
        low, high = np.where(falls, level, low), np.where(falls, high, level)
        # the map itself is nearly flat and settles fast; where it leaves the bracket, the middle is taken
        inside = (found > low) & (found < high) & (step < STEPS // 4)
        level = np.where(inside, found, np.sqrt(low * high))
    return np.asarray(level)


@lru_cache(maxsize=64)
def plan(grid: Grid, e0: float, settings: Settings) -> Plan:
    """Return the operators of an axis and E0.

    Raises
    ------
    NoRoom
        The scan ends too soon after its edge, or has too few points for the spline.
    """
    energy = grid.energy
    first = max(int(np.searchsorted(energy, e0, side="right")) - 1, 0)
    off = energy[first:] - e0
    raw = np.sign(off) * np.sqrt(ETOK * np.abs(off))
    reach = float(raw[-1])
    kmin = settings.kmin
    kmax = reach if settings.kmax is None else min(reach, settings.kmax)
    if kmax - kmin < SHORTEST:
        raise NoRoom(f"ends at k = {kmax:.1f} 1/angstrom", f"EXAFS needs at least {SHORTEST}")
    k: Array = KSTEP * np.arange(int(1.01 + kmax / KSTEP), dtype=float)
    end = int(np.searchsorted(energy, e0 + kmax**2 / ETOK, side="right")) - 1
    last = min(energy.size - 1, end + 1)
    x = raw[: last - first + 1]
    step = np.pi / (KSTEP * NFFT)
    rbkg = max(settings.rbkg, 2 * step)
    knots = 1 + int(2 * rbkg * (kmax - kmin) / np.pi)
    rows = int(1 + (knots - 1) * np.pi / (2 * step * (kmax - kmin)))
    knots = max(5, min(128, knots))
    at = raw[[int(np.abs(raw - (kmin + i * (kmax - kmin) / (knots - 1))).argmin()) for i in range(knots)]]
    if x.size < knots + 4 or not (np.diff(at) > 0).all():
        raise NoRoom(f"has too few points above the edge for {knots} knots", "choose a smaller rbkg")
    spline = BSpline(np.r_[[at[0]] * 4, at[2:-2], [at[-1]] * 4], np.eye(knots), 3)(x)
    to_grid = make_interp_spline(x, np.eye(x.size), k=3)(k)
    window = window_function(k, kmin, kmax, settings.dk, settings.window)
    phase = np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(k.size)) / NFFT)
    transform = KSTEP / np.sqrt(np.pi) * phase * (k**settings.kweight * window)
    lowest = np.vstack([transform.real, transform.imag])
    seen = lowest @ to_grid
    q, r = np.linalg.qr(seen @ spline, mode="complete")
    inverse = np.linalg.inv(r[:knots])
    unit = np.eye(k.size)
    ends = [
        (settings.clamp_low, unit[: settings.clamped]),
        (settings.clamp_high, unit[-settings.clamped :]),
    ]
    clamps = np.vstack([abs(weight) * part for weight, part in ends if weight] or [np.zeros((0, k.size))])
    held = clamps @ to_grid @ spline @ inverse
    stiffness, rotation = np.linalg.eigh(held @ held.T)
    held = rotation.T @ held
    free_of_chi, rest_of_chi = q[:, :knots].T @ lowest, q[:, knots:].T @ lowest
    clamp_of_chi = rotation.T @ clamps - held @ free_of_chi
    on_grid = to_grid @ spline @ inverse
    return Plan(
        k=k,
        used=slice(first, last + 1),
        spline=spline,
        grid=to_grid,
        free=free_of_chi @ to_grid,
        inverse=inverse,
        rest=rest_of_chi @ to_grid,
        clamp=clamp_of_chi @ to_grid,
        of_standard=(free_of_chi, rest_of_chi, clamp_of_chi),
        back=held.T,
        stiffness=np.maximum(stiffness, 0),
        numbers=2 * rows,
        shape=to_grid - on_grid @ free_of_chi @ to_grid,
        bends=on_grid @ held.T,
    )
