"""Integration of real frames: against NIST positions, Dioptas and GSAS-II."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import beamline
import xrd
from beamline.errors import CalibrationError
from calibration.geometry import Geometry, load
from xrd.simulate import powder_frames

DIOPTAS = "xrd2d/pilatus1m_dioptas"
IRON = "xrd2d/pilatus1m_bccfe"
PIXIUM = "xrd2d/pixium_i12"
MAR = "xrd2d/mar345_steel"


def centre(two_theta: Any, intensity: Any, start: float, half_width: float) -> float:
    """Centre of a Gaussian on a line, fitted near `start`; NaN where there is none."""

    def line(x: Any, height: float, middle: float, sigma: float, base: float, slope: float) -> Any:
        return height * np.exp(-0.5 * ((x - middle) / sigma) ** 2) + base + slope * (x - start)

    near = (np.abs(two_theta - start) < half_width) & np.isfinite(intensity)
    x, y = two_theta[near], intensity[near]
    guess = [np.ptp(y), x[np.argmax(y)], half_width / 5, y.min(), 0.0]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best, covariance = curve_fit(line, x, y, guess, maxfev=2000)
    except RuntimeError:
        return np.nan
    good = np.isfinite(covariance).all() and abs(best[1] - start) < half_width
    return float(best[1]) if good else np.nan


def ceria_offsets(pattern: xr.Dataset, geometry: Geometry) -> Any:
    """Offsets in mdeg of the separate, not too weak rings of ceria from NIST's positions."""
    _, truth = powder_frames(geometry, seed=None)
    position, area = truth["position"].values[0], truth["area"].values[0]
    strong = position[area > 0.01 * area.max()]
    gap = np.minimum(np.diff(strong, prepend=-np.inf), np.diff(strong, append=np.inf))
    separate = strong[(gap > 0.25) & (strong < 28.0)]
    x, y = pattern["two_theta"].values, pattern["intensity"].values[0]
    found = np.array([centre(x, y, p, 0.125) for p in separate])
    return 1e3 * (found - separate)


def dioptas(folder: Path, name: str = "CeO2_Pilatus1M.poni", orientation: int = 2) -> Geometry:
    import dataclasses

    return dataclasses.replace(load(folder / DIOPTAS / name, orientation), shape=(1043, 981))


def test_geometries_of_unknown_orientation_are_refused(data_dir: Path) -> None:
    for path in sorted((data_dir / "xrd2d").rglob("*.poni")):
        if "with_orientation" in path.name:
            assert load(path).orientation == 2
        else:
            with pytest.raises(CalibrationError, match="which way round"):
                load(path)


def test_an_appended_poni_is_its_last_entry(data_dir: Path) -> None:
    old = load(data_dir / DIOPTAS / "LaB6_40keV_MarCCD.poni", orientation=2)
    assert old == load(data_dir / DIOPTAS / "LaB6_40keV_MarCCD_new_with_orientation.poni")


def test_ceria_lies_where_nist_says(data_dir: Path) -> None:
    image = beamline.read(data_dir / DIOPTAS / "CeO2_Pilatus1M.tif")
    geometry = dioptas(data_dir)
    offsets = ceria_offsets(xrd.integrate(image, geometry, bins=1500), geometry)  # type: ignore[arg-type]
    assert np.isfinite(offsets).sum() >= 14
    # 6.35 mdeg is the mean over sectors of the published geometry; whole rings average part of it out.
    assert np.nanmean(np.abs(offsets)) < 4.0


@pytest.mark.parametrize(("name", "orientation"), [("CeO2_Pilatus1M.poni", 3), ("CeO2_Pilatus1M_2.poni", 2)])
def test_a_wrong_geometry_is_seen(name: str, orientation: int, data_dir: Path) -> None:
    image = beamline.read(data_dir / DIOPTAS / "CeO2_Pilatus1M.tif")
    geometry = dioptas(data_dir, name, orientation)
    offsets = ceria_offsets(xrd.integrate(image, geometry, bins=1500), geometry)  # type: ignore[arg-type]
    assert not np.nanmean(np.abs(offsets)) < 25.0 or np.isnan(offsets).mean() > 0.5


