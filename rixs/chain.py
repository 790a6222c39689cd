"""The whole way from the images of a scan to a map."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from beamline import model, provenance
from beamline.errors import CalibrationError, SchemaError
from calibration import clip as clip_model
from calibration import curvature as bent_lines
from calibration import emission as emission_axis
from calibration import gain as detector_gain
from calibration.gain import PHOTON
from rixs.background import subtract_background
from rixs.energies import correct_energies
from rixs.frames import signals
from rixs.mapping import make_map
from rixs.normalization import normalize
from rixs.outliers import has_repeats, outliers_of
from rixs.pre_edge import subtract_pre_edge
from rixs.spikes import Spikes, find_spikes, saturation_levels
from rixs.straightening import without_spikes

if TYPE_CHECKING:
    import xarray as xr

    from calibration.clip import Clip
    from calibration.curvature import Curvature
    from calibration.dark import Dark
    from calibration.emission import EmissionAxis
    from calibration.excitation import Shift
    from calibration.gain import Gain
    from calibration.records import Calibration


@provenance.step("rixs.reduce", returns="rixs.map")
def reduce(
    scan: xr.Dataset,
    emission: EmissionAxis | None = None,
    excitation: Shift | None = None,
    curvature: Curvature | None = None,
    gain: Gain | None = None,
    dark: Dark | None = None,
    clip: Clip | None = None,
    pre_edge: float | None = None,
) -> xr.Dataset:
    """Make a map of a scan: spikes, curvature, straightened spectra, background, I0, energy axes.

    The images are gone through frame by frame, so that a scan opened lazily is never in memory as a whole. A
    scan that is still running gives the map of the points so far; with calibrations given, points stay what
    they are when others come.

    Parameters
    ----------
    scan
        Kind ``images`` with excitation_energy and i0 of every frame, or ``rixs.spectra`` of `rixs.extract` or
        of a scan that was saved without images.
    emission
        Emission axis; from the scan's own elastic lines where not given.
    excitation
        Correction of the excitation energies, which moves the emission axis with them.
    curvature
        Curvature of the lines; from the scan's own images where not given.
    gain
        Gain of the detector; from the scan's own images where not given.
    dark
        What the images hold without light, where it has not been subtracted.
    clip
        What clipping at zero added; from the scan's own images where not given.
    pre_edge
        Subtract the mean of the spectra at excitation energies (eV) below this, without their elastic lines,
        as `rixs.subtract_pre_edge` does; nothing where not given.

    Returns
    -------
    Dataset
        Kind ``rixs.map``. The calibrations used stand in its attribute ``calibrations`` (JSON records).

    Raises
    ------
    SchemaError
        The scan is of another kind, the background is still in the images, or a point's energy or flux is
        missing.
    CalibrationError
        A calibration that was not given cannot be made from the scan, or the pre-edge hides behind elastic
        lines.
    """
    spectra, used = normalized_spectra(scan, excitation, curvature, gain, dark, clip)
    emission = emission or emission_axis.calibrate(spectra)
    if pre_edge is not None:
        spectra = subtract_pre_edge(spectra, emission, pre_edge)
    rmap = make_map(spectra, emission)
    records = {name: provenance.plain(record) for name, record in {"emission": emission, **used}.items()}
    rmap.attrs["calibrations"] = json.dumps(records)
    return rmap


def normalized_spectra(
    scan: xr.Dataset,
    excitation: Shift | None = None,
    curvature: Curvature | None = None,
    gain: Gain | None = None,
    dark: Dark | None = None,
    clip: Clip | None = None,
) -> tuple[xr.Dataset, dict[str, Calibration]]:
    """Return what `reduce` makes of a scan before its emission axis, for a map or for that axis itself.

    Parameters
    ----------
    scan, excitation, curvature, gain, dark, clip
        As in `reduce`.

    Returns
    -------
    tuple
        Kind ``rixs.spectra`` (frame, pixel): straightened, without background, per 10⁶ counts of I0, at
        corrected excitation energies; and the calibrations used, by their role in `reduce`.

    Raises
    ------
    SchemaError, CalibrationError
        As `reduce`, but for the emission axis.
    """
    kind = model.kind_of(scan)
    if kind == "images":
        _check_images(scan, dark)
        gain = gain or detector_gain.calibrate(scan, dark)
        spikes: list[Spikes] | None = None
        if curvature is None:
            curvature, spikes = _bent_lines(scan, gain, dark)
        if clip is None and "clipped" in scan.attrs:
            clip = _modelled(scan, gain)
        if has_repeats(scan):
            spikes = outliers_of(scan, gain, dark, spikes or _spikes(scan, gain, dark))
        spectra = without_spikes(scan, curvature, gain, dark, spikes)
    elif kind == "rixs.spectra":
        spectra = _with_errors(scan, gain)
    else:
        raise SchemaError("scan", f"is of kind {kind}", "give images or rixs.spectra")
    if "empty_level" in spectra:
        spectra = subtract_background(spectra, clip)
    spectra = normalize(spectra)
    if excitation is not None:
        spectra = correct_energies(spectra, excitation)
    used: dict[str, Calibration | None] = {
        "excitation": excitation, "curvature": curvature, "gain": gain, "dark": dark, "clip": clip
    }  # fmt: skip
    return spectra, {name: record for name, record in used.items() if record is not None}


def measure_curvature(images: xr.Dataset, gain: Gain, dark: Dark | None = None) -> Curvature:
    """Measure the curvature from the images of a scan, frame by frame, without their spikes.

    Raises
    ------
    CalibrationError
        As `calibration.curvature.calibrate` does.
    """
    return _bent_lines(images, gain, dark)[0]


def _bent_lines(images: xr.Dataset, gain: Gain, dark: Dark | None) -> tuple[Curvature, list[Spikes]]:
    """Return the curvature, and the spikes that were found on the way."""
    from rixs.frame_kernels import photon_profiles

    spikes = []
    strip = bent_lines.strip_of_rows(images.sizes["y"])
    gate = gain.offset + PHOTON * gain.gain
    profiles = np.zeros((images.sizes["frame"], int(strip[-1]) + 1, images.sizes["x"]))
    levels = saturation_levels(images)
    for profile, signal, level in zip(profiles, signals(images, dark), levels, strict=True):
        found = find_spikes(signal, gain, level)
        photon_profiles(signal, found.mask(signal.shape), gate, strip, profile)
        spikes.append(found)
    return bent_lines.from_profiles(profiles, strip, gain), spikes


def _spikes(images: xr.Dataset, gain: Gain, dark: Dark | None) -> list[Spikes]:
    levels = saturation_levels(images)
    return [find_spikes(s, gain, level) for s, level in zip(signals(images, dark), levels, strict=True)]


def _modelled(scan: xr.Dataset, gain: Gain) -> Clip | None:
    """Return the model of the clip, or None where there is none: `subtract_background` says so."""
    try:
        return clip_model.calibrate(scan, gain)
    except CalibrationError:
        return None


def _check_images(scan: xr.Dataset, dark: Dark | None) -> None:
    if scan["counts"].dims != ("frame", "y", "x") or "excitation_energy" not in scan.coords:
        raise SchemaError("scan", "is not a series of images with their excitation energies")
    if dark is None and scan.attrs.get("background") != "subtracted":
        raise SchemaError(
            "scan",
            "does not say that its background is subtracted",
            'give dark=, or subtract it and set attrs["background"] = "subtracted"',
        )
    if dark is not None and scan.attrs.get("background") == "subtracted":
        raise SchemaError("scan", "has its background subtracted already", "leave dark= out")


def _with_errors(spectra: xr.Dataset, gain: Gain | None) -> xr.Dataset:
    """Return sums that were saved without images with the counting errors they have at this gain."""
    if "intensity_errors" in spectra:
        return spectra
    if gain is None:
        raise CalibrationError(
            "gain",
            "cannot be measured without images, and the errors need it",
            "give calibration.gain.Gain(gain=..., read_noise=..., offset=...)",
        )
    rows = spectra["live_rows"].values
    photons = np.maximum(spectra["intensity"].values - rows * gain.offset, 0)
    variance = gain.gain * photons + rows * gain.read_noise**2
    variance = np.where(variance > 0, variance, gain.gain**2)
    errors = np.where(np.isfinite(spectra["intensity"].values), np.sqrt(variance), np.nan)
    return spectra.assign(intensity_errors=(spectra["intensity"].dims, errors, {"units": "ADU"}))
