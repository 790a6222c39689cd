"""From μ(E) to normalised absorption: pre-edge line, post-edge polynomial, edge step.

A line is fitted to μ below the edge and a polynomial to what is left of μ above it. The edge step is the
polynomial at E0, and the normalised absorption is (μ - line) / step. Flattening subtracts, above E0, how far
the normalised post-edge curve departs from its value at E0. (M. Newville, J. Phys. Conf. Ser. 430 (2013)
012007; B. Ravel and M. Newville, J. Synchrotron Rad. 12 (2005) 537; docs/theory/absorption.md.)

Three conventions for what the user leaves open:

* ``larch``: ranges in steps of 5 eV from the scan's ends, the pre-edge from the second point to half way to
  E0, the post-edge from 25 eV (less for short scans) to the last point; quadratic for more than 300 eV,
  linear for more than 30 eV, else constant; the step is read at the point of the axis nearest to E0.
* ``athena``: what Athena stored with the scan (``athena_*``, attributes of all scans or coordinates of each)
  where it did, else -150 to -30 eV and 150 eV to the end, quadratic; the step is read at E0 itself, or is the
  one the user of Athena fixed.
* ``mback``: μ is fitted to the tabulated absorption of the element and a cubic background, `xas.mback`.

All scans of an axis are worked on together. Errors are those of the noise (``mu_errors`` where the scans have
them, else `xas.noise`) propagated through this linear algebra, correlations included. What the choice of E0
and of the ranges does to the step is not in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, SchemaError
from beamline.readers.absorption import tabulated
from xas.fits import CURVES, Fits, fit_polynomials
from xas.mback import fit_mback
from xas.noise import glitches, points_noise
from xas.ranges import NoRoom, Range, absorber, edge_limits, find_ranges
from xas.rise import steepest_rise as steepest_rise
from xas.rise import steepest_rises
from xas.stacks import FEWEST, Part, Statuses, parts
from xas.stacks import scan_name as scan_name

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

CONVENTIONS = ("larch", "athena", "mback")
ATHENA = {
    "athena_e0": ("eV", "E0 in Athena, on this axis of energy"),
    "athena_edge_step": ("", "edge step in Athena"),
    "athena_fitted_step": ("", "edge step Athena fitted"),
    "athena_fixed_step": ("", "1 where the edge step was fixed in Athena"),
    "athena_nnorm": ("", "number of coefficients of the post-edge polynomial in Athena"),
    "athena_pre1": ("eV", "begin of the pre-edge range in Athena"),
    "athena_pre2": ("eV", "end of the pre-edge range in Athena"),
    "athena_nor1": ("eV", "begin of the post-edge range in Athena"),
    "athena_nor2": ("eV", "end of the post-edge range in Athena"),
    "athena_rbkg": ("angstrom", "rbkg in Athena"),
    "athena_kweight": ("", "power of k of the background in Athena"),
    "athena_spl1": ("1/angstrom", "begin of the spline in Athena"),
    "athena_spl2": ("1/angstrom", "end of the spline in Athena"),
    "athena_clamp1": ("", "spline clamp at the begin in Athena"),
    "athena_clamp2": ("", "spline clamp at the end in Athena"),
}
"""What Athena stores with a scan: unit and long name."""
BLOCK = 256
"""Scans fitted together, so that their arrays stay in the processor's cache."""
REACH = 50.0
"""How far from the tabulated edge E0 can be, eV."""


@provenance.step("xas.normalize", returns="xas.scans")
def normalize(
    scans: xr.Dataset,
    convention: str = "larch",
    e0: float | None = None,
    pre: Sequence[float] | None = None,
    post: Sequence[float] | None = None,
    degree: int | None = None,
    elements: Sequence[str] | None = None,
) -> xr.Dataset:
    """Normalise the absorption of one or several scans.

    Parameters
    ----------
    scans
        Kind xas.scans: ``mu`` over (energy) or (scan, energy), energy in eV; NaN where a scan has no data.
    convention
        "larch", "athena" or "mback": what is done where ranges and degree are not given.
    e0
        Edge energy in eV for all scans; None takes the steepest rise of each scan.
    pre, post
        Limits of the two fits in eV relative to E0, (low, high).
    degree
        Degree of the post-edge polynomial (of the background, for mback), 0 to 3.
    elements
        What the sample is made of, ["Ni", "Co", "Mn"]: ranges, and χ(k) later, end before the next edge of
        these or of the absorber itself. None limits nothing.

    Returns
    -------
    Dataset
        `scans` with ``norm``, ``flat``, ``pre_edge``, ``post_edge`` over the axes of ``mu``; ``e0`` (eV) as a
        coordinate; ``edge_step`` and ``status`` (`xas.stacks`) per scan; the errors of ``mu``, ``norm`` and
        ``edge_step``. What failed is NaN.

    Raises
    ------
    FitError
        A single scan has no edge, no room for a fit, a range without data, or μ falls across the edge. Of
        several scans it is the status that says so.
    ConfigError
        The convention, E0 or a range makes no sense.
    SchemaError
        The energies are none, or there is no μ.
    """
    _check(convention, e0, pre, post, degree)
    choice: dict[str, Any] = {"convention": convention, "pre": pre, "post": post, "degree": degree}
    if elements is not None:
        choice["elements"] = [str(symbol) for symbol in elements]
    out = _Results(scans)
    for part in parts(scans):
        if part.energy.size < FEWEST:
            out.keep_noise(part, np.full(part.rows.size, np.nan))
            out.status.fail(part.rows, f"has {part.energy.size} finite points")
            continue
        origins = _origins(scans, part, choice, e0)
        sigma = out.keep_noise(part, origins)
        for fits, rows in _fitted(scans, part, sigma, origins, choice, out.status):
            out.put(part, rows, fits, e0 is not None)
    out.note_what_is_missing()
    return out.dataset(choice)


