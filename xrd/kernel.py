"""One detector and one set of bins, set up once: the inside of `xrd.integrate` and `xrd.cake`.

What depends on the detector alone (which pixel goes into which bin, mask, solid angle, polarisation, flat
field, dark image, and the sums of all these over the bins) is worked out with the first frame and kept. A
frame then costs the sums of its signal (`xrd.sums`), and a correction for the pixels that did not measure
in it.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from beamline.errors import ConfigError
from xrd import pixels, robust, sharing, sums
from xrd.sources import NOTHING, Source, dark_of, flat_of, mask_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calibration.geometry import Geometry

SPLITTING = ("none", "bbox", "full")
"""Ways to share a pixel between bins."""

UNITS = {"two_theta": "deg", "q": "1/angstrom", "d": "angstrom"}

_AT_ONCE = 4
_NO_COVERAGE = 1e-6
"""What is left of the coverage of a bin when all of its shared pixels are subtracted again."""


@dataclass(frozen=True)
class Setup:
    """All that a kernel depends on; equal ones make equal kernels.

    Attributes
    ----------
    geometry, shape
        The detector and its pixels (y, x).
    bins, axis, range
        Bins of a pattern: how many, the quantity they are even in, and their first and last edge in it (None:
        those of the pixels).
    sectors
        Edges of the sectors in azimuth, deg, rising by 360 at most; empty: one, all around.
    splitting, polarization, solid_angle, absorption
        As in `xrd.integrate`; absorption is μt of the sensor.
    mask, flat, dark
        Where they come from.
    mask_orientation
        As in `xrd.integrate`.
    """

    geometry: Geometry
    shape: tuple[int, int]
    bins: int
    axis: str = "two_theta"
    range: tuple[float, float] | None = None
    sectors: tuple[float, ...] = ()
    splitting: str = "none"
    polarization: float | None = None
    solid_angle: bool = True
    absorption: float | None = None
    mask: Source = NOTHING
    flat: Source = NOTHING
    dark: Source = NOTHING
    mask_orientation: int | None = None


class Sums(NamedTuple):
    """Sums over the live pixels of each bin (frame, bin), S being the signal as read and D the dark image.

    Attributes
    ----------
    signal, squares_signal
        Σ c (S - D) and Σ c² (S - D).
    norm, pixels, squares
        Σ c n, Σ c and Σ c².
    """

    signal: NDArray[np.float64]
    squares_signal: NDArray[np.float64]
    norm: NDArray[np.float64]
    pixels: NDArray[np.float64]
    squares: NDArray[np.float64]


class RobustSums(NamedTuple):
    """Sums over the pixels of each bin (bin,) that are kept.

    Attributes
    ----------
    signal, norm
        Σ (S - D) and Σ n.
    scatter
        What divided by (Σ n)² is the variance of the mean by the scatter of the pixels.
    pixels, rejected
        How many are kept, and which part of the live ones is not.
    """

    signal: NDArray[np.float64]
    norm: NDArray[np.float64]
    scatter: NDArray[np.float64]
    pixels: NDArray[np.float64]
    rejected: NDArray[np.float64]


def range_of(
    positions: NDArray[np.float64], bins: int, given: tuple[float, float] | None, axis: str = "two_theta"
) -> tuple[float, float]:
    """Return first and last edge of the bins, for pixels at these positions along an axis.

    Raises
    ------
    ConfigError
        No pixel is in the range, or there is none along d.
    """
    if axis == "d" and given is None:
        raise ConfigError("d_range", "is not given, and d grows without end towards the beam", "give d_range")
    first, last = float(positions.min()), float(positions.max())
    # A thousandth of a bin wider, so that the outermost pixels do not fall on an edge.
    margin = 1e-3 * (last - first) / bins
    low, high = given or (first - margin, last + margin)
    if not (low < high and _any_within(positions, low, high)):
        shown = sorted(abs(value) for value in (low, high)), sorted(abs(value) for value in (first, last))
        unit = UNITS[axis]
        raise ConfigError(
            f"{axis}_range",
            f"{shown[0][0]:g} to {shown[0][1]:g} {unit}: the detector sees {shown[1][0]:.3f} to "
            f"{shown[1][1]:.3f} {unit}",
        )
    return low, high


_one_set_up = threading.Lock()


@functools.lru_cache(maxsize=4)
def _cached(setup: Setup) -> Kernel:
    return Kernel(setup)


def kernel_of(setup: Setup) -> Kernel:
    """Return the kernel of a set-up, one of the last few or a new one."""
    with _one_set_up:
        return _cached(setup)


class Kernel:
    """One detector and one set of bins; it may be used from several threads.

    Parameters
    ----------
    setup
        What it depends on.

    Attributes
    ----------
    positions
        Centres of the bins along the axis.
    correlation
        Correlation of the error of a bin with that of the next, for an even light; None without splitting.
    dark
        The dark image; None without.

    Raises
    ------
    ConfigError
        Mask, flat field or dark image are not of this detector, or leave no pixel in the range.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._room = threading.local()  # memory that is new with every frame costs more than sorting into it
        geometry, shape, bins = setup.geometry, setup.shape, setup.bins
        center = pixels.positions(geometry, shape, setup.axis)
        low, high = range_of(center, bins, setup.range, setup.axis)
        self.positions = low + (high - low) / bins * (np.arange(bins) + 0.5)
        self.size = bins * max(len(setup.sectors) - 1, 1)
        norm = pixels.normalization(geometry, shape, setup.polarization, setup.solid_angle, setup.absorption)
        flat = flat_of(setup.flat, shape)
        if flat is not None:
            norm *= flat
        self.dark = dark_of(setup.dark, shape)
        row = self._rows(norm)
        self._dark = np.empty(0, np.float32)
        if self.dark is not None:
            self._dark = np.nan_to_num(self.dark.image, posinf=0.0, neginf=0.0).ravel()
        self._norm = np.where(row >= 0, norm, np.float32(0)).ravel()
        self._settled = np.zeros((self.size + 1, len(sums.SETTLED)))
        self.correlation: NDArray[np.float64] | None = None
        if setup.splitting == "none":
            small = self.size < np.iinfo(np.uint16).max
            self._place = np.full(row.size, self.size, np.uint16 if small else np.uint32)
            _places(center.ravel(), row.ravel(), low, high, bins, self._place)
            sums.settle_whole(self._place, self._norm, self._dark, self._settled)
        else:
            corners = pixels.corner_positions(geometry, shape, setup.axis)
            if setup.splitting == "bbox":
                self._runs = sharing.bbox_runs(center, corners, row, low, high, bins)
            else:
                around = pixels.azimuths(geometry, shape, corners=True)
                self._runs = sharing.full_runs(corners, around, row, low, high, bins)
            sums.settle_shared(*self._runs, self._norm, self._dark, self._settled)
            self.correlation = self._correlation()
        if not self._settled[: self.size, 0].any():
            shown = sorted(abs(edge) for edge in (low, high))
            raise ConfigError(
                "mask",
                f"leaves no pixel at {shown[0]:g} to {shown[1]:g} {UNITS[setup.axis]}",
                "nonzero = masked",
            )

    def sums(self, frames: NDArray[Any], low: Any, top: Any) -> Sums:
        """Sum up frames (frame, y, x); pixels that are not from `low` to `top` are left out."""
        flat = frames.reshape(len(frames), -1)
        signal, squares = np.empty((2, len(flat), self.size))
        lost = np.zeros((len(flat), *self._settled.shape))
        if self.setup.splitting == "none":
            for i, frame in enumerate(flat):
                total = np.zeros(self.size + 1, np.float64 if frame.dtype.kind == "f" else np.int64)
                sums.add_whole(frame, self._place, self._norm, self._dark, low, top, total, lost[i])
                signal[i] = squares[i] = total[:-1]
        else:
            settled = (*self._runs, self._norm, self._dark, low, top)
            whole = len(flat) // _AT_ONCE * _AT_ONCE
            for i in range(0, whole, _AT_ONCE):
                four = np.zeros((self.size + 1, 2 * _AT_ONCE))
                sums.add_shared_four(flat[i : i + _AT_ONCE], *settled, four, lost[i : i + _AT_ONCE])
                signal[i : i + _AT_ONCE], squares[i : i + _AT_ONCE] = four[:-1].T.reshape(2, _AT_ONCE, -1)
            for i in range(whole, len(flat)):
                one = np.zeros((self.size + 1, 2))
                sums.add_shared(flat[i], *settled, one, lost[i])
                signal[i], squares[i] = one[:-1].T
        coverage, evenness, norm, dark, dark_squares = np.moveaxis(self._settled - lost, 2, 0)[:, :, :-1]
        coverage = np.where(coverage > _NO_COVERAGE, coverage, 0.0)
        return Sums(signal - dark, squares - dark_squares, norm, coverage, evenness)

    def scatter(
        self, frame: NDArray[Any], low: Any, top: Any, mean: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return Σ c² (S - D - n I)² of every bin of a frame (y, x), I being its mean."""
        out = np.zeros(self.size + 1)
        means = np.append(np.nan_to_num(mean), 0.0)
        pixel = (self._norm, self._dark, low, top, means, out)
        if self.setup.splitting == "none":
            sums.scatter_whole(frame.reshape(-1), self._place, *pixel)
        else:
            sums.scatter_shared(frame.reshape(-1), *self._runs, *pixel)
        return out[:-1]

    def robust_sums(
        self, frame: NDArray[Any], low: Any, top: Any, clip: float | None, trim: float | None, gain: float
    ) -> RobustSums:
        """Sum up a frame (y, x) without its outliers (`xrd.robust`); it is clipped, or else trimmed.

        `gain` is 0 where it is not known.
        """
        slot, starts, norms, darks = self._order
        signals = getattr(self._room, "signals", None)
        if signals is None or signals.dtype != frame.dtype:
            signals = self._room.signals = np.empty(slot.size, frame.dtype)
        sums.sort_by_bin(frame.reshape(-1), slot, signals)
        pixel = (starts, signals, norms, darks, low, top)
        found = np.empty((self.size, 5))
        if clip is not None:
            robust.clipped(*pixel, clip, gain, found)
            found[:, 2] *= found[:, 3] / np.maximum(found[:, 3] - 1, 1)
        else:
            robust.trimmed(*pixel, trim or 0.0, found)
        signal, norm, scatter, kept, live = found.T
        return RobustSums(signal, norm, scatter, kept, 1 - kept / np.maximum(live, 1))

    def places(self, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the bin (the number of bins: none) and the normalisation of every pixel (y, x)."""
        return self._place.reshape(shape), self._norm.reshape(shape)

    @functools.cached_property
    def _order(self) -> tuple[NDArray[Any], ...]:
        """Slot of every pixel in the order of the bins, where each begins, norms and darks in that order."""
        counts = np.bincount(self._place, minlength=self.size + 1)
        starts = np.concatenate([[0], np.cumsum(counts)])
        slot = np.empty(self._place.size, np.int32)
        _slots(self._place, starts.copy(), slot)
        norms, darks = np.empty_like(self._norm), np.empty_like(self._dark)
        norms[slot] = self._norm
        if darks.size:
            darks[slot] = self._dark
        return slot, starts[:-1], norms, darks

    def _rows(self, norm: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the number of the sector of every pixel, -1 where it is not used."""
        setup = self.setup
        used = norm > 0
        mask = mask_of(setup.mask, setup.shape, setup.geometry, setup.mask_orientation)
        if mask is not None:
            used &= ~mask
        if self.dark is not None:
            used &= np.isfinite(self.dark.image)
        row = np.where(used, np.int32(0), np.int32(-1))
        if setup.sectors:
            first = setup.sectors[0]
            turned = np.mod(pixels.azimuths(setup.geometry, setup.shape) - first, 360.0)
            found = np.searchsorted(np.asarray(setup.sectors) - first, turned, side="right") - 1
            row[used] = np.where(found < len(setup.sectors) - 1, found, -1)[used]
        return row

    def _correlation(self) -> NDArray[np.float64]:
        squares, beside = np.zeros((2, self.size + 1))
        sums.correlation(*self._runs, self._norm, squares, beside)
        next_one = np.append(squares[1:-1], 0.0)
        both = np.sqrt(squares[:-1] * next_one)
        return np.asarray(np.divide(beside[:-1], both, out=np.zeros(self.size), where=both > 0))


@pixels.compiled
def _places(center: Any, row: Any, low: float, high: float, bins: int, place: Any) -> None:
    """Write the bin of every pixel, sector after sector, where it is used and in the range."""
    width = (high - low) / bins
    for i in range(center.size):
        at = (center[i] - low) / width
        if row[i] >= 0 and 0.0 <= at < bins:
            place[i] = row[i] * bins + int(at)


@pixels.compiled
def _slots(place: Any, free: Any, slot: Any) -> None:
    """Write the place of every pixel in the order of the bins; `free` is where the next of a bin goes."""
    for i in range(place.size):
        slot[i] = free[place[i]]
        free[place[i]] += 1


@pixels.compiled
def _any_within(positions: Any, low: float, high: float) -> bool:
    for row in positions:
        for position in row:
            if low <= position <= high:
                return True
    return False
