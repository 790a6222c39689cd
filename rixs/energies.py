"""The first of the energies: what the monochromator is off by, before anything is calibrated with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from beamline import provenance
from calibration.excitation import CORRECTION, corrected_energies

if TYPE_CHECKING:
    import xarray as xr

    from calibration.excitation import Shift


@provenance.step("rixs.correct_energies", returns="rixs.spectra")
def correct_energies(spectra: xr.Dataset, shift: Shift) -> xr.Dataset:
    """Correct the excitation energies of spectra, in the order they were taken.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra`` of one scan, as the monochromator stated its energies.
    shift
        From a reference; with a drift where it was measured before and after the scan.

    Returns
    -------
    Dataset
        `spectra` with corrected ``excitation_energy`` and ``excitation_energy_errors``. The drift between
        the references is taken as steady; a quarter of it is in the error, since that is an assumption.

    Raises
    ------
    CalibrationError
        The energies are corrected already: a shift is applied once.
    """
    energy = corrected_energies(spectra, shift)
    result = spectra.assign_coords(
        excitation_energy=("frame", energy, dict(spectra["excitation_energy"].attrs))
    )
    error = float(np.hypot(shift.error, shift.drift / 4))
    if error > 0:
        label = {
            "units": "eV",
            "long_name": "standard deviation of the excitation axis, common to all points",
        }
        errors = np.full(energy.size, error)
        result = result.assign_coords(excitation_energy_errors=("frame", errors, label))
    return result.assign_attrs(
        {CORRECTION: float(shift.value), "excitation_shift": f"{shift.value:+.4f} +- {error:.4f} eV"}
    )
