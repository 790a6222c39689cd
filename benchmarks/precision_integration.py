"""Integration: against pyFAI and GSAS-II, errors of integrating detectors, robust means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import beamline
import xrd
from benchmarks.measures import Array, Measured, Quantity, fit_gaussian, pulls
from calibration.geometry import Geometry, load
from xrd.simulate import pixel_normalization, powder_frames

STEEL = "xrd2d/mar345_steel"
PIXIUM = "xrd2d/pixium_i12"
PANEL = Geometry(0.6, 0.2048, 0.2048, 0.005, -0.003, 0.0, 0.1173, (200e-6, 200e-6), (2048, 2048), 3)
SMALL = Geometry(0.12, 0.011, 0.009, 0.05, -0.08, 0.3, 0.1173, (200e-6, 200e-6), (100, 120), 3)
SMOOTH = ((1.50, 3.00), (4.20, 4.80), (5.625, 5.95), (7.90, 8.20))
"""Ranges of 2θ (deg) without a spot of the steel."""


def pyfai(_: Path) -> Iterator[Measured]:
    """Yield how far intensities and errors are from pyFAI's, in bins of a pixel or more with a count."""
    # So much background that no pixel is empty: pyFAI takes an empty pixel for one of one photon.
    counts = powder_frames(PANEL, background=(100.0, 60.0, 8.0))[0]["counts"].values[0].astype(np.uint16)
    theirs = PANEL.to_pyfai()
    for splitting, name in (("none", "no"), ("bbox", "bbox"), ("full", "full")):
        other = theirs.integrate1d(
            counts,
            3000,
            unit="2th_deg",
            method=(name, "csc", "cython"),
            radial_range=(0.5, 25.0),
            polarization_factor=0.99,
            error_model="poisson",
        )
        width = (other.radial[-1] - other.radial[0]) / 2999
        edges = (float(other.radial[0] - width / 2), float(other.radial[-1] + width / 2))
        ours = xrd.integrate(counts, PANEL, splitting=splitting, two_theta_range=edges).isel(frame=0)  # type: ignore[arg-type]
        inside = (ours["coverage"].values >= 1) & (other.sum_signal > 0)
        inside[:3] = inside[-3:] = False  # pyFAI counts what lies beyond the range into these
        off = (
            np.abs(ours[ours_name].values[inside] / their_values[inside] - 1).max()
            for ours_name, their_values in (("intensity", other.intensity), ("intensity_errors", other.sigma))
        )
        yield Measured(
            f"2048 x 2048, 3000 bins: largest deviation from pyFAI ({name}, csc, cython), "
            "intensity and error",
            " and ".join(f"{value:.1e}" for value in off),
            "6e-08",
            "pyFAI keeps corners and weights in 32 bits",
        )


def steel(data: Path) -> Iterator[Measured]:
    """Yield sums and ring positions of a real frame against GSAS-II's own integration."""
    folder = data / STEEL
    theirs = np.loadtxt(folder / "nx09_strain_011_gsas2.xye")
    image: Any = beamline.read(folder / "nx09_strain_011.mar2300")
    geometry = load(folder / "nx09_strain_011.imctrl", orientation=2, pixel_size=(150e-6, 150e-6))
    pattern = xrd.integrate(image, geometry, bins=2500, two_theta_range=(1.5, 9.0), error_model="azimuthal")
    x, y = pattern["two_theta"].values, pattern["intensity"].values[0]
    ratios = []
    for low, high in SMOOTH:
        inside = (theirs[:, 0] >= low) & (theirs[:, 0] < high) & (theirs[:, 1] > 0)
        ratios.append(y[inside].sum() / theirs[inside, 1].sum())
    off = np.abs(ratios / np.mean(ratios) - 1).max()
    yield Measured(
        "mar345 frame of steel with ceria against GSAS-II: largest deviation of sums over ranges "
        "without spots, up to one factor",
        f"{100 * off:.2f} %",
        "0",
        "nx09_strain_011_gsas2.xye",
    )
    shifts = []
    for start in (2.270, 3.939, 5.577, 6.051, 6.540):
        # GSAS-II gives the lower edge of a bin.
        curves = ((x, y), (theirs[:, 0] + 0.0015, theirs[:, 1]))
        fits = [fit_gaussian(a, b, start, 0.04, 0.01) for a, b in curves]
        ours, other = (np.nan if fit is None else fit[0][1] for fit in fits)
        shifts.append(1e3 * (ours - other))
    yield Measured(
        "the same: largest deviation of five ring positions, bins of 3 mdeg",
        f"{np.abs(shifts).max():.2f} mdeg",
        "0",
        "nx09_strain_011_gsas2.xye",
    )


