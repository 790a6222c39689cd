from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xas
from beamline.errors import FitError, JoinError
from xas import simulate


def test_shifts_and_their_errors_are_right() -> None:
    pulls = []
    for seed in range(120):
        drift = np.random.default_rng(1000 + seed).uniform(-6, 6)
        scans = [simulate.scan(2 * seed, noise=3e-3), simulate.scan(2 * seed + 1, noise=3e-3, drift=drift)]
        out = xas.align(scans)
        error = np.hypot(*out["energy_shift_errors"].values)
        pulls.append((float(out["energy_shift"][1]) - drift) / error)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(len(pulls))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)


@given(drift=st.floats(-12, 12))
@settings(deadline=None, max_examples=15)
def test_any_drift_is_found(drift: float) -> None:
    scans = [simulate.scan(0, noise=3e-4), simulate.scan(1, noise=3e-4, drift=drift)]
    assert float(xas.align(scans)["energy_shift"][1]) == pytest.approx(drift, abs=0.01)


def test_a_thicker_foil_on_a_slope_is_the_same_foil() -> None:
    scans = [simulate.scan(0, noise=3e-4), simulate.scan(1, noise=3e-4, drift=2.0)]
    scans[1]["mu_ref"] = 1.7 * scans[1]["mu_ref"] + 0.3 - 2e-4 * (scans[1]["energy"] - 8345)
    assert float(xas.align(scans)["energy_shift"][1]) == pytest.approx(2.0, abs=0.01)


def test_a_bad_point_does_not_pull() -> None:
    scans = [simulate.scan(0, noise=3e-4), simulate.scan(1, noise=3e-4, drift=2.0)]
    scans[1]["mu_ref"][150] += 0.2
    assert float(xas.align(scans)["energy_shift"][1]) == pytest.approx(2.0, abs=0.02)


def test_the_measured_axis_comes_back() -> None:
    scans = [simulate.scan(0), simulate.scan(1, drift=1.5)]
    out = xas.align(scans)
    back = out["energy"].values[50] - float(out["energy_shift"][1])
    on_own_axis = np.interp(back, scans[1]["energy"], scans[1]["mu"])
    assert float(out["mu"][1, 50]) == pytest.approx(on_own_axis, abs=2e-3)


def test_shifts_add_up() -> None:
    first = xas.align([simulate.scan(0), simulate.scan(1, drift=1.5)])
    again = xas.align(first)
    assert float(again["energy_shift"][1]) == pytest.approx(float(first["energy_shift"][1]), abs=0.01)


def test_without_reference_nothing_moves() -> None:
    out = xas.align([simulate.scan(0), simulate.scan(1, drift=1.5)], reference=None)
    np.testing.assert_array_equal(out["energy_shift"], 0.0)
    assert "energy_shift_errors" not in out.coords


def test_interpolation_does_not_hide_the_noise() -> None:
    out = xas.align([simulate.scan(0, noise=2e-3), simulate.scan(1, noise=2e-3, drift=0.625)])
    noise = out["mu_errors"].sel(energy=slice(8400, 8800)).mean("energy")
    np.testing.assert_allclose(noise, 2e-3, rtol=0.15)


def test_a_tree_is_aligned_like_a_list() -> None:
    scans = [simulate.scan(0, label="a"), simulate.scan(1, label="b", drift=1.0)]
    tree = xr.DataTree.from_dict({"a": scans[0], "b": scans[1]})
    xr.testing.assert_allclose(xas.align(tree).drop_attrs(), xas.align(scans).drop_attrs())


def test_scans_of_two_edges_are_refused() -> None:
    with pytest.raises(JoinError, match="different edges: Co K, Ni K"):
        xas.align([simulate.scan(0), simulate.scan(1).assign_attrs(element="Co")])


def test_a_missing_foil_is_refused_by_name() -> None:
    with pytest.raises(JoinError, match="second: has no mu_ref"):
        xas.align([simulate.scan(0), simulate.scan(1, label="second").drop_vars("mu_ref")])


def test_a_single_scan_needs_no_foil() -> None:
    out = xas.align(simulate.scan(0).drop_vars("mu_ref"))
    np.testing.assert_array_equal(out["energy_shift"], [0.0])


def test_another_foil_is_refused() -> None:
    scans = [simulate.scan(0), simulate.scan(1, label="other")]
    scans[1]["mu_ref"] = 1e-3 * (scans[1]["energy"] - 8345) + 0 * scans[1]["mu_ref"]
    scans[1]["mu_ref"][100:] += np.random.default_rng(0).normal(0, 0.5, scans[1].sizes["energy"] - 100)
    with pytest.raises(FitError, match="does not look like"):
        xas.align(scans)


def test_what_athena_stored_stays_with_each_scan() -> None:
    scans = [simulate.scan(0, noise=3e-4), simulate.scan(1, noise=3e-4, drift=2.0)]
    for scan, e0 in zip(scans, (8346.5, 8344.0), strict=True):
        scan.attrs |= {"athena_e0": e0, "athena_nor1": 100.0}
    out = xas.align(scans)
    shift = out["energy_shift"].values
    np.testing.assert_allclose(out["athena_e0"], np.add([8346.5, 8344.0], shift))
    assert out.attrs["athena_nor1"] == 100.0
    normal = xas.normalize(out, convention="athena")
    np.testing.assert_allclose(normal["e0"], out["athena_e0"])
    # once more, from scans whose stored values are coordinates now
    np.testing.assert_allclose(xas.align(out, reference=None)["athena_e0"], out["athena_e0"])


def test_what_athena_stored_with_one_scan_is_not_used_for_another() -> None:
    scans = [simulate.scan(0).assign_attrs(athena_e0=8347.5), simulate.scan(1)]
    out = xas.normalize(xas.align(scans, reference=None), convention="athena")
    assert float(out["e0"][0]) == 8347.5
    assert float(out["e0"][1]) == pytest.approx(float(xas.normalize(scans[1])["e0"]))
