"""The clock of a raw file."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamline.errors import ConfigError, DataFileError
from beamline.readers import stamps


def utc(texts: list[str], zone: str, elapsed: list[float] | None = None) -> list[str]:
    seconds = None if elapsed is None else np.array(elapsed)
    wall, _ = stamps.parse(texts, "f", None, seconds)
    return [str(t)[:19] for t in stamps.to_utc(wall, zone, "f", seconds)[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2022-04-06T16:17:23", "2022-04-06T16:17:23"),
        ("2022-04-06 16:17:23.25", "2022-04-06T16:17:23.25"),
        ("5/14/2021 3:40:24 PM", "2021-05-14T15:40:24"),
        ("5/14/2021 12:00:01 AM", "2021-05-14T00:00:01"),
        ("14.05.2021 15:40", "2021-05-14T15:40"),
        ("23-Nov-23 3:56:08 PM", "2023-11-23T15:56:08"),
        ("11/20/2024 11:38:41.707", "2024-11-20T11:38:41.707"),
    ],
)
def test_stamps_are_read_as_they_are_written(text: str, expected: str) -> None:
    times, is_utc = stamps.parse([text], "f", None)
    assert times[0] == np.datetime64(expected)
    assert not is_utc


@pytest.mark.parametrize("text", ["2022-04-06T16:17:23+02:00", "2022-04-06T14:17:23Z"])
def test_a_stated_offset_is_applied(text: str) -> None:
    times, is_utc = stamps.parse([text], "f", None)
    assert times[0] == np.datetime64("2022-04-06T14:17:23")
    assert is_utc


@settings(deadline=None, max_examples=100)
@given(st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2100-01-01")))
def test_iso_stamps_come_back(moment: datetime) -> None:
    times, _ = stamps.parse([moment.isoformat(sep=" ")], "f", None)
    assert times[0] == np.datetime64(moment)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=30))
def test_any_text_is_a_stamp_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(DataFileError):
        times, _ = stamps.parse([text], "f", None)
        assert not np.isnat(times[0])


def test_order_of_day_and_month_that_is_open_is_asked_for() -> None:
    with pytest.raises(DataFileError, match="day_first=True"):
        stamps.parse(["5/11/2021 15:40:24"], "f", None)
    assert stamps.parse(["5/11/2021 15:40:24"], "f", True)[0][0] == np.datetime64("2021-11-05T15:40:24")


def test_a_later_stamp_settles_the_order_of_day_and_month() -> None:
    times, _ = stamps.parse(["5/11/2021 15:00:00", "5/13/2021 15:00:00"], "f", None)
    assert times[0] == np.datetime64("2021-05-11T15:00:00")


def test_elapsed_time_over_midnight_settles_the_order_of_day_and_month() -> None:
    times, _ = stamps.parse(["5/11/2021 23:00:00", "5/12/2021 01:00:00"], "f", None, np.array([0.0, 7200.0]))
    assert times[0] == np.datetime64("2021-05-11T23:00:00")


def test_day_and_month_in_both_orders_are_refused() -> None:
    with pytest.raises(DataFileError, match="both orders"):
        stamps.parse(["13/5/2021 15:00:00", "5/13/2021 15:00:00"], "f", None)


@pytest.mark.parametrize("text", ["2021-02-30 10:00:00", "2021-05-14 25:00:00", "5/14/2021 13:00:00 PM"])
def test_stamps_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(DataFileError, match="does not exist"):
        stamps.parse([text], "f", None)


def test_a_missing_zone_is_asked_for() -> None:
    with pytest.raises(DataFileError, match="timezone="):
        stamps.to_utc(np.array(["2022-04-06"], "datetime64[ns]"), None, "f")


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Europe/Berlin", "10"),
        ("+02:00", "10"),
        ("UTC", "12"),
        ("America/Chicago", "17"),
        ("UTC-05:30", "17"),
    ],
)
def test_zones_by_name_and_by_offset(zone: str, expected: str) -> None:
    assert utc(["2022-07-06 12:00:00"], zone)[0][11:13] == expected


@pytest.mark.parametrize("zone", ["Middle/Earth", "", "+99:00", "../UTC", "Europe"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(ConfigError, match="not a time zone"):
        stamps.zone_of(zone)


def test_stamps_in_a_skipped_hour_are_refused() -> None:
    with pytest.raises(
        DataFileError, match=r"1 time stamps in an hour that Europe/Berlin skips.*fixed offset"
    ):
        utc(["2021-03-28 01:59:00", "2021-03-28 02:30:00", "2021-03-28 03:01:00"], "Europe/Berlin")


REPEATED = ["2021-10-31 01:59:00", "2021-10-31 02:30:00", "2021-10-31 02:10:00", "2021-10-31 03:00:00"]
TRUE = ["2021-10-30T23:59:00", "2021-10-31T00:30:00", "2021-10-31T01:10:00", "2021-10-31T02:00:00"]


def test_a_repeated_hour_is_told_apart_by_the_backward_jump() -> None:
    assert utc(REPEATED, "Europe/Berlin") == TRUE


def test_a_repeated_hour_is_told_apart_by_elapsed_time() -> None:
    assert utc([*REPEATED[:1], *REPEATED[2:]], "Europe/Berlin", [0.0, 4260.0, 7260.0]) == [TRUE[0], *TRUE[2:]]


def test_an_undecidable_repeated_hour_is_refused() -> None:
    with pytest.raises(DataFileError, match="passes twice"):
        utc([*REPEATED[:1], *REPEATED[2:]], "Europe/Berlin")


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 2**31), st.sampled_from(["Europe/Berlin", "America/Chicago", "Australia/Lord_Howe", "UTC"])
)
def test_wall_clocks_of_any_zone_come_back(start: int, zone: str) -> None:
    rules = stamps.zone_of(zone)
    true = [datetime.fromtimestamp(start + 1800 * i, UTC) for i in range(12)]
    wall = np.array([t.astimezone(rules).replace(tzinfo=None) for t in true], "datetime64[ns]")
    elapsed = 1800.0 * np.arange(12)
    found, _ = stamps.to_utc(wall, zone, "f", elapsed)
    assert (found == np.array([t.replace(tzinfo=None) for t in true], "datetime64[ns]")).all()


def test_whole_seconds_get_the_fractions_of_the_elapsed_time() -> None:
    elapsed = np.arange(0.0, 50.0, 0.3)
    true = np.datetime64("2022-01-01", "ns") + np.round(elapsed * 1e9).astype("timedelta64[ns]")
    refined, spread, notes = stamps.refine(true.astype("datetime64[s]").astype("datetime64[ns]"), elapsed)
    assert np.abs((refined - true) / np.timedelta64(1, "s")).max() <= 1.0
    assert np.diff(refined.astype(np.int64)) == pytest.approx(0.3e9, abs=1000)
    assert spread <= 1.0
    assert notes == []


def test_the_clock_is_followed_where_the_elapsed_time_stands_still() -> None:
    elapsed = np.array([0.0, 1.0, 2.0, 3.0])
    wall = np.datetime64("2022-01-01", "ns") + np.array([0, 1, 602, 603]) * np.timedelta64(1, "s")
    refined, _, notes = stamps.refine(wall, elapsed)
    assert (refined == wall).all()
    assert "part 1 times (by +600 s at sample 2)" in notes[0]


def test_samples_with_one_stamp_stay_in_order_and_are_reported() -> None:
    times = np.datetime64("2022-01-01", "ns") + np.array([0, 1, 1, 1, 2]) * np.timedelta64(1, "s")
    apart, notes = stamps.increasing(times, "f")
    assert (np.diff(apart.astype(np.int64)) > 0).all()
    assert np.abs((apart - times).astype(np.int64)).max() == 2
    assert "2 samples share" in notes[0]


def test_time_running_backward_is_refused_with_its_line() -> None:
    times = np.datetime64("2022-01-01", "ns") + np.array([0, 5, 3]) * np.timedelta64(1, "s")
    with pytest.raises(DataFileError, match=r"backward by 2.000 s in line 12"):
        stamps.increasing(times, "f", first_line=10)


def test_a_report_warns_and_is_kept() -> None:
    with pytest.warns(stamps.ClockWarning, match="f: one; two"):
        assert stamps.report("f", ["one", "two"]) == {"clock": "one; two"}
    assert stamps.report("f", []) == {}
