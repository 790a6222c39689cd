from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import beamline
from beamline.errors import ConfigError, DataFileError
from beamline.readers.als_irixs import parse
from beamline.readers.stamps import ClockWarning
from tests import irixs


def test_images_keep_their_counts_and_type(tmp_path: Path) -> None:
    stack = irixs.images()
    scan = beamline.read(irixs.write_scan(tmp_path, stack))
    assert scan.counts.dtype == np.uint16
    np.testing.assert_array_equal(scan.counts, stack)
    assert scan.counts.attrs["units"] == "ADU"


def test_the_folder_stands_for_its_scan(tmp_path: Path) -> None:
    table = irixs.write_scan(tmp_path)
    assert beamline.read(tmp_path).identical(beamline.read(table))


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_images(tmp_path, table, stack)
    fewer = tuple(reversed([name for name in irixs.COLUMNS if name != "Sample Current"]))
    irixs.write_table(tmp_path, table, columns=("Time", *(name for name in fewer if name != "Time")))
    scan = beamline.read(tmp_path)
    np.testing.assert_array_equal(scan.excitation_energy, [530.0, 530.5, 531.0])
    np.testing.assert_array_equal(scan.i0, [1e7, 1e7 + 1, 1e7 + 2])


def test_images_go_with_the_row_that_names_them(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_images(tmp_path, table, stack)
    irixs.write_table(tmp_path, table[::-1])
    scan = beamline.read(tmp_path)
    np.testing.assert_array_equal(scan.counts, stack[::-1])
    np.testing.assert_array_equal(scan.excitation_energy, [531.0, 530.5, 530.0])


def test_rows_without_image_are_dropped_and_named(tmp_path: Path) -> None:
    irixs.write_scan(tmp_path)
    (tmp_path / "Andor" / "scan-00002.tif").unlink()
    scan = beamline.read(tmp_path)
    np.testing.assert_array_equal(scan.excitation_energy, [530.0, 531.0])
    assert scan.attrs["rows_without_file"] == "scan-00002"
    np.testing.assert_array_equal(scan.counts[1], irixs.images()[2])


def test_images_without_row_are_named(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_images(tmp_path, table, stack)
    irixs.write_table(tmp_path, table[:2])
    scan = beamline.read(tmp_path)
    assert scan.sizes["frame"] == 2
    assert scan.attrs["files_without_row"] == "scan-00003"


def test_half_a_row_at_the_end_is_left_out(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_images(tmp_path, table, stack)
    irixs.write_table(tmp_path, table[:2], tail="00:00:00\t3.000")
    scan = beamline.read(tmp_path)
    assert scan.sizes["frame"] == 2
    assert scan.attrs["broken_rows"] == 1


def test_the_clock_goes_on_past_midnight(tmp_path: Path) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path))
    # 23:50, 23:55, 00:00 of 5 July 2024 in California are UTC − 7 h.
    expected = ["2024-07-06T06:50", "2024-07-06T06:55", "2024-07-06T07:00"]
    np.testing.assert_array_equal(scan.timestamp, np.array(expected, "datetime64[ns]"))
    assert list(scan.local_time.values) == ["23:50:00", "23:55:00", "00:00:00"]


def test_date_and_timezone_can_be_stated(tmp_path: Path) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path), date="2024-01-01", timezone="UTC")
    assert scan.timestamp.values[0] == np.datetime64("2024-01-01T23:50:00")


@pytest.mark.parametrize("option", [{"date": "yesterday"}, {"timezone": "Mars/Olympus"}])
def test_a_date_or_zone_that_does_not_exist_is_refused(tmp_path: Path, option: dict[str, str]) -> None:
    with pytest.raises((ConfigError, DataFileError), match=next(iter(option))):
        beamline.read(irixs.write_scan(tmp_path), **option)


def test_without_a_day_folder_there_is_no_time(tmp_path: Path) -> None:
    path = irixs.write_scan(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\\240705", b"\\today"))
    scan = beamline.read(path)
    assert not {"time", "timestamp"} & set(scan.coords)
    assert "local_time" in scan.coords


@pytest.mark.parametrize("options", [{}, {"stamp": "start"}, {"exposure": 280.0}])
def test_a_stamp_of_unknown_moment_is_not_mid_exposure(tmp_path: Path, options: dict[str, Any]) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path), **options)
    assert "time" not in scan.coords
    assert "not stated" in scan.timestamp.attrs["long_name"]


