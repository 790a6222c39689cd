from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import xas
from beamline.errors import ConfigError
from xas import simulate

NOISE = 1e-3


def spoiled(seed: int, width: int, height: float, at: int = 330) -> xr.Dataset:
    """Return a scan with one glitch of several points."""
    scan = simulate.scan(seed, NOISE, label="a")
    scan["mu"][at : at + width] += height
    return scan


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_glitches_up_to_three_points_wide_are_replaced(width: int, sign: int) -> None:
    scan = spoiled(0, width, sign * 0.1)
    with pytest.warns(UserWarning, match=rf"a: {width} point\(s\) of μ replaced"):
        out = xas.deglitch(scan)
    assert np.flatnonzero(out["mu_mask"]).tolist() == list(range(330, 330 + width))
    truth = simulate.absorption(scan["energy"].values)
    assert float(np.abs(out["mu"] - truth).max()) < 10 * NOISE
    assert (out["mu_errors"][330] > 0.5 * NOISE).item()


def test_clean_scans_stay_as_they_are() -> None:
    for seed in range(30):
        scan = simulate.scan(seed, NOISE)
        out = xas.deglitch(scan)
        np.testing.assert_array_equal(out["mu"], scan["mu"])
        assert json.loads(out.attrs["deglitched"]) == []


def test_nothing_is_lost() -> None:
    scan = spoiled(1, 2, 0.2)
    with pytest.warns(UserWarning, match="2 point"):
        out = xas.deglitch(scan)
    back = out["mu"].copy()
    for point in json.loads(out.attrs["deglitched"]):
        back.loc[{"energy": point["energy"]}] = point["mu"]
    np.testing.assert_array_equal(back, scan["mu"])


def test_a_glitch_before_the_edge_does_not_hide_it() -> None:
    scan = spoiled(0, 1, 2.0, at=10)
    with pytest.warns(UserWarning, match="1 point"):
        out = xas.deglitch(scan)
    step = float(xas.normalize(out)["edge_step"])
    assert step == pytest.approx(float(xas.normalize(simulate.scan(0, NOISE))["edge_step"]), rel=5e-3)


def test_several_scans_are_told_apart() -> None:
    stack = xas.align([spoiled(0, 1, 0.1), simulate.scan(1, NOISE, label="b")], reference=None)
    with pytest.warns(UserWarning, match="^a: 1 point"):
        out = xas.deglitch(stack)
    assert out["mu_mask"].sum("energy").values.tolist() == [1, 0]
    with pytest.warns(UserWarning, match="1 point"):
        tree = xas.deglitch(xr.DataTree.from_dict({"a": spoiled(0, 1, 0.1), "b": simulate.scan(1)}))
    assert int(tree["a"]["mu_mask"].sum()) == 1


def test_ranges_are_taken_out_where_asked() -> None:
    scan = simulate.scan(0, NOISE, label="a")
    with pytest.warns(UserWarning, match="point"):
        out = xas.deglitch(scan, threshold=float("inf"), ranges=[(8600.0, 8620.0)])
    inside = (scan["energy"] > 8600) & (scan["energy"] < 8620)
    np.testing.assert_array_equal(out["mu_mask"], inside)


@pytest.mark.parametrize("options", [{"threshold": 2}, {"ranges": [(2, 1)]}, {"ranges": [(8000, 8500)]}])
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        xas.deglitch(simulate.scan(0), **options)  # type: ignore[arg-type]


def test_replaced_points_and_bad_detectors_are_remembered_of_a_series() -> None:
    scans = []
    for n, label in enumerate("abc"):
        scan = simulate.scan(n, NOISE, label=label)
        if n:
            scan["mu"][330 + n] += 0.1
            scan.attrs["bad_detectors"] = f"mca{n}: counts nothing"
            with pytest.warns(UserWarning, match="1 point"):
                scan = xas.deglitch(scan)
        scans.append(scan)
    found = xas.align(xas.align(scans), None)
    assert [point["scan"] for point in json.loads(found.attrs["deglitched"])] == ["b", "c"]
    assert found.attrs["bad_detectors"] == "b: mca1: counts nothing; c: mca2: counts nothing"


def test_a_scan_that_falls_in_energy_is_as_good() -> None:
    scan = spoiled(0, 1, 0.1)
    with pytest.warns(UserWarning, match="1 point"):
        rising = xas.deglitch(scan)
    with pytest.warns(UserWarning, match="1 point"):
        falling = xas.deglitch(scan.isel(energy=slice(None, None, -1)))
    np.testing.assert_array_equal(falling["mu"], rising["mu"])
    assert falling.attrs["deglitched"] == rising.attrs["deglitched"]
