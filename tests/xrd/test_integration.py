from __future__ import annotations

import dataclasses
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import poisson as poisson_law

import xrd
from beamline import model, provenance
from beamline.errors import CalibrationError, ConfigError, DataFileError, SchemaError
from calibration.geometry import Geometry
from xrd.simulate import pixel_normalization

SHAPE = (100, 120)
BINS = 150


def images(counts: Any, units: str = "count", **coords: Any) -> xr.Dataset:
    values = np.asarray(counts)
    values = values if values.ndim == 3 else values[np.newaxis]
    ds = xr.Dataset({"counts": (("frame", "y", "x"), values, {"units": units})}, coords=coords)
    return model.with_defaults(ds, "images")


def poisson(mean: float = 50.0, frames: int = 1, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).poisson(mean, (frames, *SHAPE)).astype(np.int32)


def binned(geometry: Geometry, values: Any, keep: Any, bins: int, low: float, high: float) -> Any:
    """Sums over bins by numpy: the reference for integration without splitting."""
    angles = np.degrees(geometry.two_theta())
    return np.histogram(angles[keep], np.linspace(low, high, bins + 1), weights=values[keep])[0]


def test_sums_are_those_of_a_histogram(geometry: Geometry) -> None:
    counts = poisson(0.8)[0]
    keep = np.ones(SHAPE, bool)
    norm = pixel_normalization(geometry, 0.99)
    low, high = 2.0, 9.0
    result = xrd.integrate(counts, geometry, bins=BINS, two_theta_range=(low, high)).isel(frame=0)
    total = binned(geometry, counts, keep, BINS, low, high)
    weight = binned(geometry, norm, keep, BINS, low, high)
    np.testing.assert_allclose(result["intensity"], total / weight, rtol=1e-6)
    np.testing.assert_allclose(result["intensity_errors"], np.sqrt(np.maximum(total, 1)) / weight, rtol=1e-6)
    np.testing.assert_array_equal(result["coverage"], binned(geometry, np.ones(SHAPE), keep, BINS, low, high))


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
def test_pixels_outside_the_range_are_in_no_bin(splitting: Any, geometry: Geometry) -> None:
    angles = np.degrees(geometry.two_theta())
    counts = np.where((angles > 3.0) & (angles < 8.0), 7.0, 1e6)
    result = xrd.integrate(
        counts,
        geometry,
        bins=20,
        two_theta_range=(3.3, 7.7),
        splitting=splitting,
        polarization=None,
        solid_angle=False,
    )
    np.testing.assert_allclose(result["intensity"], 7.0, rtol=1e-6)


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
def test_what_is_even_at_normal_incidence_gives_a_flat_pattern(splitting: Any, geometry: Geometry) -> None:
    flat = 100.0 * pixel_normalization(geometry, 0.95)
    result = xrd.integrate(flat, geometry, bins=BINS, splitting=splitting, polarization=0.95)
    np.testing.assert_allclose(result["intensity"].where(result["coverage"] > 0, 100.0), 100.0, rtol=1e-5)


@pytest.mark.parametrize(("splitting", "lost"), [("none", 0.0), ("bbox", 2e-3), ("full", 2e-3)])
def test_every_pixel_is_counted_once(splitting: Any, lost: float, geometry: Geometry) -> None:
    result = xrd.integrate(poisson()[0], geometry, bins=BINS, splitting=splitting)
    # Shared pixels at the first and the last edge reach out of the range of pixel centres.
    total = float(result["coverage"].sum())
    assert np.prod(SHAPE) * (1 - lost) <= total <= np.prod(SHAPE)


def test_intensity_and_errors_scale_with_the_signal(geometry: Geometry) -> None:
    counts = poisson(5.0)[0].astype(float)
    once = xrd.integrate(images(counts, "ADU"), geometry, bins=BINS, gain=1.0)
    often = xrd.integrate(images(16 * counts, "ADU"), geometry, bins=BINS, gain=16.0)
    np.testing.assert_allclose(often["intensity"], 16 * once["intensity"], rtol=1e-6)
    np.testing.assert_allclose(often["intensity_errors"], 16 * once["intensity_errors"], rtol=1e-6)


