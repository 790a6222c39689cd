from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import rixs
from beamline import model
from beamline.errors import CalibrationError, SchemaError
from calibration.emission import EmissionAxis
from calibration.gain import Gain
from rixs import simulate

ZERO = ((0.0, 0.0, 0.0),) * 3
AXIS = EmissionAxis((527.0, 0.1, 0.0), ZERO, 50.0)
ENERGIES = np.array([526.0, 526.6, 527.2, 527.8, 530.0, 531.0])
STRAY, BAND, LINE = 40.0, 300.0, 900.0


def spectra(seed: int, width: float = 0.12, energies: np.ndarray = ENERGIES, by: str = "flux") -> xr.Dataset:
    """Normalised spectra in counts: stray light, an elastic line, and above 529 eV a band."""
    rng = np.random.default_rng(seed)
    emission = AXIS.energy(np.arange(100.0))
    flux = 1e6 * np.linspace(1.0, 0.5, energies.size)
    exposure = np.linspace(100.0, 400.0, energies.size)
    size = flux / 1e6 if by == "flux" else exposure / 100
    line = LINE * np.exp(-0.5 * ((emission - energies[:, None]) / width) ** 2)
    band = BAND * np.exp(-0.5 * ((emission - 525) / 1.0) ** 2) * (energies[:, None] > 529)
    expected = STRAY * size[:, None] + (line + band) * flux[:, None] / 1e6
    counts = rng.poisson(expected)
    ds = xr.Dataset(
        {
            "intensity": (("frame", "pixel"), counts.astype(float), {"units": "ADU"}),
            "intensity_errors": (("frame", "pixel"), np.sqrt(expected)),
            "live_rows": (("frame", "pixel"), np.ones(counts.shape)),
        },
        coords={
            "pixel": np.arange(100.0),
            "excitation_energy": ("frame", energies),
            "i0": ("frame", 1e3 * flux, {"units": "count", "long_name": "flux"}),
            "exposure": ("frame", exposure),
        },
    )
    return rixs.normalize(model.with_defaults(ds, "rixs.spectra"))


@pytest.mark.parametrize("by", ["flux", "exposure"])
def test_stray_light_is_gone_and_errors_are_right(by: str) -> None:
    pulls, own = [], []
    for seed in range(100):
        ds = spectra(seed, by=by)
        found = rixs.subtract_pre_edge(ds, AXIS, 529.0, 0.6, by)  # type: ignore[arg-type]
        emission = AXIS.energy(ds.pixel.values)
        band = BAND * np.exp(-0.5 * ((emission - 525) / 1.0) ** 2) * (ENERGIES[:, None] > 529)
        line = LINE * np.exp(-0.5 * ((emission - ENERGIES[:, None]) / 0.12) ** 2)
        truth = (band + line) * 1e-3
        pull = (found.intensity.values - truth) / found.intensity_errors.values
        pulls.append(pull[4:])
        own.append(pull[:4])
    for each in (pulls, own):
        values = np.array(each)
        # Pixels of two frames share their background: the mean of a seed is one draw.
        assert abs(values.mean()) < 3 * values.mean(axis=(1, 2)).std() / np.sqrt(100)
        assert values.std() == pytest.approx(1, abs=0.03)


def test_what_was_subtracted_stands_in_the_result() -> None:
    ds = spectra(1)
    found = rixs.subtract_pre_edge(ds, AXIS, 529.0, 0.6)
    np.testing.assert_allclose(found.intensity + found.pre_edge_background, ds.intensity)
    assert "4 spectra below 529 eV" in found.attrs["pre_edge"]
    model.validate(found, "rixs.spectra")
    with pytest.raises(SchemaError, match="already"):
        rixs.subtract_pre_edge(found, AXIS, 529.0, 0.6)


def test_lines_that_lie_on_each_other_hide_the_background() -> None:
    close = np.array([526.0, 526.3, 526.6, 530.0])
    with pytest.raises(CalibrationError, match=r"hidden by elastic lines from 52[56]\.\d+ to 526\.\d+ eV"):
        rixs.subtract_pre_edge(spectra(1, energies=close), AXIS, 529.0, 0.6)


def test_a_line_wider_than_what_is_left_out_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"reach farther than 0\.2 eV"):
        rixs.subtract_pre_edge(spectra(1, width=0.2), AXIS, 529.0, 0.2)


def test_without_a_spectrum_below_the_edge_there_is_no_background() -> None:
    with pytest.raises(CalibrationError, match="no spectrum below 520 eV"):
        rixs.subtract_pre_edge(spectra(1), AXIS, 520.0)


def test_exposures_that_are_not_known_are_not_made_up() -> None:
    with pytest.raises(SchemaError, match="exposure"):
        rixs.subtract_pre_edge(spectra(1).drop_vars("exposure"), AXIS, 529.0, by="exposure")
    with pytest.raises(SchemaError, match="not normalised"):
        rixs.subtract_pre_edge(spectra(1).drop_vars("i0_mask"), AXIS, 529.0)


def test_the_chain_takes_it_and_says_so() -> None:
    instrument = replace(simulate.Spectrograph(), cosmics=0.0)
    energies = simulate.excitation_energies(524.6, 532.4, 0.6)
    images = simulate.scan(1.0, 5, energies, instrument)
    # 1.3 photons per pixel of a spectrum everywhere: light of another order.
    rng = np.random.default_rng(5)
    stray = rng.poisson(0.02, images.counts.shape) * simulate.GAIN
    lit = images.assign(counts=images.counts + np.rint(stray).astype(np.int32))
    detector = Gain(simulate.GAIN, 4.0)
    raw, clean = (rixs.reduce(lit, gain=detector, pre_edge=edge) for edge in (None, 527.8))

    def level(rmap: xr.Dataset) -> float:
        dark = rmap.intensity.sel(emission_energy=slice(533.5, 540.0))
        return float(dark.mean() / dark.std() * np.sqrt(dark.size))

    assert "6 spectra below 527.8 eV" in clean.attrs["pre_edge"]
    assert level(raw) > 20
    # All points share one background, of fewer spectra than there are points: twice the scatter of its mean.
    assert abs(level(clean)) < 2 * 3
