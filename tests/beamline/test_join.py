"""Channels joined to frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import beamline
from beamline import model
from beamline.channels import FLAGS
from beamline.errors import JoinError

START = np.datetime64("2022-01-01", "ns")


def at(seconds: Any) -> np.ndarray:
    return START + np.round(np.asarray(seconds, float) * 1e9).astype("timedelta64[ns]")


def channel(seconds: Any, values: Any, name: str = "voltage", **attrs: Any) -> xr.Dataset:
    data = np.asarray(values)
    known = {"units": "V", "long_name": name} if data.dtype.kind == "f" else {"long_name": name}
    return xr.Dataset({name: ("time", data, {**known, **attrs})}, {"time": at(seconds)}, {"kind": "channels"})


def frames(seconds: Any, exposure: Any = 2.0) -> xr.Dataset:
    middle = np.asarray(seconds, float)
    ds = xr.Dataset(
        {"intensity": (("frame", "two_theta"), np.ones((middle.size, 3)), {"units": ""})},
        {
            "two_theta": [1.0, 2.0, 3.0],
            "time": ("frame", at(middle)),
            "exposure": ("frame", np.broadcast_to(np.asarray(exposure, float), middle.shape).copy()),
        },
    )
    return model.with_defaults(ds, "xrd.patterns")


def flags(ds: xr.Dataset, name: str = "voltage") -> list[set[str]]:
    return [{flag for flag, bit in FLAGS.items() if mask & bit} for mask in ds[f"{name}_mask"].values]


def test_the_result_is_of_the_frames_kind() -> None:
    joined = beamline.join(frames([5.0, 6.0]), channel(np.arange(20.0), np.linspace(3, 4, 20)))
    model.validate(joined, "xrd.patterns")
    assert joined["intensity"].identical(frames([5.0, 6.0])["intensity"].assign_coords(joined.coords))


def test_the_mean_is_over_time_not_over_samples() -> None:
    # dense while the voltage is low: a mean of samples would give 3.2
    t = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 2.0])
    joined = beamline.join(frames([1.0]), channel(t, [3.0, 3.0, 3.0, 3.0, 3.0, 4.0]))
    assert joined["voltage"].values == pytest.approx([3.25])
    assert joined["voltage_n"].values.tolist() == [6]


def test_a_mean_of_exposures_took_the_time_of_all_of_them() -> None:
    averaged = frames([8.0], exposure=2.0).assign_coords(averaged=("frame", [4]))
    averaged = model.with_defaults(averaged, "xrd.patterns")
    samples = channel(np.arange(17.0), np.arange(17.0))
    whole = beamline.join(frames([8.0], exposure=8.0), samples)
    assert whole["voltage_n"].values > beamline.join(frames([8.0], exposure=2.0), samples)["voltage_n"].values
    for name in ("voltage_n", "voltage", "voltage_errors"):
        np.testing.assert_array_equal(beamline.join(averaged, samples)[name], whole[name])


def test_between_two_samples_it_is_the_line_at_the_middle() -> None:
    joined = beamline.join(frames([4.0], 2.0), channel([0.0, 10.0], [3.0, 4.0]))
    assert joined["voltage"].values == pytest.approx([3.4])
    assert flags(joined) == [{"between_samples"}]
    assert joined["voltage_dt"].values == pytest.approx([4.0])


@pytest.mark.parametrize(("middle", "known"), [(15.0, False), (35.0, False), (25.0, True)])
def test_both_neighbours_must_be_within_the_tolerance(middle: float, known: bool) -> None:
    joined = beamline.join(frames([middle]), channel([0.0, 50.0], [3.0, 4.0]), tolerance="30s")
    assert bool(joined["voltage"].notnull().all()) == known
    assert flags(joined) == [{"between_samples"} if known else {"no_value"}]


def test_nothing_is_invented_in_a_gap() -> None:
    t = np.concatenate([np.arange(0.0, 100.0), np.arange(160.0, 260.0)])
    middle = np.arange(3.0, 257.0, 7.0)
    joined = beamline.join(frames(middle), channel(t, t), tolerance="5s")
    inside = (middle > 100) & (middle < 159)
    assert joined["voltage"].isnull().values.tolist() == inside.tolist()
    assert joined["voltage_errors"].isnull().values.tolist() == inside.tolist()
    assert (joined["voltage_dt"].values[inside] > 0).all()


def test_counts_of_the_flags_are_with_the_mask() -> None:
    mask = beamline.join(frames([1.0, 500.0]), channel(np.arange(9.0), np.arange(9.0)))["voltage_mask"]
    counts = dict(zip(mask.attrs["flag_meanings"].split(), mask.attrs["flag_counts"], strict=True))
    assert counts["no_value"] == 1


def test_an_exposure_beyond_the_end_is_flagged_and_its_error_holds_what_is_missing() -> None:
    joined = beamline.join(frames([10.0], 8.0), channel(np.arange(11.0), np.arange(11.0)))
    assert joined["voltage"].values == pytest.approx([8.0])
    assert flags(joined) == [{"partly_covered"}]
    assert joined["voltage_errors"].values == pytest.approx([2.0], rel=0.01)


def test_a_lone_sample_within_an_exposure_is_its_value() -> None:
    joined = beamline.join(frames([100.0]), channel([0.0, 100.5, 200.0], [3.0, 3.5, 4.0]), tolerance="5s")
    assert joined["voltage"].values == pytest.approx([3.5])
    assert flags(joined) == [{"partly_covered"}]


def test_a_moment_without_duration_takes_the_sample_at_it() -> None:
    joined = beamline.join(frames([5.0, 5.5], 0.0), channel(np.arange(9.0), np.arange(9.0)))
    assert joined["voltage"].values == pytest.approx([5.0, 5.5])
    assert joined["voltage_n"].values.tolist() == [1, 0]


def test_samples_that_are_nan_are_no_samples() -> None:
    v = np.where(np.arange(100) % 2, np.nan, 3.0)
    joined = beamline.join(frames([50.0]), channel(np.arange(100.0), v))
    assert joined["voltage"].values.tolist() == [3.0]
    assert joined["voltage_n"].values.tolist() == [1]


def test_masked_samples_are_no_samples() -> None:
    ds = channel(np.arange(9.0), [3.0, 3, 3, 3, 9, 3, 3, 3, 3])
    bad = {"flag_masks": np.array([1]), "flag_meanings": "spike"}
    ds = ds.assign(voltage_mask=("time", (np.arange(9) == 4).astype(int), bad))
    assert beamline.join(frames([4.0], 4.0), ds)["voltage"].values == pytest.approx([3.0])


def test_a_channel_without_a_sample_gives_nothing() -> None:
    joined = beamline.join(frames([1.0, 2.0]), channel(np.arange(3.0), np.full(3, np.nan)))
    assert joined["voltage"].isnull().all()
    assert flags(joined) == [{"no_value"}, {"no_value"}]


# discrete channels


def test_a_counter_is_the_last_before_the_middle_and_never_between() -> None:
    joined = beamline.join(frames([4.0, 6.0]), channel([0.0, 5.0, 10.0], [1, 2, 3], "cycle"))
    assert joined["cycle"].values.tolist() == [1.0, 2.0]
    assert "cycle_errors" not in joined
    assert joined["cycle_dt"].values == pytest.approx([4.0, 1.0])


def test_a_change_of_a_counter_during_the_exposure_is_flagged() -> None:
    joined = beamline.join(frames([4.5, 20.0], 2.0), channel([0.0, 5.0, 19.5], [1, 2, 2], "cycle"))
    assert [bool(f & {"unresolved_change"}) for f in flags(joined, "cycle")] == [True, False]


def test_an_old_counter_is_none() -> None:
    joined = beamline.join(frames([-5.0, 31.0]), channel([0.0], [1], "cycle"), tolerance="30s")
    assert joined["cycle"].isnull().all()
    assert flags(joined, "cycle") == [{"no_value"}, {"no_value"}]


def test_labels_are_joined_as_counters_are() -> None:
    joined = beamline.join(frames([4.0, 60.0]), channel([0.0, 5.0], ["rest", "charge"], "state"))
    assert joined["state"].values.tolist() == ["rest", ""]


# clocks


def test_a_clock_moves_the_channel() -> None:
    ds = channel(np.arange(100.0), np.arange(100.0))
    joined = beamline.join(frames([50.0]), ds, clock=beamline.Clock(offset="10s"))
    assert joined["voltage"].values == pytest.approx([40.0])


def test_the_error_of_the_clock_is_in_the_error_of_the_channel() -> None:
    t = np.arange(0.0, 200.0)
    clock = beamline.Clock(offset_error="3s")
    joined = beamline.join(frames([100.0]), channel(t, 0.01 * t), clock=clock)
    assert joined["voltage_errors"].values == pytest.approx([0.03], rel=1e-3)


def test_at_the_end_of_a_channel_the_clock_still_counts_in_full() -> None:
    t = np.arange(0.0, 200.0)
    clock = beamline.Clock(offset_error="3s")
    joined = beamline.join(frames([1.0, 198.0]), channel(t, 0.01 * t), clock=clock)
    assert joined["voltage_errors"].values == pytest.approx([0.03, 0.03], rel=1e-3)


def test_every_leaf_of_a_tree_has_its_own_clock() -> None:
    tree = xr.DataTree.from_dict(
        {
            "pot": channel(np.arange(100.0), np.arange(100.0)),
            "gas": channel(np.arange(100.0), np.arange(100.0), "mz_32"),
        }
    )
    joined = beamline.join(frames([50.0]), tree, clock={"pot": beamline.Clock(offset=10.0)})
    assert joined["voltage"].values == pytest.approx([40.0])
    assert joined["mz_32"].values == pytest.approx([50.0])
    with pytest.raises(JoinError, match=r"clock of 'furnace'.*leaves: pot, gas"):
        beamline.join(frames([50.0]), tree, clock={"furnace": beamline.Clock()})


def test_the_history_says_with_which_clock() -> None:
    clock = beamline.Clock(offset="10s", offset_error="0.5s")
    joined = beamline.join(frames([50.0]), channel(np.arange(9.0), np.arange(9.0)), clock=clock)
    step = json.loads(joined.attrs["history"])[-1]
    assert step["step"] == "beamline.join"
    assert step["parameters"]["clock"]["offset"] == 10.0
    assert set(step["inputs"]) == {"frames", "channels"}


def test_attributes_of_the_channel_are_kept() -> None:
    ds = channel(np.arange(9.0), np.arange(9.0), reference="Li/Li+", in_situ="yes")
    attrs = beamline.join(frames([5.0]), ds)["voltage"].attrs
    assert (attrs["reference"], attrs["in_situ"], attrs["units"]) == ("Li/Li+", "yes", "V")


# errors


@pytest.mark.parametrize(("every", "exposure"), [(2.0, 5.0), (2.0, 0.5), (1.0, 20.0), (5.0, 3.0)])
def test_pulls_of_a_noisy_channel_are_normal(every: float, exposure: float) -> None:
    rng = np.random.default_rng(1)
    t = np.cumsum(every * rng.uniform(0.5, 1.5, 4000))
    middle = np.arange(50.0, t[-1] - 50.0, exposure + every + 1)
    noisy = 3.5 + 0.4 * np.sin(t / 300) + 0.003 * rng.standard_normal(t.size)
    joined = beamline.join(frames(middle, exposure), channel(t, noisy))
    low, high = (middle - exposure / 2) / 300, (middle + exposure / 2) / 300
    truth = 3.5 + 0.4 * (np.cos(low) - np.cos(high)) * 300 / exposure
    pulls = ((joined["voltage"] - truth) / joined["voltage_errors"]).values
    assert abs(pulls.mean()) < 3 / np.sqrt(pulls.size)
    # the noise itself is known to about 12 %, which widens the pulls by 2 %
    assert abs(pulls.std() - 1.02) < 3 / np.sqrt(2 * pulls.size) + 0.03


def test_stated_errors_are_propagated() -> None:
    ds = channel(np.arange(100.0), np.full(100, 3.0))
    ds = ds.assign(voltage_errors=("time", np.full(100, 0.1), {"units": "V", "long_name": "e"}))
    joined = beamline.join(frames([50.5], 9.0), ds)
    # trapezoid over 9 s from 46 to 55: weights 1/18, 8 times 1/9, 1/18
    assert joined["voltage_errors"].values == pytest.approx([0.1 * np.sqrt(8.5) / 9], rel=1e-6)


def test_the_resolution_does_not_average_away() -> None:
    ds = channel(np.arange(1000.0), np.full(1000, 3.0), resolution=0.01)
    joined = beamline.join(frames([500.0], 900.0), ds)
    assert joined["voltage_errors"].values == pytest.approx([0.01 / np.sqrt(12)])


def test_pulls_at_steps_between_samples_hold() -> None:
    # a current is switched at unknown moments, the cycler samples every 10 s
    rng = np.random.default_rng(2)
    pulls = []
    for _ in range(300):
        when = rng.uniform(95.0, 105.0)
        t = np.arange(0.0, 200.0, 10.0) + 5.0
        joined = beamline.join(frames([100.0], 4.0), channel(t, (t > when).astype(float), resolution=1e-3))
        truth = np.clip((102.0 - when) / 4.0, 0.0, 1.0)
        assert flags(joined) == [{"between_samples", "unresolved_change"}]
        pulls.append((float(joined["voltage"][0]) - truth) / float(joined["voltage_errors"][0]))
    assert abs(np.mean(pulls)) < 0.2
    assert 0.7 < np.std(pulls) < 1.25


def test_a_ramp_is_no_step() -> None:
    t = np.arange(0.0, 200.0, 10.0)
    joined = beamline.join(frames([95.0, 102.0]), channel(t, np.round(0.013 * t, 2), resolution=0.01))
    assert not any(f & {"unresolved_change"} for f in flags(joined))


# invariants


@st.composite
def clocks_and_frames(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    steps = draw(st.lists(st.floats(0.01, 20.0), min_size=2, max_size=30))
    t = np.cumsum(np.array(steps))
    middles = draw(st.lists(st.floats(-20.0, 300.0), min_size=1, max_size=6))
    return t, np.array(middles), draw(st.floats(0.0, 40.0))


@settings(deadline=None, max_examples=60)
@given(clocks_and_frames(), st.integers(-(10**15), 10**15))
def test_a_common_shift_changes_nothing(case: tuple[np.ndarray, np.ndarray, float], shift: int) -> None:
    t, middles, exposure = case
    one, two = frames(middles, exposure), channel(t, np.sin(t))
    moved = np.timedelta64(shift, "ns")
    first = beamline.join(one, two)
    second = beamline.join(
        one.assign_coords(time=one["time"] + moved), two.assign_coords(time=two["time"] + moved)
    )
    for name in ("voltage", "voltage_errors", "voltage_n", "voltage_dt", "voltage_mask"):
        np.testing.assert_array_equal(first[name].values, second[name].values)


@settings(deadline=None, max_examples=60)
@given(clocks_and_frames(), st.floats(-1e3, 1e3))
def test_a_constant_stays_what_it_is(case: tuple[np.ndarray, np.ndarray, float], value: float) -> None:
    t, middles, exposure = case
    joined = beamline.join(frames(middles, exposure), channel(t, np.full(t.size, value)))["voltage"].values
    assert (np.isnan(joined) | (joined == value)).all()


@settings(deadline=None, max_examples=60)
@given(clocks_and_frames(), st.floats(-1.0, 1.0))
def test_a_line_is_exact_at_mid_exposure(case: tuple[np.ndarray, np.ndarray, float], slope: float) -> None:
    t, middles, exposure = case
    joined = beamline.join(frames(middles, exposure), channel(t, 3.0 + slope * t))
    partly = joined["voltage_mask"].values & FLAGS["partly_covered"] > 0
    expected = np.where(partly, joined["voltage"].values, 3.0 + slope * middles)
    np.testing.assert_allclose(
        np.where(joined["voltage"].isnull(), expected, joined["voltage"]), expected, atol=1e-6
    )


@settings(deadline=None, max_examples=60)
@given(clocks_and_frames(), st.floats(0.0, 30.0))
def test_values_are_where_samples_are_and_within_them(
    case: tuple[np.ndarray, np.ndarray, float], tolerance: float
) -> None:
    t, middles, exposure = case
    values = np.cos(3 * t)
    joined = beamline.join(frames(middles, exposure), channel(t, values), tolerance)
    value, n, dt = (joined[f"voltage{end}"].values for end in ("", "_n", "_dt"))
    assert (np.isnan(value) | ((value >= values.min() - 1e-9) & (value <= values.max() + 1e-9))).all()
    assert np.isnan(value[(n == 0) & (dt > tolerance)]).all()
    assert np.isfinite(value[n > 0]).all()


@settings(deadline=None, max_examples=30)
@given(clocks_and_frames())
def test_the_order_of_channels_is_irrelevant(case: tuple[np.ndarray, np.ndarray, float]) -> None:
    t, middles, exposure = case
    a, b = channel(t, np.sin(t)), channel(t + 0.5, np.cos(t), "temperature", units="degC")
    one = beamline.join(frames(middles, exposure), xr.DataTree.from_dict({"a": a, "b": b}))
    two = beamline.join(frames(middles, exposure), xr.DataTree.from_dict({"b": b, "a": a}))
    assert one.drop_attrs(deep=False).identical(two.drop_attrs(deep=False))


# other frames, and what is refused


def test_frames_in_any_order_and_a_single_one() -> None:
    ds = channel(np.arange(100.0), np.arange(100.0))
    assert beamline.join(frames([50.0, 20.0]), ds)["voltage"].values == pytest.approx([50.0, 20.0])
    single = beamline.join(frames([50.0]).isel(frame=0), ds)
    assert single["voltage"].dims == ()
    assert float(single["voltage"]) == pytest.approx(50.0)


def test_scans_have_their_own_dim() -> None:
    scans = xr.Dataset(
        {"mu": (("scan", "energy"), np.ones((2, 3)))},
        {
            "energy": [1.0, 2.0, 3.0],
            "time": ("scan", at([10.0, 20.0])),
            "exposure": ("scan", [4.0, 4.0]),
        },
    )
    scans = model.with_defaults(scans, "xas.scans")
    joined = beamline.join(scans, channel(np.arange(100.0), np.arange(100.0)))
    assert joined["voltage"].dims == ("scan",)


def refused(match: str, one: xr.Dataset | None = None, two: xr.Dataset | None = None, **options: Any) -> None:
    ds = channel(np.arange(9.0), np.arange(9.0))
    with pytest.raises(JoinError, match=match):
        beamline.join(frames([5.0]) if one is None else one, ds if two is None else two, **options)


def test_frames_without_time_or_exposure_are_refused() -> None:
    refused(r"frames: have no time; give them", frames([5.0]).drop_vars("time"))
    refused(r"frames: have no exposure; give it", frames([5.0]).drop_vars("exposure"))


@pytest.mark.parametrize("exposure", [-1.0, np.nan, np.inf])
def test_impossible_exposures_are_refused(exposure: float) -> None:
    refused("negative or not finite", frames([5.0], exposure))


def test_channels_whose_time_runs_backward_are_refused() -> None:
    refused("runs backward 1 times", two=channel([0.0, 2.0, 1.0], [1.0, 2.0, 3.0]))


def test_a_name_that_is_there_already_is_refused() -> None:
    joined = beamline.join(frames([5.0]), channel(np.arange(9.0), np.arange(9.0)))
    refused("'voltage': is in the frames already", joined)


def test_a_name_in_two_leaves_is_refused() -> None:
    ds = channel(np.arange(9.0), np.arange(9.0))
    with pytest.raises(JoinError, match="several leaves"):
        beamline.join(frames([5.0]), xr.DataTree.from_dict({"a": ds, "b": ds}))


def test_channels_without_time_are_refused() -> None:
    refused("have no time", two=xr.Dataset({"voltage": ("time", [1.0])}))


@pytest.mark.parametrize("tolerance", [-1.0, np.nan])
def test_impossible_tolerances_are_refused(tolerance: float) -> None:
    refused("is not a time", tolerance=tolerance)


def test_joined_frames_and_channels_come_back_from_their_files(tmp_path: Path) -> None:
    cell = channel(np.arange(9.0), np.arange(9.0), reference="Li/Li+", resolution=0.01)
    joined = beamline.join(frames([5.0, 90.0]), cell.assign(cycle=("time", np.arange(9))))
    for name, ds in {"joined": joined, "cell": cell}.items():
        beamline.save(ds, tmp_path / f"{name}.nc")
        back = beamline.open(tmp_path / f"{name}.nc")
        assert isinstance(back, xr.Dataset)
        xr.testing.assert_identical(back.drop_attrs(deep=False), ds.drop_attrs(deep=False))
