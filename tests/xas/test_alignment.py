from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xas
from beamline.errors import ConfigError, FitError, JoinError
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


def test_a_series_is_aligned_at_once_and_each_pull_is_right() -> None:
    drift = np.random.default_rng(5).uniform(-6, 6, 150)
    drift[0] = 0.0
    out = xas.align([simulate.scan(n, noise=3e-3, drift=d) for n, d in enumerate(drift)])
    # the first scan's own error is common to all differences
    off = (out["energy_shift"].values - drift)[1:]
    errors = out["energy_shift_errors"].values
    assert np.std(off / errors[1:]) == pytest.approx(1.0, abs=3 / np.sqrt(2 * off.size))
    assert abs(off.mean()) < 3 * errors[0]


def test_one_bad_foil_of_many_fails_alone() -> None:
    scans = [simulate.scan(n, noise=3e-4, label=f"s{n}", drift=0.1 * n) for n in range(4)]
    scans[2]["mu_ref"] = scans[2]["mu_ref"] * 0 + np.random.default_rng(0).normal(
        0, 1, scans[2].sizes["energy"]
    )
    with pytest.warns(UserWarning, match=r"1 scan.*s2 \(does not look like that of s0\)"):
        out = xas.align(scans)
    assert out["alignment"].values.tolist() == [
        "ok",
        "ok",
        "failed: its mu_ref does not look like that of s0",
        "ok",
    ]
    assert np.isnan(out["mu"][2]).all()
    assert np.isnan(out["energy_shift"][2])
    assert np.isfinite(out["mu"][[0, 1, 3]]).all()


def test_a_partial_scan_keeps_what_it_has() -> None:
    scans = [simulate.scan(n, noise=3e-4, label=f"s{n}", drift=0.1 * n) for n in range(4)]
    scans[1] = scans[1].sel(energy=slice(None, 8420))
    out = xas.align(scans)
    status = str(out["alignment"].values[1])
    assert status.startswith("partial: measured from 81")
    assert status.endswith("to 8419.2 eV") or "to 84" in status
    assert np.isfinite(out["mu"][1].sel(energy=slice(8150, 8415))).all()
    assert np.isnan(out["mu"][1].sel(energy=slice(8425, None))).all()
    assert float(out["energy"][-1]) > 9000
    assert float(out["energy_shift"][1]) == pytest.approx(0.1, abs=0.01)


def test_an_aborted_scan_before_the_edge_has_no_shift() -> None:
    scans = [simulate.scan(n, noise=3e-4, label=f"s{n}") for n in range(4)]
    scans[3] = scans[3].sel(energy=slice(None, 8335))
    with pytest.warns(UserWarning, match="does not cover the edge"):
        out = xas.align(scans)
    assert str(out["alignment"].values[3]) == "failed: its mu_ref does not cover the edge"
    assert np.isnan(out["energy_shift_errors"][3])


def test_a_status_is_not_forgotten() -> None:
    scans = [simulate.scan(n, noise=3e-4, label=f"s{n}") for n in range(4)]
    scans[1] = scans[1].sel(energy=slice(None, 8420))
    first = xas.align(scans)
    again = xas.align([first.isel(scan=0), first.isel(scan=2)], reference=None)
    assert again["alignment"].values.tolist() == ["ok", "ok"]
    part = first.isel(scan=1).dropna("energy")
    kept = xas.align([first.isel(scan=0), part, first.isel(scan=2)], reference=None)
    assert str(kept["alignment"].values[1]).startswith("partial")


def test_the_sample_over_again_is_no_reference() -> None:
    scans = [simulate.scan(n, noise=1e-5, e0=8345 + n) for n in range(3)]
    for ds in scans:
        ds["mu_ref"] = 0.05 * ds["mu"] + 1.0
    with pytest.raises(JoinError, match=r"rises like the sample itself, 1\d\.\d eV above the Ni K edge"):
        xas.align(scans)


def test_a_foil_as_sample_may_be_its_own_reference() -> None:
    scans = [simulate.scan(n, noise=3e-4, drift=0.5 * n) for n in range(3)]
    for ds in scans:
        ds["mu"] = 1.0 * ds["mu_ref"]
    np.testing.assert_allclose(xas.align(scans)["energy_shift"], [0, 0.5, 1.0], atol=0.01)


