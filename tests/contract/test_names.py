"""Names of the data model are a promise: results written today must mean the same to every later version."""

from __future__ import annotations

from beamline import model

UNITS = {
    "deg": "two_theta azimuth position alpha beta gamma zero deviation",
    "1/angstrom": "q k",
    "angstrom": "d r a b c distance",
    "angstrom**3": "volume",
    "angstrom**2": "sigma2",
    "eV": "energy excitation_energy emission_energy energy_loss e0 edge_energy energy_shift measured_shift "
    "e0_shift",
    "s": "exposure",
    "um": "size",
    "V": "voltage",
    "degC": "temperature",
    "": "coverage rejected correlation live_rows asymmetry scale fraction strain rwp gof mu mu_ref norm flat "
    "pre_edge post_edge averaged edge_step chi chi_fit window amplitude coordination r_factor reduced_chi2 "
    "repeats points agreement_chi2 dose_p_value dose_change dead_time_factor window_r valence",
    None: "detector_counts i0 it ir fluorescence tey tfy dose monitor counts intensity background fwhm area "
    "chi_r chi_r_fit chi_q current capacity",
}
SIGNALS = {
    "images": "counts",
    "rixs.spectra": "intensity",
    "rixs.map": "intensity",
    "rixs.loss_map": "intensity",
    "rixs.cut": "intensity",
    "rixs.feature": "area",
    "rixs.comparison": "area",
    "xrd.patterns": "intensity",
    "xrd.cakes": "intensity",
    "xrd.peaks": "position",
    "xrd.series": "a",
    "xas.scans": "mu",
    "xas.exafs": "chi",
    "calibration.sectors": "deviation",
    "channels": None,
}


def test_names_keep_their_units() -> None:
    promised = {name: unit for unit, names in UNITS.items() for name in names.split()}
    assert {name: model.NAMES[name].units for name in promised} == promised


def test_no_name_is_without_a_promise() -> None:
    assert set(model.NAMES) == {name for names in UNITS.values() for name in names.split()}


def test_kinds_keep_their_signals() -> None:
    assert {kind: model.KINDS[kind].signal for kind in SIGNALS} == SIGNALS


def test_uncertainties_and_masks_are_named_as_promised() -> None:
    assert (model.ERRORS, model.MASK, model.TIME) == ("_errors", "_mask", "time")