def test_dioptas_is_met_once_its_gaps_are_counted_too(data_dir: Path) -> None:
    """Dioptas integrated this image without a mask: the -1 and -2 of the gaps went into its mean."""
    theirs = np.loadtxt(data_dir / DIOPTAS / "CeO2_Pilatus1M.xy")
    width = theirs[1, 0] - theirs[0, 0]
    image: Any = beamline.read(data_dir / DIOPTAS / "CeO2_Pilatus1M.tif")
    options: dict[str, Any] = {
        "bins": len(theirs),
        "splitting": "bbox",
        "two_theta_range": (0.0, len(theirs) * width),
    }
    counts = image["counts"].values[0]
    as_signal = xr.Dataset({"counts": (("y", "x"), counts, {"units": "ADU"})})
    with_gaps = xrd.integrate(as_signal, dioptas(data_dir), error_model="azimuthal", **options)
    without = xrd.integrate(image, dioptas(data_dir), **options)
    np.testing.assert_allclose(with_gaps["two_theta"], theirs[:, 0], atol=1e-6)
    clear = (theirs[:, 0] > 3) & (theirs[:, 0] < 28) & (theirs[:, 1] > 2)
    ratio = (with_gaps["intensity"].values[0] / theirs[:, 1])[clear]
    np.testing.assert_allclose(ratio, 1.0, atol=3e-4)
    assert (without["intensity"].values[0] / theirs[:, 1])[clear].max() > 1.2


@pytest.fixture(scope="module")
def iron(data_dir: Path) -> xr.Dataset:
    folder = data_dir / IRON
    frames: Any = beamline.read([folder / f"BCC1_2GPa_10s_001_{i:05d}.tif" for i in range(1, 6)])
    geometry = load(folder / "CeO2_cal_Dioptas.poni", orientation=2)
    return xrd.integrate(frames, geometry, bins=1500, mask=folder / "DiffractionMask_Dioptas.mask")


def test_iron_is_body_centred_cubic(iron: xr.Dataset) -> None:
    x = iron["two_theta"].values
    for y in iron["intensity"].values:
        peaks = [centre(x, y, 11.55, 0.12), centre(x, y, 16.34, 0.3), centre(x, y, 20.07, 0.18)]
        sines = np.sin(np.radians(peaks) / 2)
        edges = 0.40663 / 2 * np.sqrt([2, 4, 6]) / sines
        # Stress in the cell strains 110, 200 and 211 differently, by some 0.1 %.
        np.testing.assert_allclose(edges / edges.mean(), 1.0, atol=1.5e-3)
        # 2.8665 angstrom at ambient pressure, less in the cell.
        assert 2.845 < edges.mean() < 2.8665


def test_errors_are_what_frames_of_one_sample_differ_by(iron: xr.Dataset) -> None:
    background = (iron["two_theta"] > 5) & (iron["two_theta"] < 30) & (iron["intensity"].mean("frame") < 12)
    intensity = iron["intensity"].values[:, background]
    errors = iron["intensity_errors"].values[:, background]
    pulls = np.diff(intensity, axis=0) / np.hypot(errors[1:], errors[:-1])
    assert pulls.shape[1] > 500
    assert abs(pulls.std() - 1) < 0.06