def pixium(data: Path) -> Iterator[Measured]:
    """Yield the strongest ring of a flat panel in the two geometries two programs made of one image."""
    image: Any = beamline.read(data / PIXIUM / "pixium_03150.tif")
    found = []
    for name, orientation in (("DLS_CeO2_1200mm.poni", 2), ("DLS_CeO2_1200mm_pyFAI.poni", 3)):
        geometry = load(data / PIXIUM / name, orientation)
        pattern = xrd.integrate(
            image, geometry, bins=1000, error_model="azimuthal", two_theta_range=(2.0, 12.0), clip=5.0
        )
        x, y = pattern["two_theta"].values, pattern["intensity"].values[0]
        fit = fit_gaussian(x, y, float(x[np.nanargmax(y)]), 0.15, 0.03)
        found.append(np.nan if fit is None else float(fit[0][1]))
    yield Measured(
        "pixium frame, strongest ring in the geometry of Dioptas and in that of pyFAI",
        f"{found[0]:.4f} and {found[1]:.4f} deg",
        "equal",
        "one set-up",
    )


def panel(_: Path) -> Iterator[Measured]:
    """Yield pulls of an integrating detector: gain, read noise and a dark image."""
    gain, read, darks = 20.0, 30.0, 4
    expected = pixel_normalization(SMALL, 0.99) * 8.0
    models: tuple[tuple[str, dict[str, float]], ...] = (
        ("with gain, read noise and dark image", {"gain": gain, "read_noise": read}),
        ("with the gain alone", {"gain": gain}),
        ("ADU taken for photons", {"gain": 1.0}),
    )
    for name, options in models:
        found = []
        for seed in range(60):
            rng = np.random.default_rng([11, seed])
            frame = gain * rng.poisson(expected) + rng.normal(500.0, read, expected.shape)
            dark = rng.normal(500.0, read, (darks, *expected.shape))
            settled: Any = {"bins": 60, "dark": dark, "two_theta_range": (2.0, 11.0), **options}
            pattern = xrd.integrate(frame.astype(np.float32), SMALL, **settled).isel(frame=0)
            found.append(((pattern["intensity"] - gain * 8.0) / pattern["intensity_errors"]).values)
        yield pulls(f"pulls of a flat panel, 20 ADU per photon, 8 photons per pixel: {name}", found)


def outliers(_: Path) -> Iterator[Measured]:
    """Yield what 2000 zingers and 250 spots do to means, against pyFAI's clip."""
    images, _truth = powder_frames(PANEL, seed=5)
    clean = images["counts"].values[0]
    dirty = _spoilt(clean)
    options: Any = {"bins": 1000, "two_theta_range": (1.0, 20.0)}
    truth = xrd.integrate(clean, PANEL, **options)["intensity"].values[0]
    means: tuple[tuple[str, Any], ...] = (
        ("mean", {}),
        ("clip=5", {"clip": 5.0}),
        ("trim=0.1", {"trim": 0.1}),
    )
    for name, extra in means:
        found = xrd.integrate(dirty, PANEL, **options, **extra)["intensity"].values[0]
        yield _bias(f"2000 zingers and 250 spots, {name}", found, truth)
    theirs = PANEL.to_pyfai().sigma_clip_ng(
        dirty,
        1000,
        unit="2th_deg",
        method=("no", "csr", "cython"),
        radial_range=(1.0, 20.0),
        polarization_factor=0.99,
        error_model="azimuthal",
        max_iter=5,
        thres=5,
    )
    yield _bias("the same, pyFAI sigma_clip_ng (azimuthal, 5 sigma, 5 rounds)", theirs.intensity, truth)


def _spoilt(clean: Array) -> Any:
    rng = np.random.default_rng(1)
    dirty = clean.copy()
    dirty[rng.integers(0, 2048, 2000), rng.integers(0, 2048, 2000)] += 20_000
    y, x = np.mgrid[-6:7, -6:7]
    spot = np.round(20_000 * np.exp(-(x**2 + y**2) / 2 / 1.5**2)).astype(clean.dtype)
    for row, column in rng.integers(6, 2041, (250, 2)):
        dirty[row - 6 : row + 7, column - 6 : column + 7] += spot
    return dirty


def _bias(quantity: str, found: Array, truth: Array) -> Measured:
    off = 100 * (found / truth - 1)[3:-3]
    return Measured(
        f"{quantity}: bias of 1000 bins, mean, 95th percentile and largest",
        f"{off.mean():+.3f}, {np.percentile(np.abs(off), 95):.3f} and {np.abs(off).max():.2f} %",
        "0",
        "the frame without them",
    )


QUANTITIES = {
    "pyfai": Quantity(pyfai),
    "steel": Quantity(steel, real=True),
    "pixium": Quantity(pixium, real=True),
    "panel": Quantity(panel),
    "outliers": Quantity(outliers),
}
