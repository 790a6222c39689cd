from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xas
from beamline.errors import ConfigError
from xas import simulate

QUICK = np.arange(8145.0, 9100.0, 0.05) + np.random.default_rng(1).uniform(-0.02, 0.02, 19100)


def test_values_and_errors_are_right() -> None:
    pulls = []
    for seed in range(20):
        out = xas.rebin(simulate.scan(seed, noise=5e-3, energy=QUICK), e0=8345.0)
        pulls.append((out["mu"] - simulate.absorption(out["energy"].values)) / out["mu_errors"])
    assert np.std(pulls) == pytest.approx(1.0, abs=0.05)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(np.size(pulls)) + 0.03  # the rest is the curvature within bins


def test_bins_blur_less_than_usual_noise() -> None:
    out = xas.rebin(simulate.scan(0, noise=1e-9, energy=QUICK), e0=8345.0)
    assert float(np.abs(out["mu"] - simulate.absorption(out["energy"].values)).max()) < 1.2e-3


def test_the_grid_is_that_of_a_usual_scan() -> None:
    out = xas.rebin(simulate.scan(0, energy=QUICK), e0=8345.0)
    energy = out["energy"].values
    steps = np.diff(energy)
    np.testing.assert_allclose(steps[energy[1:] < 8315], 5.0)
    np.testing.assert_allclose(steps[(energy[:-1] > 8316) & (energy[1:] < 8394)], 0.25)
    k = np.sqrt(0.2624682917 * (energy[energy > 8400] - 8345))
    np.testing.assert_allclose(np.diff(k), 0.05, atol=1e-6)
    assert out["points"].dtype.kind == "i"
    assert set(out["points"].sel(energy=slice(8320, 8390)).values.tolist()) <= {4, 5, 6}


def test_the_edge_is_found_through_the_noise_of_a_quick_scan() -> None:
    out = xas.rebin(simulate.scan(0, noise=2e-2, energy=QUICK))
    assert float(out.attrs["rebinned"].split("E0 = ")[1].split()[0]) == pytest.approx(8345.0, abs=3.0)


def test_where_there_is_nothing_to_average_nothing_is_gained() -> None:
    coarse = np.arange(8145.0, 9100.0, 1.0)
    out = xas.rebin(simulate.scan(0, noise=2e-3, energy=coarse), e0=8345.0)
    near = out.sel(energy=slice(8330, 8380))
    assert (near["points"] == 0).all()
    np.testing.assert_allclose(near["mu_errors"], 2 * 2e-3, rtol=0.15)  # four points where there was one


def test_series_and_trees_stay_what_they_are() -> None:
    scans = [simulate.scan(n, energy=QUICK[::8], label=f"s{n}") for n in range(2)]
    stack = xas.rebin(xas.align(scans, reference=None), e0=8345.0)
    assert stack["mu"].dims == ("scan", "energy")
    assert "mu_ref" in stack
    tree = xas.rebin(xr.DataTree.from_dict({"a": scans[0], "b": scans[1]}))
    assert isinstance(tree, xr.DataTree)
    np.testing.assert_array_equal(tree["a"]["energy"], tree["b"]["energy"])
    assert tree["a"].attrs["label"] == "s0"


@pytest.mark.parametrize("steps", [{"k_step": 0.0}, {"xanes": (50, -30)}, {"e0": 5000.0}])
def test_steps_that_make_no_grid_are_refused(steps: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        xas.rebin(simulate.scan(0), **steps)  # type: ignore[arg-type]
