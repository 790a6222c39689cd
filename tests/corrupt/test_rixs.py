"""Bad mRIXS input: a named error or a flagged point, never a shifted spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import beamline
import rixs
from beamline.errors import CalibrationError, DataFileError, SchemaError
from calibration.curvature import Curvature
from calibration.emission import EmissionAxis
from calibration.gain import Gain
from rixs import simulate
from tests import irixs

GAIN = Gain(gain=118.0, read_noise=4.0)
STRAIGHT = Curvature.straight(64)
AXIS = EmissionAxis(
    coefficients=(526.0, 0.125, 0.0), covariance=((1e-6, 0, 0), (0, 1e-8, 0), (0, 0, 1e-12)), center=95.5
)


@pytest.fixture
def scan() -> xr.Dataset:
    return simulate.scan(seed=5, energies=np.array([530.0, 531.0, 532.0]))


def reduced(scan: xr.Dataset) -> xr.Dataset:
    return rixs.reduce(scan, emission=AXIS, curvature=STRAIGHT, gain=GAIN)


# Files


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="is a folder without a scan"):
        beamline.read(tmp_path)


def test_a_folder_of_two_scans(tmp_path: Path) -> None:
    path = irixs.write_scan(tmp_path)
    (tmp_path / "other-AI.txt").write_bytes(path.read_bytes())
    with pytest.raises(DataFileError, match=r"several scans \(other-AI.txt, scan-AI.txt\)"):
        beamline.read(tmp_path)


def test_a_table_without_any_exposure(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="3 points"):
        beamline.read(irixs.write_table(tmp_path, irixs.rows(irixs.images())))


def test_a_table_without_points(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no complete point"):
        beamline.read(irixs.write_table(tmp_path, []))


@pytest.mark.parametrize("keep", [0, 7, 8, 40, 60])
def test_a_truncated_image(tmp_path: Path, keep: int) -> None:
    path = irixs.write_scan(tmp_path)
    file = tmp_path / "Andor" / "scan-00002.tif"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataFileError, match=r"scan-00002\.tif"):
        beamline.read(path)


def test_images_that_were_swapped(tmp_path: Path) -> None:
    path = irixs.write_scan(tmp_path)
    first, second = (tmp_path / "Andor" / f"scan-0000{i}.tif" for i in (1, 2))
    content = first.read_bytes(), second.read_bytes()
    first.write_bytes(content[1])
    second.write_bytes(content[0])
    with pytest.raises(DataFileError, match="belongs to another point"):
        beamline.read(path)


def test_images_of_two_sizes(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_images(tmp_path, table[:2], stack[:2])
    irixs.write_images(tmp_path, table[2:], stack[2:, :, :3])
    with pytest.raises(DataFileError, match="several sizes"):
        beamline.read(irixs.write_table(tmp_path, table))


def test_a_row_that_names_an_image_again(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    table[2]["Filename"] = table[0]["Filename"]
    irixs.write_images(tmp_path, table[:2], stack[:2])
    with pytest.raises(DataFileError, match="more than once"):
        beamline.read(irixs.write_table(tmp_path, table))


@pytest.mark.parametrize("column", ["BL 8 Energy", "Filename"])
def test_a_table_without_a_column_needed(tmp_path: Path, column: str) -> None:
    path = irixs.write_scan(tmp_path)
    path.write_bytes(path.read_bytes().replace(column.encode(), b"other"))
    with pytest.raises(DataFileError, match=str(path)):
        beamline.read(path)


@pytest.mark.parametrize("cell", ["nan", "inf", "", "12 eV"])
def test_a_row_within_the_table_that_is_damaged(tmp_path: Path, cell: str) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    table[1]["BL 8 Energy"] = cell
    irixs.write_images(tmp_path, table, stack)
    with pytest.raises(DataFileError, match="row 2"):
        beamline.read(irixs.write_table(tmp_path, table))


def test_a_spectrum_with_columns_missing(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_spectra(tmp_path, table, stack)
    file = tmp_path / "Andor" / "scan-00001-1D.txt"
    file.write_text("\n".join(file.read_text().split("\n")[:-3]) + "\n")
    with pytest.raises(DataFileError, match="4 of 6 columns"):
        beamline.read(irixs.write_table(tmp_path, table))


@settings(deadline=None, max_examples=40)
@given(cut=st.integers(min_value=0, max_value=1200))
def test_a_table_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = irixs.write_scan(tmp_path_factory.mktemp("cut"))
    path.write_bytes(path.read_bytes()[:cut])
    try:
        scan = beamline.read(path, kind="images")
    except DataFileError:
        return
    for i in range(scan.sizes["frame"]):
        np.testing.assert_array_equal(scan.counts[i], irixs.images()[i])
        assert scan.excitation_energy[i] == 530 + 0.5 * i
        assert scan.i0[i] == 1e7 + i


# Scans


def test_i0_missing(scan: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match="i0"):
        reduced(scan.drop_vars("i0"))


def test_i0_zero_everywhere(scan: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match="no value other than zero"):
        reduced(scan.assign_coords(i0=0 * scan.i0.assign_attrs(scan.i0.attrs)))


def test_i0_that_changes_sign(scan: xr.Dataset) -> None:
    scan.i0.values[1] *= -1
    with pytest.raises(SchemaError, match="changes sign"):
        reduced(scan)


def test_a_point_without_flux_is_left_out_and_named(scan: xr.Dataset) -> None:
    whole = reduced(scan)
    scan.i0.values[1] = 0
    rmap = reduced(scan)
    np.testing.assert_array_equal(rmap.excitation_energy, [530.0, 532.0])
    assert rmap.attrs["points_without_flux"] == "531.000 eV"
    np.testing.assert_array_equal(rmap.intensity, whole.intensity[[0, 2]])


def test_saturated_pixels_are_counted_and_left_out(scan: xr.Dataset) -> None:
    label = {"units": "ADU", "long_name": "saturated"}
    scan = scan.assign_coords(saturation_level=("frame", np.full(3, 60000.0), label))
    scan.counts.values[1, 10, 100] = 60000
    masked = rixs.mask_spikes(scan, GAIN)
    assert masked.saturated_pixels.values.tolist() == [0, 1, 0]
    assert masked.counts_mask.values[1, 10, 100] & 2


def test_images_with_their_background(scan: xr.Dataset) -> None:
    del scan.attrs["background"]
    with pytest.raises(SchemaError, match="background"):
        reduced(scan)


def test_images_without_energies(scan: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match="excitation"):
        reduced(scan.drop_vars("excitation_energy"))


def test_images_without_photons(scan: xr.Dataset) -> None:
    rng = np.random.default_rng(0)
    scan["counts"] = scan.counts.copy(data=rng.normal(0, 4, scan.counts.shape).round().astype(np.int32))
    with pytest.raises(CalibrationError, match="isolated photons"):
        rixs.reduce(scan)


def test_sums_without_a_gain_have_no_errors_to_give(tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_spectra(tmp_path, table, stack)
    spectra = beamline.read(irixs.write_table(tmp_path, table))
    with pytest.raises(CalibrationError, match="without images"):
        rixs.reduce(spectra, emission=AXIS)


def test_a_curvature_of_another_detector(scan: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match="32 rows"):
        rixs.reduce(scan, emission=AXIS, curvature=Curvature.straight(32), gain=GAIN)