class _Results:
    """The arrays of all scans, filled part by part."""

    def __init__(self, scans: xr.Dataset) -> None:
        if "mu" not in scans:
            raise SchemaError("scans", "have no variable 'mu'", "read them with beamline.read")
        self._scans = scans.drop_vars("status", errors="ignore")
        mu = np.atleast_2d(scans["mu"].values)
        self._curves = {name: np.empty(mu.shape) for name in CURVES}
        self._sigma = np.full(mu.shape, np.nan)
        self._numbers = {
            name: np.full(mu.shape[0], np.nan) for name in ("e0", "edge_step", "edge_step_errors")
        }
        self._axis = int(mu.shape[-1])
        self._ends = np.full((mu.shape[0], 2), np.nan)
        self._gaps = np.zeros(mu.shape[0], dtype=int)
        self.status = Statuses(self._scans, mu.shape[0])

    def keep_noise(self, part: Part, origins: Array) -> Array:
        """Write and return the standard deviations of μ, stated or estimated."""
        sigma = points_noise(part.energy, part.mu, origins) if part.sigma is None else part.sigma
        if part.points.size:
            part.put(self._sigma, sigma)
            self._ends[part.rows] = part.energy[0], part.energy[-1]
            self._gaps[part.rows] = abs(int(part.points[-1] - part.points[0])) + 1 - part.points.size
        return sigma

    def put(self, part: Part, rows: Integers, fits: Fits, given: bool) -> None:
        """Write the results of some scans, those that can be believed."""
        errors = fits.step_errors
        rows, fits, errors = self._without(part, rows, fits, errors, _no_step(fits.step, errors))
        if not given:
            elsewhere = _elsewhere(fits, self._scans.attrs)
            rows, fits, errors = self._without(part, rows, fits, errors, elsewhere)
        scans = part.rows[rows]
        if part.points.size == self._axis and part.points[0] == 0:
            fits.write_curves(self._curves, scans)
        else:
            own = {name: np.empty(fits.mu.shape) for name in CURVES}
            fits.write_curves(own, np.arange(rows.size))
            for name, values in own.items():
                self._curves[name][scans] = np.nan
                part.put(self._curves[name], values, rows)
        self._numbers["e0"][scans] = fits.e0
        self._numbers["edge_step"][scans] = fits.step
        self._numbers["edge_step_errors"][scans] = errors
        points = glitches(fits.energy, fits.mu, fits.sigma, fits.e0, fits.step)
        for row in np.flatnonzero(points >= 0):
            self.status.note(scans[row], "suspect", f"μ jumps at {fits.energy[points[row]]:.1f} eV")

    def _without(
        self, part: Part, rows: Integers, fits: Fits, errors: Array, doubts: Mapping[int, tuple[str, str]]
    ) -> tuple[Integers, Fits, Array]:
        """Return what is left when scans that are no edge have been told about."""
        for place, (problem, remedy) in doubts.items():
            self.status.fail([part.rows[rows[place]]], problem, remedy)
        if not doubts:
            return rows, fits, errors
        good = np.ones(rows.size, dtype=bool)
        good[list(doubts)] = False
        return rows[good], fits.only(good), errors[good]

    def note_what_is_missing(self) -> None:
        """Say of scans with gaps, or that begin later or end sooner than others, that they are partial."""
        for row in np.flatnonzero(self._gaps):
            self.status.note(row, "partial", f"{self._gaps[row]} points within are missing")
        first, last = self._ends.T
        if np.isnan(last).all():
            return
        begin, end = np.nanmin(first), np.nanmax(last)
        least = max(20.0, 0.05 * (end - begin))
        for row in np.flatnonzero(end - last > least):
            self.status.note(row, "partial", f"ends at {last[row]:.0f} eV, others at {end:.0f}")
        for row in np.flatnonzero(first - begin > least):
            self.status.note(row, "partial", f"begins at {first[row]:.0f} eV, others at {begin:.0f}")

    def dataset(self, choice: Mapping[str, Any]) -> xr.Dataset:
        """Return the scans with everything."""
        dims = self._scans["mu"].dims
        single = len(dims) == 1
        long_names = {
            "pre_edge": "pre-edge line",
            "post_edge": "post-edge curve",
            "flat": "flattened normalised absorption",
        }
        variables: dict[str, Any] = {}
        nothing = ~np.isfinite(self._numbers["e0"])
        for name, values in {**self._curves, "mu_errors": self._sigma}.items():
            if name in CURVES:
                values[nothing] = np.nan
            attrs = {"units": "", "long_name": long_names[name]} if name in long_names else {}
            variables[name] = (dims, values[0] if single else values, attrs)
        if "mu_errors" in self._scans:
            variables["mu_errors"] = self._scans["mu_errors"]
        numbers = {
            name: (dims[:-1], values[0] if single else values) for name, values in self._numbers.items()
        }
        origin = numbers.pop("e0")
        out = self._scans.assign({**variables, **numbers, "status": self.status.variable()})
        out = out.assign_coords(e0=origin)
        out.attrs["normalization"] = json.dumps(choice)
        return out


