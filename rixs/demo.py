"""Simulated mRIXS: three states of a cathode, calibrated with TiO2."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from beamline.readers.sigscan import read_sigscan
from beamline.truth import Comparison, open_leaf
from calibration import excitation
from rixs import simulate
from rixs.cuts import integration_weights

_STATES = ("pristine", "charged", "discharged")
_DETECTOR = dataclasses.replace(simulate.ALS_801, columns=256, center_energy=526.0, dispersion=0.125)
"""The columns of iRIXS around the O K edge."""


def run(folder: str | os.PathLike[str]) -> str:
    """Simulate scans in `folder`, calibrate their excitation energies, and return the tables of the scans.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    states = {state: simulate.STATES[state] for state in _STATES}
    truth = json.loads(simulate.write_scans(folder, states, 2022, spectrograph=_DETECTOR).read_text())
    reference = read_sigscan(folder / "SigScan_TiO2.txt")
    excitation.calibrate(reference).save(folder / "excitation.json")
    place = folder.name
    return "\n".join(
        f'[rixs.{state}]\nfiles = ["{place}/{scan["folder"]}/*-AI.txt"]\n'
        f'excitation = "{place}/excitation.json"\nwindow = {list(simulate.WINDOW)}\n'
        for state, scan in truth["scans"].items()
    )


def compare(folder: Path, result: Path) -> list[Comparison]:
    """Return the area of the feature in each state, as simulated and as found."""
    truth = json.loads((folder / "truth.json").read_text())
    comparisons = []
    for state, scan in truth["scans"].items():
        cut = open_leaf(result, f"rixs/{state}/window")
        weights = integration_weights(cut["emission_energy"].values, *truth["feature_eV"])
        measured = np.isfinite(cut["intensity"].values) & (weights != 0)
        gain = truth["gain_adu_per_photon"]
        area = weights[measured] @ cut["intensity"].values[measured] / gain
        error = np.sqrt(weights[measured] ** 2 @ cut["intensity_errors"].values[measured] ** 2) / gain
        name = f"O K window area, {state} (photons eV/megacount)"
        comparisons.append(Comparison(name, scan["window_area"], float(area), float(error)))
    return comparisons
