"""A series never ends in an exception because of one of its scans, and no number is wrong in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xas
from beamline import model
from beamline.errors import FitError, SchemaError
from xas import simulate

from .series import ENERGY, noisy, stack

GOOD = noisy(1, 1e-3, 9)["mu"].values[0]


def processed(scans: xr.Dataset) -> xr.Dataset:
    out = xas.edge(xas.normalize(scans))
    model.validate(out, "xas.scans")
    return out


def broken(change: Callable[[Any], Any]) -> Any:
    return change(GOOD.copy())


def spiked(mu: Any) -> Any:
    mu[10] += 2.0
    return mu


FAULTS: dict[str, tuple[Any, str]] = {
    "zeros": (np.zeros_like(GOOD), "failed: "),
    "constant": (np.ones_like(GOOD), "failed: "),
    "inverted": (-GOOD, "failed: "),
    "noise": (np.random.default_rng(0).normal(size=GOOD.size), "failed: "),
    "nothing": (np.full_like(GOOD, np.nan), "failed: has 0 finite points"),
    "infinite": (np.full_like(GOOD, np.inf), "failed: has 0 finite points"),
    "pre-edge only": (np.where(ENERGY < 8340, GOOD, np.nan), "failed: "),
    "ends at the edge": (np.where(ENERGY < 8352, GOOD, np.nan), "failed: "),
    "begins after the edge": (np.where(ENERGY > 8360, GOOD, np.nan), "failed: "),
    "ends early": (np.where(ENERGY < 8600, GOOD, np.nan), "partial: ends at"),
    "begins late": (np.where(ENERGY > 8220, GOOD, np.nan), "partial: begins at"),
    "glitch below the edge": (broken(spiked), "suspect: μ jumps at 8195.0 eV|failed: rises steepest"),
    "holes": (np.where(np.arange(GOOD.size) % 50 == 7, np.nan, GOOD), "partial: 10 points within"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_scan_is_told_about_and_leaves_the_others_alone(fault: str) -> None:
    mu, said = FAULTS[fault]
    out = processed(stack(np.array([GOOD, mu, GOOD])))
    alone = processed(stack(GOOD))
    status = [str(text) for text in out["status"].values]
    assert status[0] == status[2] == "ok"
    assert any(status[1].startswith(start) for start in said.split("|"))
    for name in ("e0", "edge_step", "edge_energy", "norm", "norm_errors", "flat"):
        # sums over other numbers of scans may differ in the last digit
        np.testing.assert_allclose(out[name][2], alone[name][0], rtol=1e-12, atol=1e-12, err_msg=name)
    if status[1].startswith("failed"):
        for name in ("e0", "edge_step", "edge_energy", "norm", "flat"):
            assert np.isnan(out[name][1]).all()
        with pytest.raises((FitError, SchemaError)):
            xas.normalize(stack(mu).isel(scan=0))


@pytest.mark.parametrize("fault", FAULTS)
def test_exafs_of_a_bad_scan_is_nothing(fault: str) -> None:
    out = xas.exafs(processed(stack(np.array([GOOD, FAULTS[fault][0]]))))
    chi = xas.fourier(out)
    model.validate(chi, "xas.exafs")
    assert str(chi["status"].values[0]) == "ok"
    assert np.isfinite(chi["chi_r"][0]).all()
    if str(out["status"].values[1]).startswith("failed"):
        assert np.isnan(chi["chi"][1]).all()
        assert np.isnan(chi["chi_r"][1]).all()
    assert xas.exafs(processed(stack(GOOD)))["chi"].shape[1] == out["chi"].shape[1]


def test_a_scan_that_ended_early_keeps_what_it_has() -> None:
    out = processed(stack(np.array([GOOD, FAULTS["ends early"][0]])))
    step, error = out["edge_step"].values, out["edge_step_errors"].values
    assert step[1] == pytest.approx(step[0], rel=0.1)
    assert error[1] > 0
    chi = xas.fourier(xas.exafs(out))
    assert "χ(k) ends at k = 8.1" in str(chi["status"].values[1])
    assert "ends before kmax = 12" in str(chi["status"].values[1])
    reach = np.isfinite(chi["chi"][1].values)
    assert chi["k"].values[reach][-1] == pytest.approx(8.15, abs=0.1)
    assert np.isfinite(xas.fourier(chi, kmax=8)["chi_r"]).all()


def test_a_series_of_bad_scans_is_no_exception() -> None:
    out = processed(stack(np.array([FAULTS[name][0] for name in ("zeros", "inverted", "nothing")])))
    assert [str(text).partition(":")[0] for text in out["status"].values] == ["failed"] * 3
    assert np.isnan(xas.exafs(out)["chi"]).all()


@pytest.mark.parametrize(
    ("energy", "problem"),
    [
        (np.where(np.arange(ENERGY.size) == 100, ENERGY - 3, ENERGY), "goes back or stands still"),
        (np.round(ENERGY), "goes back or stands still"),
        (np.where(np.arange(ENERGY.size) == 100, np.nan, ENERGY), "is not finite everywhere"),
        (ENERGY / 1000, "looks like keV"),
    ],
)
def test_an_axis_that_is_none_is_refused(energy: Any, problem: str) -> None:
    ds = xr.Dataset({"mu": ("energy", GOOD)}, {"energy": energy})
    ds["energy"].attrs |= {"units": "eV", "long_name": "photon energy"}
    with pytest.raises(SchemaError, match=problem):
        xas.normalize(ds)


def test_a_falling_axis_is_turned() -> None:
    up, down = stack(GOOD), stack(GOOD[::-1], ENERGY[::-1])
    rising, falling = processed(up), processed(down)
    for name in ("e0", "edge_step", "edge_step_errors", "edge_energy"):
        np.testing.assert_array_equal(rising[name], falling[name])
    np.testing.assert_array_equal(rising["norm"], falling["norm"].values[:, ::-1])
    np.testing.assert_array_equal(xas.exafs(rising)["chi"], xas.exafs(falling)["chi"])


def test_a_scan_added_to_a_series_is_as_if_it_had_been_there() -> None:
    series = noisy(40, 4e-3, 2, shift=np.repeat([0.0, 1.3], 20))
    together = xas.fourier(xas.exafs(processed(series)))
    alone = xas.fourier(xas.exafs(processed(series.isel(scan=[31]))))
    size = min(alone.sizes["k"], together.sizes["k"])
    for name in ("chi", "chi_errors"):
        np.testing.assert_allclose(together[name][31, :size], alone[name][0, :size], rtol=0, atol=1e-12)
    np.testing.assert_allclose(together["chi_r"][31], alone["chi_r"][0], rtol=0, atol=1e-10)


def test_an_edge_far_from_the_element_is_not_believed() -> None:
    ds = stack(simulate.absorption(ENERGY)).assign_attrs(element="Co", edge="K")
    assert "636 eV from the Co K edge" in str(xas.normalize(ds)["status"].values[0])
