"""EDF frames: pixels, frames, and what the headers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import beamline
from beamline.errors import DataFileError
from beamline.readers import edf
from tests.beamline.readers import files


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_pixels_and_type_are_those_of_the_file(tmp_path: Path, dtype: str, order: str) -> None:
    frame = files.image(dtype)
    ds = beamline.read(files.write(tmp_path / "a.edf", files.edf([frame], order=order)))
    assert ds.counts.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(ds.counts[0], frame)


def test_frames_follow_each_other(tmp_path: Path) -> None:
    frames = [files.image() + i for i in range(4)]
    path = files.write(tmp_path / "a.edf", files.edf(frames))
    assert edf.count(path) == 4
    np.testing.assert_array_equal(beamline.read(path, frames=(2, 4)).counts, frames[2:])


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), number=st.integers(1, 3))
def test_fabio_reads_the_same(tmp_path: Path, shape: tuple[int, int], number: int) -> None:
    fabio = pytest.importorskip("fabio")
    frames = [files.image("int32", shape) + i for i in range(number)]
    path = files.write(tmp_path / "a.edf", files.edf(frames))
    with fabio.open(str(path)) as image:
        expected = [image.getframe(i).data if number > 1 else image.data for i in range(image.nframes)]
    np.testing.assert_array_equal(edf.read(path).counts, expected)


def test_fabio_writes_what_is_read(tmp_path: Path) -> None:
    edfimage = pytest.importorskip("fabio.edfimage")
    frame = files.image("float32")
    edfimage.EdfImage(data=frame, header={"acq_expo_time": "0.25"}).write(str(tmp_path / "a.edf"))
    ds = beamline.read(tmp_path / "a.edf")
    np.testing.assert_array_equal(ds.counts[0], frame)
    assert float(ds.exposure[0]) == 0.25


def test_a_general_block_stands_for_all_frames(tmp_path: Path) -> None:
    general = (
        b"{\nEDF_DataFormatVersion = 2.4 ;\nEDF_BinarySize = 0 ;\nDetector = Frelon ;\n".ljust(510) + b"}\n"
    )
    content = general + files.edf([files.image()])
    ds = beamline.read(files.write(tmp_path / "a.edf", content))
    np.testing.assert_array_equal(ds.counts[0], files.image())
    assert ds.attrs["detector"] == "Frelon"


def test_padding_after_the_pixels_is_skipped(tmp_path: Path) -> None:
    frame = files.image()
    content = files.edf([frame], header={"Size": "512"}).ljust(1024 + 512, b"\0")
    content += files.edf([frame + 1])
    np.testing.assert_array_equal(
        beamline.read(files.write(tmp_path / "a.edf", content)).counts, [frame, frame + 1]
    )


def test_compressed_frames_are_decoded_elsewhere(tmp_path: Path) -> None:
    import zlib

    frame = files.image("int32", (16, 20))
    packed = zlib.compress(frame.tobytes())
    header = {"Compression": "ZCompression", "Size": str(len(packed)), "EDF_BinarySize": str(len(packed))}
    content = files.edf([frame], header=header)[:1024] + packed
    np.testing.assert_array_equal(beamline.read(files.write(tmp_path / "a.edf", content)).counts[0], frame)


def test_header(tmp_path: Path) -> None:
    header = {
        "ExposureTime": "0.5 s",
        "Time": "2024-03-01T12:00:00.5+01:00",
        "PSize_1": "5e-05",
        "PSize_2": "6e-05",
        "Comment": "ä=b",
    }
    ds = beamline.read(files.write(tmp_path / "a.edf", files.edf([files.image()], header=header)))
    assert float(ds.exposure[0]) == 0.5
    assert ds.timestamp.values[0] == np.datetime64("2024-03-01T11:00:00.500")
    assert (ds.attrs["y_pixel_size"], ds.attrs["x_pixel_size"]) == (6e-5, 5e-5)


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ({"Dim_1": "70000"}, "70000x5 pixels"),
        ({"Dim_2": "zero"}, "no usable Dim_2: 'zero'"),
        ({"Dim_1": "-7"}, "Dim_1 = -7"),
        ({"Dim_1": "0"}, "0x5 pixels"),
        ({"Dim_3": "2"}, "three dimensions"),
        ({"DataType": "Complex"}, "type 'Complex'"),
        ({"ByteOrder": "Middle"}, "byte order"),
        ({"Size": "12"}, "in 12 bytes"),
        ({"Size": "99999"}, "truncated: frame 0 reaches"),
        ({"EDF_BinaryFileName": "/etc/passwd"}, "in another file"),
        ({"Compression": "ZCompression", "Dim_1": "99999999"}, "compressed block"),
    ],
)
def test_headers_that_cannot_be_right_are_refused(tmp_path: Path, header: dict[str, str], cause: str) -> None:
    path = files.write(tmp_path / "a.edf", files.edf([files.image()], header=header))
    with pytest.raises(DataFileError, match=cause):
        beamline.read(path)


def test_rubbish_between_frames_is_refused(tmp_path: Path) -> None:
    frame = files.edf([files.image()])
    with pytest.raises(DataFileError, match="no complete header"):
        beamline.read(files.write(tmp_path / "a.edf", frame + b"rubbish" + frame))
    with pytest.raises(DataFileError, match="no frame at byte"):
        beamline.read(files.write(tmp_path / "b.edf", frame + b"\0" * 2048 + frame))
