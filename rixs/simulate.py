"""A small simulator of O K-edge mRIXS with known truth: scans, darks, references, and the files of ALS 8.0.1.

What samples emit is in `rixs.simulated_samples`, what the instrument does to it in
`rixs.simulated_spectrograph`. Here the flux drifts, the monochromator and the spectrograph drift, and the
points of a scan come in any order: up and down, or with a reference repeated.

`write_scans` writes the scans of samples in several states as ALS 8.0.1 does, with the truth beside;
docs/theory/simulation.md has the numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model
from beamline.atomic import write_atomic
from rixs import irixs_files
from rixs.simulated_samples import FEATURE as FEATURE
from rixs.simulated_samples import STATES as STATES
from rixs.simulated_samples import WINDOW as WINDOW
from rixs.simulated_samples import expected_photons as expected_photons
from rixs.simulated_samples import spectrum as spectrum
from rixs.simulated_samples import tio2_absorption
from rixs.simulated_spectrograph import ALS_801 as ALS_801
from rixs.simulated_spectrograph import FINE as FINE
from rixs.simulated_spectrograph import GAIN as GAIN
from rixs.simulated_spectrograph import Spectrograph as Spectrograph
from rixs.simulated_spectrograph import detect, digitise

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]


def excitation_energies(start: float = 527.0, stop: float = 533.0, step: float = 0.4) -> Array:
    """Return the energies (eV) of a scan from `start` to `stop`."""
    return np.linspace(start, stop, round((stop - start) / step) + 1)


def scan(
    oxidised: float | None = 1.0,
    seed: int = 0,
    energies: Array | None = None,
    spectrograph: Spectrograph | None = None,
    flux: float = 3e7,
    first_point: float = 1.0,
    mono_offset: float = 0.0,
    mono_drift: float = 0.0,
    drift: float = 0.0,
) -> xr.Dataset:
    """Simulate the images of a scan, as `beamline.read` gives them.

    Parameters
    ----------
    oxidised
        Strength of the oxidised-oxygen feature; 0 for a pristine sample; None for TiO2 instead of a cathode.
    seed
        Seed of the noise.
    energies
        True excitation energies (eV) in the order they are measured.
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
    drift
        By how much the lines have moved on the detector from the first frame to the last, px; the middle of
        the scan is where the spectrograph's own axis has them.

    Returns
    -------
    Dataset
        Kind ``images``: counts (frame, y, x), int32, in ADU. The background is subtracted, unless the
        spectrograph has a pedestal: then `darks` have it too.
    """
    import xarray as xr

    instrument = spectrograph or Spectrograph()
    energies = excitation_energies() if energies is None else energies
    rng = np.random.default_rng(seed)
    i0 = flux * np.linspace(1.0, 0.9, len(energies))
    i0[0] *= first_point
    i0 = rng.poisson(i0).astype(float)
    moved = drift * np.linspace(-0.5, 0.5, len(energies))
    expected = expected_photons(oxidised, energies, instrument, moved) * i0[:, None, None] / 1e6
    counts = digitise(detect(expected, instrument, rng), instrument)
    offset = mono_offset + mono_drift * np.linspace(0.0, 1.0, len(energies))
    label = {"units": "count", "long_name": "incident flux monitor"}
    images = xr.Dataset(
        {"counts": (("frame", "y", "x"), counts, {"units": "ADU"})},
        coords={"excitation_energy": ("frame", energies - offset), "i0": ("frame", i0, label)},
        attrs={"simulated": "yes"},
    )
    if instrument.pedestal == 0:
        images.attrs["background"] = "subtracted"
    if instrument.clipped:
        images.attrs["clipped"] = "at zero"
    return model.with_defaults(images, "images")


def darks(instrument: Spectrograph, frames: int = 5, seed: int = 0) -> xr.Dataset:
    """Simulate exposures without light: kind ``images``, counts (frame, y, x) in ADU."""
    import xarray as xr

    rng = np.random.default_rng([seed, 77])
    dark = detect(np.zeros((frames, instrument.rows, instrument.columns)), instrument, rng)
    counts = digitise(dark, instrument)
    return model.with_defaults(
        xr.Dataset({"counts": (("frame", "y", "x"), counts, {"units": "ADU"})}, attrs={"simulated": "yes"}),
        "images",
    )


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
    shape = 0.15 + tio2_absorption(energy)
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
