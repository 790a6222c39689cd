"""A small simulator of O K-edge mRIXS with known truth.

What it draws is plausible, not physics: an elastic line, the broad band of oxygen hybridised with the metal,
and the sharp feature of oxidised lattice oxygen (531.0 eV excitation, 523.7 eV emission) with its low-loss
partner at the elastic line. What it does to them is what a spectrograph does: photons arrive as Poisson
events, lines bend over the slit, charge leaks into the next pixel, the detector adds read noise and cosmic
rays, the flux drifts, and the monochromator is off by a constant.

The emission axis is linear in wavelength, as a grating of fixed geometry images it.

`write_scans` writes the scans of samples in several states as ALS 8.0.1 does, with the truth beside; how
strong the feature is in which state is chosen (`STATES`), not measured. docs/theory/simulation.md has the
numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model
from beamline.atomic import write_atomic
from rixs import irixs_files

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

GAIN = 118.0
"""ADU per photon at 525 eV: the 175 ADU seen at 780 eV, scaled with the photon energy."""

FWHM = 2 * np.sqrt(2 * np.log(2))


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

    def energy(self, pixel: Array) -> Array:
        """Return the energy (eV) at a pixel coordinate, linear in wavelength."""
        offset = pixel - (self.columns - 1) / 2
        return np.asarray(self.center_energy / (1 - offset * self.dispersion / self.center_energy))

    def shift(self) -> Array:
        """Return the shift of a line in each row, px."""
        u = np.linspace(-1, 1, self.rows)
        return np.asarray(self.tilt * u + self.bow * u**2)


ALS_801 = Spectrograph(
    columns=2048, center_energy=580.4, dispersion=0.1529, clipped=True, column_pattern=0.3, cosmics=3.0
)
"""iRIXS as its files of 2024 show it: 457 to 795 eV on 2048 columns, 0.125 eV per pixel at the O K edge."""

STATES = {"pristine": 0.0, "charged": 1.0, "discharged": 0.05, "cycle50": 0.6, "cycle100": 1.3}
"""Strength of the oxidised-oxygen feature in each state."""

WINDOW = (530.6, 531.8)
"""Excitation energies (eV) that are integrated to see the feature."""

FEATURE = (522.9, 524.5)
"""Emission energies (eV) of the feature in the window."""


def excitation_energies(start: float = 527.0, stop: float = 533.0, step: float = 0.4) -> Array:
    """Return the energies (eV) of a scan from `start` to `stop`."""
    return np.linspace(start, stop, round((stop - start) / step) + 1)


def tio2_spectrum(excitation: float, edges: Array, resolution: float) -> Array:
    """Return the same of TiO2: an elastic line, and a band as strong as it absorbs."""
    from scipy.special import ndtr

    def line(center: float, width: float) -> Array:
        return np.diff(ndtr((edges - center) / (np.hypot(width, resolution) / FWHM)))

    absorbed = float(_tio2_absorption(np.array([excitation]))[0])
    return np.asarray(30.0 * line(excitation, 0.0) + 60.0 * absorbed * line(526.2, 2.6))


def spectrum(excitation: float, edges: Array, oxidised: float, resolution: float) -> Array:
    """Return the photons per 10⁶ counts of I0 expected between emission energies `edges` (eV)."""
    from scipy.special import expit, ndtr

    def line(center: float, width: float) -> Array:
        sigma = np.hypot(width, resolution) / FWHM
        return np.diff(ndtr((edges - center) / sigma))

    absorption = float(expit((excitation - 528.8) / 0.35))
    resonance = float(np.exp(-0.5 * ((excitation - 531.0) / 0.5) ** 2))
    return np.asarray(
        12.0 * line(excitation, 0.0)
        + 60.0 * absorption * line(525.0, 3.0)
        + 15.0 * absorption * line(526.8, 1.5)
        + oxidised * resonance * (20.0 * line(523.7, 0.7) + 6.0 * line(excitation - 0.6, 0.6))
    )


def scan(
    oxidised: float | None = 1.0,
    seed: int = 0,
    energies: Array | None = None,
    spectrograph: Spectrograph | None = None,
    flux: float = 3e7,
    first_point: float = 1.0,
    mono_offset: float = 0.0,
    mono_drift: float = 0.0,
) -> xr.Dataset:
    """Simulate the images of a scan, as `beamline.read` gives them, with the background subtracted.

    Parameters
    ----------
    oxidised
        Strength of the oxidised-oxygen feature; 0 for a pristine sample; None for TiO2 instead of a cathode.
    seed
        Seed of the noise.
    energies
        True excitation energies, eV.
    spectrograph
        The instrument; `Spectrograph()` where not given.
    flux
        I0 counts per frame at the start; it falls by a tenth until the end.
    first_point
        Fraction of the flux in the first frame (real scans had 0.53).
    mono_offset
        True energy minus the one the monochromator states at the first point, eV.
    mono_drift
        By how much that has grown at the last point, eV.

    Returns
    -------
    Dataset
        Kind ``images``: counts (frame, y, x), int32, in ADU.
    """
    import xarray as xr

    instrument = spectrograph or Spectrograph()
    energies = excitation_energies() if energies is None else energies
    rng = np.random.default_rng(seed)
    i0 = flux * np.linspace(1.0, 0.9, len(energies))
    i0[0] *= first_point
    i0 = rng.poisson(i0).astype(float)
    expected = expected_photons(oxidised, energies, instrument) * i0[:, None, None] / 1e6
    charge = np.asarray(rng.poisson(expected) * instrument.gain, dtype=np.float64)
    s = instrument.sharing
    shared = np.asarray((1 - 2 * s) * charge, dtype=np.float64)
    shared[..., 1:] += s * charge[..., :-1]
    shared[..., :-1] += s * charge[..., 1:]
    shared += rng.normal(0.0, instrument.read_noise, charge.shape)
    # The pattern belongs to the detector: every scan has the same.
    shared += instrument.column_pattern * np.random.default_rng(801).normal(size=instrument.columns)
    _add_cosmics(shared, instrument.cosmics, rng)
    counts = np.rint(shared).astype(np.int32)
    if instrument.clipped:
        counts = np.maximum(counts, 0)
    offset = mono_offset + mono_drift * np.linspace(0.0, 1.0, len(energies))
    label = {"units": "count", "long_name": "incident flux monitor"}
    images = xr.Dataset(
        {"counts": (("frame", "y", "x"), counts, {"units": "ADU"})},
        coords={"excitation_energy": ("frame", energies - offset), "i0": ("frame", i0, label)},
        attrs={"simulated": "yes", "background": "subtracted"},
    )
    if instrument.clipped:
        images.attrs["clipped"] = "at zero"
    return model.with_defaults(images, "images")


def expected_photons(oxidised: float | None, energies: Array, spectrograph: Spectrograph) -> Array:
    """Return the photons expected per 10⁶ counts of I0 in every pixel: (frame, y, x).

    `oxidised` is that of `scan`.
    """

    def emitted(energy: float) -> Array:
        if oxidised is None:
            return tio2_spectrum(energy, edges, spectrograph.resolution)
        return spectrum(energy, edges, oxidised, spectrograph.resolution)

    borders = np.arange(spectrograph.columns + 1) - 0.5
    edges = spectrograph.energy(borders - spectrograph.shift()[:, None])
    return np.array([emitted(float(energy)) for energy in energies]) / spectrograph.rows


def true_map(oxidised: float, energies: Array, spectrograph: Spectrograph, emission: Array) -> Array:
    """Return the noise-free map (excitation, emission) at emission energies `emission` (eV).

    In ADU per eV and 10⁶ counts of I0, as `rixs.reduce` gives it; `emission` must be smoothly spaced.
    """
    middles = (emission[1:] + emission[:-1]) / 2
    first, last = 2 * emission[0] - middles[0], 2 * emission[-1] - middles[-1]
    edges = np.concatenate([[first], middles, [last]])
    photons = np.array([spectrum(float(e), edges, oxidised, spectrograph.resolution) for e in energies])
    return np.asarray(photons * spectrograph.gain / np.diff(edges))


def tio2(
    seed: int = 0, mono_offset: float = 0.0, counts: float = 2e4, step: float = 0.1, i0: float = 2e6
) -> xr.Dataset:
    """Simulate the O K absorption of TiO2 (kind ``xas.scans``), its first peak at 531 eV of true energy.

    Parameters
    ----------
    seed
        Seed of the noise.
    mono_offset
        True energy minus the one the monochromator states, eV.
    counts
        Yield at the top of the first peak.
    step
        Step of the scan, eV.
    i0
        Counts of I0 per point.
    """
    import xarray as xr

    energy = np.arange(526.0, 540.0, step)
    shape = 0.15 + _tio2_absorption(energy)
    rng = np.random.default_rng(seed)
    flux = rng.poisson(i0, len(energy)).astype(float)
    signal = rng.poisson(counts * shape).astype(float)
    mu = signal / flux
    scans = xr.Dataset(
        {
            "mu": ("energy", mu),
            "mu_errors": ("energy", mu * np.sqrt(1 / signal + 1 / flux)),
            "i0": ("energy", flux, {"units": "count", "long_name": "incident flux monitor"}),
            "signal": ("energy", signal, {"units": "count", "long_name": "yield"}),
        },
        coords={"energy": energy - mono_offset},
        attrs={"simulated": "yes"},
    )
    return model.with_defaults(scans, "xas.scans")


def _tio2_absorption(energy: Array) -> Array:
    """Return the O K absorption of TiO2 over its pre-edge, 1 at the top of the first peak (531 eV)."""
    total = 0.25 / (1 + np.exp(-(energy - 534.5) / 1.5))
    for center, width, height in ((531.0, 0.9, 1.0), (533.7, 1.3, 0.9), (539.0, 3.0, 0.5)):
        total += height * np.exp(-0.5 * ((energy - center) / (width / FWHM)) ** 2)
    return np.asarray(total)


def true_area(
    oxidised: float,
    energies: Array,
    resolution: float,
    window: tuple[float, float] = WINDOW,
    feature: tuple[float, float] = FEATURE,
) -> float:
    """Return the area of the feature in the window, in photons times eV of excitation per 10⁶ counts of I0.

    Parameters
    ----------
    oxidised
        Strength of the feature.
    energies
        True excitation energies of the points (eV), between which the map is linear.
    resolution
        Of the spectrograph, eV.
    window, feature
        Ranges of excitation and emission energy, eV.
    """
    from rixs.cuts import integration_weights

    edges = np.array(feature)
    photons = [float(spectrum(float(e), edges, oxidised, resolution)[0]) for e in energies]
    return float(integration_weights(energies, *window) @ photons)


def write_scan(folder: str | os.PathLike[str], images: xr.Dataset, stem: str = "scan") -> Path:
    """Write the images of a scan as ALS 8.0.1 does: table, TIFFs and column sums.

    Parameters
    ----------
    folder
        Folder of the scan ("CCD Scan 17174").
    images
        Of `scan`, with a `Spectrograph` that clips at zero: files hold unsigned numbers.
    stem
        Beginning of the file names.

    Returns
    -------
    Path
        The ``-AI.txt``.

    Raises
    ------
    SchemaError
        A count is negative.
    DataFileError
        A file cannot be written.
    """
    from beamline.errors import SchemaError

    folder = Path(folder)
    counts = images["counts"].values
    if (counts < 0).any():
        raise SchemaError("counts", "are negative, which the files cannot hold", "simulate with clipped=True")
    full_scale = np.iinfo(np.uint16).max - irixs_files.BACKGROUND
    stack = np.minimum(counts, full_scale).astype(np.uint16)
    table = irixs_files.rows(stack, images["excitation_energy"].values, images["i0"].values, stem)
    irixs_files.write_images(folder, table, stack)
    irixs_files.write_spectra(folder, table, stack)
    return irixs_files.write_table(folder, table, stem=stem)


def write_scans(
    folder: str | os.PathLike[str],
    states: Mapping[str, float] = STATES,
    seed: int = 0,
    energies: Array | None = None,
    spectrograph: Spectrograph = ALS_801,
    flux: float = 3e7,
    mono_offset: float = 0.36,
    mono_drift: float = 0.01,
) -> Path:
    """Write the scans of samples in several states, and the TiO2 they are calibrated with.

    Parameters
    ----------
    folder
        Gets a folder ``CCD Scan <number> <state>`` for each state and for TiO2, ``SigScan_TiO2.txt`` and
        ``truth.json``.
    states
        Strength of the oxidised-oxygen feature by state.
    seed
        Seed of the noise.
    energies
        True excitation energies at the first scan (eV); 527 to 533 eV in steps of 0.2 where not given.
    spectrograph
        The instrument; it must clip at zero.
    flux
        I0 counts per frame.
    mono_offset, mono_drift
        True energy minus the one the monochromator states, eV, and how it grows during each scan.

    Returns
    -------
    Path
        The file ``truth.json``: areas of the feature (photons times eV per 10⁶ counts of I0; times the gain
        in ADU they are what `rixs.window` integrates to), energies, curvature, gain.

    Raises
    ------
    SchemaError
        The spectrograph does not clip at zero.
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    energies = excitation_energies(step=0.2) if energies is None else energies
    scans: dict[str, Any] = {}
    for number, (state, oxidised) in enumerate(states.items()):
        images = scan(
            oxidised, seed * 1000 + number, energies, spectrograph, flux, mono_offset=mono_offset,
            mono_drift=mono_drift,
        )  # fmt: skip
        name = f"CCD Scan {17001 + number} {state}"
        write_scan(folder / name, images, f"{state}{17001 + number}")
        scans[state] = {
            "folder": name,
            "oxidised": oxidised,
            "window_area": true_area(oxidised, energies, spectrograph.resolution),
        }
    name = f"CCD Scan {17001 + len(states)} TiO2"
    images = scan(
        None, seed * 1000 + len(states), energies, spectrograph, flux, mono_offset=mono_offset,
        mono_drift=mono_drift,
    )  # fmt: skip
    write_scan(folder / name, images, f"tio2{17001 + len(states)}")
    reference = tio2(seed, mono_offset)
    write_atomic(folder / "SigScan_TiO2.txt", irixs_files.sigscan(reference).encode())
    truth = {
        "seed": seed,
        "scans": scans,
        "tio2": {"folder": name, "first_peak_eV": 531.0},
        "excitation_energies_eV": energies.tolist(),
        "window_eV": WINDOW,
        "feature_eV": FEATURE,
        "mono_offset_eV": mono_offset,
        "mono_drift_eV": mono_drift,
        "gain_adu_per_photon": spectrograph.gain,
        "curvature_px": spectrograph.shift().tolist(),
        "emission_energy_eV": spectrograph.energy(np.arange(spectrograph.columns, dtype=np.float64)).tolist(),
    }
    path = folder / "truth.json"
    write_atomic(path, (json.dumps(truth, indent=1) + "\n").encode())
    return path


def _add_cosmics(charge: Array, mean: float, rng: np.random.Generator) -> None:
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
