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
    """Sums over the pixels of each bin: of c s, c² σ², c n and c (see `xrd.integration`)."""

    signal: NDArray[np.float64]
    variance: NDArray[np.float64]
    norm: NDArray[np.float64]
    pixels: NDArray[np.float64]


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
    # One event is the least that can be told from none; a photon gives g units of signal, of variance g².
    one_event = 1.0 if variance_per_signal is None else variance_per_signal**2
    variance = np.where(variance > 0, variance, one_event)
    norm = np.where(live, sums.norm, np.nan)
    return sums.signal / norm, np.sqrt(variance) / norm, sums.pixels


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
        first, last = float(angles.min()), float(angles.max())
        # A thousandth of a bin wider, so that the outermost pixels do not fall on an edge.
        margin = 1e-3 * (last - first) / self.bins
        low, high = self.range or (first - margin, last + margin)
        if not ((angles >= low) & (angles <= high)).any() or not low < high:
            raise ConfigError(
                "two_theta_range",
                f"{low:g} to {high:g} deg: the detector sees {first:.3f} to {last:.3f} deg",
            )
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
            return Sums(total, np.array(result.sum_variance[1:-1], dtype=np.float64), norm, pixels)
        # Without splitting c² = c: the signal is its own variance.
        squared = total if self.splitting == "none" else result.sum_variance[1:-1]
        return Sums(total, variance_per_signal * np.asarray(squared, dtype=np.float64), norm, pixels)
