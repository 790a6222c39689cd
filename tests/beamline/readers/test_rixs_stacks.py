"""ADRESS images and events, and stacks whose energies stand in the file or beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError
from beamline.readers import energy_tables
from tests.beamline.readers import files, rixs_files

FRAME = files.image("uint16", (24, 32))
STACK = np.array([FRAME, FRAME + 1, FRAME + 2])
ENERGIES = [530.0, 531.0, 530.5]


def read(path: Path, content: bytes, **options: Any) -> xr.Dataset:
    ds = beamline.read(files.write(path, content), **options)
    assert isinstance(ds, xr.Dataset)
    return ds


def test_an_image_of_adress_knows_its_energy(tmp_path: Path) -> None:
    ds = read(tmp_path / "Cu_0001.TIF", rixs_files.adress_image(FRAME))
    np.testing.assert_array_equal(ds.counts[0], FRAME)
    assert float(ds.excitation_energy[0]) == 529.83
    assert float(ds.exposure[0]) == 300.4
    assert float(ds.beam_current[0]) == 400.8
    assert json.loads(ds.attrs["header"])["ccd.slope"] == "-0.02689,3.001e-06"
    assert "i0" not in ds.coords


def test_images_of_adress_become_the_frames_of_a_scan(tmp_path: Path) -> None:
    for number, energy in enumerate((529.83, 530.03)):
        settings = rixs_files.SETTINGS.replace("529.83", str(energy))
        files.write(tmp_path / f"{number}.TIF", rixs_files.adress_image(FRAME, settings))
    scan = beamline.read([tmp_path / "0.TIF", tmp_path / "1.TIF"])
    np.testing.assert_array_equal(scan["excitation_energy"], [529.83, 530.03])


def test_events_of_adress_are_a_spectrum_with_errors(tmp_path: Path) -> None:
    ds = read(tmp_path / "Cu_0001_d1.h5", rixs_files.adress_events())
    assert ds.attrs["kind"] == "rixs.spectra"
    assert float(ds.intensity.sum()) == 200
    np.testing.assert_allclose(ds.intensity_errors, np.sqrt(np.maximum(ds.intensity, 1)))
    assert ds.intensity.attrs["units"] == "photon"
    assert float(ds.excitation_energy[0]) == pytest.approx(529.8025)
    assert ds.attrs["spectrum"] == "as stored, and the histogram of the events"
    assert ds.attrs["CountPerPhoton"] == pytest.approx(67.79)


def test_a_negative_current_is_given_by_its_magnitude(tmp_path: Path) -> None:
    ds = read(tmp_path / "a_d1.h5", rixs_files.adress_events())
    assert float(ds.i0[0]) == pytest.approx(6 * 0.4975)
    assert 0 < float(ds.i0_errors[0]) < 0.01
    assert ds.attrs["i0_sign"].startswith("negative")


@pytest.mark.parametrize(
    ("current", "reason"),
    [
        ([-0.001, -0.001, 0.003, -0.001, 0.002, -0.002], "cannot be told from zero"),
        ([0.5, 0.5, 0.5, -0.5, 0.5, 0.5], "cannot be told from zero"),
        ([0.5, np.nan, 0.5, 0.5, 0.5, 0.5], "has gaps"),
        (None, "no RMU current"),
    ],
)
def test_a_current_that_says_nothing_is_no_flux(current: Any, reason: str, tmp_path: Path) -> None:
    ds = read(tmp_path / "a_d1.h5", rixs_files.adress_events(RMUCurrent=current))
    assert "i0" not in ds.coords
    assert reason in ds.attrs["i0_missing"]


def test_a_spectrum_of_other_events_says_so(tmp_path: Path) -> None:
    other = rixs_files.adress_events(ExpansionFactor=np.full(6, 2.0))
    assert "bins differ from the events" in read(tmp_path / "a_d1.h5", other).attrs["spectrum"]


@pytest.mark.parametrize("unit", ["eV", "keV"])
def test_a_fits_stack_knows_the_energies_of_its_table(unit: str, tmp_path: Path) -> None:
    energies = np.array(ENERGIES) / (1000 if unit == "keV" else 1)
    ds = read(tmp_path / "scan.fits", rixs_files.fits(STACK, energies, unit, EXPTIME=3.5, INSTRUME="Andor"))
    np.testing.assert_array_equal(ds.counts, STACK)
    assert ds.counts.dtype == np.uint16
    np.testing.assert_allclose(ds.excitation_energy, ENERGIES)
    np.testing.assert_allclose(ds.exposure, 3.5)
    assert ds.attrs["detector"] == "Andor"
    part = beamline.read(tmp_path / "scan.fits", frames=(1, 3))
    np.testing.assert_array_equal(part["counts"], STACK[1:])
    np.testing.assert_allclose(part["excitation_energy"], ENERGIES[1:])


def test_the_frame_of_a_fits_file_may_be_in_its_second_part(tmp_path: Path) -> None:
    from astropy.io import fits

    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(FRAME), fits.ImageHDU(FRAME + 1)]).writeto(buffer)
    ds = read(tmp_path / "scan.fits", buffer.getvalue())
    np.testing.assert_array_equal(ds.counts, STACK[:2])


@pytest.mark.parametrize("name", ["scan.fits", "scan.tif", "scan.h5"])
def test_a_table_beside_a_stack_gives_its_energies(name: str, tmp_path: Path) -> None:
    contents = {
        ".fits": rixs_files.fits(STACK),
        ".tif": files.tiff(list(STACK)),
        ".h5": rixs_files.hdf5(STACK),
    }
    rixs_files.table(tmp_path, "scan")
    ds = read(tmp_path / name, contents[Path(name).suffix])
    np.testing.assert_array_equal(ds.counts, STACK)
    np.testing.assert_allclose(ds.excitation_energy, ENERGIES)
    np.testing.assert_allclose(ds.i0, [1e6, 1000100, 1000200])
    np.testing.assert_allclose(ds.exposure, 300)
    assert ds.i0.attrs["units"] == "count"
    steps = json.loads(ds.attrs["history"])
    assert [file["name"] for file in steps[0]["files"]] == [name, "scan.energies.txt"]
    part = beamline.read(tmp_path / name, frames=(1, 2))
    np.testing.assert_allclose(part["excitation_energy"], 531.0)


def test_units_of_a_table_are_converted(tmp_path: Path) -> None:
    text = "# Energy [keV], repeat, i0 (kilocount), noise\n0.530, 1, 5, 1\n0.531, 2, 6, 1\n"
    found = energy_tables.read(files.write(tmp_path / "a.energies.csv", text.encode()))
    np.testing.assert_allclose(found["excitation_energy"], [530.0, 531.0])
    np.testing.assert_allclose(found["i0"], [5000, 6000])
    np.testing.assert_array_equal(found["repeat"], [1, 2])
    assert set(found) == {"excitation_energy", "i0", "repeat"}


@pytest.mark.parametrize(("name", "options"), [("photon_energy", {}), ("E", {"energies": "/entry/E"})])
def test_energies_inside_an_hdf5_file_are_found_or_named(
    name: str, options: dict[str, str], tmp_path: Path
) -> None:
    content = rixs_files.hdf5(STACK, np.array(ENERGIES) / 1000, name, units="keV")
    ds = read(tmp_path / "scan.h5", content, **options)
    np.testing.assert_allclose(ds.excitation_energy, ENERGIES)
    np.testing.assert_allclose(
        beamline.read(tmp_path / "scan.h5", frames=(2, 3), **options)["excitation_energy"], 530.5
    )


def test_one_frame_and_one_number_are_no_table(tmp_path: Path) -> None:
    ds = read(tmp_path / "one.h5", rixs_files.hdf5(STACK[:1], [530.0]))
    assert "excitation_energy" not in ds.coords
    named = beamline.read(tmp_path / "one.h5", energies="entry/photon_energy")
    np.testing.assert_allclose(named["excitation_energy"], 530.0)


def test_a_stack_with_energies_is_reduced_like_any_scan(tmp_path: Path) -> None:
    """From the file to the map, with nothing of ALS in between."""
    import rixs
    from rixs import simulate

    scan = simulate.scan(seed=3)
    counts = scan["counts"].values.astype("int32")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/data"] = counts
    lines = zip(scan["excitation_energy"].values, scan["i0"].values, strict=True)
    rows = "".join(f"{energy:.4f} {flux:.0f}\n" for energy, flux in lines)
    rixs_files.table(tmp_path, "scan", f"energy i0\n{rows}")
    stack = beamline.read(tmp_path / "scan.h5")
    assert isinstance(stack, xr.Dataset)
    found = rixs.reduce(stack.assign_attrs(background="subtracted"))
    expected = rixs.reduce(scan)
    np.testing.assert_allclose(found.intensity, expected.intensity, rtol=1e-3, atol=1.0)


def test_the_kind_of_data_chooses_among_formats(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a_d1.h5", rixs_files.adress_events())
    with pytest.raises(DataFileError, match="holds no frame"):
        beamline.read(path, kind="images")