def stored_fits(scans: xr.Dataset) -> Iterator[tuple[Part, Integers, Fits]]:
    """Yield the fits `normalize` made, from what it wrote down; scans that failed are left out.

    Yields
    ------
    tuple
        Scans of equal points, which of them (their place in ``part.rows``), and their fits.

    Raises
    ------
    SchemaError
        The scans are not normalised.
    """
    choice = normalization_of(scans)
    origins = np.atleast_1d(scans["e0"].values).astype(float)
    for part in parts(scans):
        if part.energy.size >= FEWEST and part.sigma is not None:
            status = Statuses(scans.drop_vars("status", errors="ignore"), origins.size)
            for fits, rows in _fitted(scans, part, part.sigma, origins[part.rows], choice, status):
                yield part, rows, fits


def normalization_of(scans: xr.Dataset) -> dict[str, Any]:
    """Return the choices of `normalize`.

    Raises
    ------
    SchemaError
        The scans are not normalised.
    """
    if "norm" not in scans or "normalization" not in scans.attrs:
        raise SchemaError("scans", "are not normalised", "call xas.normalize first")
    choice: dict[str, Any] = json.loads(scans.attrs["normalization"])
    return choice


def limits_of(scans: xr.Dataset, choice: Mapping[str, Any], e0: float) -> Range:
    """Return the energies (eV) between which no other edge of the sample is."""
    if not choice.get("elements"):
        return -np.inf, np.inf
    return edge_limits(*absorber(scans.attrs, e0), choice["elements"])


def stored_values(scans: xr.Dataset, index: int) -> dict[str, float]:
    """Return what Athena stored with one scan, by the names of `ATHENA`."""
    return {
        key: float(column[index])
        for key, column in stored_columns(scans).items()
        if np.isfinite(column[index])
    }


def stored_columns(scans: xr.Dataset) -> dict[str, Array]:
    """Return what Athena stored with all scans, each shape (scan,)."""
    count = scans.sizes.get("scan", 1)
    found = {key: scans.coords[key].values for key in ATHENA if key in scans.coords}
    stated = {key: scans.attrs[key] for key in ATHENA if key in scans.attrs and key not in found}
    return {
        key: np.broadcast_to(np.asarray(value, dtype=float), (count,))
        for key, value in (stated | found).items()
    }


def _origins(scans: xr.Dataset, part: Part, choice: Mapping[str, Any], e0: float | None) -> Array:
    """Return E0 of every scan of a part: given, stored by Athena, or the steepest rise."""
    if e0 is not None:
        return np.full(part.rows.size, float(e0))
    stored = stored_columns(scans).get("athena_e0") if choice["convention"] == "athena" else None
    if stored is not None:
        found = stored[part.rows].copy()
        missing = ~np.isfinite(found)
        if missing.any():
            found[missing] = steepest_rises(part.energy, part.mu[missing])
        return found
    return steepest_rises(part.energy, part.mu)


