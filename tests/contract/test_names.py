"""Names of the data model are a promise: results written today must mean the same to every later version."""

from __future__ import annotations

from beamline import model

UNITS = {
    "deg": "two_theta position alpha beta gamma zero",
    "1/angstrom": "q k",
    "angstrom": "d r a b c",
    "angstrom**3": "volume",
    "eV": "energy excitation_energy emission_energy energy_loss e0",
    "s": "exposure",
    "um": "size",
    "V": "voltage",
    "degC": "temperature",
    "": "coverage live_rows asymmetry scale fraction strain rwp gof mu mu_ref norm edge_step chi",
    None: "i0 dose monitor counts intensity fwhm area chi_r current capacity",
}
SIGNALS = {
    "images": "counts",
    "rixs.spectra": "intensity",
    "rixs.map": "intensity",
    "rixs.cut": "intensity",
    "xrd.patterns": "intensity",
    "xrd.peaks": "position",
    "xrd.series": "a",
    "xas.scans": "mu",
    "xas.exafs": "chi",
    "channels": None,
}


def test_names_keep_their_units() -> None:
    promised = {name: unit for unit, names in UNITS.items() for name in names.split()}
    assert {name: model.NAMES[name].units for name in promised} == promised


def test_kinds_keep_their_signals() -> None:
    assert {kind: model.KINDS[kind].signal for kind in SIGNALS} == SIGNALS


def test_uncertainties_and_masks_are_named_as_promised() -> None:
    assert (model.ERRORS, model.MASK, model.TIME) == ("_errors", "_mask", "time")