def test_a_mask_of_dioptas_is_held_upside_down(data_dir: Path, iron: xr.Dataset) -> None:
    folder = data_dir / IRON
    path = folder / "DiffractionMask_Dioptas.mask"
    counts = beamline.read(folder / "BCC1_2GPa_10s_001_00001.tif")["counts"].values[0]  # type: ignore[union-attr]
    angles = np.degrees(load(folder / "CeO2_cal_Dioptas.poni", 2).two_theta(counts.shape))
    bright = (angles > 11.5) & (angles < 11.6) & (counts >= 0)
    dark = {}
    for orientation in (2, 3):
        masked = xrd.read_mask(path, counts.shape, orientation)
        # Left unmasked, the shadows of the cell are dark pixels on a ring of some 50 counts.
        dark[orientation] = float((counts[bright & ~masked] < 2).mean())
    assert dark[2] == 0.0
    assert dark[3] > 0.005
    # The integration took that orientation of itself.
    assert float(iron["coverage"].isel(frame=0).sum()) == (~xrd.read_mask(path, counts.shape, 2)).sum()


def test_ceria_beside_the_iron(data_dir: Path) -> None:
    import dataclasses

    folder = data_dir / IRON
    image: Any = beamline.read(folder / "CeO2_Pil207_E30_2Nov2016_001.tif")
    geometry = dataclasses.replace(load(folder / "CeO2_cal_Dioptas.poni", 2), shape=(1043, 981))
    offsets = ceria_offsets(xrd.integrate(image, geometry, bins=1500), geometry)
    assert np.nanmean(np.abs(offsets)) < 5.0


def test_image_controls_with_a_depth_are_refused(data_dir: Path) -> None:
    with pytest.raises(CalibrationError, match="penetration depth"):
        load(data_dir / IRON / "CeO2_cal_GSAS.imctrl", orientation=3, pixel_size=(172e-6, 172e-6))


def test_steel_agrees_with_gsas(data_dir: Path) -> None:
    """GSAS-II turns the rows of a mar345 round, and gives the lower edge of a bin as its 2θ."""
    folder = data_dir / MAR
    theirs = np.loadtxt(folder / "nx09_strain_011_gsas2.xye")
    image: Any = beamline.read(folder / "nx09_strain_011.mar2300")
    geometry = load(folder / "nx09_strain_011.imctrl", orientation=2, pixel_size=(150e-6, 150e-6))
    pattern = xrd.integrate(image, geometry, bins=2500, two_theta_range=(1.5, 9.0), error_model="azimuthal")
    x, y = pattern["two_theta"].values, pattern["intensity"].values[0]
    shifts = []
    # Rings that are smooth and alone, so that GSAS-II's mask of spots changes nothing.
    for start in (2.270, 3.939, 5.577, 6.051, 6.540):
        ours, other = (centre(a, b, start, 0.04) for a, b in ((x, y), (theirs[:, 0] + 0.0015, theirs[:, 1])))
        shifts.append(1e3 * (ours - other))
    # A bin is 3 mdeg wide.
    assert np.max(np.abs(shifts)) < 1.0


SMOOTH = [(1.50, 3.00), (4.20, 4.80), (5.625, 5.95), (7.90, 8.20)]
"""Ranges of 2θ (deg) without a spot of the steel, of which GSAS-II masked some."""


def test_sums_are_those_of_gsas(data_dir: Path) -> None:
    """Up to one factor, as GSAS-II refers intensities to a distance of 1 m."""
    folder = data_dir / MAR
    theirs = np.loadtxt(folder / "nx09_strain_011_gsas2.xye")
    image: Any = beamline.read(folder / "nx09_strain_011.mar2300")
    geometry = load(folder / "nx09_strain_011.imctrl", orientation=2, pixel_size=(150e-6, 150e-6))
    pattern = xrd.integrate(image, geometry, bins=2500, two_theta_range=(1.5, 9.0), error_model="azimuthal")
    ratios = []
    for low, high in SMOOTH:
        inside = (theirs[:, 0] >= low) & (theirs[:, 0] < high) & (theirs[:, 1] > 0)
        ratios.append(pattern["intensity"].values[0, inside].sum() / theirs[inside, 1].sum())
    np.testing.assert_allclose(ratios / np.mean(ratios), 1.0, atol=5e-3)
    assert np.mean(ratios) == pytest.approx((1000 / 1118.86) ** 2, rel=0.01)