def test_an_alignment_along_the_angle_moves_the_end_farther() -> None:
    from calibration.mono import angle_of, turned

    true = simulate.energy_axis()
    scans = [simulate.scan(n, noise=1e-5) for n in range(2)]
    turn = angle_of(np.array([8333.0]), 3.1356) - angle_of(np.array([8338.0]), 3.1356)
    scans[1] = scans[1].assign_coords(energy=turned(true, float(turn[0]), 3.1356))
    scans[1]["energy"].attrs = scans[0]["energy"].attrs
    for ds, along in ((scans, "angle"), (scans, "energy")):
        out = xas.align(ds, along=along, d_spacing=3.1356)
        far = out.sel(energy=slice(9000, None))
        off = float(np.abs(far["mu"][1] - far["mu"][0]).max())
        assert (off < 2e-4) is (along == "angle")
    assert "energy_shift" in xas.align(scans, along="angle", d_spacing=3.1356).attrs["aligned_along"]


def test_an_angle_needs_a_lattice_spacing() -> None:
    with pytest.raises(ConfigError, match=r"d_spacing=3\.1356"):
        xas.align([simulate.scan(0), simulate.scan(1)], along="angle")
    with pytest.raises(ConfigError, match="along: is 'time'"):
        xas.align([simulate.scan(0), simulate.scan(1)], along="time")


def test_a_modelled_drift_is_surer_than_single_scans() -> None:
    true = 0.02 * np.arange(40) + np.where(np.arange(40) >= 23, 1.5, 0.0)
    scans = [simulate.scan(n, noise=1e-2, drift=d, label=f"s{n}") for n, d in enumerate(true)]
    scans[30]["mu_ref"] = scans[30]["mu_ref"] * 0 + np.random.default_rng(0).normal(
        0, 1, scans[0].sizes["energy"]
    )
    with pytest.warns(UserWarning, match="1 scan"):
        out = xas.align(scans, drift=True)
    off = out["energy_shift"].values - true
    measured = out["measured_shift"].values - true
    good = np.arange(40) != 30
    assert np.std(off) < 0.5 * np.std(measured[good])
    assert abs(off[30] - np.mean(off)) < 0.03  # the model knows what its foil does not say
    assert out["alignment"].values[30] == "ok"
    assert out.attrs["drift_jumps"].startswith("+1.")
    assert out.attrs["drift_jumps"].endswith("before s23")


def test_a_drift_that_is_not_smooth_is_not_smoothed() -> None:
    walk = np.cumsum(np.random.default_rng(3).normal(0, 0.5, 12))
    scans = [simulate.scan(n, noise=3e-4, drift=d) for n, d in enumerate(walk)]
    with pytest.warns(UserWarning, match="each scan keeps its own"):
        out = xas.align(scans, drift=True)
    np.testing.assert_allclose(out["energy_shift"], walk - walk[0], atol=0.02)


def test_a_bad_first_scan_does_not_spoil_the_others() -> None:
    for spoil in ("aborted", "noise", "nothing"):
        scans = [simulate.scan(n, noise=3e-4, label=f"s{n}", drift=0.2 * n) for n in range(5)]
        if spoil == "aborted":
            scans[0] = scans[0].sel(energy=slice(None, 8300))
        elif spoil == "noise":
            scans[0]["mu_ref"] = 0 * scans[0]["mu_ref"] + np.random.default_rng(0).normal(
                0, 1, scans[0].sizes["energy"]
            )
        else:
            scans[0]["mu_ref"] = np.nan * scans[0]["mu_ref"]
        with pytest.warns(UserWarning, match="1 scan.*s0"):
            out = xas.align(scans)
        assert str(out["alignment"].values[0]).startswith("failed: its mu_ref ")
        np.testing.assert_allclose(out["energy_shift"][1:], [0, 0.2, 0.4, 0.6], atol=0.01)
        assert float(out["energy"][-1]) > 9000


def test_a_stack_with_failed_scans_is_aligned_again() -> None:
    scans = [simulate.scan(n, noise=3e-4, label=f"s{n}", drift=0.2 * n) for n in range(4)]
    scans[2]["mu_ref"] = np.nan * scans[2]["mu_ref"]
    with pytest.warns(UserWarning, match="s2"):
        first = xas.align(scans)
    again = xas.align(first, reference=None)
    assert [str(text).split(":")[0] for text in again["alignment"].values] == ["ok", "ok", "failed", "ok"]
    assert np.isnan(again["mu"][2]).all()
    np.testing.assert_allclose(again["mu"][[0, 1, 3]], first["mu"][[0, 1, 3]])
