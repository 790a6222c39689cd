"""Alignment, calibration and sums of real scans, beside what beamlines and Athena made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
import xas
from beamline.errors import CalibrationError, JoinError
from calibration import mono
from calibration.inflections import first_inflection
from xas.references import why_no_reference

pytestmark = pytest.mark.filterwarnings("ignore:.*of the same measurement the first is kept")


def as_measured(ds: xr.Dataset) -> xr.Dataset:
    """Take the shift Athena stored off the axis."""
    out = ds.assign_coords(energy=(ds["energy"] - ds["energy_shift"]).values, energy_shift=0.0)
    out["energy"].attrs, out["energy_shift"].attrs = ds["energy"].attrs, ds["energy_shift"].attrs
    return out


@pytest.fixture(scope="module")
def nio(data_dir: Path) -> list[xr.Dataset]:
    leaves: Any = beamline.read(data_dir / "xas/athena/NiO.prj").leaves
    return [leaf.to_dataset() for leaf in leaves]


def test_shifts_are_those_of_athena(nio: list[xr.Dataset]) -> None:
    stored = np.array([float(ds["energy_shift"]) for ds in nio])
    found = xas.align([as_measured(ds) for ds in nio])["energy_shift"].values
    off = found - (stored - stored[0])
    assert len(nio) == 11
    assert np.abs(off - off.mean()).max() < 0.03
    assert np.abs(off).max() < 0.035


def test_along_the_angle_the_far_end_moves_farther(nio: list[xr.Dataset]) -> None:
    scans = [as_measured(ds) for ds in nio[:2]]
    turned = xas.align(scans, along="angle", d_spacing=3.1356)
    shift = float(turned["energy_shift"][1])
    end = scans[1]["energy"].values[-1]
    before, after = mono.angle_of(np.array([8345.0 - shift, 8345.0]), 3.1356)
    moved = mono.turned(np.array([end]), float(after - before), 3.1356)[0] - end
    assert moved / shift == pytest.approx((end / 8345) ** 2, rel=0.05)


def test_a_noisy_foil_does_not_jump(nio: list[xr.Dataset]) -> None:
    energy, foil = nio[0]["energy"].values, nio[0]["mu_ref"].values
    clean, error = first_inflection(energy, foil)
    assert clean == pytest.approx(8333.4, abs=3 * error)
    rng = np.random.default_rng(0)
    noisy = [first_inflection(energy, foil + rng.normal(0, 0.008, foil.size))[0] for _ in range(60)]
    assert np.abs(np.array(noisy) - clean).max() < 0.5


@pytest.mark.parametrize(
    ("name", "element", "shift"),
    [
        ("xas/foils/ni_metal_rt.xdi", "Ni", 1.14),
        ("xas/foils/co_metal_rt.xdi", "Co", -0.24),
        ("xas/foils/cu_metal_rt.xdi", "Cu", -1.40),
        ("xas/series_FeFoil_miscalibrated/fe.060", "Fe", 6.31),
    ],
)
def test_foils_calibrate_a_monochromator(data_dir: Path, name: str, element: str, shift: float) -> None:
    scan: Any = beamline.read(data_dir / name)
    assert mono.calibrate(scan, element, 3.1356).shift == pytest.approx(shift, abs=0.15)


def test_an_oxide_is_no_foil(data_dir: Path) -> None:
    scan: Any = beamline.read(data_dir / "xas/oxides/Ni2O3_rt_01.xdi")
    with pytest.raises(CalibrationError, match=r"rises first at 834\d.*from 8333 eV; is it the metal"):
        mono.calibrate(scan, "Ni", 3.1356)
    filtered: Any = beamline.read(data_dir / "xas/oxides/MnO_rt_01.xdi")
    with pytest.raises(CalibrationError, match="is none: the reference is 'Mn filter'"):
        mono.calibrate(filtered, "Mn", 3.1356, channel="mu_ref")


def test_a_file_that_says_it_has_no_reference_is_not_aligned_on_one(data_dir: Path) -> None:
    scans: list[Any] = [beamline.read(data_dir / f"xas/oxides/NiOH2_rt_0{n}.xdi") for n in (1, 2)]
    with pytest.raises(JoinError, match="says there was no reference"):
        xas.align(scans)


def test_real_references_are_not_taken_for_the_sample(data_dir: Path, nio: list[xr.Dataset]) -> None:
    assert [why_no_reference(ds) for ds in nio] == [""] * 11
    for name in ("APS10BM_2019.dat", "CLSHXMA.dat", "NSLS8ID_2019.dat", "SSRL1_2006.dat"):
        scan: Any = beamline.read(data_dir / "xas/beamlines" / name)
        assert why_no_reference(scan) == ""


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_detectors_sum_to_what_the_beamline_made_of_them(data_dir: Path, name: str) -> None:
    scan: Any = beamline.read(data_dir / f"xas/series_quick/fexanes_{name}.001")
    assert scan["detector"].values.tolist() == [f"mca{n}" for n in range(1, 8)]
    out: Any = xas.sum_detectors(scan)
    np.testing.assert_allclose(out["mu"], scan["mu"], rtol=1e-5)
    assert out.attrs["bad_detectors"] == ""
    plain: Any = xas.sum_detectors(scan.drop_vars("dead_time_factor"))
    assert float((out["mu"] / plain["mu"]).max()) > 1.04


def test_a_continuous_scan_is_rebinned(data_dir: Path) -> None:
    scan: Any = beamline.read(data_dir / "xas/beamlines/APS10BM_2019.dat")
    out: Any = xas.rebin(scan)
    assert out.sizes["energy"] < 0.25 * scan.sizes["energy"]
    far = out.sel(energy=slice(6700, None))
    assert float(far["points"].median()) > 5
    assert float(far["mu_errors"].median()) < 0.01
    assert float(xas.edge(xas.normalize(out))["edge_energy"]) == pytest.approx(
        float(xas.edge(xas.normalize(scan))["edge_energy"]), abs=0.3
    )


def test_real_repeats_differ_by_more_than_their_noise(nio: list[xr.Dataset]) -> None:
    stack = xas.align([as_measured(ds) for ds in nio[:5]])
    with pytest.warns(UserWarning, match=r"merged: its scans differ 9\.\d times more than their noise"):
        out = xas.merge(stack)
    scatter = float(stack["mu_errors"].median())
    assert float(out["mu_errors"].median()) == pytest.approx(9 * scatter / np.sqrt(5), rel=0.2)
    assert float(out["dose_p_value"][0]) > 0.01
