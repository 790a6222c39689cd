from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import fabio
import fabio.fit2dmaskimage
import numpy as np
import pytest

from beamline.errors import ConfigError, DataFileError
from beamline.tiff_files import encode
from calibration.geometry import Geometry
from xrd import integrate, read_mask

MASK = np.zeros((4, 5), np.int32)
MASK[0, 1] = 1
MASK[3, 4] = 7


@pytest.mark.parametrize("name", ["mask.npy", "mask.tif"])
@pytest.mark.parametrize(("orientation", "rows", "columns"), [(1, -1, -1), (2, -1, 1), (3, 1, 1), (4, 1, -1)])
def test_a_mask_is_turned_to_the_image_as_stored(
    name: str, orientation: int, rows: int, columns: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    np.save(path, MASK) if path.suffix == ".npy" else path.write_bytes(encode(MASK))
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


@pytest.mark.parametrize("suffix", [".msk", ".edf"])
def test_masks_of_other_programs(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mask{suffix}"
    mask = (np.arange(64 * 96).reshape(64, 96) % 7 == 0).astype(np.uint8)
    image: Any = fabio.fit2dmaskimage.Fit2dMaskImage if suffix == ".msk" else fabio.edfimage.EdfImage
    image(data=mask).write(str(path))
    np.testing.assert_array_equal(read_mask(path, (64, 96)), mask != 0)


DETECTOR = Geometry(0.2, 0.01, 0.012, 0.0, 0.0, 0.0, 0.1173, (200e-6, 200e-6), (100, 120), 3)


def shapes(folder: Path, **values: Any) -> Path:
    path = folder / "cell.immask"
    lines = [f"{key}:{values.get(key, [])}" for key in ("Points", "Rings", "Arcs", "Polygons", "Frames")]
    path.write_text("\n".join([*lines, f"Thresholds:{values.get('Thresholds', [(0, 1000), [0, 1000]])}"]))
    return path


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_shapes_of_gsas_are_drawn_onto_the_pixels(orientation: int, tmp_path: Path) -> None:
    geometry = dataclasses.replace(DETECTOR, orientation=orientation)
    y, x = (1e3 * axis for axis in geometry.positions())
    angles = np.degrees(geometry.two_theta())
    t1, t2, _ = geometry.vectors()
    azimuth = np.degrees(np.arctan2(t1, t2)) % 360
    corner = [[2.0, 3.0], [8.0, 3.0], [8.0, 9.0], [2.0, 9.0]]
    for given, expected in (
        ({"Points": [[5.0, 6.0, 4.0]]}, (x - 5) ** 2 + (y - 6) ** 2 < 4),
        ({"Polygons": [corner]}, (x > 2) & (x < 8) & (y > 3) & (y < 9)),
        ({"Frames": corner}, ~((x > 2) & (x < 8) & (y > 3) & (y < 9))),
        ({"Rings": [[2.0, 0.4]]}, np.abs(angles - 2.0) < 0.2),
        (
            {"Arcs": [[2.0, [30.0, 100.0], 0.4]]},
            (np.abs(angles - 2.0) < 0.2) & (azimuth >= 30.0) & (azimuth < 100.0),
        ),
    ):
        found = read_mask(shapes(tmp_path, **given), (100, 120), orientation, geometry)
        np.testing.assert_array_equal(found, expected)
        assert 0 < found.sum() < found.size


def test_shapes_need_to_know_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="drawn in mm; give the geometry"):
        read_mask(shapes(tmp_path), (100, 120))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "not a mask of GSAS-II"),
        ("Polygons:[[[1.0, 2.0], __import__('os')]]", "no lists of numbers"),
        ("Points:[[1.0, 2.0]]", "cannot be drawn"),
        ("Polygons:[[1.0, 2.0, 3.0]]", "cannot be drawn"),
        ("Points:[]\nThresholds:[(0, 1000), [0, 500]]", "above 500 too.*saturation"),
        ("Points:[]\nThresholds:[1, 2]", "no pairs of numbers"),
        ("Points:[]\nThresholds:[(0, 10), [0, None]]", "no pairs of numbers"),
    ],
)
def test_what_is_no_mask_of_gsas(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.immask").write_text(text)
    with pytest.raises(DataFileError, match=rf"x\.immask: .*{said}"):
        read_mask(tmp_path / "x.immask", (100, 120), 3, DETECTOR)


def test_empty_pixels_are_no_mask(tmp_path: Path) -> None:
    path = shapes(tmp_path, Thresholds=[(0, 1000), [1, 1000]])
    assert not read_mask(path, (100, 120), 3, DETECTOR).any()


def test_shapes_are_taken_the_way_round_of_the_geometry(tmp_path: Path) -> None:
    turned = dataclasses.replace(DETECTOR, orientation=2)
    path = shapes(tmp_path, Polygons=[[[0.0, 0.0], [24.0, 0.0], [24.0, 4.0], [0.0, 4.0]]])
    pattern = integrate(np.ones((100, 120), np.int32), turned, bins=20, mask=path)
    assert float(pattern["coverage"].sum()) == 80 * 120
    assert read_mask(path, (100, 120), 2, turned)[-1].all()
