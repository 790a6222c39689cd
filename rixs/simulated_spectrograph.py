"""The spectrograph and the detector of the simulator: from expected photons to the counts of a file.

Photons arrive as Poisson events, lines bend over the slit, charge leaks into the next pixel, the detector
adds read noise, a pattern of columns and cosmic rays, and files may be clipped at zero. The emission axis is
linear in wavelength, as a grating of fixed geometry images it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

GAIN = 118.0
"""ADU per photon at 525 eV: the 175 ADU seen at 780 eV, scaled with the photon energy."""


@dataclass(frozen=True)
class Spectrograph:
    """What stands between the sample and the numbers.

    Attributes
    ----------
    rows, columns
        Pixels along the slit and along the dispersion.
    center_energy, dispersion
        Energy (eV) of the central column, and eV per pixel there.
    tilt, bow
        Shift of a line (px) at the end of the slit: linear and quadratic part, zero at the centre.
    resolution
        Full width at half maximum of a sharp line, eV.
    gain, read_noise
        ADU per photon; standard deviation of a pixel without photons, ADU.
    sharing
        Fraction of a photon's charge that goes to each neighbour along the dispersion.
    cosmics
        Mean number of cosmic rays per frame.
    clipped
        Set negative pixels to zero, as the files of ALS 8.0.1 have it.
    column_pattern
        Standard deviation of an offset every column has in all frames, ADU.
    pedestal
        Offset of all pixels that was not subtracted, ADU.
    aberration
        By how much the curvature of the energy axis differs from that of a grating, as a fraction of it.
    """

    rows: int = 64
    columns: int = 192
    center_energy: float = 526.0
    dispersion: float = 0.125
    tilt: float = 0.3
    bow: float = -0.25
    resolution: float = 0.25
    gain: float = GAIN
    read_noise: float = 4.0
    sharing: float = 0.1
    cosmics: float = 3.0
    clipped: bool = False
    column_pattern: float = 0.0
    pedestal: float = 0.0
    aberration: float = 0.0

    def energy(self, pixel: Array) -> Array:
        """Return the energy (eV) at a pixel coordinate: linear in wavelength, but for the aberration."""
        step = (pixel - (self.columns - 1) / 2) * self.dispersion / self.center_energy
        return np.asarray(self.center_energy * (1 / (1 - step) + self.aberration * step**2))

    def shift(self) -> Array:
        """Return the shift of a line in each row, px."""
        u = np.linspace(-1, 1, self.rows)
        return np.asarray(self.tilt * u + self.bow * u**2)


ALS_801 = Spectrograph(
    columns=2048, center_energy=580.4, dispersion=0.1529, clipped=True, column_pattern=0.3, cosmics=3.0
)
"""iRIXS as its files of 2024 show it: 457 to 795 eV on 2048 columns, 0.125 eV per pixel at the O K edge."""

FINE = Spectrograph(
    rows=64,
    columns=1024,
    center_energy=526.0,
    dispersion=0.02,
    tilt=1.5,
    bow=-1.0,
    column_pattern=0.3,
    pedestal=300.0,
)
"""A spectrograph of 0.02 eV per pixel around the O K edge, its images not clipped."""


def detect(expected: Array, instrument: Spectrograph, rng: np.random.Generator) -> Array:
    """Return the signal (frame, y, x) in ADU of pixels in which these photons are expected."""
    charge = (rng.poisson(expected) * instrument.gain).astype(np.float64)
    s = instrument.sharing
    shared = (1 - 2 * s) * charge
    shared[..., 1:] += s * charge[..., :-1]
    shared[..., :-1] += s * charge[..., 1:]
    shared += instrument.read_noise * rng.standard_normal(charge.shape, dtype=np.float32)
    shared += instrument.pedestal + pattern(instrument)
    add_cosmics(shared, instrument.cosmics, rng)
    return shared


def pattern(instrument: Spectrograph) -> Array:
    """Return the offset (ADU) of every column, which belongs to the detector: every scan has the same."""
    return np.asarray(instrument.column_pattern * np.random.default_rng(801).normal(size=instrument.columns))


def digitise(signal: Array, instrument: Spectrograph) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the counts a file holds."""
    counts = np.rint(signal).astype(np.int32)
    return np.maximum(counts, 0) if instrument.clipped else counts


def add_cosmics(charge: Array, mean: float, rng: np.random.Generator) -> None:
    """Add short straight tracks of up to 6 pixels and some thousand ADU, in place."""
    frames, rows, columns = charge.shape
    for frame in range(frames):
        for _ in range(rng.poisson(mean)):
            length = rng.integers(1, 7)
            angle = rng.uniform(0, np.pi)
            y, x = rng.integers(0, rows), rng.integers(0, columns)
            deposit = rng.lognormal(np.log(800.0), 0.7, length)
            for i in range(length):
                row, column = int(y + i * np.sin(angle)), int(x + i * np.cos(angle))
                if 0 <= row < rows and 0 <= column < columns:
                    charge[frame, row, column] += deposit[i]