def test_a_bin_without_a_count_has_the_error_of_one(geometry: Geometry) -> None:
    result = xrd.integrate(
        np.zeros(SHAPE, np.int32), geometry, bins=BINS, polarization=None, solid_angle=False
    )
    seen = result["coverage"].values > 0
    np.testing.assert_allclose(result["intensity"].values[seen], 0.0)
    np.testing.assert_allclose(result["intensity_errors"].values[seen], 1 / result["coverage"].values[seen])


@pytest.mark.parametrize("gain", [1.0, 20.0])
def test_less_than_a_photon_has_the_error_of_a_photon(gain: float, geometry: Geometry) -> None:
    options: dict[str, Any] = {"bins": 1, "polarization": None, "solid_angle": False, "gain": gain}
    found = []
    for photons in (-2.0, 0.0, 1e-3, 0.5, 0.999, 1.001, 4.0):
        counts = np.zeros(SHAPE)
        counts[40, 50] = photons * gain
        ds = xrd.integrate(images(counts, "ADU"), geometry, **options)
        found.append(float(ds["intensity_errors"][0, 0] * ds["coverage"][0, 0]))
    # One photon is a signal of g with a variance of g².
    np.testing.assert_allclose(found[:5], gain, rtol=1e-6)
    np.testing.assert_allclose(found[5:], [gain * np.sqrt(1.001), gain * 2], rtol=1e-6)


@pytest.mark.parametrize("splitting", ["bbox", "full"])
def test_a_photon_shared_by_bins_gives_each_its_part_of_the_variance(
    splitting: Any, geometry: Geometry
) -> None:
    # As even a light on every pixel, with the signal of one photon in the bin, has the variance of the floor.
    options: dict[str, Any] = {
        "bins": 400,
        "splitting": splitting,
        "polarization": None,
        "solid_angle": False,
    }
    ds = images(np.zeros(SHAPE), "ADU")
    floor = xrd.integrate(ds, geometry, gain=20.0, **options)
    lit = xrd.integrate(ds + 1000.0, geometry, gain=20.0, **options)  # far above the floor
    photons = lit["coverage"] * 1000.0 / 20.0
    expected = (lit["intensity_errors"] / np.sqrt(photons)).values
    seen = floor["coverage"].values > 0
    np.testing.assert_allclose(floor["intensity_errors"].values[seen], expected[seen], rtol=2e-3)
    shared = (expected * lit["coverage"].values)[seen]
    assert np.median(shared) < 0.9 * 20.0


@pytest.mark.parametrize("target", [0.3, 1.0, 5.0, 20.0, 100.0])
def test_pulls_of_few_counts(target: float, geometry: Geometry) -> None:
    """Prints how far the square root of N can be believed, for the table in the theory."""
    angles = np.degrees(geometry.two_theta())
    edges = np.linspace(2.0, 8.0, 61)
    pixels = np.histogram(angles, edges)[0]
    place = np.clip(np.digitize(angles, edges) - 1, 0, 59)
    counts = np.random.default_rng(8).poisson(target / pixels[place], (60, *SHAPE)).astype(np.int32)
    ds = xrd.integrate(
        counts, geometry, bins=60, two_theta_range=(2.0, 8.0), polarization=None, solid_angle=False
    )
    np.testing.assert_array_equal(ds["coverage"], np.broadcast_to(pixels, ds["coverage"].shape))
    pulls = ((ds["intensity"] - target / pixels) / ds["intensity_errors"]).values.ravel()
    weights = 1 / (ds["intensity_errors"].values * pixels) ** 2
    weighted = float((weights * ds["intensity"].values * pixels).sum() / weights.sum())
    rms = float(np.sqrt((pulls**2).mean()))
    said = f"rms of the pulls {rms:.2f}, weighted mean {weighted - target:+.2f} counts"
    sys.stdout.write(f"{target:g} counts: {said}\n")
    n = np.arange(400)
    chance = poisson_law.pmf(n, target)
    exact = np.sqrt((chance * (n - target) ** 2 / np.maximum(n, 1)).sum())
    fourth = (chance * (n - target) ** 4 / np.maximum(n, 1) ** 2).sum()
    assert abs(rms**2 - exact**2) < 3 * np.sqrt((fourth - exact**4) / pulls.size)


