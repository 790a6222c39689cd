"""Axes, sectors, corrections and errors of `xrd.integrate` beyond the plain mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrd
from beamline import model, provenance
from beamline.errors import CalibrationError, ConfigError, DataFileError, SchemaError
from beamline.tiff_files import encode
from calibration.geometry import Geometry
from tests.xrd.test_integration import BINS, SHAPE, images, poisson
from xrd.simulate import pixel_normalization

RANGE = (1.0, 12.0)


@pytest.mark.parametrize(("splitting", "name"), [("none", "no"), ("bbox", "bbox"), ("full", "full")])
@pytest.mark.parametrize("orientation", [3, 2])
def test_intensity_and_errors_are_those_of_pyfai(
    splitting: Any, name: str, orientation: int, geometry: Geometry
) -> None:
    turned = dataclasses.replace(geometry, orientation=orientation)
    counts = poisson(200.0)[0]
    theirs = turned.to_pyfai(SHAPE).integrate1d(
        counts,
        BINS,
        unit="2th_deg",
        method=(name, "csc", "cython"),
        radial_range=RANGE,
        polarization_factor=0.99,
        error_model="poisson",
    )
    width = (theirs.radial[-1] - theirs.radial[0]) / (BINS - 1)
    edges = (theirs.radial[0] - width / 2, theirs.radial[-1] + width / 2)
    ours = xrd.integrate(counts, turned, bins=BINS, splitting=splitting, two_theta_range=edges).isel(frame=0)
    inside = (theirs.sum_signal > 0) & (ours["coverage"].values > 1)
    inside[:3] = inside[-3:] = False  # pyFAI counts what lies beyond the range into these
    assert inside.sum() > 100
    np.testing.assert_allclose(ours["intensity"].values[inside], theirs.intensity[inside], rtol=1e-5)
    np.testing.assert_allclose(ours["intensity_errors"].values[inside], theirs.sigma[inside], rtol=1e-5)


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
@pytest.mark.parametrize(
    "dtype", [np.uint16, np.uint32, np.int32, np.int64, np.float32, np.float64, ">i4", ">f4"]
)
def test_the_type_of_the_numbers_makes_no_difference(splitting: Any, dtype: Any, geometry: Geometry) -> None:
    counts = poisson(20.0)[0]
    expected = xrd.integrate(counts, geometry, bins=40, splitting=splitting)
    found = xrd.integrate(counts.astype(dtype), geometry, bins=40, splitting=splitting)
    for name in ("intensity", "intensity_errors", "coverage"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_bins_are_even_in_what_was_asked_for(geometry: Geometry) -> None:
    counts = poisson()[0]
    by_q = xrd.integrate(counts, geometry, bins=7, axis="q", q_range=(2.0, 9.0))
    np.testing.assert_allclose(by_q["q"], np.arange(2.5, 9.0), rtol=1e-12)
    np.testing.assert_allclose(np.diff(by_q["two_theta"].values) > 0, True)
    by_d = xrd.integrate(counts, geometry, bins=8, axis="d", d_range=(1.0, 3.0))
    np.testing.assert_allclose(by_d["d"], np.arange(2.875, 1.0, -0.25), rtol=1e-12)
    np.testing.assert_allclose(by_d["q"], 2 * np.pi / by_d["d"], rtol=1e-12)
    assert by_d["d"].attrs["units"] == "angstrom"
    same = xrd.integrate(counts, geometry, bins=7, axis="two_theta", q_range=(2.0, 9.0))
    edges = 2 * np.degrees(np.arcsin(np.array([2.0, 9.0]) * 0.1173 / 4 / np.pi))
    np.testing.assert_allclose(same["two_theta"][[0, -1]], edges + np.diff(edges) / 14 * [1, -1])


@pytest.mark.parametrize(("axis", "range_name"), [("q", "q_range"), ("d", "d_range")])
@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
def test_what_is_even_gives_a_flat_pattern_on_every_axis(
    axis: Any, range_name: str, splitting: Any, geometry: Geometry
) -> None:
    flat = 100.0 * pixel_normalization(geometry, 0.99)
    options: dict[str, Any] = {range_name: (1.0, 10.0), "axis": axis, "splitting": splitting}
    found = xrd.integrate(flat, geometry, bins=60, **options)
    np.testing.assert_allclose(found["intensity"].where(found["coverage"] > 0, 100.0), 100.0, rtol=1e-5)


def test_a_sector_holds_the_pixels_of_its_azimuth(geometry: Geometry) -> None:
    t1, t2, _ = geometry.vectors()
    azimuth = np.degrees(np.arctan2(t1, t2))
    counts = poisson()[0]
    found = xrd.integrate(counts, geometry, bins=50, azimuth_range=(150.0, 210.0), two_theta_range=RANGE)
    outside = np.abs(azimuth) < 150.0
    masked = xrd.integrate(counts, geometry, bins=50, mask=outside, two_theta_range=RANGE)
    xr.testing.assert_allclose(found.drop_attrs(), masked.drop_attrs())
    assert (found["coverage"] > 0).any()


def test_dark_and_flat_give_back_what_fell_on_the_detector(geometry: Geometry, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    true = 1000.0 * pixel_normalization(geometry, 0.99)
    dark, flat = rng.uniform(50, 150, SHAPE), rng.uniform(0.5, 1.5, SHAPE)
    flat[20:25] = 0.0
    dark[40, 50] = np.nan
    (tmp_path / "dark.tif").write_bytes(encode(dark.astype(np.float32)))
    frame = images((true * flat + np.nan_to_num(dark)).astype(np.float32), "ADU")
    plain: dict[str, Any] = {"bins": 60, "gain": 20.0}
    median = np.median(flat[flat > 0])
    for given in (dark, tmp_path / "dark.tif", str(tmp_path / "dark.tif"), images(dark, "ADU")):
        found = xrd.integrate(frame, geometry, dark=given, flat=flat, **plain)
        seen = found["coverage"] > 0
        np.testing.assert_allclose(found["intensity"].where(seen, median * 1000), median * 1000, rtol=1e-5)
    assert float(found["coverage"].sum()) == np.prod(SHAPE) - 5 * SHAPE[1] - 1
    assert (found.attrs["dark_corrected"], found.attrs["flat_corrected"]) == (1, 1)


def test_a_dead_pixel_takes_its_dark_signal_along(geometry: Geometry) -> None:
    rng = np.random.default_rng(7)
    dark = rng.uniform(50, 150, SHAPE)
    frame = (100.0 * pixel_normalization(geometry, 0.99) + dark).astype(np.float32)
    for splitting in ("none", "bbox"):
        marked = frame.copy()
        marked[rng.random(SHAPE) < 0.2] = np.nan
        options: dict[str, Any] = {"bins": 40, "dark": dark, "gain": 1.0, "splitting": splitting}
        found = xrd.integrate(images(marked, "ADU"), geometry, **options)
        np.testing.assert_allclose(found["intensity"], 100.0, rtol=1e-5)


@pytest.mark.parametrize("splitting", ["none", "bbox"])
def test_errors_of_an_integrating_detector_are_what_frames_scatter_by(
    splitting: Any, geometry: Geometry
) -> None:
    """With gain, read noise and the noise of the dark image."""
    gain, read, darks, seeds = 20.0, 30.0, 4, 60
    expected = pixel_normalization(geometry, 0.99) * 8.0
    pulls = []
    for seed in range(seeds):
        rng = np.random.default_rng([11, seed])
        frame = gain * rng.poisson(expected) + rng.normal(500.0, read, SHAPE)
        dark = rng.normal(500.0, read, (darks, *SHAPE))
        found = xrd.integrate(
            images(frame.astype(np.float32), "ADU"),
            geometry,
            bins=60,
            gain=gain,
            read_noise=read,
            dark=images(dark, "ADU"),
            splitting=splitting,
            two_theta_range=(2.0, 11.0),
        ).isel(frame=0)
        pulls.append(((found["intensity"] - gain * 8.0) / found["intensity_errors"]).values)
    values = np.array(pulls)
    independent = values.size / (1 if splitting == "none" else 1.5)
    assert abs(values.mean()) < 3 / np.sqrt(independent)
    assert abs(values.std() - 1) < 3 / np.sqrt(2 * independent)


def test_the_correlation_of_neighbours_is_what_frames_show(geometry: Geometry) -> None:
    options: dict[str, Any] = {"bins": 100, "splitting": "bbox", "two_theta_range": (2.0, 11.0)}
    norm = 50.0 * pixel_normalization(geometry, 0.99)
    found = xrd.integrate(np.random.default_rng(3).poisson(norm, (250, *SHAPE)), geometry, **options)
    off = ((found["intensity"] - 50.0) / found["intensity_errors"]).values
    measured = (off[:, 1:] * off[:, :-1]).mean(axis=0)
    stated = found["correlation"].values[:-1]
    assert 0.1 < stated.mean() < 0.9
    assert abs((measured - stated).mean()) < 3 / np.sqrt(off.size / 2)
    assert np.abs(measured - stated).max() < 4.5 * np.sqrt(2 / 250)
    assert "correlation" not in xrd.integrate(poisson(), geometry, bins=20)


def test_a_layer_that_absorbs_little_sees_more_at_an_angle(geometry: Geometry) -> None:
    p1, p2 = (
        axis - poni for axis, poni in zip(geometry.positions(), (geometry.poni1, geometry.poni2), strict=True)
    )
    cosine = geometry.distance / np.sqrt(p1**2 + p2**2 + geometry.distance**2)
    absorption = xrd.sensor_absorption("CsI 500 um", geometry.wavelength)
    efficiency = (1 - np.exp(-absorption / cosine)) / (1 - np.exp(-absorption))
    assert efficiency.max() > 1.001
    frame = 100.0 * pixel_normalization(geometry, 0.99) * efficiency
    for sensor in ("CsI 500 um", absorption, str(absorption), "CsI 0.5 mm 4.51"):
        found = xrd.integrate(frame, geometry, bins=40, sensor=sensor)
        np.testing.assert_allclose(found["intensity"], 100.0, rtol=1e-6)
        assert found.attrs["sensor_corrected"] == 1
    assert xrd.sensor_absorption("Gd2O2S 100 um 3.67", 0.1173) == pytest.approx(
        xrd.sensor_absorption("Gd2O2S 50 um", 0.1173), rel=1e-3
    )


def test_frames_are_divided_by_their_monitor(geometry: Geometry) -> None:
    counts = poisson(frames=3)
    ds = images(counts).assign_coords(
        i0=("frame", [2.0, 4.0, 8.0], {"units": "count", "long_name": "monitor"}),
        exposure=("frame", [1.0, 1.0, 2.0], {"units": "s", "long_name": "exposure"}),
    )
    plain = xrd.integrate(ds, geometry, bins=30)
    for name, unit in (("i0", ""), ("exposure", "count / second")):
        found = xrd.integrate(ds, geometry, bins=30, monitor=name)
        for variable in ("intensity", "intensity_errors"):
            np.testing.assert_allclose(found[variable] * ds[name], plain[variable], rtol=1e-12)
        np.testing.assert_array_equal(found["monitor"], ds[name])
        assert found["intensity"].attrs["units"] == unit
        model.validate(found, "xrd.patterns")
    with pytest.raises(SchemaError, match="no monitor 'flux'; their numbers: i0, exposure"):
        xrd.integrate(ds, geometry, bins=30, monitor="flux")
    dark = ds.assign_coords(i0=("frame", [2.0, 0.0, 8.0], ds["i0"].attrs))
    with pytest.raises(DataFileError, match="frame 1: has a i0 of 0"):
        xrd.integrate(dark, geometry, bins=30, monitor="i0")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_pixels_masked_in_their_own_frame(dtype: Any, geometry: Geometry) -> None:
    counts = poisson(30.0, frames=2).astype(dtype)
    masks = np.random.default_rng(1).random(counts.shape) < 0.2
    attrs = {"flag_masks": [1], "flag_meanings": "spot"}
    ds = images(counts).assign(counts_mask=(("frame", "y", "x"), masks.astype(np.int8), attrs))
    found = xrd.integrate(ds, geometry, bins=40)
    for index, mask in enumerate(masks):
        alone = xrd.integrate(counts[index], geometry, bins=40, mask=mask)
        for name in ("intensity", "intensity_errors", "coverage"):
            np.testing.assert_allclose(found[name][index], alone[name][0], rtol=1e-6)


def test_an_integrator_keeps_what_it_was_given(geometry: Geometry) -> None:
    counts, mask = poisson()[0], np.zeros(SHAPE, bool)
    integrator = xrd.Integrator(geometry, bins=30, mask=mask)
    before = integrator(counts)
    mask[:] = True
    xr.testing.assert_identical(integrator(counts), before)
    mask[:] = False
    mask[30:60] = True
    changed = xrd.integrate(counts, geometry, bins=30, mask=mask)
    assert float(changed["coverage"].sum()) == (~mask).sum()
    assert provenance.history(changed)[-1]["id"] != provenance.history(before)[-1]["id"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"axis": "r"}, "axis: is 'r'; it is one of two_theta, q, d"),
        ({"axis": "d"}, "d_range: is not given"),
        ({"axis": "d", "two_theta_range": (0.0, 5.0)}, "begins in the beam"),
        ({"q_range": (1.0, 5.0), "two_theta_range": (1.0, 2.0)}, "two ranges"),
        ({"q_range": (1.0, 500.0)}, "beyond 2θ = 180"),
        ({"q_range": (5.0, 1.0)}, "q_range: is 5.0 to 1.0"),
        ({"q_range": (60.0, 70.0), "axis": "q"}, r"q_range: 60 to 70 1/angstrom: the detector sees"),
        ({"d_range": (0.2, 0.3), "axis": "d"}, r"d_range: 0\.2 to 0\.3 angstrom: the detector sees 0\."),
        ({"azimuth_range": (10.0, 5.0)}, "azimuth_range"),
        ({"azimuth_range": (0.0, 400.0)}, "azimuth_range"),
        ({"dark": np.zeros((3, 3))}, r"dark: is of shape \(3, 3\)"),
        ({"dark": "nowhere.tif"}, "dark: .*nowhere.tif"),
        ({"flat": np.zeros(SHAPE)}, "flat: has no pixel above 0"),
        ({"flat": [["a"]]}, "flat"),
        ({"read_noise": -1.0}, "read_noise"),
        ({"read_noise": 3.0, "error_model": "azimuthal"}, "part of azimuthal errors already"),
        ({"sensor": "CsI"}, 'write formula and thickness: "CsI 500 um"'),
        ({"sensor": "NaI 1 mm"}, "density is not known"),
        ({"sensor": "CsI 500 um 0"}, "absorbs nothing"),
        ({"sensor": "Xq 1 mm 3.0"}, "sensor"),
        ({"sensor": 0.0}, "sensor"),
        ({"monitor": 3}, "monitor"),
        ({"splitting": "bbox", "bins": 50_001}, "50000 at most"),
    ],
)
def test_what_cannot_be_is_refused(parameters: dict[str, Any], said: str, geometry: Geometry) -> None:
    with pytest.raises(ConfigError, match=said):
        xrd.integrate(poisson(), geometry, **{"bins": BINS, **parameters})


def test_a_dark_image_of_another_exposure_is_refused(geometry: Geometry) -> None:
    second = {"units": "s", "long_name": "exposure"}
    frames = images(poisson(frames=2)).assign_coords(exposure=("frame", [1.0, 2.0], second))
    dark = images(np.zeros(SHAPE)).assign_coords(exposure=("frame", [1.0], second))
    assert float(xrd.integrate(frames.isel(frame=[0]), geometry, dark=dark)["coverage"].sum()) > 0
    with pytest.raises(CalibrationError, match="frame 1: was exposed for 2 s, the dark image for 1 s"):
        xrd.integrate(frames, geometry, dark=dark)


def test_a_dark_image_does_not_excuse_the_gain(geometry: Geometry) -> None:
    with pytest.raises(CalibrationError, match="gain="):
        xrd.integrate(images(poisson(), "ADU"), geometry, dark=np.zeros(SHAPE))