@pytest.mark.parametrize(
    ("stamp", "first"), [("start", "06:52:20"), ("middle", "06:50"), ("end", "06:47:40")]
)
def test_with_moment_and_exposure_stated_time_is_mid_exposure(tmp_path: Path, stamp: str, first: str) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path), stamp=stamp, exposure=280.0)
    assert scan.time.values[0] == np.datetime64(f"2024-07-06T{first}")
    np.testing.assert_array_equal(scan.exposure, 280.0)
    assert scan.exposure.attrs["units"] == "s"
    assert "timestamp" not in scan.coords


@pytest.mark.parametrize("options", [{"stamp": "begin"}, {"exposure": 0.0}, {"exposure": float("nan")}])
def test_a_moment_or_exposure_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, DataFileError), match=next(iter(options))):
        beamline.read(irixs.write_scan(tmp_path), **options)


def test_a_moment_without_a_day_is_refused(tmp_path: Path) -> None:
    path = irixs.write_scan(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\\240705", b"\\today"))
    with pytest.raises(DataFileError, match="on which day"):
        beamline.read(path, stamp="start", exposure=280.0)


def at(folder: Path, clock: list[str], day: str) -> Path:
    """Write a scan whose points have these times of day."""
    stack = irixs.images()
    table = [{**row, "Time": time} for row, time in zip(irixs.rows(stack), clock, strict=True)]
    irixs.write_images(folder, table, stack)
    return irixs.write_table(folder, table, day=day)


def test_the_hour_that_summer_time_repeats_is_told_by_the_step_back(tmp_path: Path) -> None:
    path = at(tmp_path, ["01:50:00", "01:05:00", "02:10:00"], "241103")
    with pytest.warns(ClockWarning, match="second pass"):
        scan = beamline.read(path)
    expected = ["2024-11-03T08:50", "2024-11-03T09:05", "2024-11-03T10:10"]
    np.testing.assert_array_equal(scan.timestamp, np.array(expected, "datetime64[ns]"))


def test_an_hour_that_could_be_either_pass_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="fixed offset"):
        beamline.read(at(tmp_path, ["01:10:00", "01:15:00", "01:20:00"], "241103"))


def test_the_hour_that_summer_time_skips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="skips"):
        beamline.read(at(tmp_path, ["01:50:00", "02:10:00", "03:10:00"], "240310"))


def test_clipping_and_saturation_are_marked(tmp_path: Path) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path))
    assert scan.attrs["clipped"] == "at zero"
    assert scan.attrs["background"] == "subtracted"
    assert (scan.saturation_level == 65535 - 336).all()


def test_no_exposure_is_made_up(tmp_path: Path) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path))
    assert "exposure" not in scan.coords
    assert scan.attrs["point_interval"] == "300 s"


def test_spectra_are_read_where_no_image_was_saved(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_spectra(tmp_path, table, stack)
    irixs.write_table(tmp_path, table)
    spectra = beamline.read(tmp_path)
    assert spectra.attrs["kind"] == "rixs.spectra"
    np.testing.assert_array_equal(spectra.intensity, stack.sum(axis=1))
    assert (spectra.live_rows == 4).all()


def test_spectra_can_be_asked_for_beside_images(tmp_path: Path) -> None:
    irixs.write_scan(tmp_path)
    irixs.write_spectra(tmp_path, irixs.rows(irixs.images()), irixs.images())
    assert beamline.read(tmp_path).attrs["kind"] == "images"
    assert beamline.read(tmp_path, kind="rixs.spectra").attrs["kind"] == "rixs.spectra"


def test_every_file_read_is_in_the_history(tmp_path: Path) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path))
    names = ["scan-AI.txt", "scan-00001.tif", "scan-00002.tif", "scan-00003.tif"]
    assert all(name in scan.attrs["history"] for name in names)


def test_the_table_keeps_its_text(tmp_path: Path) -> None:
    scan = parse(irixs.write_scan(tmp_path))
    assert scan.entry("Clip to ROI") == "No"
    assert scan.column("Filename") == ["scan-00001", "scan-00002", "scan-00003"]