def test_a_bin_without_a_pixel_is_not_measured(geometry: Geometry) -> None:
    result = xrd.integrate(poisson()[0], geometry, bins=BINS, two_theta_range=(0.0, 40.0))
    empty = result["coverage"].values == 0
    assert empty.any()
    assert not empty.all()
    np.testing.assert_array_equal(np.isnan(result["intensity"].values), empty)
    np.testing.assert_array_equal(np.isnan(result["intensity_errors"].values), empty)


@pytest.mark.parametrize(
    ("dtype", "units", "bad"),
    [
        (np.int32, "count", -1),
        (np.int32, "photon", -2),
        (np.float32, "count", -1.0),
        (np.float32, "ADU", np.nan),
        (np.float64, "count", np.inf),
        (np.uint32, "count", 2**32 - 1),
        (np.uint16, "ADU", 65535),
    ],
)
def test_pixels_that_did_not_measure_are_left_out(
    dtype: Any, units: str, bad: float, geometry: Geometry
) -> None:
    mask = np.random.default_rng(3).random(SHAPE) < 0.3
    clean = poisson()[0].astype(dtype)
    marked = clean.copy()
    marked[mask] = bad
    options: dict[str, Any] = {"bins": BINS, "gain": 1.0}
    expected = xrd.integrate(images(clean, units), geometry, mask=mask, **options)
    found = xrd.integrate(images(marked, units), geometry, **options)
    xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs(), rtol=1e-12)


def test_negative_adu_are_signal(geometry: Geometry) -> None:
    noise = np.random.default_rng(5).normal(0.0, 3.0, SHAPE)
    result = xrd.integrate(images(noise, "ADU"), geometry, bins=20, error_model="azimuthal")
    assert float(result["coverage"].sum()) == np.prod(SHAPE)
    assert float(result["intensity"].min()) < 0


def test_saturated_pixels_are_left_out(geometry: Geometry) -> None:
    counts = poisson(100.0)[0]
    result = xrd.integrate(counts, geometry, bins=BINS, saturation=110)
    assert float(result["coverage"].sum()) == (counts < 110).sum()


@pytest.mark.parametrize("splitting", ["none", "bbox"])
def test_frames_together_are_frames_one_by_one(splitting: Any, geometry: Geometry) -> None:
    counts = poisson(20.0, frames=3)
    counts[1, 10:30] = -1
    together = xrd.integrate(counts, geometry, bins=BINS, splitting=splitting)
    for i, frame in enumerate(counts):
        alone = xrd.integrate(frame, geometry, bins=BINS, splitting=splitting)
        xr.testing.assert_identical(together.isel(frame=[i]).drop_attrs(), alone.drop_attrs())


def test_threads_give_the_same_bytes(geometry: Geometry) -> None:
    counts = poisson(20.0, frames=12)
    integrator = xrd.Integrator(geometry, bins=BINS, splitting="bbox")
    serial = [integrator(frame) for frame in counts]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(integrator, counts))
    for one, other in zip(serial, threaded, strict=True):
        xr.testing.assert_identical(one, other)


def test_orientation_two_is_the_flipped_image(geometry: Geometry) -> None:
    counts = poisson(20.0)[0]
    stored = xrd.integrate(counts, dataclasses.replace(geometry, orientation=2), bins=BINS)
    flipped = xrd.integrate(np.ascontiguousarray(counts[::-1]), geometry, bins=BINS)
    xr.testing.assert_allclose(stored.drop_attrs(), flipped.drop_attrs(), rtol=1e-6)


def test_coordinates_of_the_frames_stay(geometry: Geometry) -> None:
    time = np.array(["2022-01-01", "2022-01-02"], "datetime64[ns]")
    ds = images(poisson(frames=2), time=("frame", time), file=("frame", ["a.tif", "b.tif"]))
    ds = ds.assign_coords(exposure=("frame", [1.0, 2.0], {"units": "s", "long_name": "exposure time"}))
    result = xrd.integrate(ds, geometry, bins=BINS)
    assert list(result["file"].values) == ["a.tif", "b.tif"]
    assert list(result["time"].values) == list(time)
    assert list(result["exposure"].values) == [1.0, 2.0]