def test_shapes_of_gsas_cover_what_dioptas_masks(data_dir: Path) -> None:
    """Two people drew masks of one cell: most of the smaller lies in the larger, upside down less of it."""
    folder = data_dir / IRON
    geometry = load(folder / "CeO2_cal_Dioptas.poni", orientation=2)
    shape = (1043, 981)
    gsas = xrd.read_mask(folder / "DiffractionMask_GSAS.immask", shape, 3, geometry)
    dioptas = xrd.read_mask(folder / "DiffractionMask_Dioptas.mask", shape, 2)
    shared = (gsas & dioptas).sum() / gsas.sum()
    assert shared > 0.85
    assert (gsas[::-1] & dioptas).sum() / gsas.sum() < shared - 0.1


def test_the_shadows_of_a_cell_are_found(data_dir: Path) -> None:
    folder = data_dir / IRON
    frames: Any = beamline.read([folder / f"BCC1_2GPa_10s_001_{i:05d}.tif" for i in range(1, 6)])
    mask = xrd.find_mask(frames, load(folder / "CeO2_cal_Dioptas.poni", orientation=2)).values != 0
    drawn = xrd.read_mask(folder / "DiffractionMask_Dioptas.mask", mask.shape, 2)
    assert mask[drawn].mean() > 0.95
    # Hot pixels and the edges of shadows, which the drawn mask leaves in.
    assert mask[~drawn].mean() < 0.03


def test_both_geometries_of_the_pixium_give_one_pattern(data_dir: Path) -> None:
    image: Any = beamline.read(data_dir / PIXIUM / "pixium_03150.tif")
    tops = []
    for name, orientation in (("DLS_CeO2_1200mm.poni", 2), ("DLS_CeO2_1200mm_pyFAI.poni", 3)):
        geometry = load(data_dir / PIXIUM / name, orientation)
        pattern = xrd.integrate(
            image, geometry, bins=1000, error_model="azimuthal", two_theta_range=(2.0, 12.0), clip=5.0
        )
        x, y = pattern["two_theta"].values, pattern["intensity"].values[0]
        start = x[np.nanargmax(y)]
        tops.append((centre(x, y, start, 0.15), np.nansum(y)))
    # The two calibrations differ by some 0.02 % in the distance.
    assert abs(tops[0][0] - tops[1][0]) < 0.004
    assert tops[0][1] == pytest.approx(tops[1][1], rel=2e-3)


@pytest.mark.parametrize(("name", "right"), [("DLS_CeO2_1200mm.poni", 2), ("DLS_CeO2_1200mm_pyFAI.poni", 3)])
def test_dioptas_flips_and_pyfai_does_not(name: str, right: int, data_dir: Path) -> None:
    """Rings are sharp in the orientation of the program that calibrated, and only there."""
    image: Any = beamline.read(data_dir / PIXIUM / "pixium_03150.tif")
    tops = {}
    for orientation in (2, 3):
        geometry = load(data_dir / PIXIUM / name, orientation)
        pattern = xrd.integrate(image, geometry, bins=1000, error_model="azimuthal")
        tops[orientation] = float(pattern["intensity"].max())
    assert tops[right] > 3 * tops[5 - right]


def test_the_frame_with_azimuthal_errors_has_errors_everywhere(data_dir: Path) -> None:
    image: Any = beamline.read(data_dir / PIXIUM / "pixium_03151.tif")
    geometry = load(data_dir / PIXIUM / "DLS_CeO2_1200mm_pyFAI.poni", 3)
    pattern = xrd.integrate(image, geometry, bins=700, error_model="azimuthal")
    relative = (pattern["intensity_errors"] / pattern["intensity"]).values[0, 50:600]
    assert np.isfinite(relative).all()
    assert 1e-4 < np.median(relative) < 0.1
