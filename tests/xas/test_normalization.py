from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xas
from beamline.errors import ConfigError, FitError, SchemaError
from xas import simulate
from xas.noise import point_noise
from xas.normalization import steepest_rise

E0 = 8346.0


def with_mu(ds: xr.Dataset, mu: np.ndarray) -> xr.Dataset:
    return ds.assign(mu=("energy", mu, ds["mu"].attrs))


def test_the_step_of_a_simulated_edge_is_found() -> None:
    energy = simulate.energy_axis()
    mu = simulate.absorption(energy, step=0.8, width=0.1, white_line=0.0, shells=())
    out = xas.normalize(with_mu(simulate.scan(0), mu), e0=8345.0)
    # the tail of the arctangent is not all there at the begin of the post-edge range
    assert float(out["edge_step"]) == pytest.approx(0.8, rel=2e-3)
    assert float(out["norm"].sel(energy=8600, method="nearest")) == pytest.approx(1.0, abs=3e-3)


def test_norm_is_zero_below_and_one_above_the_edge() -> None:
    out = xas.normalize(simulate.scan(1), e0=E0)
    assert np.abs(out["flat"].sel(energy=slice(8150, 8240))).max() < 0.01
    assert float(out["flat"].sel(energy=slice(8500, 9000)).mean()) == pytest.approx(1.0, abs=0.02)


def test_errors_are_right() -> None:
    """Pulls against the scan without noise: the algorithm's answer, which noise scatters around."""
    truth = xas.normalize(simulate.scan(0, noise=1e-9), e0=E0)
    pulls, points = [], []
    for seed in range(150):
        out = xas.normalize(simulate.scan(seed, noise=2e-3), e0=E0)
        pulls.append(float((out["edge_step"] - truth["edge_step"]) / out["edge_step_errors"]))
        points.append(((out["norm"] - truth["norm"]) / out["norm_errors"]).values)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(len(pulls))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)
    assert np.std(points) == pytest.approx(1.0, abs=0.15)


def test_noise_is_found_below_and_above_the_edge() -> None:
    energy = simulate.energy_axis()
    random = np.random.default_rng(5)
    sigma = np.where(energy < 8345, 1e-3, 4e-3)
    found = [
        point_noise(energy, simulate.absorption(energy) + random.normal(0, sigma), 8345.0)[[0, -1]]
        for _ in range(50)
    ]
    np.testing.assert_allclose(np.mean(found, axis=0), [1e-3, 4e-3], rtol=0.08)


def test_stated_errors_are_used() -> None:
    ds = simulate.scan(3)
    stated = ds.assign(mu_errors=("energy", np.full(ds.sizes["energy"], 0.01)))
    out = xas.normalize(stated, e0=E0)
    np.testing.assert_array_equal(out["mu_errors"], 0.01)


def test_scans_are_normalised_one_by_one() -> None:
    scans = [simulate.scan(seed, label=f"s{seed}") for seed in range(3)]
    together = xas.normalize(xas.align(scans, reference=None), e0=E0)
    alone = xas.normalize(scans[1], e0=E0)
    np.testing.assert_allclose(together["norm"][1], alone["norm"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda mu: -mu, "falls across the edge"),
        (lambda mu: np.zeros_like(mu), "has no edge|falls across"),
        (lambda mu: mu + 3.0 * (np.arange(mu.size) == 60), "spike"),
    ],
)
def test_what_is_no_edge_is_refused(change: object, problem: str) -> None:
    ds = simulate.scan(4)
    e0 = E0 if "falls" in problem and "no edge" not in problem else None
    with pytest.raises(FitError, match=problem):
        xas.normalize(with_mu(ds, change(ds["mu"].values)), e0=e0)  # type: ignore[operator]


def test_a_scan_that_ends_before_the_edge_is_refused() -> None:
    with pytest.raises(FitError, match=r"leaves no room|has no edge|spike"):
        xas.normalize(simulate.scan(5).sel(energy=slice(None, 8338)))


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(ConfigError, match="known: larch, athena"):
        xas.normalize(simulate.scan(0), convention="viper")


@pytest.mark.parametrize("e0", [float("nan"), float("inf"), -5.0, 0.0])
def test_an_edge_energy_that_is_none_is_refused(e0: float) -> None:
    with pytest.raises(ConfigError, match="e0: is"):
        xas.normalize(simulate.scan(0), e0=e0)


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ConfigError, match="low, high"):
        xas.normalize(simulate.scan(0), pre=(-30, -150))


def test_athena_counts_coefficients() -> None:
    ds = simulate.scan(0).assign_attrs(athena_nnorm=3.0, athena_e0=E0, athena_nor1=100.0, athena_nor2=600.0)
    theirs = xas.normalize(ds, convention="athena")
    ours = xas.normalize(ds, convention="athena", degree=2)
    assert float(theirs["edge_step"]) == float(ours["edge_step"])
    assert float(theirs["e0"]) == E0


def test_the_steepest_point_is_on_the_axis() -> None:
    ds = simulate.scan(0, noise=1e-6)
    e0 = steepest_rise(ds["energy"].values, ds["mu"].values)
    assert e0 in ds["energy"].values
    assert e0 == pytest.approx(8345.0, abs=1.0)


def test_edges_need_normalised_scans() -> None:
    with pytest.raises(SchemaError, match=r"call xas\.normalize"):
        xas.edge(simulate.scan(0))


@pytest.mark.parametrize("convention", ["larch", "athena"])
@pytest.mark.parametrize(("key", "limits"), [("pre", (-900.0, -800.0)), ("post", (5000.0, 6000.0))])
def test_a_range_outside_the_data_is_refused(convention: str, key: str, limits: tuple[float, float]) -> None:
    with pytest.raises(FitError, match=f"range {key} = "):
        xas.normalize(simulate.scan(0), convention=convention, **{key: limits})  # type: ignore[arg-type]
