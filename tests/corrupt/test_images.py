"""Damaged files of every raw format: an error that names file and cause within 5 s, or a right reading.

A truncated file may only be read where what is missing is not part of the pixels.
"""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import beamline
from beamline.errors import DataFileError
from beamline.readers import sandbox
from tests.beamline.readers import files
from tests.corrupt.specimens import FRAME, SPECIMENS

GOOD = {s.name: s.content for s in SPECIMENS if s.kind == "images" and s.first < 0}


def read(path: Path) -> xr.Dataset:
    sandbox._give_back(sandbox._take())  # one that was killed is started again before the clock runs
    begin = time.monotonic()
    try:
        ds = beamline.read(path, kind="images")
    except DataFileError as error:
        if path.name not in error.subject or not error.problem:
            raise AssertionError(f"names neither file nor cause: {error}") from error
        raise
    finally:
        assert time.monotonic() - begin < 5
    assert isinstance(ds, xr.Dataset)
    return ds


@pytest.fixture(scope="module", params=GOOD, name="good")
def _good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, Any]:
    """Return name, content and pixels of a good file (reading it starts the decoder, which takes a while)."""
    content = GOOD[request.param]
    path = files.write(tmp_path_factory.mktemp("good") / request.param, content)
    return request.param, content, beamline.read(path, kind="images").counts.values


def test_the_whole_file_is_read_right(good: tuple[str, bytes, Any]) -> None:
    name, _, counts = good
    if name == "mask.msk":
        np.testing.assert_array_equal(counts[0], FRAME > 0)
    elif name == "flat.ge2":  # its numbers have no sign
        np.testing.assert_array_equal(counts[0], FRAME.astype("uint32"))
    elif name == "plate.mar2300":
        np.testing.assert_array_equal(counts[0], np.full((16, 16), 42))
    elif name == "plate.osc":
        np.testing.assert_array_equal(counts[0, :, :32], np.abs(FRAME))
    else:
        for frame in counts:
            np.testing.assert_array_equal(frame, FRAME)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.75, 0.97])
def test_truncated(good: tuple[str, bytes, Any], part: float, tmp_path: Path) -> None:
    name, content, counts = good
    path = files.write(tmp_path / name, content[: max(int(part * len(content)), 3)])
    try:
        read(path)
    except DataFileError:
        return
    # 0.97 of this file ends in the padding behind the pixels
    assert (name, part) == ("pilatus.cbf", 0.97)
    np.testing.assert_array_equal(read(path).counts, counts)


@pytest.mark.parametrize("missing", [1, 2, 7, 64])
def test_truncated_at_its_very_end(good: tuple[str, bytes, Any], missing: int, tmp_path: Path) -> None:
    name, content, counts = good
    path = files.write(tmp_path / name, content[:-missing])
    try:
        np.testing.assert_array_equal(read(path).counts, counts)
    except DataFileError:
        return
    assert name in ("pilatus.cbf", "plate.mar2300")  # the padding behind the pixels


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_end_in_a_valid_dataset_or_an_error(
    good: tuple[str, bytes, Any], tmp_path: Path, data: st.DataObject
) -> None:
    """Flipped bytes among the pixels cannot be seen; among the header they must not hang or crash."""
    name, content, _ = good
    changed = bytearray(content)
    for _ in range(4):
        at = data.draw(st.integers(0, min(len(content), 1200) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    assert files.reads_or_refuses(files.write(tmp_path / name, bytes(changed)), kind="images")


TIFF_FAULTS: dict[str, tuple[files.Tags, str]] = {
    "larger than the file": ({256: (4, 60000)}, "strip of|strips"),
    "taller than the file": ({257: (4, 60000)}, "strip"),
    "no width": ({256: (4, 0)}, "lacks the size"),
    "odd bits": ({258: (3, 12)}, "12 bits"),
    "other bits": ({258: (3, 16)}, "strip of"),
    "strip beyond the end": ({273: (4, 10**6)}, "truncated"),
    "too many strips": ({273: (4, [8, 8])}, "2 strips"),
    "short strip": ({279: (4, 12)}, "strip of 12 bytes"),
    "unknown compression": ({259: (3, 12345)}, "cannot be decoded|not decoded"),
    "colours": ({277: (3, 3)}, "colours"),
    "claims 40 GB": ({256: (4, 10**5), 257: (4, 10**5), 278: (4, 10**5), 259: (3, 8)}, "claims"),
}


@pytest.mark.parametrize("fault", TIFF_FAULTS)
def test_tags_that_cannot_be_right(fault: str, tmp_path: Path) -> None:
    tags, cause = TIFF_FAULTS[fault]
    with pytest.raises(DataFileError, match=cause):
        read(files.write(tmp_path / "a.tif", files.tiff([FRAME], tags=tags)))


def test_a_strip_that_unpacks_to_more_than_it_claims(tmp_path: Path) -> None:
    bomb = np.frombuffer(zlib.compress(bytes(10**8)), "u1")
    content = files.tiff([bomb[np.newaxis]], tags={256: (4, 32), 257: (4, 24), 278: (4, 24), 259: (3, 8)})
    with pytest.raises(DataFileError, match="more than the 768 bytes"):
        read(files.write(tmp_path / "a.tif", content))


def test_pages_that_share_their_pixels(tmp_path: Path) -> None:
    content = files.tiff([FRAME])
    directory = content[struct.unpack_from("<I", content, 4)[0] :]
    for _ in range(2):
        content = content[:-4] + struct.pack("<I", len(content)) + directory
    with pytest.raises(DataFileError, match="claims 9216 bytes of pixels"):
        read(files.write(tmp_path / "a.tif", content))


def test_directories_in_a_circle(tmp_path: Path) -> None:
    content = bytearray(files.tiff([FRAME]))
    content[-4:] = content[4:8]
    with pytest.raises(DataFileError, match="back to itself"):
        read(files.write(tmp_path / "a.tif", bytes(content)))


def test_a_directory_of_a_million_entries(tmp_path: Path) -> None:
    content = bytearray(files.tiff([FRAME]))
    at = struct.unpack_from("<I", content, 4)[0]
    content[at : at + 2] = b"\xff\xff"
    with pytest.raises(DataFileError, match="truncated"):
        read(files.write(tmp_path / "a.tif", bytes(content)))


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (b"X-Binary-Size: ", b"X-Binary-Size: 9", "truncated"),
        (b"X-Binary-Size: ", b"X-Binary-Sizf: ", "truncated"),
        (b"Fastest-Dimension: 32", b"Fastest-Dimension: 99999", "cannot be decoded"),
        (b"Fastest-Dimension: 32", b"Fastest-Dimension: ab", "cannot be decoded"),
        (b"BYTE_OFFSET", b"CANONICAL__", "cannot be decoded"),
        (b"\x0c\x1a\x04\xd5", b"\x0c\x1a\x04\xd4", "truncated"),
    ],
)
def test_cbf_headers_that_cannot_be_right(old: bytes, new: bytes, cause: str, tmp_path: Path) -> None:
    content = files.cbf(FRAME)
    assert old in content
    with pytest.raises(DataFileError, match=cause):
        read(files.write(tmp_path / "a.cbf", content.replace(old, new, 1)))


def test_the_cbf_that_holds_fabio_for_ever(data_dir: Path) -> None:
    with pytest.raises(DataFileError, match="truncated"):
        read(data_dir / "corrupt" / "hang_truncated.cbf")


def test_an_unreadable_path(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.tif", tmp_path):
        with pytest.raises(DataFileError):
            read(path)