def test_q_follows_from_the_wavelength(geometry: Geometry) -> None:
    result = xrd.integrate(poisson()[0], geometry, bins=10, two_theta_range=(2.0, 4.0))
    np.testing.assert_allclose(result["two_theta"], np.arange(2.1, 4.0, 0.2))
    np.testing.assert_allclose(
        result["q"], 4 * np.pi / 0.1173 * np.sin(np.radians(np.arange(2.1, 4.0, 0.2) / 2))
    )


def test_the_result_says_what_was_corrected(geometry: Geometry) -> None:
    result = xrd.integrate(poisson()[0], geometry, bins=10, polarization=None)
    assert result.attrs["polarization_corrected"] == 0
    assert "polarization_factor" not in result.attrs
    assert result.attrs["wavelength"] == 0.1173
    assert result.attrs["splitting"] == "none"
    corrected = xrd.integrate(poisson()[0], geometry, bins=10)
    assert (corrected.attrs["polarization_corrected"], corrected.attrs["polarization_factor"]) == (1, 0.99)


def test_integrator_and_function_leave_one_history(geometry: Geometry, tmp_path: Path) -> None:
    ds = images(poisson())
    geometry.save(tmp_path / "g.poni")
    by_function = xrd.integrate(ds, geometry, bins=10)
    for given in (geometry, tmp_path / "g.poni", str(tmp_path / "g.poni"), geometry.to_pyfai()):
        xr.testing.assert_identical(xrd.Integrator(given, bins=10)(ds), by_function)
    (step,) = provenance.history(by_function)
    assert step["step"] == "xrd.integrate"
    assert step["parameters"]["geometry"]["distance"] == geometry.distance


def test_a_mask_file_is_recorded_by_its_hash(geometry: Geometry, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.zeros(SHAPE, bool))
    result = xrd.integrate(poisson()[0], geometry, bins=10, mask=str(tmp_path / "mask.npy"))
    recorded = provenance.history(result)[-1]["parameters"]["mask"]
    assert recorded["file"] == "mask.npy"
    assert len(recorded["sha256"]) == 64
    assert str(tmp_path) not in result.attrs["history"]


def test_azimuthal_errors_are_the_scatter_of_the_mean(geometry: Geometry) -> None:
    rng = np.random.default_rng(11)
    frames = rng.normal(1000.0, 30.0, (60, *SHAPE)).astype(np.float32) * pixel_normalization(geometry, 0.99)
    result = xrd.integrate(images(frames, "ADU"), geometry, bins=60, error_model="azimuthal")
    many = result["coverage"].values[0] > 20
    pulls = ((result["intensity"] - 1000.0) / result["intensity_errors"]).values[:, many]
    # Student's t of at least 20 degrees of freedom is wider than a Gaussian by less than 6 %.
    assert abs(pulls.mean()) < 3 / np.sqrt(pulls.size)
    assert 1 - 3 / np.sqrt(2 * pulls.size) < pulls.std() < 1.06


def test_azimuthal_errors_of_few_pixels_divide_by_one_less(geometry: Geometry) -> None:
    counts = poisson(30.0)[0].astype(float)
    options: dict[str, Any] = {"bins": 1500, "polarization": None, "solid_angle": False}
    result = xrd.integrate(
        images(counts, "ADU"), geometry, error_model="azimuthal", two_theta_range=(2.0, 8.0), **options
    ).isel(frame=0)
    angles = np.degrees(geometry.two_theta())
    edges = np.linspace(2.0, 8.0, 1501)
    inside = (angles > 2.0) & (angles < 8.0)
    place = np.digitize(angles, edges) - 1
    checked = 0
    for b in np.flatnonzero(result["coverage"].values == 3)[:50]:
        values = counts[inside & (place == b)]
        if len(values) == 3 and values.std() > 0:
            expected = values.std(ddof=1) / np.sqrt(3)
            assert float(result["intensity_errors"][b]) == pytest.approx(expected, rel=1e-4)
            checked += 1
    assert checked > 20


