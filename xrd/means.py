"""From sums over pixels to the mean of every bin, with its error."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from beamline.errors import CalibrationError, ConfigError
from xrd.sums import limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xrd.frames import Frames
    from xrd.kernel import Kernel

_EQUAL = 1e-12
"""Pixels whose scatter is less than this part of their mean are equal, up to rounding."""


class Noise(NamedTuple):
    """What makes pixels scatter, for every frame; variances, in the units of the signal squared.

    Attributes
    ----------
    gain
        Variance over signal; None where variance is to be told from the scatter.
    read
        Variance of a pixel without light.
    """

    gain: NDArray[np.float64] | None
    read: NDArray[np.float64]


class Means(NamedTuple):
    """Mean, standard deviation, live pixels and rejected part of every bin (frame, bin)."""

    intensity: NDArray[np.float64]
    errors: NDArray[np.float64]
    coverage: NDArray[np.float64]
    rejected: NDArray[np.float64] | None


def noise_of(frames: Frames, parameters: dict[str, Any]) -> Noise:
    """Return what makes pixels scatter, from the parameters of `xrd.integrate`.

    Raises
    ------
    CalibrationError
        The errors need a gain.
    ConfigError
        The parameters contradict each other.
    """
    gain, read_noise = parameters["gain"], parameters["read_noise"]
    exposures = frames.exposures
    if parameters["error_model"] == "azimuthal":
        if read_noise is not None:
            raise ConfigError("read_noise", "is part of azimuthal errors already", "leave it out")
        return Noise(None, np.zeros_like(exposures))
    if gain is None and not frames.is_counts:
        raise CalibrationError(
            frames.name(0),
            f"is in {frames.units}: without the gain its Poisson errors are not known",
            'give gain= (signal per photon), or error_model="azimuthal"',
        )
    return Noise((gain or 1.0) / exposures, (read_noise or 0.0) ** 2 / exposures)


def means(kernel: Kernel, frames: Frames, noise: Noise, parameters: dict[str, Any]) -> Means:
    """Return the means of the bins of frames; parameters are those of `xrd.integrate`."""
    low, top = limits(frames.counts.dtype, frames.is_counts, parameters["saturation"])
    if kernel.dark is not None:
        frames.check_exposure(kernel.dark.exposure)
        if parameters["read_noise"]:
            noise = noise._replace(read=noise.read + parameters["read_noise"] ** 2 / kernel.dark.exposures)
    if parameters["clip"] is None and parameters["trim"] is None:
        return _plain(kernel, frames.counts, noise, low, top)
    clip, trim = parameters["clip"], parameters["trim"]
    rows = [_robust(kernel, frame, noise, i, (low, top, clip, trim)) for i, frame in enumerate(frames.counts)]
    return Means(*(np.stack(column) for column in zip(*rows, strict=True)))


def _plain(kernel: Kernel, counts: NDArray[Any], noise: Noise, low: Any, top: Any) -> Means:
    sums = kernel.sums(counts, low, top)
    live = (sums.pixels > 0) & (sums.norm > 0)
    if noise.gain is None:
        # A bin of one pixel has no scatter to tell its error from.
        live &= sums.pixels > 1
        norm = np.where(live, sums.norm, np.nan)
        intensity = sums.signal / norm
        scatter = np.stack(
            [kernel.scatter(frame, low, top, mean) for frame, mean in zip(counts, intensity, strict=True)]
        )
        variance = _of_scatter(scatter * (sums.pixels / np.where(live, sums.pixels - 1, 1.0)), sums.signal)
        return Means(intensity, np.sqrt(variance) / norm, sums.pixels, None)
    norm = np.where(live, sums.norm, np.nan)
    gain, read = noise.gain[:, np.newaxis], noise.read[:, np.newaxis]
    # Less than the signal of one photon is not known better than one photon. It gives g units of signal, of
    # variance g²; where pixels are shared, Σc²/Σc of that comes from as even a light on all of them.
    shared = sums.squares / np.where(live, sums.pixels, 1.0)
    counting = np.maximum(gain * sums.squares_signal, shared * gain**2)
    return Means(sums.signal / norm, np.sqrt(counting + read * sums.squares) / norm, sums.pixels, None)


def _robust(
    kernel: Kernel,
    frame: NDArray[Any],
    noise: Noise,
    index: int,
    how: tuple[Any, Any, float | None, float | None],
) -> tuple[NDArray[np.float64], ...]:
    """Return the columns of `Means` of one frame."""
    low, top, clip, trim = how
    gain = 0.0 if noise.gain is None else float(noise.gain[index])
    sums = kernel.robust_sums(frame, low, top, clip, trim, gain)
    live = (sums.pixels > (0 if gain else 1)) & (sums.norm > 0)
    if gain:
        spread = 1.0 if trim is None else (1 - 2 * trim) * trimmed_variance(trim)
        counting = np.maximum(gain * sums.signal, gain**2)
        variance = spread * (counting + noise.read[index] * sums.pixels)
    else:
        variance = _of_scatter(sums.scatter, sums.signal)
    norm = np.where(live, sums.norm, np.nan)
    return sums.signal / norm, np.sqrt(variance) / norm, sums.pixels, sums.rejected


def _of_scatter(variance: NDArray[np.float64], signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a variance that is not 0: pixels that are all equal agree to the unit they are counted in."""
    return np.where(variance > (_EQUAL * signal) ** 2, variance, 1.0)


def trimmed_variance(part: float) -> float:
    r"""Return the variance of the trimmed mean of Gaussian pixels, over that of their mean.

    With z the quantile of 1 - α: :math:`(1 - 2α - 2 z φ(z) + 2 α z^2) / (1 - 2 α)^2` (P. J. Huber, Robust
    Statistics (1981), section 3.3, for the normal distribution).
    """
    if part == 0:
        return 1.0
    law = NormalDist()
    z = law.inv_cdf(1 - part)
    return (1 - 2 * part - 2 * z * law.pdf(z) + 2 * part * z**2) / (1 - 2 * part) ** 2
