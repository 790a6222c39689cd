"""Features of simulated maps: their areas are the true ones within the errors claimed, model by model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from beamline.errors import ConfigError, FitError
from rixs import bands, simulated_features
from rixs.features import WINDOW, Areas, measure_low_loss, measure_oxidised_oxygen
from rixs.loss import INTEGRATED
from rixs.simulate import FEATURE
from rixs.simulated_features import BROADENED, CHARGED, PRISTINE, map_of, true_area, true_low_loss

SEEDS = 24
TRUTH = true_area(CHARGED)


@pytest.fixture(scope="module")
def measured() -> dict[str, list[Areas]]:
    """Return the feature of each state over the seeds, each with its own noisy reference."""
    states = {"pristine": PRISTINE, "charged": CHARGED, "broadened": BROADENED}
    return {
        name: [
            measure_oxidised_oxygen(map_of(state, seed), [map_of(PRISTINE, 10_000 + seed)])
            for seed in range(SEEDS)
        ]
        for name, state in states.items()
    }


@pytest.mark.parametrize("state", ["pristine", "charged", "broadened"])
def test_areas_have_the_errors_they_claim(state: str, measured: dict[str, list[Areas]]) -> None:
    truth = TRUTH if state == "charged" else 0.0
    pulls = np.array([(areas.mean - truth) / areas.total for areas in measured[state]])
    # The models are biased, which their disagreement has to cover: half a standard deviation on top.
    assert abs(pulls.mean()) < 0.5 + 3 / np.sqrt(SEEDS)
    assert 0.5 < pulls.std() < 1 + 3 / np.sqrt(2 * SEEDS)


@pytest.mark.parametrize("model", ["local", "reference", "fit"])
@pytest.mark.parametrize("state", ["pristine", "charged", "broadened"])
def test_each_model_scatters_as_it_claims(state: str, model: str, measured: dict[str, list[Areas]]) -> None:
    at = measured[state][0].models.index(model)
    found = np.array([areas.values[at] for areas in measured[state]])
    claimed = np.sqrt(np.mean([areas.covariance[at, at] for areas in measured[state]]))
    assert found.std() / claimed == pytest.approx(1, abs=3 / np.sqrt(2 * SEEDS))


def test_bands_that_broaden_make_no_feature(measured: dict[str, list[Areas]]) -> None:
    """Subtracting the pristine spectrum does; that is why there are models."""
    many = 1e10  # counts of I0: no noise to speak of
    region = [bands.Region.of(map_of(s, 1, flux=many), WINDOW, FEATURE) for s in (BROADENED, PRISTINE)]
    plain = float(region[0].bins @ (region[0].cut - region[1].cut))
    assert plain > 0.15 * TRUTH
    means = np.mean([areas.values for areas in measured["broadened"]], axis=0)
    assert (np.abs(means) < 0.08 * TRUTH).all()


def test_models_that_agree_add_no_error_and_others_do() -> None:
    covariance = np.full((3, 3), 1.0)
    same = Areas(("a", "b", "c"), np.array([5.0, 5.0, 5.0]), covariance, np.zeros((2, 3)))
    assert (same.mean, same.counting, same.between_models, same.total) == (5.0, 1.0, 0.0, 1.0)
    apart = replace(same, values=np.array([3.0, 5.0, 7.0]))
    assert apart.between_models == pytest.approx(2.0)
    noisy = replace(apart, covariance=np.diag([4.0, 4.0, 4.0]))
    assert noisy.between_models == 0.0


def test_the_result_says_what_was_done(tmp_path: object) -> None:
    result = rixs.oxidised_oxygen(map_of(CHARGED, 1), map_of(PRISTINE, 2))
    assert list(result.model.values) == ["local", "reference", "fit"]
    parts = [float(result[name]) for name in ("counting", "models", "calibration")]
    assert float(result.mean_area_errors) == pytest.approx(np.sqrt(np.sum(np.square(parts))))
    inside = (result.emission_energy > 522.9) & (result.emission_energy < 524.5)
    above = (result.intensity - result.background).where(inside, drop=True).sum("emission_energy") * 0.1245
    np.testing.assert_allclose(above.sel(model="local"), result.area.sel(model="local"), rtol=0.05)
    path = f"{tmp_path}/feature.nc"
    beamline.save(result, path)
    assert beamline.open(path).equals(result)


def test_without_a_reference_two_models_are_left() -> None:
    assert list(rixs.oxidised_oxygen(map_of(CHARGED, 1)).model.values) == ["local", "fit"]
    with pytest.raises(ConfigError, match="needs the map of a reference"):
        rixs.oxidised_oxygen(map_of(CHARGED, 1), models=("reference",))
    with pytest.raises(ConfigError, match="is not known"):
        rixs.oxidised_oxygen(map_of(CHARGED, 1), models=("plain",))


def test_an_axis_that_is_not_well_known_moves_the_area() -> None:
    rmap = map_of(CHARGED, 1, flux=1e10)
    label = {"units": "eV", "long_name": "of the axis"}
    error = ("emission_energy", np.full(rmap.sizes["emission_energy"], 0.05), label)
    result = rixs.oxidised_oxygen(rmap.assign_coords(emission_energy_errors=error), models=("local",))
    moved = [
        float(rixs.oxidised_oxygen(_shifted(rmap, by), models=("local",)).mean_area) for by in (-0.05, 0.05)
    ]
    assert float(result.calibration) == pytest.approx(abs(moved[1] - moved[0]) / 2, rel=0.35)


def _shifted(rmap: xr.Dataset, by: float) -> xr.Dataset:
    return rmap.assign_coords(emission_energy=rmap.emission_energy + by)


def test_maps_that_do_not_reach_are_refused() -> None:
    rmap = map_of(CHARGED, 1)
    with pytest.raises(ConfigError, match="not within the map"):
        rixs.oxidised_oxygen(rmap, window=(530.6, 534.0))
    with pytest.raises(ConfigError, match="covers emission"):
        rixs.oxidised_oxygen(rmap.sel(emission_energy=slice(522.5, None)))
    with pytest.raises(FitError, match="no errors"):
        rixs.oxidised_oxygen(rmap.drop_vars("intensity_errors"))
    holed = rmap.copy(deep=True)
    holed["intensity"][20, 80] = np.nan
    holed["intensity_errors"][20, 80] = np.nan
    with pytest.raises(FitError, match="gaps"):
        rixs.oxidised_oxygen(holed)


@pytest.mark.parametrize("state", [PRISTINE, CHARGED, replace(CHARGED, vibration=0.192)])
def test_the_low_loss_area_is_found(state: simulated_features.State) -> None:
    truth = true_low_loss(state)
    found = [measure_low_loss(map_of(state, seed), ()) for seed in range(SEEDS)]
    pulls = np.array([(areas.mean - truth) / areas.total for areas in found])
    assert abs(pulls.mean()) < 0.7 + 3 / np.sqrt(SEEDS)
    assert 0.4 < pulls.std() < 1 + 3 / np.sqrt(2 * SEEDS)


def test_the_spacing_is_fitted_only_where_lines_stand_apart() -> None:
    from rixs.simulate import Spectrograph

    state = replace(CHARGED, vibration=0.2)
    blurred = rixs.low_loss(map_of(state, 1))
    assert float(blurred.spacing) == pytest.approx(0.192)
    assert "spacing_errors" not in blurred
    assert "the spacing is fixed at 0.192 eV" in blurred.attrs["progression"]
    sharp = Spectrograph(columns=1200, dispersion=0.015, resolution=0.04, center_energy=526.0)
    resolved = rixs.low_loss(map_of(state, 1, spectrograph=sharp, flux=1e9))
    assert abs(float(resolved.spacing) - 0.2) < 4 * float(resolved.spacing_errors)
    assert float(resolved.spacing_errors) < 0.01


def test_loss_windows_conserve_counts() -> None:
    rmap = map_of(CHARGED, 1)
    cut = rixs.loss_window(rmap, 530.6, 531.8)
    step = float(np.diff(cut.energy_loss)[0])
    inside = rixs.window(rmap, 530.6, 531.8)
    from rixs.yields import bin_weights

    emitted = float(bin_weights(inside.emission_energy.values, 521.0, 533.0) @ inside.intensity.values)
    lost = float(cut.intensity.sel(energy_loss=slice(-2.5, 11)).sum() * step)
    assert lost == pytest.approx(emitted, rel=0.02)
    assert INTEGRATED[0] < 0.6 < INTEGRATED[1]


def test_self_absorption_follows_the_yield() -> None:
    energy = np.linspace(520.0, 560.0, 81)
    mu = np.where(energy > 540, 2.0, np.where(abs(energy - 531) < 0.6, 3.0, 1.0))
    absorption = xr.Dataset(
        {"intensity": ("excitation_energy", mu, {"units": "", "long_name": "yield"})},
        coords={"excitation_energy": energy},
    )
    factor = rixs.self_absorption(absorption).intensity
    assert float(factor.sel(excitation_energy=522.0)) == pytest.approx(1.0)
    assert float(factor.sel(excitation_energy=531.0)) > float(factor.sel(excitation_energy=550.0)) > 1.1
    # At grazing emission the way out counts for everything, and the way in for nothing.
    grazing = rixs.self_absorption(absorption, exit=0.5).intensity
    assert float(grazing.sel(excitation_energy=531.0)) == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ConfigError, match="formula"):
        rixs.self_absorption(absorption, formula="Lithium?")
    from beamline.errors import CalibrationError

    with pytest.raises(CalibrationError, match="no point"):
        rixs.self_absorption(absorption.sel(excitation_energy=slice(None, 540)))
