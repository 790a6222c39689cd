"""Calibration: two real images of ceria without a guess, simulated panels, gain, and the instrument."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import beamline
from benchmarks.measures import Array, Measured, Quantity, pulls
from calibration import flat_detector, gain, geometry
from calibration.calibrants import find_calibrant
from calibration.frames import frame_of
from calibration.geometry import Geometry
from calibration.ring_refinement import refine
from calibration.ring_search import points
from xrd.simulate import CEO2, Profile, powder_frames

REAL = {
    "dioptas": ("xrd2d/pilatus1m_dioptas", "CeO2_Pilatus1M.tif", "CeO2_Pilatus1M.poni"),
    "bccfe": ("xrd2d/pilatus1m_bccfe", "CeO2_Pil207_E30_2Nov2016_001.tif", "CeO2_cal_Dioptas.poni"),
}
"""Folder, image of ceria, and the geometry published with it (of the image upside down)."""


def real(data: Path) -> Iterator[Measured]:
    """Yield the two real images: no guess, a bad guess, the published geometry, the wrong way round."""
    for name, (folder, image_name, poni) in REAL.items():
        image: Any = beamline.read(data / folder / image_name)
        published = geometry.load(data / folder / poni, orientation=2)
        published = dataclasses.replace(published, shape=image["counts"].shape[-2:])
        begin = time.process_time()
        ours = geometry.calibrate(image, wavelength=published.wavelength, orientation=2)
        seconds = time.process_time() - begin
        theirs = geometry.judge(image, published, "CeO2").attrs
        assert ours.residual_mdeg is not None  # noqa: S101 - calibrate sets it
        yield Measured(
            f"{name}: mean \\|Δ2θ\\| of ceria in 36 sectors, no guess",
            f"{ours.residual_mdeg:.3f} mdeg",
            f"{theirs['residual_mdeg']:.2f} mdeg, the geometry published with the image",
            "the same judge; spacings of NIST SRM 674b",
        )
        x, y = np.subtract(ours.center, published.center)
        direct = ours.to_fit2d()["directDist"] - published.to_fit2d()["directDist"]
        yield Measured(
            f"{name}: distance, centre, tilt against the published",
            f"{direct:+.3f} mm, {x:+.3f} and {y:+.3f} px, {ours.tilt - published.tilt:+.3f}°",
            f"errors {1e3 * ours.distance_error:.3f} mm, {ours.center_errors[0]:.3f} and "
            f"{ours.center_errors[1]:.3f} px, {ours.tilt_error:.3f}°",
            "direct distance; our covariance",
        )
        yield Measured(
            f"{name}: confidence; time of the processor", f"{ours.confidence:.2f}; {seconds:.1f} s"
        )
        bad = dataclasses.replace(
            published,
            distance=1.05 * published.distance,
            poni1=published.poni1 + 20 * published.pixel_size[0],
            poni2=published.poni2 + 20 * published.pixel_size[1],
            rot1=0.0,
            rot2=0.0,
        )
        again = geometry.calibrate(image, wavelength=published.wavelength, orientation=2, guess=bad)
        yield Measured(
            f"{name}: the same from a guess 5 % and 20 px off",
            f"differs by {1e3 * abs(again.distance - ours.distance):.1e} mm, "
            f"{np.abs(np.subtract(again.center, ours.center)).max():.1e} px",
            "pyFAI ends in a tilt of 10 to 15°",
            "extract_cp and refine3, staged",
        )
        wrong = geometry.judge(image, dataclasses.replace(published, orientation=3), "CeO2", limit=None).attrs
        yield Measured(
            f"{name}: the published geometry the wrong way round",
            f"{wrong['residual_mdeg']:.0f} mdeg, {wrong['found']:.0%} of the sectors with their ring",
            f"{theirs['residual_mdeg']:.1f} mdeg, {theirs['found']:.0%} the right way",
        )


PANEL = Geometry(0.45, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2413, (500e-6, 500e-6), (512, 512), 3, "CeO2")
"""A panel of 256 mm with pixels as large as a quick simulation wants; `_placed` puts it somewhere."""


def _placed(base: Geometry, center: tuple[float, float], tilt: float, direction: float) -> Geometry:
    """Return a detector met by the beam at `center` (x, y in px), tilted (deg) towards `direction` (rad)."""
    sine = math.sin(math.radians(tilt))
    rot1 = math.asin(sine * math.cos(direction))
    rot2 = math.asin(sine * math.sin(direction) / math.cos(rot1))
    y, x = center[1] * base.pixel_size[0], center[0] * base.pixel_size[1]
    values = flat_detector.from_center(base.distance, y, x, rot1, rot2)
    distance, poni1, poni2 = map(float, values[:3])
    return dataclasses.replace(base, distance=distance, poni1=poni1, poni2=poni2, rot1=rot1, rot2=rot2)


def _image(true: Geometry, seed: int, counts: float, fwhm: float) -> Any:
    """Return photons of ceria: rings `fwhm` pixels wide, `counts` at the top of the strongest."""
    width = fwhm * math.degrees(true.pixel_size[0] / true.distance)
    images, _ = powder_frames(
        true,
        CEO2,
        profile=Profile(W=width**2, X=0.2 * width),
        counts=counts,
        background=(0.02 * counts + 2, 0.06 * counts, 8.0),
        seed=seed,
    )
    return images["counts"].values[0]


def panel(data: Path, draws: int = 50) -> Iterator[Measured]:
    """Yield the pulls of distance, centre and tilt of a simulated panel, and the limit of any method."""
    true = _placed(PANEL, (250.0, 270.0), 3.0, 0.6)
    off, errors = [], []
    for seed in range(draws):
        ours = geometry.calibrate(_image(true, seed, 300.0, 2.0), wavelength=0.2413, pixel_size=500e-6)
        off.append(
            [ours.distance - true.distance, *np.subtract(ours.center, true.center), ours.tilt - true.tilt]
        )
        errors.append([ours.distance_error, *ours.center_errors, ours.tilt_error])
    found, stated = np.array(off), np.array(errors)
    names = ("distance", "centre x", "centre y", "tilt")
    for name, column in zip(names, (found / stated).T, strict=True):
        yield pulls(f"pulls of the {name}, {draws} simulated panels of 512 x 512, tilted by 3°", column)
    limits = _cramer_rao(true, 300.0, 2.0)
    units = ((1e6, "um"), (1.0, "px"), (1.0, "px"), (1.0, "°"))
    for name, column, limit, (factor, unit) in zip(names, found.T, limits, units, strict=True):
        yield Measured(
            f"standard deviation of the {name}",
            f"{factor * column.std():.3g} {unit}",
            f"{factor * limit:.3g} {unit}",
            "Cramér-Rao bound: every photon of every ring, shape and height of all rings known",
        )


def _cramer_rao(true: Geometry, counts: float, fwhm: float) -> Array:
    """Return the least standard deviations of distance (m), centre (px) and tilt (deg) from the photons.

    Of Poisson counts with the expectation m(p), the information on p is the sum over pixels of
    (∂m/∂p)(∂m/∂p)ᵀ / m. Here the expectation is the simulator's own, differentiated by differences.
    """

    def expected(values: Array) -> Array:
        distance, poni1, poni2, rot1, rot2 = map(float, values)
        moved = dataclasses.replace(true, distance=distance, poni1=poni1, poni2=poni2, rot1=rot1, rot2=rot2)
        width = fwhm * math.degrees(true.pixel_size[0] / true.distance)
        images, _ = powder_frames(
            moved,
            CEO2,
            profile=Profile(W=width**2, X=0.2 * width),
            counts=counts,
            background=(0.02 * counts + 2, 0.06 * counts, 8.0),
            seed=None,
        )
        return np.asarray(images["counts"].values[0], dtype=float).ravel()

    steps = np.array([1e-5, 1e-5, 1e-5, 1e-4, 1e-4])
    slopes = flat_detector.slopes(expected, true.detector, steps)
    information = slopes.T @ (slopes / expected(true.detector)[:, None])
    distance, y, x, tilt = flat_detector.spread(true.detector, np.linalg.inv(information).tolist())
    return np.array([distance, x / true.pixel_size[1], y / true.pixel_size[0], math.degrees(tilt)])


def setups(data: Path, count: int = 200) -> Iterator[Measured]:
    """Yield how many of random set-ups are found, refused, and wrong."""
    kinds: dict[str, list[str]] = {}
    for seed in range(count):
        true, counts, fwhm, kind = _setup(seed)
        try:
            ours = geometry.calibrate(
                _image(true, seed, counts, fwhm), wavelength=true.wavelength, pixel_size=true.pixel_size
            )
        except beamline.errors.CalibrationError:
            kinds.setdefault(kind, []).append("refused")
            continue
        off = abs(ours.distance / true.distance - 1)
        shift = math.hypot(*np.subtract(ours.center, true.center))
        kinds.setdefault(kind, []).append("right" if off < 0.01 and shift < 3 else "wrong")
    every = [end for ends in kinds.values() for end in ends]
    yield Measured(
        f"wrong geometries accepted (off by 1 % or 3 px), {count} random set-ups of 700 x 700 pixels",
        f"{every.count('wrong')}",
        "0",
        "truth of the simulation",
    )
    for kind, ends in sorted(kinds.items()):
        yield Measured(
            f"set-ups found, beam {kind}", f"{ends.count('right')} of {len(ends)}, the others refused"
        )


def _setup(seed: int) -> tuple[Geometry, float, float, str]:
    """Return a detector, photons at the top of the strongest ring, FWHM in px, and where the beam is.

    A panel of 410 mm whose middle is at 2θ of 8 to 26°, scaled with the wavelength (0.1173 to 0.6 angstrom);
    half of the detectors are tilted by up to 20°, the others by up to 2°; 100 to 10 000 photons.
    """
    rng = np.random.default_rng(seed)
    wavelength = float(rng.choice([0.1173, 0.18, 0.2413, 0.4066, 0.6]))
    size, pixels = 0.4096, 700
    half = min(math.radians(rng.uniform(8, 26)) * math.sqrt(wavelength / 0.25), math.radians(50))
    tilt = float(rng.uniform(0, 20) if rng.random() < 0.5 else rng.uniform(0, 2))
    direction = float(rng.uniform(0, 2 * math.pi))
    kind = str(rng.choice(["near the middle", "near a corner", "off the detector"]))
    low, high = {
        "near the middle": ((0.35, 0.35), (0.65, 0.65)),
        "near a corner": ((-0.02, -0.02), (0.25, 0.25)),
        "off the detector": ((-0.5, 0.2), (-0.05, 0.8)),
    }[kind]
    x, y = rng.uniform(low, high)
    base = Geometry(
        size / 2 / math.tan(half), 0.0, 0.0, 0.0, 0.0, 0.0, wavelength, (size / pixels,) * 2, (pixels, pixels)
    )
    true = _placed(base, (x * pixels, y * pixels), tilt, direction)
    return true, float(10 ** rng.uniform(2, 4)), float(rng.uniform(1.5, 3.0)), kind


def sharpness(data: Path) -> Iterator[Measured]:
    """Yield what a point on a ring is worth: its error against the limit of counting."""
    true = _placed(PANEL, (250.0, 270.0), 3.0, 0.6)
    angles = np.array(find_calibrant("CeO2", 0.2413).two_theta(0.2413))
    off, own = [], []
    for seed in range(8):
        frame = frame_of(_image(true, seed, 300.0, 2.0), 500e-6)
        cells, rings = points(frame, true.detector, angles, 2.0, 5.0)
        assert refine(true.detector, cells, rings, frame.pixel) is not None  # noqa: S101
        off.append(cells.center - rings[cells.ring])
        own.append(cells.error)
    yield pulls(
        "pulls of the points on rings of 8 simulated panels", np.concatenate(off) / np.concatenate(own)
    )


def photon_transfer(data: Path, draws: int = 8) -> Iterator[Measured]:
    """Yield the gain of simulated flat panels whose light spreads and whose charge lags."""
    from scipy.ndimage import gaussian_filter

    for spread, lag in ((0.0, 0.0), (0.8, 0.0), (1.0, 0.0), (0.8, 0.1)):
        found, alone, errors = [], [], []
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            y, x = np.mgrid[:400, :400]
            photons = 100 + 800 * np.exp(-0.5 * ((np.hypot(y - 200, x - 160) % 60 - 30) / 6) ** 2)
            frames, carried = [], np.zeros_like(photons)
            for _ in range(18):
                light = rng.poisson(photons * rng.uniform(0.98, 1.02)).astype(float)
                charge = 20.0 * (gaussian_filter(light, spread, mode="wrap") if spread else light)
                frames.append(np.round((1 - lag) * charge + carried + rng.normal(0, 30, photons.shape) + 300))
                carried = lag * charge
            dark = np.round(rng.normal(300, 30, (4, *photons.shape)))
            one = gain.photon_transfer(np.array(frames[2:]), dark, lag=1 if lag else 0)
            found.append(one.gain)
            errors.append(one.gain_errors)
            alone.append(gain.photon_transfer(np.array(frames[2:]), dark, reach=0).gain)
        yield Measured(
            f"gain, light spread by {spread:g} px, {lag:.0%} of the charge one frame late",
            f"{np.mean(found):.2f} ± {np.std(found) / math.sqrt(draws):.2f} ADU per photon "
            f"(stated error of one {np.mean(errors):.2f}, scatter {np.std(found):.2f})",
            f"20; from the variance of single pixels {np.mean(alone):.2f}",
            f"truth of the simulation, {draws} sets of 16 frames of 400 x 400",
        )


QUANTITIES = {
    "calibration": Quantity(real, real=True),
    "geometries": Quantity(panel),
    "setups": Quantity(setups),
    "ring_points": Quantity(sharpness),
    "photon_transfer": Quantity(photon_transfer),
}
