"""Edges by every method: where they are, what their errors are worth, and valences read off them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xas
from beamline.errors import ConfigError, FitError, SchemaError
from xas import simulate
from xas.grid import Grid
from xas.positions import METHODS, _areas, _derivatives

from .series import ENERGY, noisy, pulls, stack

E0 = 8346.0
DRAWS = 400
BOUND = 3 / np.sqrt(DRAWS)


def measured(scans: xr.Dataset, method: str, e0: float | None = E0) -> xr.Dataset:
    return xas.edge(xas.normalize(scans, e0=e0, post=(100, 700)), method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [2e-4, 4e-3])
def test_errors_are_right(method: str, noise: float) -> None:
    truth = measured(noisy(1, 1e-9), method)
    found = pulls(measured(noisy(DRAWS, noise, 1), method), truth, "edge_energy")
    assert abs(found.mean()) < BOUND
    assert found.std() == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("method", METHODS)
def test_an_edge_that_moves_back_is_found_where_it_is(method: str) -> None:
    """Up on charge and back, as in a cathode that loses oxygen: nothing prefers a direction."""
    shift = np.repeat([0.0, 1.6, 1.05], DRAWS)
    truth = measured(noisy(3, 1e-9, shift=[0.0, 1.6, 1.05]), method, None)
    found = measured(noisy(shift.size, 2e-3, 3, shift), method, None)
    exact = np.repeat(truth["edge_energy"].values, DRAWS)
    off = ((found["edge_energy"].values - exact) / found["edge_energy_errors"].values).reshape(3, DRAWS)
    # where E0 jumps to the next point of the axis the fits move with it, which is not noise of a point
    assert np.abs(off.mean(axis=1)).max() < 2 * BOUND
    np.testing.assert_allclose(off.std(axis=1), 1.0, atol=0.12)
    assert exact[DRAWS] > exact[2 * DRAWS] + 0.4


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_of_the_whole_edge_is_found(method: str) -> None:
    scan = simulate.scan(0, noise=1e-9)
    moved = scan.assign_coords(energy=("energy", scan["energy"].values + 2.5, scan["energy"].attrs))
    edges = [
        float(xas.edge(xas.normalize(ds, e0=e0), method)["edge_energy"])
        for ds, e0 in ((scan, E0), (moved, E0 + 2.5))
    ]
    assert edges[1] - edges[0] == pytest.approx(2.5, abs=1e-6)


def test_the_integral_is_the_mean_of_the_energies_of_the_rise() -> None:
    # E = 8340 + 10 norm, and a little white line that brings norm to 1 for sure
    mu = np.interp(ENERGY, [8340.0, 8350.0, 8351.0, 8352.0], [0.0, 1.0, 1.1, 1.0])
    out = xas.edge(xas.normalize(stack(mu), e0=8345.0, post=(100, 700)), "integral")
    assert float(out["edge_energy"][0]) == pytest.approx(8340 + 10 * (0.15 + 1) / 2, abs=0.02)


def test_the_inflection_of_an_arctangent_is_its_centre() -> None:
    mu = simulate.absorption(ENERGY, width=3.0, white_line=0.0, shells=())
    out = measured(stack(mu), "inflection", 8345.0)
    assert float(out["edge_energy"][0]) == pytest.approx(8345.0, abs=0.01)


def test_the_centroid_of_a_symmetric_rise_is_its_middle() -> None:
    mu = np.interp(ENERGY, [8340.0, 8350.0], [0.0, 1.0])
    out = xas.edge(xas.normalize(stack(mu), e0=8345.0, post=(100, 700)), "centroid")
    assert float(out["edge_energy"][0]) == pytest.approx(8345.0, abs=0.02)


def test_areas_are_integrals_of_straight_pieces() -> None:
    x = np.sort(np.random.default_rng(0).uniform(0, 10, 12))
    weights = _areas(x, np.array([x[1] + 0.1, x[4]]), np.array([x[7] - 0.05, x[4]]))
    fine = np.linspace(x[1] + 0.1, x[7] - 0.05, 200_001)
    y = np.sin(x)
    assert weights[0] @ y == pytest.approx(np.trapezoid(np.interp(fine, x, y), fine), abs=1e-6)
    assert not weights[1].any()


def test_local_cubics_know_the_derivatives_of_a_cubic() -> None:
    x = np.arange(0.0, 20.0, 0.4)
    slopes, bends = _derivatives(Grid(x), Grid(np.array([7.3, 9.0])))
    y = 2 - x + 0.5 * x**2 - 0.1 * x**3
    np.testing.assert_allclose(slopes @ y, [-1 + a - 0.3 * a**2 for a in (7.3, 9.0)], rtol=1e-8)
    np.testing.assert_allclose(bends @ y, [1 - 0.6 * a for a in (7.3, 9.0)], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_an_edge_without_a_rise_is_told_about(method: str) -> None:
    scans = xas.normalize(noisy(2, 1e-3), e0=E0)
    low = scans["mu"].values.copy()
    low[1] = 0.5 + 1e-3 * np.random.default_rng(0).normal(size=low.shape[1])
    low[1, ENERGY > 8700] += 0.8  # a step, but far from E0
    out = xas.edge(xas.normalize(stack(low), e0=E0), method)
    assert np.isfinite(out["edge_energy"][0])
    assert np.isnan(out["edge_energy"][1])
    assert "ok" not in str(out["status"].values[1])


def standards(
    offsets: tuple[float, ...] = (0.0, 0.0, 0.0), noise: float = 1e-3, seed: int = 0
) -> list[xr.Dataset]:
    """Return scans of valence 2, 3 and 4, 1.5 eV apart, some off the line."""
    shift = [0.0 + offsets[0], 1.5 + offsets[1], 3.0 + offsets[2]]
    scans = measured(noisy(3, noise, seed, shift), "half_height", None)
    return [scans.isel(scan=n) for n in range(3)]


def test_the_valence_of_a_standard_is_its_own() -> None:
    samples = measured(noisy(2, 1e-4, 7, [0.75, 1.5]), "half_height", None)
    out = xas.valence(samples, standards(noise=1e-4), [2, 3, 4])
    np.testing.assert_allclose(out["valence"], [2.5, 3.0], atol=0.03)
    assert out["valence"].attrs["energy_per_valence"] == pytest.approx(1.5, abs=0.02)
    assert "s0 (2)" in out["valence"].attrs["standards"]


def test_errors_of_valences_hold_those_of_the_standards() -> None:
    """Pulls over draws of standards and samples together: both are noisy."""
    exact = xas.valence(measured(noisy(1, 1e-9, 0, 0.75), "half_height", E0), _exact_standards(), [2, 4])
    off = []
    for seed in range(120):
        scans = measured(noisy(3, 3e-3, 100 + seed, [0.0, 3.0, 0.75]), "half_height", E0)
        found = xas.valence(scans.isel(scan=[2]), [scans.isel(scan=0), scans.isel(scan=1)], [2, 4])
        off.append(float(pulls(found, exact, "valence")[0]))
    assert abs(np.mean(off)) < 3 / np.sqrt(len(off))
    assert np.std(off) == pytest.approx(1.0, abs=3 / np.sqrt(2 * len(off)))


def _exact_standards() -> list[xr.Dataset]:
    scans = measured(noisy(2, 1e-9, 0, [0.0, 3.0]), "half_height", E0)
    return [scans.isel(scan=0), scans.isel(scan=1)]


def test_standards_that_do_not_lie_on_a_line_make_the_error_larger() -> None:
    sample = measured(noisy(1, 1e-3, 7, 0.75), "half_height", None)
    errors = [
        float(xas.valence(sample, standards(offsets), [2, 3, 4])["valence_errors"][0])
        for offsets in ((0.0, 0.0, 0.0), (0.0, 0.3, 0.0))
    ]
    assert errors[1] > 5 * errors[0]
    assert errors[1] > 0.1


def test_a_valence_beyond_the_standards_is_suspect() -> None:
    sample = measured(noisy(1, 1e-3, 7, 6.0), "half_height", None)
    out = xas.valence(sample, standards(), [2, 3, 4])
    assert "beyond the standards, 2 to 4" in str(out["status"].values[0])


def test_standards_are_named_among_the_scans() -> None:
    scans = measured(noisy(4, 1e-4, 7, [0.0, 0.75, 1.5, 3.0]), "half_height", None)
    named = xas.valence(scans, ["s0", "s3"], [2, 4])
    given = xas.valence(scans, [scans.isel(scan=0), scans.isel(scan=3)], [2, 4])
    np.testing.assert_array_equal(named["valence"], given["valence"])
    np.testing.assert_allclose(named["valence"], [2.0, 2.5, 3.0, 4.0], atol=0.03)
    with pytest.raises(ConfigError, match=r"names 's9', 0 of the scans \(s0, s1, s2, s3\)"):
        xas.valence(scans, ["s0", "s9"], [2, 4])


def test_standards_must_fit_the_scans() -> None:
    sample = measured(noisy(1, 1e-3), "integral", None)
    with pytest.raises(SchemaError, match="not of the same method"):
        xas.valence(sample, standards(), [2, 3, 4])
    with pytest.raises(ConfigError, match="3 standards"):
        xas.valence(sample, standards(), [2, 3])
    with pytest.raises(ConfigError, match="valences: are 2, 3, nan"):
        xas.valence(sample, standards(), [2, 3, np.nan])
    with pytest.raises(ConfigError, match="two different"):
        xas.valence(sample, standards(), [2, 2, 2])
    same = measured(noisy(3, 5e-3), "half_height", None)
    with pytest.raises(FitError, match="no trend"):
        xas.valence(same, [same.isel(scan=n) for n in range(3)], [2, 3, 4])
