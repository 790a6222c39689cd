"""TIFF frames: every pixel, its type and what the tags say."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import beamline
from beamline.errors import DataFileError
from beamline.readers import tiff
from tests.beamline.readers import files


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "float32", "float64"])
def test_pixels_and_type_are_those_of_the_file(tmp_path: Path, dtype: str, order: str) -> None:
    frame = files.image(dtype)
    ds = beamline.read(files.write(tmp_path / "a.tif", files.tiff([frame], order=order)))
    assert ds.counts.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(ds.counts[0], frame)


def test_rows_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    frame = np.zeros((4, 3), "uint16")
    frame[0, 0] = 7
    ds = beamline.read(files.write(tmp_path / "a.tif", files.tiff([frame])))
    assert int(ds.counts[0, 0, 0]) == 7


@pytest.mark.parametrize("compression", [1, 8, 32946])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_strips_are_put_together(tmp_path: Path, rows: int, compression: int) -> None:
    frame = files.image("int32")
    content = files.tiff([frame], rows=rows, compression=compression)
    np.testing.assert_array_equal(beamline.read(files.write(tmp_path / "a.tif", content)).counts[0], frame)


def test_horizontal_differences_are_summed(tmp_path: Path) -> None:
    frame = files.image("uint16")
    steps = np.diff(frame, axis=1, prepend=np.zeros((5, 1), "uint16"))
    content = files.tiff([steps], compression=8, tags={317: (3, 2)})
    np.testing.assert_array_equal(beamline.read(files.write(tmp_path / "a.tif", content)).counts[0], frame)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    rows=st.integers(1, 9),
    compression=st.sampled_from([1, 8]),
    number=st.integers(1, 3),
)
def test_what_is_written_is_read(
    tmp_path: Path, shape: tuple[int, int], rows: int, compression: int, number: int
) -> None:
    frames = [files.image("int32", shape) + i for i in range(number)]
    path = files.write(tmp_path / "a.tif", files.tiff(frames, rows=rows, compression=compression))
    np.testing.assert_array_equal(tiff.read(path).counts, frames)


def test_fabio_reads_the_same(tmp_path: Path) -> None:
    fabio = pytest.importorskip("fabio")
    frame = files.image("int32", (20, 30))
    path = files.write(tmp_path / "a.tif", files.tiff([frame], rows=7))
    with fabio.open(str(path)) as image:
        np.testing.assert_array_equal(beamline.read(path).counts[0], image.data)


def test_big_tiff(tmp_path: Path) -> None:
    frame = files.image("uint16")
    values = {256: 7, 257: 5, 258: 16, 259: 1, 273: 16, 277: 1, 278: 5, 279: frame.nbytes}
    directory = struct.pack("<Q", len(values)) + b"".join(
        struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in values.items()
    )
    content = (
        b"II+\0\x08\0\0\0" + struct.pack("<Q", 16 + frame.nbytes) + frame.tobytes() + directory + bytes(8)
    )
    np.testing.assert_array_equal(beamline.read(files.write(tmp_path / "a.tif", content)).counts[0], frame)
    with pytest.raises(DataFileError, match="truncated"):
        beamline.read(files.write(tmp_path / "b.tif", content[:-9]))


def test_pages_are_frames_and_thumbnails_are_not(tmp_path: Path) -> None:
    frames = [files.image() + i for i in range(3)]
    path = files.write(tmp_path / "a.tif", files.tiff(frames))
    assert tiff.count(path) == 3
    np.testing.assert_array_equal(beamline.read(path, frames=(1, 3)).counts, frames[1:])
    thumbnail = files.write(tmp_path / "b.tif", files.tiff(frames, tags={254: (4, 1)}))
    with pytest.raises(DataFileError, match="no frame"):
        beamline.read(thumbnail)


def test_frames_outside_the_file_are_refused(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.tif", files.tiff([files.image()]))
    with pytest.raises(DataFileError, match="0 to 1, not 0 to 2"):
        beamline.read(path, frames=(0, 2))


def test_a_comment_beyond_the_end_does_not_matter(tmp_path: Path) -> None:
    content = bytearray(files.tiff([files.image()], tags={305: (2, "a program with a long name")}))
    at = content.index(b"\x31\x01\x02\x00") + 8  # the entry of tag 305
    content[at : at + 4] = (2**31).to_bytes(4, "little")
    np.testing.assert_array_equal(
        beamline.read(files.write(tmp_path / "a.tif", bytes(content))).counts[0], files.image()
    )


def test_colours_are_refused(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.tif", files.tiff([files.image()], tags={277: (3, 3)}))
    with pytest.raises(DataFileError, match="colours"):
        beamline.read(path)


def test_photon_counters_count_and_others_give_adu(tmp_path: Path) -> None:
    counter = files.tiff([files.image()], tags={272: (2, "PILATUS 1M-F")})
    flat = files.tiff([files.image()], tags={272: (2, "XRD 1621")})
    assert beamline.read(files.write(tmp_path / "a.tif", counter)).counts.attrs["units"] == "count"
    ds = beamline.read(files.write(tmp_path / "b.tif", flat))
    assert ds.counts.attrs["units"] == "ADU"
    assert ds.attrs["detector"] == "XRD 1621"


PILATUS = "# Pixel_size 172e-6 m x 100e-6 m\r\n# Exposure_time 4.0 s\r\n# Tau = 0 s\r\n"


def test_pilatus_header(tmp_path: Path) -> None:
    tags = {270: (2, PILATUS), 272: (2, "PILATUS 1M-F"), 306: (2, "2016:11:02 21:58:12")}
    path = files.write(tmp_path / "a.tif", files.tiff([files.image("int32")], tags=tags))
    ds = beamline.read(path)
    assert float(ds.exposure[0]) == 4.0
    assert (ds.attrs["y_pixel_size"], ds.attrs["x_pixel_size"]) == (100e-6, 172e-6)
    assert ds.local_time.values[0] == np.datetime64("2016-11-02T21:58:12")
    assert "time" not in ds.coords
    # the start of the exposure, UTC-5 in Chicago on that day, and half of 4 s
    ds = beamline.read(path, timezone="America/Chicago")
    assert ds.time.values[0] == np.datetime64("2016-11-03T02:58:14")


def test_epics_stamp_is_utc_and_its_moment_is_asked_for(tmp_path: Path) -> None:
    # EPICS counts from 1990: 1 day and 0.25 s
    tags = {65002: (4, 86400), 65003: (4, 250_000_000), 65010: (2, "ExposureTime:0.5")}
    path = files.write(tmp_path / "a.tif", files.tiff([files.image()], tags=tags))
    ds = beamline.read(path)
    assert ds.timestamp.values[0] == np.datetime64("1990-01-02T00:00:00.250")
    ds = beamline.read(path, stamp="end")
    assert ds.time.values[0] == np.datetime64("1990-01-02T00:00:00")
    assert beamline.read(path, timezone="Europe/Paris").timestamp.equals(beamline.read(path).timestamp)


def test_marccd_header(tmp_path: Path) -> None:
    block = bytearray(3072)
    block[656:660] = (1500).to_bytes(4, "little")
    block[772:780] = (79_000).to_bytes(4, "little") + (80_000).to_bytes(4, "little")
    block[1344:1359] = b"112918162011.35"
    content = files.tiff([files.image()])
    with_tag = files.tiff([files.image()], tags={34710: (4, 4096)})
    path = files.write(tmp_path / "a.mccd", with_tag.ljust(4096, b"\0") + bytes(block))
    ds = beamline.read(path)
    assert float(ds.exposure[0]) == 1.5
    assert (ds.attrs["y_pixel_size"], ds.attrs["x_pixel_size"]) == pytest.approx((80e-6, 79e-6))
    assert ds.local_time.values[0] == np.datetime64("2011-11-29T18:16:35")
    assert len(content) < 4096
