from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beamline import tiff_files
from beamline.errors import ConfigError, DataFileError
from xrd import read_mask

MASK = np.zeros((4, 5), np.int32)
MASK[0, 1] = 1
MASK[3, 4] = 7


@pytest.mark.parametrize("name", ["mask.npy", "mask.tif"])
@pytest.mark.parametrize(("orientation", "rows", "columns"), [(1, -1, -1), (2, -1, 1), (3, 1, 1), (4, 1, -1)])
def test_a_mask_is_turned_to_the_image_as_stored(
    name: str, orientation: int, rows: int, columns: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    np.save(path, MASK) if path.suffix == ".npy" else path.write_bytes(tiff_files.encode(MASK))
    expected = MASK[::rows, ::columns] != 0
    np.testing.assert_array_equal(read_mask(path, (4, 5), orientation), expected)


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataFileError, match=r"mask\.npy"):
        read_mask(tmp_path / "mask.npy", (4, 5))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["mask.npy", "mask.tif", "mask.mask"])
def test_what_is_no_mask_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFileError, match=name.replace(".", r"\.")):
        read_mask(tmp_path / name, (4, 5))


def test_a_mask_of_another_detector_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", MASK)
    with pytest.raises(DataFileError, match=r"4 x 5 pixels, the image 5 x 4"):
        read_mask(tmp_path / "mask.npy", (5, 4))


def test_there_are_four_orientations(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", MASK)
    with pytest.raises(ConfigError, match="orientation"):
        read_mask(tmp_path / "mask.npy", (4, 5), 0)