def _fitted(
    scans: xr.Dataset, part: Part, sigma: Array, origins: Array, choice: Mapping[str, Any], status: Statuses
) -> Iterator[tuple[Fits, Integers]]:
    """Yield the fits of a part, scans of equal ranges together, with their places in the part."""
    stored = stored_columns(scans) if choice["convention"] == "athena" else {}
    stored.pop("athena_e0", None)
    table = np.column_stack([origins, *(column[part.rows] for column in stored.values())])
    different, which = np.unique(table, axis=0, return_inverse=True)
    which = which.ravel()
    groups: dict[Any, list[int]] = {}
    for index, values in enumerate(different):
        e0 = float(values[0])
        if not np.isfinite(e0):
            continue
        own = {key: v for key, v in zip(stored, values[1:].tolist(), strict=True) if np.isfinite(v)}
        try:
            limits = limits_of(scans, choice, e0)
            if choice["convention"] == "mback":
                rows = np.flatnonzero(which == index)
                given = part.energy, part.mu[rows], sigma[rows]
                yield fit_mback(*given, e0, choice, limits, absorber(scans.attrs, e0)[0]), rows
                continue
            ranges = find_ranges(part.energy, e0, {**own, **choice}, limits)
        except NoRoom as reason:
            status.fail(part.rows[which == index], *reason.args)
            continue
        groups.setdefault(ranges, []).append(index)
    fixed = "athena_fixed_step" in stored and "athena_edge_step" in stored
    for ranges, members in groups.items():
        chosen = np.flatnonzero(np.isin(which, members))
        for start in range(0, chosen.size, BLOCK):
            rows = chosen[start : start + BLOCK]
            scatter, e0s = sigma[rows], origins[rows]
            nearest = choice["convention"] != "athena"
            fits = fit_polynomials(part.energy, part.mu[rows], scatter, e0s, ranges, nearest)
            if fixed:
                by_user = stored["athena_fixed_step"][part.rows[rows]] > 0
                step = stored["athena_edge_step"][part.rows[rows]]
                fits = fits.with_step(np.where(by_user, step, fits.step))
            yield fits, rows


def _no_step(step: Array, errors: Array) -> dict[int, tuple[str, str]]:
    """Return what has no edge, rather than divide by it: problem and remedy by the place of the scan."""
    found: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero(~(step >= 5 * errors)).tolist():
        found[row] = f"has no edge: the step is {step[row]:.2g} with an error of {errors[row]:.2g}", ""
    for row in np.flatnonzero(~(step > 0)).tolist():
        found[row] = "μ falls across the edge", "swap i0 and it, or give e0="
    return found


def _elsewhere(fits: Fits, attrs: Mapping[str, Any]) -> dict[int, tuple[str, str]]:
    """Return the scans whose steepest rise is not the edge: problem and remedy by the place of the scan."""
    found: dict[int, tuple[str, str]] = {}
    element, edge = str(attrs.get("element", "")), str(attrs.get("edge", ""))
    expected = tabulated(element, edge) if element and edge else None
    for e0 in np.unique(fits.e0):
        rows = np.flatnonzero(fits.e0 == e0)
        after = (fits.energy > e0 + 5) & (fits.energy < e0 + 15)
        if after.any():
            line = fits.line[rows] @ fits.basis[after].T
            low = np.median(fits.mu[np.ix_(rows, after)] - line, axis=1) < 0.2 * fits.step[rows]
            text = f"rises steepest at {e0:.1f} eV, which is not the edge but a spike"
            found |= dict.fromkeys(rows[low].tolist(), (text, "give e0="))
        if expected is not None and abs(e0 - expected) > REACH:
            text = (
                f"rises steepest at {e0:.1f} eV, {abs(e0 - expected):.0f} eV from the {element} {edge} edge"
            )
            found |= dict.fromkeys(rows.tolist(), (text, "give e0="))
    return found


def _check(
    convention: str,
    e0: float | None,
    pre: Sequence[float] | None,
    post: Sequence[float] | None,
    degree: int | None,
) -> None:
    if convention not in CONVENTIONS:
        raise ConfigError("convention", f"is {convention!r}", f"known: {', '.join(CONVENTIONS)}")
    if e0 is not None and not 0 < e0 < np.inf:
        raise ConfigError("e0", f"is {e0!r}", "give the energy of the edge in eV")
    for key, limits in (("pre", pre), ("post", post)):
        if limits is not None and (len(limits) != 2 or not limits[0] < limits[1]):
            raise ConfigError(key, f"is {limits!r}", "give (low, high) in eV relative to E0")
    if degree is not None and degree not in (0, 1, 2, 3):
        raise ConfigError("degree", f"is {degree!r}", "0, 1, 2 or 3")
