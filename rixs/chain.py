"""The whole way from the images of a scan to a map."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from beamline import model, provenance
from beamline.errors import CalibrationError, SchemaError
from calibration import emission as emission_axis
from calibration import gain as detector_gain
from calibration.curvature import Curvature
from calibration.curvature import calibrate as measure_curvature
from rixs.mapping import make_map
from rixs.normalization import normalize
from rixs.spikes import mask_spikes
from rixs.straightening import straighten

if TYPE_CHECKING:
    import xarray as xr

    from calibration.emission import EmissionAxis
    from calibration.excitation import Shift
    from calibration.gain import Gain


@provenance.step("rixs.reduce", returns="rixs.map")
def reduce(
    scan: xr.Dataset,
    emission: EmissionAxis | None = None,
    excitation: Shift | None = None,
    curvature: Curvature | None = None,
    gain: Gain | None = None,
) -> xr.Dataset:
    """Make a map of a scan: spikes, curvature, straightened spectra, I0, energy axes.

    Parameters
    ----------
    scan
        Kind ``images`` with excitation_energy and i0 of every frame, or ``rixs.spectra`` of a scan that was
        saved without images.
    emission
        Emission axis; from the scan's own elastic lines where not given.
    excitation
        Correction of the excitation energies, which moves the emission axis with them.
    curvature
        Curvature of the lines; from the scan's own images where not given.
    gain
        Gain of the detector; from the scan's own images where not given.

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
        A calibration that was not given cannot be made from the scan.
    """
    kind = model.kind_of(scan)
    if kind == "images":
        _check_images(scan)
        gain = gain or detector_gain.calibrate(scan)
        masked = mask_spikes(scan, gain)
        curvature = curvature or measure_curvature(masked, gain)
        spectra = straighten(masked, curvature, gain)
    elif kind == "rixs.spectra":
        spectra = _with_errors(scan, gain)
    else:
        raise SchemaError("scan", f"is of kind {kind}", "give images or rixs.spectra")
    normalized = normalize(spectra)
    emission = emission or emission_axis.calibrate(normalized, excitation)
    rmap = make_map(normalized, emission, excitation)
    used = {"emission": emission, "excitation": excitation, "curvature": curvature, "gain": gain}
    records = {name: provenance.plain(record) for name, record in used.items() if record is not None}
    rmap.attrs["calibrations"] = json.dumps(records)
    return rmap


def _check_images(scan: xr.Dataset) -> None:
    if scan["counts"].dims != ("frame", "y", "x") or "excitation_energy" not in scan.coords:
        raise SchemaError("scan", "is not a series of images with their excitation energies")
    if scan.attrs.get("background") != "subtracted":
        raise SchemaError(
            "scan",
            "does not say that its background is subtracted",
            'subtract dark frames and set attrs["background"] = "subtracted"',
        )


def _with_errors(spectra: xr.Dataset, gain: Gain | None) -> xr.Dataset:
    """Return sums that were saved without images with the counting errors they have at this gain."""
    import numpy as np

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
