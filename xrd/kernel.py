"""Sums over the bins of a pattern: the inside of `xrd.integrate`, for now pyFAI's.

What depends on the detector alone (which pixel goes into which bin, mask, solid angle, polarisation) is set
up once; what depends on the frame comes in as its signal, NaN where the pixel did not measure.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from beamline.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calibration.geometry import Geometry

SPLITTING = {"none": "no", "bbox": "bbox", "full": "full"}
"""Our names of the ways to share a pixel between bins, and pyFAI's."""


class Sums(NamedTuple):
    """Sums over the pixels of each bin: of c s, c² σ², c n and c (see `xrd.integration`), and Σ c² / Σ c."""

    signal: NDArray[np.float64]
    variance: NDArray[np.float64]
    norm: NDArray[np.float64]
    pixels: NDArray[np.float64]
    sharing: NDArray[np.float64] | float


def mean(sums: Sums, variance_per_signal: float | None) -> tuple[NDArray[np.float64], ...]:
    """Return mean, its standard deviation and live pixels of every bin.

    `variance_per_signal` is None where the variance is the scatter of the pixels.
    """
    live = (sums.pixels > 0) & (sums.norm > 0)
    variance = sums.variance
    if variance_per_signal is None:
        # A bin of one pixel has no scatter to tell its error from.
        live &= sums.pixels > 1
        variance = variance * (sums.pixels / np.where(live, sums.pixels - 1, 1.0))
        # Pixels that are all equal agree to the unit they are counted in, not better.
        variance = np.where(variance > 0, variance, 1.0)
    else:
        # Less than the signal of one photon is not known better than one photon. It gives g units of signal,
        # of variance g²; where pixels are shared, Σc²/Σc of that comes from as even a light on all of them.
        variance = np.maximum(variance, sums.sharing * variance_per_signal**2)
    norm = np.where(live, sums.norm, np.nan)
    return sums.signal / norm, np.sqrt(variance) / norm, sums.pixels


def range_of(
    angles: NDArray[np.float64], bins: int, two_theta_range: tuple[float, float] | None
) -> tuple[float, float]:
    """Return first and last edge of the bins in deg, for pixels at these angles.

    Raises
    ------
    ConfigError
        No pixel is in the range.
    """
    first, last = float(angles.min()), float(angles.max())
    # A thousandth of a bin wider, so that the outermost pixels do not fall on an edge.
    margin = 1e-3 * (last - first) / bins
    low, high = two_theta_range or (first - margin, last + margin)
    if not ((angles >= low) & (angles <= high)).any() or not low < high:
        raise ConfigError(
            "two_theta_range",
            f"{low:g} to {high:g} deg: the detector sees {first:.3f} to {last:.3f} deg",
        )
    return low, high


class StaticMask:
    """A mask (True = never used), or None, that can be part of a key."""

    def __init__(self, mask: NDArray[np.bool_] | None) -> None:
        self.array = mask
        self._digest = b"" if mask is None else hashlib.sha256(np.packbits(mask).tobytes()).digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StaticMask) and other._digest == self._digest


@dataclass(eq=False)
class Kernel:
    """One detector and one set of bins; it may be used from several threads.

    Attributes
    ----------
    two_theta
        Centres of the bins in deg.
    method
        What does the work.
    """

    geometry: Geometry
    shape: tuple[int, int]
    bins: int
    splitting: str
    mask: StaticMask
    polarization: float | None
    solid_angle: bool
    range: tuple[float, float] | None

    def __post_init__(self) -> None:
        angles = np.degrees(self.geometry.two_theta(self.shape))
        low, high = range_of(angles, self.bins, self.range)
        if self.mask.array is not None and self.mask.array[(angles >= low) & (angles <= high)].all():
            raise ConfigError("mask", f"leaves no pixel at {low:g} to {high:g} deg", "nonzero = masked")
        width = (high - low) / self.bins
        self.two_theta = low + width * (np.arange(self.bins) + 0.5)
        # pyFAI counts pixels just outside the range into the first and the last bin: two more are made, and
        # not used.
        self._range = (low - width, high + width)
        self._method = (SPLITTING[self.splitting], "csc", "cython")
        self.method = f"pyFAI: {' '.join(self._method)}"
        self._pyfai = self.geometry.to_pyfai(self.shape)
        self._lock = threading.Lock()

    def sums(self, signal: NDArray[np.float32], variance_per_signal: float | None) -> Sums:
        """Sum up one frame (y, x); pixels that are NaN are left out."""
        errors: dict[str, Any] = {}
        if variance_per_signal is None:
            errors = {"error_model": "azimuthal"}
        elif self.splitting != "none":
            # Handed over, because pyFAI's Poisson model takes an empty pixel for one of one photon.
            errors = {"variance": signal}
        with self._lock:  # pyFAI's engine works in buffers of its own
            result = self._pyfai.integrate1d(
                signal,
                self.bins + 2,
                unit="2th_deg",
                method=self._method,
                mask=self.mask.array,
                radial_range=self._range,
                correctSolidAngle=self.solid_angle,
                polarization_factor=self.polarization,
                **errors,
            )
        used = result.method
        if (used.split_lower, used.algo_lower, used.impl_lower) != self._method:
            raise ConfigError(
                f"splitting {self.splitting!r}",
                f"made pyFAI fall back to {used}",
                "install pyFAI with cython",
            )
        total, norm, pixels = (
            np.array(column[1:-1], dtype=np.float64)
            for column in (result.sum_signal, result.sum_normalization, result.count)
        )
        if variance_per_signal is None:
            return Sums(total, np.array(result.sum_variance[1:-1], dtype=np.float64), norm, pixels, 1.0)
        if self.splitting == "none":  # c² = c: the signal is its own variance
            return Sums(total, variance_per_signal * total, norm, pixels, 1.0)
        squared, squared_norm = (
            np.array(column[1:-1], dtype=np.float64)
            for column in (result.sum_variance, result.sum_normalization2)
        )
        # pyFAI sums c² n²; n hardly differs between the pixels of a bin.
        live = norm > 0
        sharing = np.divide(squared_norm * pixels, norm**2, out=np.ones_like(norm), where=live)
        return Sums(total, variance_per_signal * squared, norm, pixels, sharing)
