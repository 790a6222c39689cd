"""The geometry of a simulated detector, from its rings alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from beamline.errors import CalibrationError
from calibration import flat_detector
from calibration.calibrants import find_calibrant
from calibration.frames import frame_of
from calibration.geometry import Geometry, calibrate, calibrate_distances, judge
from calibration.ring_refinement import refine
from calibration.ring_search import points
from xrd.simulate import CEO2, Profile, powder_frames

WAVELENGTH = 0.2413
PIXEL = 500e-6


def detector(tilt: float = 1.0, center: tuple[float, float] = (170.0, 190.0), **changes: Any) -> Geometry:
    """A small panel 0.45 m away, tilted (deg) towards 35 deg, met by the beam at `center` (x, y) in px."""
    sine = math.sin(math.radians(tilt))
    rot1 = math.asin(sine * math.cos(0.6))
    rot2 = math.asin(sine * math.sin(0.6) / math.cos(rot1))
    distance = changes.pop("distance", 0.45)
    values = flat_detector.from_center(distance, center[1] * PIXEL, center[0] * PIXEL, rot1, rot2)
    return dataclasses.replace(
        Geometry(*map(float, values), 0.0, WAVELENGTH, (PIXEL, PIXEL), (360, 340), calibrant="CeO2"),
        **changes,
    )


def image(true: Geometry, seed: int = 0, counts: float = 2000.0, fwhm: float = 2.0) -> Any:
    """What it sees of ceria, with rings `fwhm` pixels wide."""
    width = fwhm * math.degrees(PIXEL / true.distance)
    profile = Profile(W=width**2, X=0.1 * width)
    frames, _ = powder_frames(
        true, CEO2, profile=profile, counts=counts, background=(20.0, 60.0, 8.0), seed=seed
    )
    return frames["counts"].values[0]


def found(counts: Any, **options: Any) -> Geometry:
    return calibrate(counts, wavelength=WAVELENGTH, pixel_size=PIXEL, **options)


def agrees(
    ours: Geometry,
    true: Geometry,
    distance: float = 2e-4,
    center: float = 0.1,
    rotation: float = 2e-3,
    residual: float = 0.2,
) -> None:
    assert ours.distance == pytest.approx(true.distance, rel=distance)
    np.testing.assert_allclose(ours.center, true.center, atol=center)
    np.testing.assert_allclose((ours.rot1, ours.rot2), (true.rot1, true.rot2), atol=rotation)
    assert ours.residual_mdeg is not None
    assert ours.residual_mdeg < residual * math.degrees(PIXEL / true.distance) * 1e3


@pytest.fixture(scope="module")
def plain() -> tuple[Geometry, Any]:
    true = detector()
    return true, image(true)


def test_a_detector_is_found_without_a_guess(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    ours = found(counts)
    agrees(ours, true)
    assert ours.confidence is not None
    assert ours.confidence > 0.3
    assert (ours.calibrant, ours.shape, ours.orientation) == ("CeO2", (360, 340), 3)


@pytest.mark.parametrize(
    ("tilt", "center"),
    [(20.0, (170.0, 190.0)), (12.0, (30.0, 20.0)), (0.5, (-60.0, 150.0)), (0.0, (170.0, 380.0))],
)
def test_tilted_and_off_centre_detectors_are_found(tilt: float, center: tuple[float, float]) -> None:
    true = detector(tilt, center)
    agrees(found(image(true, 1)), true, distance=1e-3, center=0.4)


def test_texture_spots_gaps_and_a_beam_stop_do_no_harm(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    rng = np.random.default_rng(3)
    y, x = (np.arange(n) + 0.5 for n in counts.shape)
    azimuth = np.arctan2(y[:, None] - true.center[1], x[None, :] - true.center[0])
    # One pixel in forty holds a grain, whose light has the width of the ring; half of the ring is dim.
    grains = gaussian_filter(rng.exponential(500.0, counts.shape) * (rng.random(counts.shape) < 0.025), 0.8)
    texture = np.clip(0.1 + np.cos(azimuth) ** 2, 0, 1)
    spotty = rng.poisson(counts * texture * (0.3 + grains / grains.mean())).astype(np.int32)
    spotty[100:108] = spotty[:, 200:206] = -1
    spotty[(x[None, :] > 170) & (np.abs(y[:, None] - 190) < 6)] = 3
    with pytest.raises(CalibrationError, match="fits about as well at another distance"):
        found(spotty)
    # So few grains leave the distance open, until it is known to 5 %.
    ours = found(spotty, guess=dataclasses.replace(true, distance=1.05 * true.distance, rot1=0.0, rot2=0.0))
    agrees(ours, true, distance=2e-3, center=0.4, rotation=0.01, residual=0.5)
    covariance = np.array(ours.covariance)[:5, :5]
    assert (np.abs(ours.detector - true.detector) < 4 * np.sqrt(np.diag(covariance))).all()


@pytest.mark.parametrize("orientation", [1, 2, 4])
def test_the_orientation_is_how_the_image_is_held(orientation: int, plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    rows, columns = (-1 if orientation in (1, 2) else 1), (-1 if orientation in (1, 4) else 1)
    ours = found(counts[::rows, ::columns], orientation=orientation)
    assert ours.orientation == orientation
    agrees(ours, true)


def test_a_bad_guess_changes_nothing(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    bad = dataclasses.replace(
        true, distance=1.05 * true.distance, poni1=true.poni1 + 20 * PIXEL, rot1=0.0, rot2=0.0
    )
    ours, without = found(counts, guess=bad), found(counts)
    np.testing.assert_allclose(ours.detector, without.detector, rtol=1e-9, atol=1e-12)


def test_a_guess_of_another_orientation_is_turned(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    height = 360 * PIXEL
    turned = dataclasses.replace(true, poni1=height - true.poni1, rot2=-true.rot2, orientation=2)
    agrees(found(counts, guess=turned), true)


def test_errors_are_as_large_as_the_scatter() -> None:
    """Pulls of 24 draws: means within 3 / sqrt(N), standard deviations within 3 / sqrt(2 N) of 0 and 1."""
    true = detector(4.0)
    angles = np.array(find_calibrant("CeO2", WAVELENGTH).two_theta(WAVELENGTH))
    pulls = []
    for seed in range(24):
        frame = frame_of(image(true, seed, counts=300.0), PIXEL)
        cells, rings = points(frame, true.detector, angles, 2.0, 5.0)
        fit = refine(true.detector, cells, rings, PIXEL)
        assert fit is not None
        one = dataclasses.replace(
            true, **dict(zip(("distance", "poni1", "poni2", "rot1", "rot2"), fit.detector, strict=True))
        )
        one = dataclasses.replace(one, covariance=tuple(map(tuple, fit.covariance)))
        off = [one.distance - true.distance, *np.subtract(one.center, true.center), one.tilt - true.tilt]
        pulls.append(np.divide(off, [one.distance_error, *one.center_errors, one.tilt_error]))
    assert np.abs(np.mean(pulls, axis=0)).max() < 3 / math.sqrt(24)
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=3 / math.sqrt(48))


def test_the_error_of_the_wavelength_goes_into_the_distance(plain: tuple[Geometry, Any]) -> None:
    _, counts = plain
    without, stated = found(counts), found(counts, wavelength_error=1e-3 * WAVELENGTH)
    # sin of half the angle is fixed: the distance goes nearly as 1 / wavelength.
    systematic = math.sqrt(stated.distance_error**2 - without.distance_error**2)
    assert systematic == pytest.approx(1e-3 * without.distance, rel=0.05)
    assert stated.detector == pytest.approx(without.detector)


def test_several_distances_fix_the_wavelength() -> None:
    steps = np.array([0.0, 0.15, 0.3])
    first = detector(2.0)
    stage = np.array([math.sqrt(1 - 5e-4), 0.01, -0.02])  # not quite along the normal
    true = []
    for step in steps:
        distance, poni1, poni2 = first.detector[:3] + step * stage
        true.append(dataclasses.replace(first, distance=distance, poni1=poni1, poni2=poni2))
    images = [image(one, seed) for seed, one in enumerate(true)]
    ours = calibrate_distances(
        images, steps, wavelength=1.003 * WAVELENGTH, pixel_size=PIXEL, refine_wavelength=True
    )
    for one, expected in zip(ours, true, strict=True):
        assert abs(one.wavelength - WAVELENGTH) < 4 * one.wavelength_error < 4e-4 * WAVELENGTH
        assert abs(one.distance - expected.distance) < 4 * one.distance_error
        np.testing.assert_allclose(one.center, expected.center, atol=0.1)
    assert len({(one.rot1, one.rot2, one.wavelength) for one in ours}) == 1


def test_increments_that_are_none_are_refused(plain: tuple[Geometry, Any]) -> None:
    _, counts = plain
    for steps in ([0.0, 0.0], [0.0], [0.0, math.nan]):
        with pytest.raises(CalibrationError, match="increments"):
            calibrate_distances([counts, counts], steps, wavelength=WAVELENGTH, pixel_size=PIXEL)


def test_the_judge_names_the_orientation_that_fits(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    sectors = judge(counts, true)
    assert sectors["deviation"].sizes == {"azimuth": 36, "ring": 8}
    assert sectors.attrs["found"] > 0.95
    assert sectors.attrs["residual_px"] < 0.1
    with pytest.raises(
        CalibrationError, match=r"in orientation 2; in orientation 3 .* how it was calibrated"
    ):
        judge(counts, dataclasses.replace(true, orientation=2))


def test_the_judge_sees_a_geometry_that_is_a_little_off(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    moved = dataclasses.replace(true, poni2=true.poni2 + 1.2 * PIXEL)
    with pytest.raises(CalibrationError, match="in no orientation"):
        judge(counts, moved)
    sectors = judge(counts, moved, limit=None)
    # A shift by s shows as s cos(azimuth): the mean of its absolute value is 2 s / π.
    assert sectors.attrs["residual_px"] == pytest.approx(1.2 * 2 / math.pi, rel=0.05)


def test_a_dataset_says_what_its_pixels_are(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    ds = xr.Dataset(
        {"counts": (("frame", "y", "x"), np.stack([counts, counts]), {"units": "count"})},
        attrs={"y_pixel_size": PIXEL, "x_pixel_size": PIXEL},
    )
    agrees(calibrate(ds, wavelength=WAVELENGTH), true)
    with pytest.raises(CalibrationError, match=r"the file says 0\.0005 m"):
        calibrate(ds, wavelength=WAVELENGTH, pixel_size=172e-6)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda c: c * 0 + 7, {}, "blank"),
        (lambda c: c * np.nan, {}, "no live pixels"),
        (lambda c: np.random.default_rng(0).poisson(50, c.shape), {}, "no rings|lines, not rings|3 rings"),
        (lambda c: c[0], {}, "is no image"),
        (lambda c: c.astype(str), {}, "is no image"),
        (lambda c: c, {"mask": np.zeros((5, 5))}, r"mask: has shape \(5, 5\), the image \(360, 340\)"),
        (lambda c: c, {"mask": np.ones((360, 340))}, "no live pixels"),
        (lambda c: c, {"calibrant": "kryptonite"}, "kryptonite.* is not known.*CeO2"),
        (lambda c: c, {"calibrant": "Au"}, "fits no geometry|fits about as well|3 rings"),
        (lambda c: c, {"wavelength_error": math.nan}, "wavelength_error"),
    ],
)
def test_bad_input_is_named(change: Any, options: Any, said: str, plain: tuple[Geometry, Any]) -> None:
    _, counts = plain
    with pytest.raises(CalibrationError, match=said):
        found(change(counts), **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pixel_size": PIXEL}, "needs the wavelength"),
        ({"wavelength": 0.2413}, "needs the size of a pixel"),
        ({"wavelength": 0.2413, "pixel_size": 200.0}, "it is in m"),
        ({"wavelength": 51000.0, "pixel_size": PIXEL}, "between 0.005 and 50"),
        ({"wavelength": 20.0, "pixel_size": PIXEL}, "has 0 rings"),
    ],
)
def test_what_is_missing_is_named(options: Any, said: str, plain: tuple[Geometry, Any]) -> None:
    with pytest.raises(CalibrationError, match=said):
        calibrate(plain[1], **options)


def test_one_ring_is_no_geometry(plain: tuple[Geometry, Any]) -> None:
    true, counts = plain
    two_theta = np.degrees(true.two_theta())
    # 111 alone: 4.43 deg.
    with pytest.raises(CalibrationError, match="fewer than 3 rings"):
        found(counts, mask=(two_theta < 4.0) | (two_theta > 4.8))