def test_one_pixel_has_no_azimuthal_error(geometry: Geometry) -> None:
    result = xrd.integrate(poisson()[0], geometry, bins=3000, error_model="azimuthal")
    single = result["coverage"].values == 1
    assert single.any()
    assert np.isnan(result["intensity"].values[single]).all()


@pytest.mark.parametrize("given", [False, None])
def test_false_is_not_corrected(given: Any, geometry: Geometry) -> None:
    flat = 100.0 * pixel_normalization(geometry, None)
    result = xrd.integrate(flat, geometry, bins=20, polarization=given)
    np.testing.assert_allclose(result["intensity"], 100.0, rtol=1e-5)
    assert result.attrs["polarization_corrected"] == 0
    assert provenance.history(result)[-1]["parameters"]["polarization"] is None


def test_counts_alone_keep_their_units(geometry: Geometry) -> None:
    ds = images(poisson(), "ADU")
    with pytest.raises(CalibrationError, match="ADU"):
        xrd.integrate(ds["counts"], geometry)
    alone = xrd.integrate(ds["counts"], geometry, bins=BINS, gain=20.0)
    whole = xrd.integrate(ds, geometry, bins=BINS, gain=20.0)
    np.testing.assert_array_equal(alone["intensity_errors"], whole["intensity_errors"])
    assert alone["intensity"].attrs["units"] == "ADU"


@pytest.mark.parametrize("splitting", ["none", "bbox"])
def test_the_mean_of_exposures_has_the_error_of_a_mean(splitting: Any, geometry: Geometry) -> None:
    single = poisson(40.0, frames=16)
    options: dict[str, Any] = {"bins": BINS, "splitting": splitting}
    summed = xrd.integrate(images(single.sum(axis=0)), geometry, **options)
    averaged = images(single.mean(axis=0)).assign_coords(averaged=("frame", [16]))
    for ds in (averaged, averaged.isel(frame=0)):
        mean = xrd.integrate(ds, geometry, **options)
        for name in ("intensity", "intensity_errors"):
            np.testing.assert_allclose(mean[name] * 16, summed[name], rtol=1e-5)
    with pytest.raises(SchemaError, match="averaged"):
        xrd.integrate(averaged.assign_coords(averaged=("frame", [0])), geometry, **options)


# What is refused


def test_poisson_errors_of_adu_need_the_gain(geometry: Geometry) -> None:
    with pytest.raises(CalibrationError, match=r"ADU.*gain=.*azimuthal"):
        xrd.integrate(images(poisson(), "ADU"), geometry)


def test_a_frame_without_live_pixel_is_named(geometry: Geometry) -> None:
    counts = poisson(frames=2)
    counts[1] = -1
    ds = images(counts, file=("frame", ["a.tif", "b.tif"]))
    with pytest.raises(DataFileError, match=r"b\.tif \(frame 1\): has no live pixel"):
        xrd.integrate(ds, geometry, bins=BINS)


@pytest.mark.parametrize("two_theta_range", [None, (3.0, 5.0)])
def test_a_mask_of_everything_is_refused_before_pyfai_wonders(
    two_theta_range: Any, geometry: Geometry, caplog: pytest.LogCaptureFixture
) -> None:
    angles = np.degrees(geometry.two_theta())
    mask = np.ones(SHAPE) if two_theta_range is None else (angles > 2.9) & (angles < 5.1)
    with pytest.raises(ConfigError, match=r"mask: leaves no pixel at \d"):
        xrd.integrate(poisson(), geometry, bins=BINS, mask=mask, two_theta_range=two_theta_range)
    assert not caplog.records


