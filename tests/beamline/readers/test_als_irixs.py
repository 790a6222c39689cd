from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import beamline
from beamline.errors import ConfigError, DataFileError
from beamline.readers.als_irixs import parse
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
    np.testing.assert_array_equal(scan.time, np.array(expected, "datetime64[ns]"))
    assert list(scan.local_time.values) == ["23:50:00", "23:55:00", "00:00:00"]


def test_date_and_timezone_can_be_stated(tmp_path: Path) -> None:
    scan = beamline.read(irixs.write_scan(tmp_path), date="2024-01-01", timezone="UTC")
    assert scan.time.values[0] == np.datetime64("2024-01-01T23:50:00")


@pytest.mark.parametrize("option", [{"date": "yesterday"}, {"timezone": "Mars/Olympus"}])
def test_a_date_or_zone_that_does_not_exist_is_refused(tmp_path: Path, option: dict[str, str]) -> None:
    with pytest.raises((ConfigError, DataFileError), match=next(iter(option))):
        beamline.read(irixs.write_scan(tmp_path), **option)


def test_without_a_day_folder_there_is_no_time(tmp_path: Path) -> None:
    path = irixs.write_scan(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\\240705", b"\\today"))
    scan = beamline.read(path)
    assert "time" not in scan.coords
    assert "local_time" in scan.coords


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
