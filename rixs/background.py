"""Background: what the rows hold besides light, measured beside the photons of the same frames.

Pixels that neither hold nor touch a photon are empty. Their mean e (frame f, pixel x of the spectrum) is

    e(f, x) = c(x) + p(f) + s q(f, x),

a fixed pattern of columns, a pedestal that may drift from frame to frame, and, where many photons q (per row)
fall, a little charge of theirs that stayed below the gate. The pattern and the pedestal are background, the
charge is not. A column's pattern is known from its empty pixels in all frames and is drawn towards the mean
of all columns as far as it is uncertain (empirical Bayes), so that a column without empty pixels still has
one.

How e scatters from frame to frame about this is the noise of the column, which need not be that of others.
With F frames its variance is known to √(2/(F − 1)) of itself, and it is drawn towards the geometric mean of
all columns as far as they do not differ by more.

In images clipped at zero an empty pixel has the mean of clipped noise, and one that holds a photon has not:
the model of the clip (`calibration.clip`) says what to subtract there. Without a model the clip stays in the
spectra, and they say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr

    from calibration.clip import Clip

Array = np.ndarray[Any, np.dtype[np.float64]]

ROUNDS = 8

FRAMES = 4
"""Degrees of freedom from which on the scatter of a column from frame to frame is looked at."""

LEAKS = 4.0
"""Charge of photons in empty pixels is believed above so many of its standard deviations."""


@provenance.step("rixs.subtract_background", returns="rixs.spectra")
def subtract_background(spectra: xr.Dataset, clip: Clip | None = None) -> xr.Dataset:
    """Subtract the fixed pattern, the pedestal of each frame and what clipping added.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra`` from `rixs.extract` or `rixs.straighten`, all frames of a scan.
    clip
        Model of the clip, where the images were clipped at zero.

    Returns
    -------
    Dataset
        `spectra` with the background subtracted from ``intensity``, its error added to ``intensity_errors``,
        and ``row_background`` (frame, pixel; ADU) with ``row_background_errors``: largely common to all
        frames. ``intensity_errors`` have the read noise of each column, as its empty pixels scatter from
        frame to frame, in place of that of the whole detector; the attribute ``column_noise`` says how far
        they differ. The attribute ``clip_bias`` says whether the clip was modelled.

    Raises
    ------
    SchemaError
        The spectra do not say what empty pixels hold, or their background is subtracted already.
    """
    if "row_background" in spectra:
        raise SchemaError("background", "is subtracted already", "subtract it once")
    if "empty_level" not in spectra:
        raise SchemaError("spectra", "do not say what empty pixels hold", "make them with rixs.extract")
    rows, noise = float(spectra.attrs["rows"]), float(spectra.attrs["read_noise"])
    live = spectra["live_rows"].values
    measured = np.isfinite(spectra["intensity"].values)
    scale = rows / np.where(measured, live, np.nan)
    near, hit = spectra["photon_rows"].values, spectra["hit_rows"].values
    level = spectra["empty_level"].values
    # Not the sum of all rows: it shares its noise with the empty pixels.
    charge = spectra["photon_charge"].values
    pattern, pattern_errors, pedestal, variance = _empty_pixels(level, live - near, charge, noise)
    empty = pattern + pedestal[:, None]

    result = spectra.copy()
    clipped = "clipped" in spectra.attrs
    if clipped and clip is not None:
        # The model holds for the mean of all empty pixels; where columns differ, so does the pedestal.
        beside, holds = clip.near + (empty - clip.empty) / 2, clip.hit
        total = (live - near) * empty + (near - hit) * beside + hit * holds
        model = (near - hit) * clip.near_errors + hit * clip.hit_errors
        result.attrs["clip_bias"] = f"modelled: {clip.empty:.2f} ADU per empty pixel subtracted"
    else:
        total = live * empty
        model = np.zeros_like(total)
        if clipped:
            # An empty pixel is off by its own mean at most, a hit one by as much the other way.
            model = near * np.abs(empty)
            result.attrs["clip_bias"] = "not modelled: what the clip adds near photons is not known"
    errors = np.hypot(live * pattern_errors, model) * scale
    # Without noise nothing is uncertain, which no error may say.
    errors = np.where(errors > 0, errors, 1e-3)
    errors = np.where(measured, errors, np.nan)
    result["intensity"] = spectra["intensity"] - total * scale
    if "intensity_errors" in spectra:
        stated = spectra["intensity_errors"].values ** 2
        read = live * noise**2 * scale**2
        # Where the photons' own part is nothing, rounding must leave no less.
        own = np.maximum(stated - read, 0.0) + live * variance * scale**2
        own = np.where(variance > 0, own, stated)
        result["intensity_errors"] = (spectra["intensity"].dims, np.hypot(np.sqrt(own), errors))
        low, middle, high = np.sqrt(np.quantile(variance, (0.05, 0.5, 0.95)))
        result.attrs["column_noise"] = f"{middle:.2f} ADU ({low:.2f} to {high:.2f} in nine of ten columns)"
    result["row_background"] = (spectra["intensity"].dims, np.where(measured, total * scale, np.nan))
    result["row_background"].attrs["units"] = "ADU"
    result["row_background_errors"] = (spectra["intensity"].dims, errors)
    return result


def _empty_pixels(
    level: Array, weight: Array, charge: Array, noise: float
) -> tuple[Array, Array, Array, Array]:
    """Return pattern (pixel), its errors, pedestal (frame) and noise variance (pixel) of empty pixels.

    `level` (frame, pixel) is the mean of `weight` empty pixels, beside `charge` of photons in their column.
    """
    weight = np.where(np.isfinite(level), weight, 0.0)
    level = np.where(weight > 0, level, 0.0)
    total = max(float(weight.sum()), 1.0)
    mean = float((weight * level).sum()) / total
    number = weight.sum(axis=0)
    own = noise**2 / np.maximum(number, 1e-9)
    frames = np.maximum(weight.sum(axis=1), 1e-9)
    pattern = np.zeros(level.shape[1])
    pedestal = np.zeros(level.shape[0])
    share, leak = 1.0, 0.0
    for _ in range(ROUNDS):
        off = level - mean - leak * charge
        pattern = (weight * (off - pedestal[:, None])).sum(axis=0) / np.maximum(number, 1e-9)
        # Spread of the columns beyond what noise makes of them.
        known = number > 0
        spread = max(float((pattern[known] ** 2 - own[known]).mean()), 0.0) if known.any() else 0.0
        share = spread / (spread + own) if spread > 0 else np.zeros_like(own)
        pattern = pattern * share
        pedestal = (weight * (off - pattern)).sum(axis=1) / frames
        pedestal -= (frames * pedestal).sum() / total
        rest = off + leak * charge - pattern - pedestal[:, None]
        column = (weight * charge).sum(axis=0) / np.maximum(number, 1e-9)
        varied = charge - column
        information = float((weight * varied**2).sum())
        found = float((weight * varied * rest).sum()) / information if information > 0 else 0.0
        # Charge that leaks makes pixels fuller, never emptier; what noise may be is left alone.
        leak = found if found > LEAKS * noise / np.sqrt(max(information, 1e-300)) else 0.0
    rest = level - mean - leak * charge - pattern - pedestal[:, None]
    variance = _column_variance(rest, weight, noise)
    errors = np.sqrt(share * variance / np.maximum(number, 1e-9) + noise**2 / total)
    return mean + pattern, np.asarray(errors), pedestal, variance


def _column_variance(rest: Array, weight: Array, noise: float) -> Array:
    """Return the variance (pixel; ADU²) of an empty pixel in each column.

    `rest` (frame, pixel) is what means of `weight` empty pixels are off by. Columns that differ by no more
    than chance have the variance of all; with few frames nothing is known, and it is that of `noise`.
    """
    freedom = (weight > 0).sum(axis=0) - 1
    known = freedom >= FRAMES
    if not known.any():
        return np.full(rest.shape[1], noise**2)
    found = (weight * rest**2).sum(axis=0) / np.maximum(freedom, 1)
    known &= found > 0
    if not known.any():
        return np.full(rest.shape[1], noise**2)
    # The logarithm of a variance of n degrees of freedom is low by 1/n and scatters by √(2/n).
    freedom = np.maximum(freedom, 1)
    log = np.log(np.where(known, found, 1.0)) + 1 / freedom
    mean = float(log[known].mean())
    spread = max(float(((log[known] - mean) ** 2 - 2 / freedom[known]).mean()), 0.0)
    share = np.where(known, spread / (spread + 2 / freedom), 0.0)
    return np.asarray(np.exp(mean + share * (log - mean)))
