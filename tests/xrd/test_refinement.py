"""Refinement: what comes out for patterns whose truth is known, and what is said where nothing can."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.errors import ConfigError, FitError
from calibration.instrument import Instrument
from tests.xrd.refinable import (
    INSTRUMENT,
    LAYERED,
    SPINEL,
    SYSTEMS,
    Floats,
    axis,
    calculator,
    expected,
    noisy,
    pattern_of,
    phase_of,
)
from xrd.engines import STATUS
from xrd.models import Background, Model
from xrd.phases import CELL, Phase, Site, expand_cell
from xrd.refinement import refine, refine_series

BACKGROUND = Background(3, (620.0, -330.0, 70.0))
TRUTH = {"a": 2.872, "c": 14.23, "volume": LAYERED.volume, "scale": 0.2, "size": 0.25, "strain": 900.0}


@pytest.fixture(scope="module")
def two_theta() -> Floats:
    return axis(1.2, 12.0, 2000)


@pytest.fixture(scope="module")
def layered() -> Model:
    return Model([LAYERED], INSTRUMENT, BACKGROUND)


@pytest.fixture(scope="module")
def clean(layered: Model, two_theta: Floats) -> Floats:
    return expected(layered, two_theta)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_random_cell_comes_back(system: str, two_theta: Floats) -> None:
    rng = np.random.default_rng(sorted(SYSTEMS).index(system))
    phase = phase_of(system)
    lengths = [name in "abc" for name in phase.free_cell]
    spread = [0.1 if length else 0.02 for length in lengths]
    values = [
        phase.cell[CELL.index(n)] * (1 + rng.uniform(-s, s))
        for n, s in zip(phase.free_cell, spread, strict=True)
    ]
    phase = dataclasses.replace(phase, cell=expand_cell(phase.lattice, values))
    model = Model([phase], INSTRUMENT, BACKGROUND)
    top = expected(model, two_theta).max()
    model.start({f"{system}/scale": 2e4 / top})
    pattern = pattern_of(two_theta, expected(model, two_theta))
    away = model.copy().start({f"{system}/size": 0.4, f"{system}/strain": 500.0, f"{system}/scale": 1.0})
    away.start({f"background/{i}": 0.0 for i in range(3)})
    shifts = [2.5e-3 if length else 1e-3 for length in lengths]
    away.start(
        {
            f"{system}/{n}": v * (1 + rng.choice([-1, 1]) * s)
            for n, v, s in zip(phase.free_cell, values, shifts, strict=True)
        }
    )
    fit = refine(pattern, away, tolerance=1e-6)
    off = fit["estimate"].values[0] - model.free_values()
    assert fit["status"].values[0] == "converged", fit["message"].values[0]
    assert np.abs(off / (fit["estimate_errors"].values[0] / fit["gof"].values[0])).max() < 1e-3


def test_errors_are_those_of_repeated_measurements(layered: Model, clean: Floats, two_theta: Floats) -> None:
    draws = 120
    fits = refine_series(noisy(two_theta, clean, 5, draws), layered, weights="calculated")
    assert set(fits["status"].values) == {"converged"}
    values = {name: (fits[name], fits[f"{name}_errors"], truth) for name, truth in TRUTH.items()}
    for term, truth in enumerate(BACKGROUND.coefficients):
        values[f"background {term}"] = (
            fits["background"][:, term],
            fits["background_errors"][:, term],
            truth,
        )
    for name, (found, errors, truth) in values.items():
        pulls = ((found - truth) / errors).values.ravel()
        assert abs(pulls.mean()) < 3 / np.sqrt(draws), name
        # 1 within three standard deviations of a standard deviation
        assert abs(pulls.std() - 1) < 3 / np.sqrt(2 * draws), name


def test_the_volume_has_the_error_its_scatter_shows(layered: Model, clean: Floats, two_theta: Floats) -> None:
    # a and c are correlated: adding their errors as if they were not is wrong by far more than this.
    fits = refine_series(noisy(two_theta, clean, 6, 60), layered)
    ratio = float(fits["volume"].std() / fits["volume_errors"].mean())
    assert abs(ratio - 1) < 3 / np.sqrt(120)


def test_the_result_is_a_series_with_names_and_units(
    layered: Model, clean: Floats, two_theta: Floats
) -> None:
    fit = refine(noisy(two_theta, clean, 1), layered)
    assert fit.attrs["kind"] == "xrd.series"
    assert fit["a"].dims == ("frame", "phase")
    assert fit["covariance"].dims == ("frame", "variable", "variable_")
    assert list(fit["variable"].values[:2]) == ["layered/a", "layered/c"]
    assert fit["size"].attrs["units"] == "um"
    assert {"calculated", "baseline", "tick"} <= set(fit.data_vars)
    assert "003" in fit["label"].values
    spread = np.sqrt(np.diagonal(fit["covariance"].values[0]))
    np.testing.assert_allclose(spread, fit["estimate_errors"].values[0])
    # b follows a, and so does its error
    assert float(fit["b_errors"][0, 0]) == float(fit["a_errors"][0, 0])
    assert "gamma_errors" not in fit


def test_a_saved_series_is_made_again_from_its_history(
    layered: Model, clean: Floats, two_theta: Floats, tmp_path: Path
) -> None:
    counts = noisy(two_theta, clean, 2)
    path = tmp_path / "p.xye"
    columns = [two_theta, counts["intensity"].values[0], counts["intensity_errors"].values[0]]
    np.savetxt(path, np.stack(columns, axis=1))
    pattern = beamline.read(path)
    assert isinstance(pattern, xr.Dataset)
    fit = refine(pattern, layered)
    beamline.save(fit, path.with_suffix(".nc"))
    again = beamline.replay(beamline.open(path.with_suffix(".nc")), search=[path.parent])
    assert again.identical, again.differences


def test_patterns_corrected_for_polarisation_are_not_corrected_again(two_theta: Floats) -> None:
    beam = dataclasses.replace(INSTRUMENT, polarization=0.5)
    wide = axis(10.0, 60.0, 1500)
    model = Model([phase_of("cubic")], beam, 2).start({"background/0": 100.0})
    plain = calculator(model, wide).pattern(model.free_values())[0]
    corrected = calculator(model, wide, polarization_corrected=True).pattern(model.free_values())[0]
    strong = corrected > 1.05 * 100
    factor = 0.5 * (1 + np.cos(np.radians(wide)) ** 2)
    np.testing.assert_allclose(((plain - 100) / (corrected - 100))[strong], factor[strong], rtol=0.02)


def test_a_pattern_without_errors_is_refused(layered: Model, clean: Floats, two_theta: Floats) -> None:
    with pytest.raises(FitError, match="has no errors"):
        refine(noisy(two_theta, clean, 1).drop_vars("intensity_errors"), layered)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_errors_that_are_none_are_refused_by_name(
    value: float, layered: Model, clean: Floats, two_theta: Floats
) -> None:
    pattern = noisy(two_theta, clean, 1).assign_coords(file=("frame", ["sample_01.xye"]))
    pattern["intensity_errors"][0, 100:103] = value
    with pytest.raises(FitError, match=r"sample_01\.xye: has 3 points whose error is not above 0"):
        refine(pattern, layered)


def test_a_pattern_of_another_wavelength_is_refused(layered: Model, clean: Floats, two_theta: Floats) -> None:
    with pytest.raises(FitError, match=r"0\.2 angstrom"):
        refine(noisy(two_theta, clean, 1).assign_attrs(wavelength=0.2), layered)


def test_a_pattern_outside_what_was_calibrated_is_refused(clean: Floats, two_theta: Floats) -> None:
    narrow = dataclasses.replace(INSTRUMENT, two_theta_range=(2.0, 6.0))
    with pytest.raises(FitError, match="is calibrated from 2 to 6 deg"):
        refine(noisy(two_theta, clean, 1), Model([LAYERED], narrow, BACKGROUND))


def test_limits_without_points_are_refused(clean: Floats, two_theta: Floats) -> None:
    model = Model([LAYERED], INSTRUMENT, BACKGROUND, limits=(20.0, 30.0))
    with pytest.raises(FitError, match=r"it reaches from 1\.2 to 12 deg"):
        refine(noisy(two_theta, clean, 1), model)


def test_an_unknown_engine_is_refused(layered: Model, clean: Floats, two_theta: Floats) -> None:
    with pytest.raises(ConfigError, match="one of native, gsas2"):
        refine(noisy(two_theta, clean, 1), layered, engine="fullprof")


def test_one_dead_frame_does_not_take_the_others_with_it(
    layered: Model, clean: Floats, two_theta: Floats
) -> None:
    patterns = noisy(two_theta, clean, 3, 4)
    patterns["intensity"][1] = np.nan
    patterns["intensity_errors"][1] = np.nan
    fits = refine_series(patterns, layered)
    assert list(fits["status"].values) == ["converged", "failed", "converged", "converged"]
    assert "no point with a positive error" in fits["message"].values[1]
    assert np.isnan(fits["a"].values[1, 0])
    assert np.isfinite(fits["a"].values[[0, 2, 3], 0]).all()


def test_only_dead_frames_are_an_error(layered: Model, clean: Floats, two_theta: Floats) -> None:
    patterns = noisy(two_theta, clean, 3)
    patterns["intensity"][:] = np.nan
    patterns["intensity_errors"][:] = np.nan
    with pytest.raises(FitError, match="no point with a positive error"):
        refine(patterns, layered)


def test_points_without_error_and_excluded_ranges_do_not_count(
    layered: Model, clean: Floats, two_theta: Floats
) -> None:
    patterns = noisy(two_theta, clean, 4)
    spoiled = patterns.copy(deep=True)
    inside = (two_theta > 5) & (two_theta < 5.3)
    spoiled["intensity"][0, inside] = 1e7
    model = Model([LAYERED], INSTRUMENT, BACKGROUND, excluded=[(5.0, 5.3)])
    found = refine(spoiled, model)
    usual = refine(patterns, layered)
    assert abs(float(found["a"][0, 0] - usual["a"][0, 0])) < 2 * float(usual["a_errors"][0, 0])
    assert np.isnan(found["calculated"].values[0, inside]).all()
    spoiled["intensity"][0, inside] = np.nan
    spoiled["intensity_errors"][0, inside] = np.nan
    assert int(refine(spoiled, layered)["points"][0]) == two_theta.size - inside.sum()


def test_workers_do_not_change_the_result(layered: Model, clean: Floats, two_theta: Floats) -> None:
    patterns = noisy(two_theta, clean, 7, 4)
    one = refine_series(patterns, layered, chunk=2)
    two = refine_series(patterns, layered, chunk=2, workers=2)
    np.testing.assert_array_equal(one["estimate"].values, two["estimate"].values)


def test_too_few_cycles_are_said(layered: Model, clean: Floats, two_theta: Floats) -> None:
    away = layered.copy().start({"layered/a": 2.878, "layered/strain": 300.0})
    fit = refine(noisy(two_theta, clean, 8), away, max_cycles=1)
    assert fit["status"].values[0] == "max_cycles"


def test_what_cannot_be_told_apart_is_said(clean: Floats, two_theta: Floats) -> None:
    model = Model([LAYERED], INSTRUMENT, BACKGROUND).free("layered/Ni1.occupancy", "layered/Co1.occupancy")
    model.add("same", 0.0).tie("layered/Mn1.occupancy", {"same": 1.0}, offset=0.2).add("other", 0.0)
    model.tie("layered/Li2.occupancy", {"same": 0.0, "other": 0.0}, offset=0.03)
    fit = refine(noisy(two_theta, clean, 9), model)
    assert fit["status"].values[0] == "singular"
    assert "other" in fit["message"].values[0]


def test_strong_correlations_are_named(layered: Model, clean: Floats, two_theta: Floats) -> None:
    pattern = noisy(two_theta, clean, 20)
    assert refine(pattern, layered)["message"].values[0] == ""
    model = layered.copy().free("layered/Ni1.occupancy", "layered/Co1.occupancy")
    assert "layered/Ni1.occupancy and layered/Co1.occupancy" in refine(pattern, model)["message"].values[0]


def test_a_bound_is_kept_and_said(layered: Model, clean: Floats, two_theta: Floats) -> None:
    model = layered.copy().bound("layered/strain", 0.0, 700.0)
    fit = refine(noisy(two_theta, clean, 10), model)
    assert fit["status"].values[0] == "at_bound"
    assert "layered/strain" in fit["message"].values[0]
    assert float(fit["setting"].sel(parameter="layered/strain")[0]) == 700.0
    assert float(fit["a_errors"][0, 0]) > 0


def test_a_phase_that_is_not_there_keeps_its_cell_to_itself(clean: Floats, two_theta: Floats) -> None:
    model = Model([LAYERED, dataclasses.replace(SPINEL, scale=0.01)], INSTRUMENT, BACKGROUND)
    fit = refine(noisy(two_theta, clean, 11), model)
    assert fit["status"].values[0] == "phase_absent"
    assert "spinel" in fit["message"].values[0]
    assert np.isnan(float(fit["a"].sel(phase="spinel")[0]))
    assert float(fit["setting"].sel(parameter="spinel/a")[0]) == 8.12
    off = float(fit["a"].sel(phase="layered")[0]) - 2.872
    assert abs(off) < 4 * float(fit["a_errors"].sel(phase="layered")[0])


def test_fractions_are_those_of_the_mixture(two_theta: Floats) -> None:
    mixture = Model([LAYERED, dataclasses.replace(SPINEL, scale=0.02)], INSTRUMENT, BACKGROUND)
    fit = refine(noisy(two_theta, expected(mixture, two_theta), 12), mixture)
    spinel = fit.sel(phase="spinel")
    parts = np.array([0.2 * LAYERED.mass(), 0.02 * SPINEL.mass()])
    metal = np.array([0.2 * 3, 0.02 * 16])
    for name, share in (("fraction", parts), ("tm_fraction", metal)):
        off = float(spinel[name][0]) - share[1] / share.sum()
        assert abs(off) < 4 * float(spinel[f"{name}_errors"][0]), name
    assert float(fit["fraction"].sum("phase")[0]) == pytest.approx(1)


def test_a_tied_parameter_follows_with_its_error(clean: Floats, two_theta: Floats) -> None:
    model = Model([LAYERED], INSTRUMENT, BACKGROUND).add("doubled", 450.0)
    model.tie("layered/strain", "doubled", 2.0)
    fit = refine(noisy(two_theta, clean, 13), model)
    doubled = fit.sel(variable="doubled")
    assert float(fit["strain"][0, 0]) == pytest.approx(2 * float(doubled["estimate"][0]))
    assert float(fit["strain_errors"][0, 0]) == pytest.approx(2 * float(doubled["estimate_errors"][0]))


def test_a_prior_counts_as_an_observation(layered: Model, clean: Floats, two_theta: Floats) -> None:
    free = refine(noisy(two_theta, clean, 14), layered)
    sure = layered.copy().restrain("layered/size", 0.30, 1e-4)
    fit = refine(noisy(two_theta, clean, 14), sure)
    assert float(fit["size"][0, 0]) == pytest.approx(0.30, abs=5e-4)
    assert float(fit["strain_errors"][0, 0]) < float(free["strain_errors"][0, 0])


def test_broadening_that_cannot_be_seen_gives_a_bound(two_theta: Floats) -> None:
    fine = Model([dataclasses.replace(LAYERED, size=50.0, strain=1.0)], INSTRUMENT, BACKGROUND)
    fit = refine(noisy(two_theta, expected(fine, two_theta), 15), fine)
    assert np.isnan(float(fit["size"][0, 0]))
    assert 0.5 < float(fit["size_limit"][0, 0]) < 50.0
    assert np.isnan(float(fit["strain"][0, 0]))
    assert 1.0 < float(fit["strain_limit"][0, 0]) < 500.0


def test_the_uncertainty_of_the_instrument_goes_into_size_and_strain(
    clean: Floats, two_theta: Floats
) -> None:
    known = dataclasses.replace(INSTRUMENT, varied=("X", "Y"), covariance=((0.05**2, 0.0), (0.0, 0.5**2)))
    pattern = noisy(two_theta, clean, 16)
    usual = refine(pattern, Model([LAYERED], INSTRUMENT, BACKGROUND))
    unsure = refine(pattern, Model([LAYERED], known, BACKGROUND))
    assert float(unsure["a"][0, 0]) == float(usual["a"][0, 0])
    # X is broadening by size, Y by strain: their errors come back as those of 1/S and M.
    size, strain = float(unsure["size"][0, 0]), float(unsure["strain"][0, 0])
    by_x = size**2 * 0.05 * np.pi / (1.8 * INSTRUMENT.wavelength)
    by_y = 0.5 * np.pi / 0.018
    assert strain > by_y
    for name, part in (("size", by_x), ("strain", by_y)):
        counting, total = float(usual[f"{name}_errors"][0, 0]), float(unsure[f"{name}_errors"][0, 0])
        assert total == pytest.approx(np.hypot(counting, part), rel=0.02), name


@pytest.mark.parametrize("intensities", ["lebail", "pawley"])
def test_a_cell_comes_back_without_a_structure(intensities: str, two_theta: Floats) -> None:
    phase = dataclasses.replace(LAYERED, intensities=intensities)
    two_theta = two_theta[two_theta <= 7.0]
    truth = Model([LAYERED], INSTRUMENT, BACKGROUND)
    model = Model([phase], INSTRUMENT, BACKGROUND)
    pattern = noisy(two_theta, expected(truth, two_theta), 17)
    model.start({"layered/a": 2.874, "layered/c": 14.24})
    fit = refine(pattern, model)
    for name in ("a", "c"):
        off = float(fit[name][0, 0]) - TRUTH[name]
        assert abs(off) < 4 * float(fit[f"{name}_errors"][0, 0]), name
    assert float(fit["gof"][0]) < 1.15


def test_a_textured_can_and_the_sample_are_told_apart(two_theta: Floats) -> None:
    foil = Phase(
        "Al",
        "F m -3 m",
        (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0),
        (Site("Al", "Al", 0.0, 0.0, 0.0),),
        scale=0.05,
        size=0.3,
        strain=500.0,
        march=0.5,
        axis=(1, 1, 1),
    )
    model = Model([LAYERED, foil], INSTRUMENT, BACKGROUND).free("Al/march", "displacement_x").fix("Al/cell")
    pattern = noisy(two_theta, expected(model, two_theta, displacement_x=60.0), 18)
    fit = refine(pattern, model.copy().start({"Al/march": 0.9}))
    march = fit["march"].sel(phase="Al")
    assert abs(float(march[0]) - 0.5) < 4 * float(fit["march_errors"].sel(phase="Al")[0])
    # The foil's cell is known: it fixes the displacement, and that the cell of the sample.
    off = float(fit["displacement_x"][0]) - 60.0
    assert abs(off) < 4 * float(fit["displacement_x_errors"][0])
    assert abs(float(fit["a"].sel(phase="layered")[0]) - 2.872) < 4 * float(
        fit["a_errors"].sel(phase="layered")[0]
    )


def test_every_status_is_a_known_one() -> None:
    assert STATUS[0] == "converged"
    assert STATUS[-1] == "failed"


def test_a_doublet_of_the_laboratory_comes_back() -> None:
    lab = Instrument(
        *(1.5406, 1.5444, 0.5, 0.0, 0.7, 0.0, 2.0, -2.0, 5.0, 3.0, 2.0, 0.0, 0.002, "bragg-brentano")
    )
    two_theta = axis(20.0, 100.0, 4000)
    phase = phase_of("orthorhombic", size=0.1)
    model = Model([phase], lab, BACKGROUND).free("displacement")
    top = expected(model, two_theta).max()
    model.start({"orthorhombic/scale": 2e4 / top, "displacement": 60.0})
    pattern = noisy(two_theta, expected(model, two_theta), 19)
    fit = refine(pattern, model.copy().start({"displacement": 0.0, "orthorhombic/a": 8.482}))
    for name, truth in (("a", 8.48), ("b", 5.40), ("c", 6.96)):
        assert abs(float(fit[name][0, 0]) - truth) < 4 * float(fit[f"{name}_errors"][0, 0]), name
    assert abs(float(fit["displacement"][0]) - 60.0) < 4 * float(fit["displacement_errors"][0])
