"""Yields against the excitation energy: partial, super-partial, total and inverse fluorescence, electrons.

A pixel of the emission axis is a bin. A window takes each bin in proportion to its overlap, so that windows
that meet add up to the counts between them. Straightening lets neighbouring pixels share events and splits
the
variance in the same proportion (`rixs.straightening`), so that the plain sum of variances is right for the
sum of a few pixels; the part of a bin at the end of a window takes the same part of its variance.

Beside the counting errors stands ``intensity_systematic``: how far the yield moves when the axes move by one
standard deviation of their calibration, |I(hi) − I(lo)| σ. It is one number for the whole map, so it does not
average out over points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, SchemaError

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

NON_RESONANT = 40.0
"""A shell is off resonance when the lowest excitation energy lies this far (eV) above its emission."""

MEASURABLE = 5.0
"""A yield below so many of its errors has no inverse worth the name."""


@provenance.step("rixs.emission_window", returns="rixs.cut")
def emission_window(
    rmap: xr.Dataset, lo: float, hi: float, background: tuple[float, float] | None = None
) -> xr.Dataset:
    """Integrate a map over emission energies from `lo` to `hi` (eV): the partial fluorescence yield (PFY).

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.
    lo, hi
        Window, eV; within the emission energies of the map.
    background
        Emission energies (eV) without light, outside the window: their mean is subtracted from every pixel.

    Returns
    -------
    Dataset
        ``intensity`` (excitation_energy) with counting errors, and ``intensity_systematic`` from the error of
        the axes. A point that lacks a pixel of the window is NaN.

    Raises
    ------
    ConfigError
        The window is empty, or reaches beyond the map, or the background overlaps it.
    """
    return _over_emission(rmap, lo, hi, background)


@provenance.step("rixs.super_pfy", returns="rixs.cut")
def super_pfy(rmap: xr.Dataset, center: float = 523.7, half_width: float = 0.5) -> xr.Dataset:
    """Integrate a map over a narrow window of emission around that of oxidised oxygen (super-PFY).

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.
    center, half_width
        Of the window, eV. No text states the width others use; it goes into the result.

    Returns
    -------
    Dataset
        As `emission_window`.

    Raises
    ------
    ConfigError
        The window is empty, or reaches beyond the map.
    """
    return _over_emission(rmap, center - half_width, center + half_width)


@provenance.step("rixs.total_yield", returns="rixs.cut")
def total_yield(rmap: xr.Dataset) -> xr.Dataset:
    """Integrate a map over all emission that every one of its points has (TFY-like, elastic line included).

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.

    Returns
    -------
    Dataset
        As `emission_window`; its window is the emission that was measured, which a detector of total
        fluorescence does not share.

    Raises
    ------
    SchemaError
        No pixel was measured at every point.
    """
    whole = np.flatnonzero(np.isfinite(rmap["intensity"].values).all(axis=0))
    if whole.size == 0:
        raise SchemaError("map", "has no emission energy measured at every point")
    # A gap in the middle would be a hole in the integral: take the longest range without one.
    runs = np.split(whole, np.flatnonzero(np.diff(whole) > 1) + 1)
    longest = max(runs, key=len)
    edges = bin_edges(rmap["emission_energy"].values)
    return _over_emission(rmap, float(edges[longest[0]]), float(edges[longest[-1] + 1]))


@provenance.step("rixs.counter_yield", returns="rixs.cut")
def counter_yield(rmap: xr.Dataset, counter: str = "tey") -> xr.Dataset:
    """Return a counter the scan recorded beside its images, per 10⁶ counts of I0.

    Parameters
    ----------
    rmap
        Kind ``rixs.map`` with the counter among its coordinates (counts, the mean over repeats).
    counter
        Name of the coordinate: ``tey`` (electrons) or ``tfy`` (fluorescence).

    Returns
    -------
    Dataset
        ``intensity`` (excitation_energy), with the counting errors of counter and I0.

    Raises
    ------
    SchemaError
        The map has no such counter, or it is not in counts.
    """
    from beamline import units
    from rixs.normalization import PER

    if counter not in rmap.coords:
        raise SchemaError(counter, "is not in the map", "was the counter read in the scan?")
    unit = str(rmap[counter].attrs.get("units", ""))
    if not units.compatible(unit, "count"):
        raise SchemaError(counter, f"is in {unit!r}, not in counts", "its counting error is not known")
    total = rmap[counter].values * rmap["repeats"].values
    flux = np.abs(rmap["i0"].values)
    value = np.where(total > 0, total / flux * PER, np.nan)
    errors = value * np.sqrt(1 / np.where(total > 0, total, np.nan) + 1 / flux)
    cut = _cut(rmap, value, f"{unit or 'count'}/megacount", {"window": f"counter {counter}"})
    cut["intensity_errors"] = ("excitation_energy", errors)
    return cut


@provenance.step("rixs.inverse_pfy", returns="rixs.cut")
def inverse_pfy(
    rmap: xr.Dataset, lo: float, hi: float, background: tuple[float, float] | None = None
) -> xr.Dataset:
    """Return the inverse of a non-resonant partial fluorescence yield (IPFY): an absorption spectrum.

    Where the emission is that of a shell far below the excitation energy (O Kα under a metal L edge), its
    excitation is smooth and its yield only competes with the rest of the absorption:
    1/PFY ∝ μ(E) + μ(E') sin α / sin β, without the saturation of a total yield (A. J. Achkar et al.,
    Phys. Rev. B 83 (2011) 081106).

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.
    lo, hi
        Emission window of the non-resonant line, eV.
    background
        Emission energies (eV) without light, whose mean is subtracted: an inverse forgives no pedestal.

    Returns
    -------
    Dataset
        ``intensity`` (excitation_energy): 1/PFY, corrected for the mean of an inverse (1 − σ²/I²), with
        errors. A point with less than `MEASURABLE` standard deviations of light is NaN.

    Raises
    ------
    ConfigError
        The window is empty or beyond the map, or its emission is that of the shell being excited: at the O K
        edge the yield follows the absorption itself, and its inverse means nothing.
    SchemaError
        The map has no errors, or the line is nowhere in it.
    """
    first = float(rmap["excitation_energy"].values[0])
    if first - hi < NON_RESONANT:
        raise ConfigError(
            f"emission {lo} to {hi} eV",
            f"is not {NON_RESONANT:g} eV below the lowest excitation, {first:.1f} eV: it is resonant, and "
            "its yield follows the absorption itself",
            "use emission_window; the inverse is for the emission of a lower edge, O K under a metal L edge",
        )
    pfy = _over_emission(rmap, lo, hi, background)
    if "intensity_errors" not in pfy:
        raise SchemaError("map", "has no errors, which tell where a yield can be inverted")
    value, errors = pfy["intensity"].values, pfy["intensity_errors"].values
    light = np.isfinite(value) & (value > MEASURABLE * errors)
    if not light.any():
        sigma = float(np.nanmax(value / errors)) if np.isfinite(value).any() else 0.0
        raise SchemaError(
            "map",
            f"has no line at {lo:g} to {hi:g} eV: {sigma:.1f} standard deviations at most, of {MEASURABLE:g}",
            "look where the line is, or add up points",
        )
    value, relative = np.where(light, value, np.nan), np.where(light, errors / value, np.nan)
    units = f"1/({pfy['intensity'].attrs['units']})"
    cut = _cut(rmap, (1 - relative**2) / value, units, _window(lo, hi))
    cut["intensity_errors"] = ("excitation_energy", relative / value)
    cut["intensity"].attrs["long_name"] = "inverse partial fluorescence yield"
    return cut


def bin_edges(center: Array) -> Array:
    """Return the edges of bins around ascending centres: half-way between, and as far outside."""
    middle = (center[1:] + center[:-1]) / 2
    return np.concatenate([[2 * center[0] - middle[0]], middle, [2 * center[-1] - middle[-1]]])


def bin_weights(center: Array, lo: float, hi: float) -> Array:
    """Return the width of each bin that lies between `lo` and `hi`: Σ w y is the integral of y per eV."""
    edges = bin_edges(center)
    return np.asarray(np.clip(np.minimum(edges[1:], hi) - np.maximum(edges[:-1], lo), 0, None))


def shared_variance(center: Array, weights: Array, errors: Array) -> Array:
    """Return the variance of Σ w y over the last axis.

    A part of a bin has that part of its variance; a weight beyond the bin's own width is a factor.
    """
    width = np.diff(bin_edges(center))
    return np.asarray((np.where(weights > 0, width * weights, weights**2) * errors**2).sum(axis=-1))


def _over_emission(
    rmap: xr.Dataset, lo: float, hi: float, background: tuple[float, float] | None = None
) -> xr.Dataset:
    emission = rmap["emission_energy"].values
    edges = bin_edges(emission)
    if not lo < hi:
        raise ConfigError(f"window {lo} to {hi} eV", "is empty", "give the lower end first")
    if lo < edges[0] or hi > edges[-1]:
        raise ConfigError(
            f"window {lo} to {hi} eV", f"is not within the map's {edges[0]:.3f} to {edges[-1]:.3f} eV"
        )
    weights = bin_weights(emission, lo, hi)
    if background is not None:
        empty = bin_weights(emission, *background)
        if not empty.any() or (weights * empty).any():
            raise ConfigError(
                f"background {background[0]} to {background[1]} eV", "is empty or in the window"
            )
        weights = weights - (hi - lo) * empty / empty.sum()
    used = weights != 0
    values = rmap["intensity"].values
    units = str(rmap["intensity"].attrs["units"])
    units = units.removesuffix("/eV") if units.endswith("/eV") else f"{units}*eV"
    cut = _cut(rmap, values[:, used] @ weights[used], units, _window(lo, hi))
    if "intensity_errors" in rmap:
        variance = shared_variance(emission, weights, np.nan_to_num(rmap["intensity_errors"].values))
        errors = np.where(np.isfinite(cut["intensity"].values), np.sqrt(variance), np.nan)
        cut["intensity_errors"] = ("excitation_energy", errors)
    sigma = axis_error(rmap, (lo + hi) / 2)
    if sigma > 0:
        ends = [int(np.searchsorted(edges, end).clip(1, emission.size)) - 1 for end in (lo, hi)]
        moved = np.abs(values[:, ends[1]] - values[:, ends[0]]) * sigma
        label = {"units": units, "long_name": "error from the calibration of the axes, common to all points"}
        cut["intensity_systematic"] = ("excitation_energy", moved, label)
    return cut


def axis_error(rmap: xr.Dataset, emission: float) -> float:
    """Return the standard deviation (eV) of the emission axis at an energy; 0 where the map states none.

    The correction of the excitation energies moves the emission axis too, so its error is part of it.
    """
    total = 0.0
    if "emission_energy_errors" in rmap.coords:
        at = rmap["emission_energy_errors"].sel(emission_energy=emission, method="nearest")
        total = float(at)
    if "excitation_energy_errors" in rmap.coords:
        total = float(np.hypot(total, rmap["excitation_energy_errors"].values.mean()))
    return total if np.isfinite(total) else 0.0


def _cut(rmap: xr.Dataset, values: Array, units: str, attrs: dict[str, Any]) -> xr.Dataset:
    """Return a cut over the excitation energy, with what is known of the points."""
    import xarray as xr

    return xr.Dataset(
        {"intensity": ("excitation_energy", values, {"units": units})},
        coords={
            name: coord for name, coord in rmap.coords.items() if coord.dims in (("excitation_energy",), ())
        },
        attrs={
            **{key: value for key, value in rmap.attrs.items() if key not in ("kind", "history")},
            **attrs,
        },
    )


def _window(lo: float, hi: float) -> dict[str, Any]:
    return {"window": f"{lo:g} to {hi:g} eV emission", "window_from": float(lo), "window_to": float(hi)}
