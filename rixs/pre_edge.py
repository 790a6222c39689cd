"""What the spectrograph sees without the sample's emission: stray light, from the frames below the edge.

Below the edge nothing fluoresces there; besides the elastic line, what is left is background. It is averaged
over the frames below the edge, each without the pixels around its own elastic line, which lies elsewhere in
every frame:

    B(x) = Σ_k n_k(x) / Σ_k s_k,   k with |E_k − E'(x)| > w,

n_k the counts and s_k what the background grows with: flux (stray light) or exposure (the detector). Where a
pixel lies in the elastic line of every frame, nothing tells line and background apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from beamline import provenance
from beamline.errors import CalibrationError, SchemaError
from calibration.excitation import CORRECTION

if TYPE_CHECKING:
    import xarray as xr

    from calibration.emission import EmissionAxis

Array = np.ndarray[Any, np.dtype[np.float64]]

WINGS = 1.5
"""Elastic light is looked for from the half width left out to this many of it."""

SEEN = 5.0
"""Light beyond the part left out is believed above so many standard deviations."""


@provenance.step("rixs.subtract_pre_edge", returns="rixs.spectra")
def subtract_pre_edge(
    spectra: xr.Dataset,
    emission: EmissionAxis,
    edge: float,
    half_width: float = 0.5,
    by: Literal["flux", "exposure"] = "flux",
) -> xr.Dataset:
    """Subtract the mean of the spectra below the edge, without their elastic lines.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra``: intensity (frame, pixel) with errors per 10⁶ counts of I0, of `rixs.normalize`.
    emission
        Emission axis, which tells where the elastic lines are.
    edge
        Spectra at excitation energies below this (eV) have no emission but the elastic line.
    half_width
        How far (eV) the elastic line reaches on both sides.
    by
        What the background grows with: the flux (stray light), or the exposure (coordinate ``exposure``).

    Returns
    -------
    Dataset
        `spectra` without the background, whose error is in ``intensity_errors``; in the spectra it was made
        of, less what they share with it. ``pre_edge_background`` (frame, pixel) with its errors is what was
        subtracted, common to all frames but for their flux; the attribute ``pre_edge`` says how.

    Raises
    ------
    CalibrationError
        There is no spectrum below the edge; a pixel is in the elastic line of every such spectrum; or there
        is elastic light beyond the part left out.
    SchemaError
        The spectra have no errors, are not normalised, have no exposure where it is asked for, or the
        background is subtracted already.
    """
    if "pre_edge_background" in spectra:
        raise SchemaError("background of the pre-edge", "is subtracted already", "subtract it once")
    if "intensity_errors" not in spectra or "i0_mask" not in spectra.coords:
        raise SchemaError("spectra", "are not normalised, or have no errors", "take those of rixs.normalize")
    flux = np.abs(spectra["i0"].values.astype(float))
    if by == "flux":
        size = flux
    elif "exposure" in spectra.coords:
        size = spectra["exposure"].values.astype(float)
    else:
        raise SchemaError("exposure", "of the spectra is not known", 'state it, or use by="flux"')
    value, variance = spectra["intensity"].values, spectra["intensity_errors"].values ** 2
    loss = _energy_loss(spectra, emission)
    below = (spectra["excitation_energy"].values < edge) & np.isfinite(flux)
    if not below.any():
        raise CalibrationError("pre-edge background", f"has no spectrum below {edge:g} eV", "measure some")
    used = below[:, None] & np.isfinite(value) & (np.abs(loss) > half_width)
    total = np.where(used, size[:, None], 0.0).sum(axis=0)
    wanted = np.isfinite(value).any(axis=0)
    if (wanted & (total == 0)).any():
        axis = emission.energy(spectra["pixel"].values.astype(float))[wanted & (total == 0)]
        raise CalibrationError(
            "pre-edge background",
            f"is hidden by elastic lines from {axis.min():.2f} to {axis.max():.2f} eV in all "
            f"{int(below.sum())} spectra below {edge:g} eV",
            f"measure below the edge over more than {2 * half_width:g} eV",
        )
    # Per flux, a frame's share of the sum is its flux; times flux over `size`, it is a background per `size`.
    share = np.where(used, flux[:, None], 0.0) / np.where(total > 0, total, np.nan)
    mean = (share * np.where(used, value, 0.0)).sum(axis=0)
    spread = (share**2 * np.where(used, variance, 0.0)).sum(axis=0)
    scale = (size / flux)[:, None]
    background = scale * mean
    own = scale * share * np.where(used, variance, 0.0)
    rest = value - background
    errors = variance + scale**2 * spread - 2 * own
    _check_wings(rest, errors, below[:, None] & np.isfinite(rest), np.abs(loss), half_width)

    units = spectra["intensity"].attrs["units"]
    label = {"units": units, "long_name": "background measured below the edge"}
    seen = np.isfinite(value)
    dims = spectra["intensity"].dims
    result = spectra.copy()
    result["intensity"] = spectra["intensity"] - background
    # A spectrum that is its own background has no error left, which none may say.
    least = 1e-6 * variance
    result["intensity_errors"] = (dims, np.sqrt(np.maximum(errors, least)))
    result["pre_edge_background"] = (dims, np.where(seen, background, np.nan), label)
    sigma = np.where(seen, np.abs(scale) * np.sqrt(spread), np.nan)
    result["pre_edge_background_errors"] = (dims, np.where(sigma == 0, 1e-12, sigma))
    result.attrs["pre_edge"] = (
        f"mean of {int(below.sum())} spectra below {edge:g} eV without {half_width:g} eV on both sides of "
        f"their elastic lines, by {by}, subtracted"
    )
    return result


def _energy_loss(spectra: xr.Dataset, emission: EmissionAxis) -> Array:
    """Return the energy loss (frame, pixel) on the axis the map will have."""
    pixel = spectra["pixel"].values.astype(float)
    moved = emission.moved(spectra)[:, None]
    shift = float(spectra.attrs.get(CORRECTION, 0.0)) - emission.excitation_shift
    return np.asarray(
        spectra["excitation_energy"].values[:, None] - emission.energy(pixel - moved) - shift, float
    )


def _check_wings(rest: Array, variance: Array, known: Array, distance: Array, half_width: float) -> None:
    """Refuse a line that reaches beyond what was left out: its wings would be taken for background."""
    wings = known.astype(bool) & (distance > half_width) & (distance < WINGS * half_width)
    light, error = float(rest[wings].sum()), float(np.sqrt(variance[wings].sum()))
    if light > SEEN * error:
        raise CalibrationError(
            "pre-edge background",
            f"cannot leave out the elastic lines: they reach farther than {half_width:g} eV "
            f"({light / error:.0f} standard deviations)",
            "give a larger half_width",
        )
