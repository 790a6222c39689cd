"""What all image formats share: the clock, the sidecars, frames of several files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import beamline
from beamline.errors import ConfigError, DataFileError
from beamline.provenance import history
from beamline.readers import images, sidecars
from tests.beamline.readers import files

QXRD = (
    "[metadata]\nwidth=7\nexposureTime=1\nsummedExposures=5\ndateString=2014.07.02 : 17:07:53.659\n"
    "timeStamp=1404338873.637\nuserComment1=GO B = 5\n\n[centerfinder]\ndetectorXPixelSize=200\n"
    "detectorYPixelSize=150\nexposureTime=99\n"
)


def image(folder: Path, name: str = "a.tif", date: str | None = None) -> Path:
    tags: files.Tags = {} if date is None else {306: (2, date)}
    return files.write(folder / name, files.tiff([files.image()], tags=tags))


def test_metadata_of_qxrd(tmp_path: Path) -> None:
    path = image(tmp_path)
    files.write(tmp_path / "a.tif.metadata", QXRD)
    ds = beamline.read(path)
    assert float(ds.exposure[0]) == 5.0  # five exposures of 1 s
    # the stamp is the end: 1404338873.637 s after 1970 is 22:07:53.637 UTC
    assert ds.time.values[0] == np.datetime64("2014-07-02T22:07:51.137")
    assert (ds.attrs["y_pixel_size"], ds.attrs["x_pixel_size"]) == pytest.approx((150e-6, 200e-6))
    assert json.loads(ds.attrs["metadata"])["userComment1"] == "GO B = 5"
    assert [file["name"] for file in history(ds)[0]["files"]] == ["a.tif", "a.tif.metadata"]


def test_an_average_has_the_exposure_of_one_and_says_of_how_many(tmp_path: Path) -> None:
    path = image(tmp_path)
    text = QXRD.replace("exposureTime=1\n", "exposureTime=2\n").replace("summed", "averaged")
    files.write(tmp_path / "a.tif.metadata", text)
    ds = beamline.read(path)
    assert float(ds.exposure[0]) == 2.0
    assert int(ds.averaged[0]) == 5
    assert ds.counts.attrs["exposures"] == "averaged"
    # it took five times 2 s, and ended at 22:07:53.637
    assert ds.time.values[0] == np.datetime64("2014-07-02T22:07:48.637")


def test_a_sum_says_that_it_is_one(tmp_path: Path) -> None:
    path = image(tmp_path)
    assert "exposures" not in beamline.read(path).counts.attrs
    files.write(tmp_path / "a.tif.metadata", QXRD)
    ds = beamline.read(path)
    assert ds.counts.attrs["exposures"] == "summed"
    assert "averaged" not in ds.coords


def test_metadata_without_seconds_since_1970_is_local_time(tmp_path: Path) -> None:
    path = image(tmp_path)
    files.write(tmp_path / "a.metadata", QXRD.replace("timeStamp", "other"))
    assert beamline.read(path).local_time.values[0] == np.datetime64("2014-07-02T17:07:53.659")
    ds = beamline.read(path, timezone="America/Chicago")
    assert ds.time.values[0] == np.datetime64("2014-07-02T22:07:51.159")


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("exposureTime=1", "exposureTime=long", "not a number"),
        ("exposureTime=1", "exposureTime=-1", "exposureTime is -1"),
        ("summedExposures=5", "averagedExposures=2.5", "averagedExposures is 2.5, not a whole number"),
        ("timeStamp=1404338873.637\n", "timeStamp=nan\n", "timeStamp is nan"),
        (QXRD, "nothing\n", "no line key=value"),
        (QXRD, "a=\0", "not a text file"),
    ],
)
def test_damaged_metadata_is_refused(tmp_path: Path, old: str, new: str, cause: str) -> None:
    path = image(tmp_path)
    files.write(tmp_path / "a.tif.metadata", QXRD.replace(old, new))
    with pytest.raises(DataFileError, match=cause) as caught:
        beamline.read(path)
    assert caught.value.subject.endswith("a.tif.metadata")


def test_controls_of_gsas_are_kept_and_not_used(tmp_path: Path) -> None:
    path = image(tmp_path)
    files.write(
        tmp_path / "a.imctrl",
        "type:PWDR\ncenter:[np.float64(168.5), np.float64(173.4)]\ndark image:['', -1.0]\n"
        "calibrant:CeO2  SRM674b\nevil:__import__('os').system('true')\n",
    )
    ds = beamline.read(path)
    controls = json.loads(ds.attrs["imctrl"])
    assert controls["center"] == [168.5, 173.4]
    assert controls["dark image"] == ["", -1.0]
    assert controls["calibrant"] == "CeO2  SRM674b"
    assert controls["evil"] == "__import__('os').system('true')"
    assert "x_pixel_size" not in ds.attrs
    assert [file["name"] for file in history(ds)[0]["files"]] == ["a.tif", "a.imctrl"]


def test_no_sidecar_no_companion(tmp_path: Path) -> None:
    assert sidecars.companions(image(tmp_path)) == []


def test_local_time_needs_a_zone_and_a_moment(tmp_path: Path) -> None:
    path = image(tmp_path, date="2024:07:01 12:00:00")
    assert beamline.read(path).local_time.values[0] == np.datetime64("2024-07-01T12:00:00")
    ds = beamline.read(path, timezone="Europe/Paris")
    assert ds.timestamp.values[0] == np.datetime64("2024-07-01T10:00:00")
    assert "time" not in ds.coords
    with pytest.raises(DataFileError, match="zone of its clock"):
        beamline.read(path, stamp="middle")
    with pytest.raises(DataFileError, match="no exposure time"):
        beamline.read(path, timezone="Europe/Paris", stamp="start")
    ds = beamline.read(path, timezone="Europe/Paris", stamp="middle")
    assert ds.time.values[0] == np.datetime64("2024-07-01T10:00:00")


@pytest.mark.parametrize("moment", ["2024:10:27 02:30:00", "2024:03:31 02:30:00"])
def test_the_hour_summer_time_repeats_or_skips_is_refused(tmp_path: Path, moment: str) -> None:
    path = image(tmp_path, date=moment)
    with pytest.raises(DataFileError, match="ambiguous"):
        beamline.read(path, timezone="Europe/Paris", stamp="middle")
    ds = beamline.read(path, timezone="Etc/GMT-2", stamp="middle")
    assert str(ds.time.values[0])[11:16] == "00:30"


@pytest.mark.parametrize(("option", "value"), [("timezone", "Mars/Olympus"), ("stamp", "noon")])
def test_options_that_do_not_exist(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(DataFileError, match=value):
        beamline.read(image(tmp_path, date="2024:07:01 12:00:00"), **{option: value})


def test_a_file_without_a_clock_has_no_time(tmp_path: Path) -> None:
    coords = set(beamline.read(image(tmp_path), timezone="UTC").coords)
    assert coords.isdisjoint({"time", "timestamp", "local_time"})
    with pytest.raises(DataFileError, match="no clock"):
        beamline.read(image(tmp_path), stamp="start")


def test_an_unknown_option_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="options: frames, timezone, stamp, timeout"):
        beamline.read(image(tmp_path), zone="Europe/Paris")


def test_files_become_frames_and_keep_their_names(tmp_path: Path) -> None:
    ds = beamline.read([image(tmp_path, f"{i}.tif") for i in range(3)])
    assert list(ds.file.values) == ["0.tif", "1.tif", "2.tif"]
    assert ds.counts.shape == (3, 5, 7)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    first = image(tmp_path, "a.tif")
    tags: dict[str, files.Tags] = {"exposure": {65010: (2, "ExposureTime:1")}, "units": {272: (2, "PILATUS")}}
    for cause, tag in tags.items():
        other = files.write(tmp_path / "b.tif", files.tiff([files.image()], tags=tag))
        with pytest.raises(DataFileError, match=cause) as caught:
            beamline.read([first, other])
        assert caught.value.subject.endswith("b.tif")
    other = files.write(tmp_path / "c.tif", files.tiff([files.image(shape=(4, 7))]))
    with pytest.raises(DataFileError, match="4 along 'y'"):
        beamline.read([first, other])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("# 2017-06-26T02:54:23.347", "2017-06-26T02:54:23.347"),
        ("# 2007/Jun/13 13:13:16.286", "2007-06-13T13:13:16.286"),
        ("# 2012-Sep-20T16:34:22.100", "2012-09-20T16:34:22.100"),
    ],
)
def test_pilatus_writes_its_start_in_several_ways(line: str, expected: str) -> None:
    found = images.pilatus(f"# Detector: PILATUS 6M, S/N 60-0101\n{line}\n# Exposure_time 0.997 s\n")
    assert np.datetime64(found["stamp"]) == np.datetime64(expected)
    assert found["moment"] == "start"
    assert found["detector"] == "PILATUS 6M, S/N 60-0101"
    assert found["exposure"] == 0.997
