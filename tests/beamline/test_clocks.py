"""Clocks and their fit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import beamline
from beamline import provenance
from beamline.channels import fit_clock
from beamline.clocks import Clock
from beamline.errors import ConfigError, FitError, JoinError

START = np.datetime64("2022-01-01", "ns")


def test_the_offset_is_frame_time_minus_channel_time() -> None:
    assert beamline.Clock("95.2s").to_frame(START) == START + np.timedelta64(95200, "ms")


def test_an_offset_may_be_in_any_unit_of_time() -> None:
    assert Clock("1 h") == Clock(3600.0)


def test_the_drift_counts_from_the_reference() -> None:
    clock = Clock(1.0, drift=1e-3, reference=START)
    later = START + np.timedelta64(1000, "s")
    assert clock.to_frame(later) == later + np.timedelta64(2, "s")


@settings(deadline=None, max_examples=100)
@given(
    st.floats(-1e6, 1e6),
    st.floats(-0.5, 0.5),
    st.lists(st.integers(-(10**16), 10**16), min_size=1, max_size=4),
)
def test_there_and_back(offset: float, drift: float, nanoseconds: list[int]) -> None:
    clock = Clock(offset, drift, reference=START)
    times = START + np.array(nanoseconds, "timedelta64[ns]")
    back = clock.to_channel(clock.to_frame(times))
    # The shift of up to 1e7 s is held in doubles.
    assert np.abs((back - times).astype(np.int64)).max() <= 10


def test_the_error_grows_with_the_distance_from_the_reference() -> None:
    clock = Clock(0.0, offset_error="0.3s", drift_error=4e-4, reference=START)
    assert clock.sigma(START) == pytest.approx(0.3)
    assert clock.sigma(START + np.timedelta64(1000, "s")) == pytest.approx(0.5)


@pytest.mark.parametrize("reference", ["2022-01-01T00:00:00.000000005Z", "2022-01-01T01:00:00+01:00"])
def test_a_reference_is_kept_in_utc_to_the_nanosecond(reference: str) -> None:
    text = Clock(drift=1e-6, reference=reference).reference
    assert text is not None
    assert text.startswith("2022-01-01T00:00:00.00000000")


def test_a_clock_is_a_record() -> None:
    clock = Clock("95.2s", 1e-6, "0.1s", 1e-7, START)
    assert isinstance(clock, provenance.Record)
    assert Clock.from_record(clock.to_record()) == clock
    assert pickle.loads(pickle.dumps(clock)) == clock  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"offset": float("nan")}, "no clock has"),
        ({"offset": 1e30}, "no clock has"),
        ({"offset_error": -1.0}, "negative"),
        ({"drift": 1e-6}, "no reference"),
        ({"drift": -1.0, "reference": START}, "backward"),
        ({"drift": 1e-6, "reference": "2022-01-01T00:00"}, "time zone"),
        ({"drift": 1e-6, "reference": "noon"}, "not a time"),
    ],
)
def test_impossible_clocks_are_refused(options: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Clock(**options)


def channel(seconds: np.ndarray, values: np.ndarray) -> xr.Dataset:
    times = START + np.round(seconds * 1e9).astype("timedelta64[ns]")
    return xr.Dataset({"voltage": ("time", values, {"units": "V"})}, {"time": times})


def pair(
    seed: int,
    every_a: float = 1.0,
    every_b: float = 1.3,
    noise: float = 0.002,
    offset: float = 3.21,
    drift: float = 0.0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """A voltage on two clocks, each with its own noise and uneven samples."""
    rng = np.random.default_rng(seed)

    def voltage(t: np.ndarray) -> np.ndarray:
        return 3.5 + 0.3 * np.sin(t / 60) + 0.1 * np.sin(t / 17 + 1)

    a = np.cumsum(every_a * rng.uniform(0.8, 1.2, int(600 / every_a)))
    b = np.cumsum(every_b * rng.uniform(0.8, 1.2, int(600 / every_b)))
    return (
        channel(a, voltage(a) + noise * rng.standard_normal(a.size)),
        channel(b, voltage(b + offset + drift * b) + noise * rng.standard_normal(b.size)),
    )


@pytest.mark.parametrize(("every_a", "every_b"), [(1.0, 1.3), (1.0, 1.0), (1.0, 8.0), (5.0, 1.0)])
def test_the_offset_comes_back_within_its_error(every_a: float, every_b: float) -> None:
    pulls = []
    for seed in range(60):
        clock = fit_clock(*pair(seed, every_a, every_b), search="8s")
        pulls.append((clock.offset - 3.21) / clock.offset_error)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(60)
    # 3 standard deviations of the spread of 60 draws, and the 8 % by which 600 s determine the error
    assert 0.7 < np.std(pulls) < 1.36


def test_the_drift_comes_back_within_its_error_and_is_uncorrelated() -> None:
    offsets, drifts = [], []
    for seed in range(60):
        clock = fit_clock(*pair(seed, drift=1e-3), search="8s", drift=True)
        assert clock.reference is not None
        at = (np.datetime64(clock.reference[:-1]) - START) / np.timedelta64(1, "s")
        offsets.append((clock.offset - 3.21 - 1e-3 * at) / clock.offset_error)
        drifts.append((clock.drift - 1e-3) / clock.drift_error)
    for pulls in (offsets, drifts):
        assert abs(np.mean(pulls)) < 3 / np.sqrt(60)
        assert 0.7 < np.std(pulls) < 1.36
    assert abs(np.corrcoef(offsets, drifts)[0, 1]) < 3 / np.sqrt(60)


def test_the_search_is_around_what_is_given() -> None:
    a, b = pair(0, offset=500.0)
    assert fit_clock(a, b, around="495s", search="20s").offset == pytest.approx(500.0, abs=0.1)


def test_two_offsets_that_agree_alike_are_refused() -> None:
    t = np.arange(0.0, 600.0)
    wave = channel(t, 3.5 + 0.3 * np.sin(2 * np.pi * t / 50))
    with pytest.raises(FitError, match="give `around` and a smaller `search`"):
        fit_clock(wave, wave, search="70s")


def test_channels_that_agree_nowhere_are_refused() -> None:
    a, b = pair(0)
    with pytest.raises(FitError, match="agrees nowhere"):
        fit_clock(a, b.assign(voltage=b["voltage"] + 2.0))


def test_an_offset_outside_the_search_is_refused() -> None:
    with pytest.raises(FitError, match="edge of the search"):
        fit_clock(*pair(0, offset=12.0), search="8s")


def test_channels_of_different_days_are_refused() -> None:
    a, b = pair(0)
    with pytest.raises(FitError, match="does not overlap"):
        fit_clock(a, b.assign_coords(time=b["time"] + np.timedelta64(1, "D")))


def test_a_channel_only_one_has_is_refused() -> None:
    a, b = pair(0)
    with pytest.raises(JoinError, match="'voltage' of b: is missing"):
        fit_clock(a, b.rename(voltage="temperature"))


def test_too_few_samples_are_refused() -> None:
    a, b = pair(0)
    with pytest.raises(JoinError, match="fewer than 20"):
        fit_clock(a, b.isel(time=slice(5)))