def test_another_detector_is_refused(geometry: Geometry) -> None:
    with pytest.raises(CalibrationError, match="50 x 120 pixels"):
        xrd.integrate(poisson()[:, :50], geometry)
    other = images(poisson()).assign_attrs(y_pixel_size=100e-6, x_pixel_size=100e-6)
    with pytest.raises(CalibrationError, match=r"100 x 100 um.*200 x 200 um"):
        xrd.integrate(other, geometry)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"bins": 0}, "bins"),
        ({"bins": 2.5}, "bins"),
        ({"bins": None}, "bins: is None"),
        ({"bins": True}, "bins"),
        ({"bins": 1_000_001}, "bins: is 1000001; .* 1000000"),
        ({"splitting": ["none"]}, "splitting"),
        ({"two_theta_range": 5}, "two_theta_range: is 5"),
        ({"two_theta_range": (1.0, 2.0, 3.0)}, "two_theta_range.*pair"),
        ({"two_theta_range": ("a", "b")}, "two_theta_range.*pair"),
        ({"polarization": "x"}, "polarization: is 'x'"),
        ({"polarization": True}, "polarization: is True"),
        ({"polarization": float("nan")}, "polarization: is nan"),
        ({"solid_angle": "no"}, "solid_angle: is 'no'"),
        ({"gain": "3"}, "gain: is '3'"),
        ({"gain": float("inf")}, "gain: is inf"),
        ({"saturation": "high"}, "saturation: is 'high'"),
        ({"mask": [[1], [1, 2]]}, "mask"),
        ({"mask": [["a"]]}, "mask"),
        ({"splitting": "pixel"}, "none, bbox, full"),
        ({"error_model": "gauss"}, "poisson, azimuthal"),
        ({"two_theta_range": (4.0, 2.0)}, "two_theta_range"),
        ({"two_theta_range": (100.0, 120.0)}, "the detector sees"),
        ({"polarization": 1.5}, "polarization"),
        ({"gain": 0.0}, "gain"),
        ({"mask": np.zeros((3, 3))}, "mask"),
        ({"mask_orientation": 7, "mask": "mask.npy"}, "orientation"),
    ],
)
def test_impossible_parameters_are_named(parameters: Any, said: str, geometry: Geometry) -> None:
    with pytest.raises(ConfigError, match=said):
        xrd.integrate(poisson(), geometry, **parameters)


@pytest.mark.parametrize("parameters", [{"bins": None}, {"polarization": 2}, {"gain": "3"}])
def test_an_integrator_refuses_at_once(parameters: Any, geometry: Geometry) -> None:
    with pytest.raises(ConfigError, match=next(iter(parameters))):
        xrd.Integrator(geometry, **parameters)


@pytest.mark.parametrize("wrong", [None, {}, 5, [1.0]])
def test_what_is_no_geometry_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="geometry: is"):
        xrd.integrate(poisson(), wrong)
    with pytest.raises(ConfigError, match="geometry: is"):
        xrd.Integrator(wrong)


def test_a_mask_of_another_detector_is_one_error_of_the_configuration(
    geometry: Geometry, tmp_path: Path
) -> None:
    np.save(tmp_path / "mask.npy", np.zeros((3, 4)))
    with pytest.raises(ConfigError, match=r"mask: .*mask\.npy has 3 x 4 pixels, the image 100 x 120"):
        xrd.integrate(poisson(), geometry, mask=tmp_path / "mask.npy")


@pytest.mark.parametrize(
    "data",
    [
        xr.Dataset(),
        xr.Dataset({"counts": (("frame", "y", "x"), np.ones((1, *SHAPE)))}),
        np.ones(5),
        np.full(SHAPE, "a"),
        None,
        np.ones((0, *SHAPE)),
        [xr.Dataset(), xr.Dataset()],
        [[1.0], [1.0, 2.0]],
        xr.DataArray(np.ones(SHAPE), dims=("y", "x")),
        xr.DataArray(np.ones(SHAPE), dims=("a", "b"), attrs={"units": "count"}),
    ],
)
def test_what_is_no_image_is_refused(data: Any, geometry: Geometry) -> None:
    with pytest.raises(SchemaError):
        xrd.integrate(data, geometry)


def test_histories_are_plain_json(geometry: Geometry) -> None:
    result = xrd.integrate(poisson(), geometry, bins=10, mask=np.zeros(SHAPE, bool))
    assert json.loads(result.attrs["history"])
    assert pickle.loads(pickle.dumps(xrd.Integrator(geometry))).geometry == geometry  # noqa: S301
