"""From μ(E) to normalised absorption: pre-edge line, post-edge polynomial, edge step.

A line is fitted to μ below the edge and a polynomial to what is left of μ above it. The edge step is the
polynomial at E0, and the normalised absorption is (μ - line) / step. Flattening subtracts, above E0, how far
the normalised post-edge curve departs from its value at E0. (M. Newville, J. Phys. Conf. Ser. 430 (2013)
012007; B. Ravel and M. Newville, J. Synchrotron Rad. 12 (2005) 537; docs/theory/absorption.md.)

Two conventions for what the user leaves open:

* ``larch``: ranges in steps of 5 eV from the scan's ends, the pre-edge from the second point to half way to
  E0, the post-edge from 25 eV (less for short scans) to the last point; quadratic for more than 300 eV,
  linear for more than 30 eV, else constant; the step is read at the point of the axis nearest to E0.
* ``athena``: what Athena stored with the scan (``athena_*``, attributes of all scans or coordinates of each)
  where it did, else -150 to -30 eV and 150 eV to the end, quadratic; the step is read at E0 itself.

Errors are those of the noise (``mu_errors`` where the scans have them, else `xas.noise`) propagated through
this linear algebra, correlations included. What the choice of E0 and of the ranges does to the step is not
in them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, FitError, SchemaError
from xas.noise import point_noise

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]
Range = tuple[float, float]

CONVENTIONS = ("larch", "athena")
ATHENA = {
    "athena_e0": ("eV", "E0 in Athena, on this axis of energy"),
    "athena_edge_step": ("", "edge step in Athena"),
    "athena_fitted_step": ("", "edge step Athena fitted"),
    "athena_nnorm": ("", "number of coefficients of the post-edge polynomial in Athena"),
    "athena_pre1": ("eV", "begin of the pre-edge range in Athena"),
    "athena_pre2": ("eV", "end of the pre-edge range in Athena"),
    "athena_nor1": ("eV", "begin of the post-edge range in Athena"),
    "athena_nor2": ("eV", "end of the post-edge range in Athena"),
    "athena_rbkg": ("angstrom", "rbkg in Athena"),
    "athena_kweight": ("", "power of k of the background in Athena"),
    "athena_clamp1": ("", "spline clamp at the begin in Athena"),
    "athena_clamp2": ("", "spline clamp at the end in Athena"),
}
"""What Athena stores with a scan: unit and long name."""
SMOOTHING = 0.35
"""Half width (eV) of the Lorentzian the derivative is smoothed with before its maximum is taken for E0."""


@provenance.step("xas.normalize", returns="xas.scans")
def normalize(
    scans: xr.Dataset,
    convention: str = "larch",
    e0: float | None = None,
    pre: Sequence[float] | None = None,
    post: Sequence[float] | None = None,
    degree: int | None = None,
) -> xr.Dataset:
    """Normalise the absorption of one or several scans.

    Parameters
    ----------
    scans
        Kind xas.scans: ``mu`` over (energy) or (scan, energy), energy in eV.
    convention
        "larch" or "athena": what is done where ranges and degree are not given.
    e0
        Edge energy in eV for all scans; None takes the steepest rise of each scan.
    pre, post
        Limits of the two fits in eV relative to E0, (low, high).
    degree
        Degree of the post-edge polynomial, 0 to 3.

    Returns
    -------
    Dataset
        `scans` with ``norm``, ``flat``, ``pre_edge``, ``post_edge`` over the axes of ``mu``; ``e0`` (eV) as a
        coordinate; ``edge_step`` per scan; the errors of ``mu``, ``norm`` and ``edge_step``.

    Raises
    ------
    FitError
        There is no edge, no room for a fit, a range without data, or μ falls across the edge.
    ConfigError
        The convention or a range makes no sense.
    """
    _check(convention, pre, post, degree)
    if "mu" not in scans:
        raise SchemaError("scans", "have no variable 'mu'")
    rows = np.atleast_2d(scans["mu"].values.astype(float))
    energy = scans["energy"].values.astype(float)
    choice = {"convention": convention, "pre": pre, "post": post, "degree": degree}
    results = []
    for index, mu in enumerate(rows):
        name = scan_name(scans, index)
        fit = Fit.of(energy, mu, stated_noise(scans, index), e0, stored_values(scans, index) | choice, name)
        results.append({**fit.outputs(), "mu_errors": fit.sigma})
    stacked = {
        key: np.squeeze([r[key] for r in results], 0)
        if scans["mu"].ndim == 1
        else np.array([r[key] for r in results])
        for key in results[0]
    }
    dims = scans["mu"].dims
    long_names = {
        "pre_edge": "pre-edge line",
        "post_edge": "post-edge curve",
        "flat": "flattened normalised absorption",
    }
    variables = {}
    for key, value in stacked.items():
        if key != "e0":
            attrs = {"units": "", "long_name": long_names[key]} if key in long_names else {}
            variables[key] = (dims[: np.ndim(value)], value, attrs)
    out = scans.assign(variables).assign_coords(e0=(dims[:-1], stacked["e0"]))
    out.attrs["normalization"] = json.dumps(choice)
    return out


@dataclass(frozen=True)
class Fit:
    """The two fits of one scan, as linear operators on μ: so that every number has its error.

    Attributes
    ----------
    energy, mu, sigma
        The scan and the standard deviation of its points.
    e0
        Edge energy, eV.
    line
        Factors (energy, 2) and (2, energy): the pre-edge line is ``line[0] @ line[1] @ mu``.
    curve
        Factors (energy, degree + 1) and (degree + 1, energy) of the post-edge polynomial over the line.
    at_e0
        Operator (energy,): the edge step is ``at_e0 @ mu``.
    """

    energy: Array
    mu: Array
    sigma: Array
    e0: float
    line: tuple[Array, Array]
    curve: tuple[Array, Array]
    at_e0: Array

    @classmethod
    def of(
        cls,
        energy: Array,
        mu: Array,
        sigma: Array | None,
        e0: float | None,
        choice: dict[str, Any],
        name: str,
    ) -> Fit:
        """Fit one scan; `choice` holds convention, pre, post, degree, and what Athena stored."""
        if not np.isfinite(mu).all():
            raise FitError(name, "μ is not finite everywhere", "drop those points first")
        athena = choice["convention"] == "athena"
        given = e0 is not None
        if e0 is None:
            e0 = float(choice["athena_e0"]) if athena and "athena_e0" in choice else steepest_rise(energy, mu)
        if e0 - energy[0] < 5 or energy[-1] - e0 < 15:
            raise FitError(
                name,
                f"E0 = {e0:.1f} eV leaves no room between {energy[0]:.1f} and {energy[-1]:.1f} eV",
                "the scan must begin 5 eV below the edge and end 15 eV above it; else give e0=",
            )
        for key in ("pre", "post"):
            _inside(energy, e0, key, choice.get(key), name)
        pre, post, degree = (_athena if athena else _larch)(energy, e0, choice)
        low, high = _points(energy, e0, pre), _points(energy, e0, post)
        if high.stop - high.start < 2:
            raise FitError(name, "has fewer than two points in the post-edge range", "give post=")
        degree = min(degree, 1) if high.stop - high.start < 5 else degree
        line = _fit(energy, low, 1 if low.stop - low.start >= 3 else 0)
        out, coefficients = _fit(energy, high, degree)
        coefficients = coefficients - (coefficients @ line[0]) @ line[1]  # the polynomial sees μ - line
        nearest = int(np.abs(energy - e0).argmin())
        row = _basis(e0, energy[high], degree)[0] if athena else out[nearest]
        sigma = point_noise(energy, mu, e0) if sigma is None else sigma
        fit = cls(energy, mu, sigma, e0, line, (out, coefficients), row @ coefficients)
        fit._believe(name, given)
        return fit

    @property
    def step(self) -> float:
        """The edge step."""
        return float(self.at_e0 @ self.mu)

    @property
    def pre_edge(self) -> Array:
        """The pre-edge line, shape (energy,)."""
        return np.asarray(self.line[0] @ (self.line[1] @ self.mu))

    @property
    def norm(self) -> Array:
        """The normalised absorption, shape (energy,)."""
        return np.asarray((self.mu - self.pre_edge) / self.step)

    def sensitivity(self, weights: Array) -> Array:
        """Return d(weights · norm)/dμ, shape (energy,)."""
        line, coefficients = self._common()
        return np.asarray((weights - (weights @ line) @ coefficients) / self.step)

    def outputs(self) -> dict[str, Any]:
        """Return everything that is made of the fits."""
        norm = self.norm
        over = self.curve[0] @ (self.curve[1] @ self.mu)
        index = int(np.abs(self.energy - self.e0).argmin())
        residue = over / self.step
        flat = np.where(np.arange(norm.size) < index, norm, norm - residue + residue[index])
        out, coefficients = self._common()
        covariance = (coefficients * self.sigma**2) @ coefficients.T
        # var(μᵢ - Σᵣ uᵢᵣ cᵣ·μ): the noise of the point, of the line and the step, and how they go together
        variance = (
            self.sigma**2 * (1 - 2 * np.einsum("er,re->e", out, coefficients))
            + np.einsum("er,rs,es->e", out, covariance, out)
        ) / self.step**2
        return {
            "e0": self.e0,
            "edge_step": self.step,
            "edge_step_errors": float(np.sqrt(self.at_e0**2 @ self.sigma**2)),
            "norm": norm,
            "norm_errors": np.sqrt(variance),
            "flat": flat,
            "pre_edge": self.pre_edge,
            "post_edge": self.pre_edge + over,
        }

    def _common(self) -> tuple[Array, Array]:
        """Return the line and the step as one operator of rank 3: what all points of norm share."""
        return np.column_stack([self.line[0], self.norm]), np.vstack([self.line[1], self.at_e0])

    def _believe(self, name: str, given: bool) -> None:
        """Refuse what is no edge, rather than divide by it."""
        step, error = self.step, float(np.sqrt(self.at_e0**2 @ self.sigma**2))
        if step <= 0:
            raise FitError(name, "μ falls across the edge", "swap i0 and it, or give e0=")
        if step < 5 * error:
            raise FitError(name, f"has no edge: the step is {step:.2g} with an error of {error:.2g}")
        after = (self.energy > self.e0 + 5) & (self.energy < self.e0 + 15)
        if not given and after.any() and float(np.median(self.norm[after])) < 0.2:
            raise FitError(
                name, f"rises steepest at {self.e0:.1f} eV, which is not the edge but a spike", "give e0="
            )


def steepest_rise(energy: Array, mu: Array) -> float:
    """Return E0 as the field's programs do: the point where the smoothed derivative dμ/dE is largest.

    The outermost 2 % of the points cannot be E0. On a foil with a noise of 1 % of the step this point jumps
    to the second maximum, 12 eV higher, in a third of the scans: a place to begin, no measure of valence.
    """
    slope = np.gradient(mu) / np.gradient(energy)
    width = np.gradient(energy)
    smooth = np.empty_like(slope)
    for start in range(0, energy.size, 256):  # in parts: the kernel of a long scan would fill the memory
        part = slice(start, start + 256)
        kernel = width / (1 + ((energy[part, None] - energy) / SMOOTHING) ** 2)
        smooth[part] = kernel @ slope / kernel.sum(axis=1)
    margin = max(3, int(0.02 * energy.size))
    return float(energy[margin + int(np.argmax(smooth[margin:-margin]))])


def scan_name(scans: xr.Dataset, index: int) -> str:
    """Return what figures and errors call a scan; the label of a single one serves whatever its `index`."""
    if "label" in scans.coords:
        labels = np.atleast_1d(scans["label"].values)
        return str(labels[index if labels.size > 1 else 0])
    return str(scans.attrs.get("label", f"scan {index}"))


def stored_values(scans: xr.Dataset, index: int) -> dict[str, float]:
    """Return what Athena stored with one scan, by the names of `ATHENA`."""
    values = {key: float(scans.attrs[key]) for key in ATHENA if key in scans.attrs}
    for key in ATHENA:
        if key in scans.coords:
            column = np.atleast_1d(scans[key].values)
            values[key] = float(column[index if column.size > 1 else 0])
    return {key: value for key, value in values.items() if np.isfinite(value)}


def stated_noise(scans: xr.Dataset, index: int) -> Array | None:
    """Return the standard deviation of μ where the scans have it; None where it is still to be estimated."""
    if "mu_errors" not in scans:
        return None
    return np.asarray(np.atleast_2d(scans["mu_errors"].values)[index], dtype=float)


def stored_fits(scans: xr.Dataset) -> list[Fit]:
    """Return the fits `normalize` made, from what it wrote down.

    Raises
    ------
    SchemaError
        The scans are not normalised.
    """
    if "norm" not in scans or "normalization" not in scans.attrs:
        raise SchemaError("scans", "are not normalised", "call xas.normalize first")
    choice = json.loads(scans.attrs["normalization"])
    energy = scans["energy"].values.astype(float)
    e0 = np.atleast_1d(scans["e0"].values)
    rows = np.atleast_2d(scans["mu"].values.astype(float))
    return [
        Fit.of(
            energy,
            mu,
            stated_noise(scans, i),
            float(e0[i]),
            stored_values(scans, i) | choice,
            scan_name(scans, i),
        )
        for i, mu in enumerate(rows)
    ]


def _check(
    convention: str, pre: Sequence[float] | None, post: Sequence[float] | None, degree: int | None
) -> None:
    if convention not in CONVENTIONS:
        raise ConfigError("convention", f"is {convention!r}", f"known: {', '.join(CONVENTIONS)}")
    for key, limits in (("pre", pre), ("post", post)):
        if limits is not None and (len(limits) != 2 or not limits[0] < limits[1]):
            raise ConfigError(key, f"is {limits!r}", "give (low, high) in eV relative to E0")
    if degree is not None and degree not in (0, 1, 2, 3):
        raise ConfigError("degree", f"is {degree!r}", "0, 1, 2 or 3")


def _inside(energy: Array, e0: float, key: str, limits: Sequence[float] | None, name: str) -> None:
    """Refuse a range that was asked for where there are no data: another one would be taken in silence."""
    if limits is None:
        return
    relative = energy - e0
    if np.count_nonzero((relative >= limits[0]) & (relative <= limits[1])) < 2:
        raise FitError(
            name,
            f"has fewer than two points in the range {key} = {limits[0]:g} to {limits[1]:g} eV",
            f"it goes from {relative[0]:.0f} to {relative[-1]:.0f} eV relative to E0",
        )


def _larch(energy: Array, e0: float, choice: dict[str, Any]) -> tuple[Range, Range, int]:
    """Ranges as larch chooses them (xraylarch 2026.3, pre_edge)."""
    far = int(np.abs(energy - e0).argmin()) > 20
    unit = 5.0 if far else 2.0
    pre1 = max(unit * round((energy[1] - e0) / unit), energy[0] - e0)
    pre = choice.get("pre") or (pre1, 0.5 * pre1)
    post2 = min(5.0 * round((energy[-1] - e0) / 5.0), energy[-1] - e0)
    post1 = min(25.0, 5.0 * round(post2 / 15.0), post2 - 2)
    post = choice.get("post") or (post1, post2)
    span = post[1] - post[0]
    degree = choice.get("degree")
    return (
        tuple(pre),
        tuple(post),
        (2 if span >= 300 else 1 if span >= 30 else 0) if degree is None else degree,
    )


def _athena(energy: Array, e0: float, choice: dict[str, Any]) -> tuple[Range, Range, int]:
    """Ranges as Athena stored them, else its defaults; its nnorm counts coefficients."""

    def stored(low: str, high: str, default: Range) -> Range:
        return choice.get(f"athena_{low}", default[0]), choice.get(f"athena_{high}", default[1])

    pre = choice.get("pre") or stored("pre1", "pre2", (-150.0, -30.0))
    post = choice.get("post") or stored("nor1", "nor2", (150.0, energy[-1] - e0))
    pre = max(pre[0], energy[0] - e0), pre[1]
    if not pre[0] < pre[1]:
        pre = energy[0] - e0, 0.5 * (energy[0] - e0)
    post = post[0], min(post[1], energy[-1] - e0)
    if not post[0] < post[1]:
        post = 0.2 * post[1], post[1]
    degree = choice.get("degree")
    return pre, post, int(choice.get("athena_nnorm", 3)) - 1 if degree is None else degree


def _points(energy: Array, e0: float, limits: Range) -> slice:
    """Return the points of a range: from the one at or below its begin to before the one nearest its end."""
    start = max(int(np.searchsorted(energy, e0 + limits[0], side="right")) - 1, 0)
    stop = int(np.abs(energy - (e0 + limits[1])).argmin())
    return slice(start, max(stop, start + 1))


def _fit(energy: Array, points: slice, degree: int) -> tuple[Array, Array]:
    """Return the fit of a polynomial to `points` as factors: basis on the axis, coefficients from μ."""
    coefficients = np.zeros((degree + 1, energy.size))
    coefficients[:, points] = np.linalg.pinv(_basis(energy[points], energy[points], degree))
    return _basis(energy, energy[points], degree), coefficients


def _basis(at: Array | float, fitted: Array, degree: int) -> Array:
    """Return Legendre polynomials on the fitted range, which keep the fit well conditioned."""
    centre = 0.5 * (fitted[0] + fitted[-1])
    half = max(0.5 * (fitted[-1] - fitted[0]), 1e-9)
    return np.asarray(np.polynomial.legendre.legvander((np.asarray(at) - centre) / half, degree))
