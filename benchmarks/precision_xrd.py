"""Diffraction: positions of rings, errors of bins, what splitting and wide bins do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

import beamline
import xrd
from benchmarks import precision_integration
from benchmarks.measures import Array, Measured, Quantity, fit_gaussian, gaussian, pulls, rms
from calibration.geometry import Geometry, load
from xrd.simulate import CEO2, Profile, pixel_normalization, powder_frames

DIOPTAS = "xrd2d/pilatus1m_dioptas"
IRON = "xrd2d/pilatus1m_bccfe"

DETECTOR = Geometry(0.25, 0.018, 0.021, 0.02, -0.03, 0.1, 0.1173, (200e-6, 200e-6), (160, 180), 3)
"""A small tilted detector; `PIXEL` is its pixel."""
PIXEL = math.degrees(200e-6 / 0.25)
FWHM = 0.15
PROFILE = Profile(W=FWHM**2, X=0.0)
"""Gaussian rings, three pixels wide."""
BACKGROUND = (20.0, 60.0, 8.0)
RINGS = (2, 5)
"""220 and 400 of ceria: no other ring within the fitted range."""


def ceria(data: Path) -> Iterator[Measured]:
    """Yield rings of ceria on a real detector, against the certified cell."""
    image: Any = beamline.read(data / DIOPTAS / "CeO2_Pilatus1M.tif")
    path = data / DIOPTAS / "CeO2_Pilatus1M.poni"
    geometry = dataclasses.replace(load(path, orientation=2), shape=(1043, 981))
    pattern = xrd.integrate(image, geometry, bins=1500).isel(frame=0)
    offsets, errors = _ceria_offsets(pattern, geometry)
    integrator = geometry.to_pyfai()
    counts = image["counts"].values[0]
    result = integrator.integrate1d(
        counts, 1500, unit="2th_deg", method=("no", "csc", "cython"), mask=counts < 0,
        polarization_factor=0.99, error_model="poisson",
    )  # fmt: skip
    theirs = xr.Dataset(
        {"intensity": ("two_theta", result.intensity), "intensity_errors": ("two_theta", result.sigma)},
        {"two_theta": result.radial},
    )
    anchor, _ = _ceria_offsets(theirs, geometry)
    yield Measured(
        f"mean \\|Δ2θ\\| of {len(offsets)} ceria rings, CeO2_Pilatus1M with its .poni, orientation 2",
        f"{np.abs(offsets).mean():.1f} mdeg (mean {offsets.mean():+.1f})",
        f"{np.abs(anchor).mean():.1f} mdeg by pyFAI; counting limit {np.abs(errors).mean():.2f} mdeg",
        "cell of NIST SRM 674b; pyFAI with the same geometry; Poisson errors of the fits",
    )
    wrong = dataclasses.replace(geometry, orientation=3)
    offsets, _ = _ceria_offsets(xrd.integrate(image, wrong, bins=1500).isel(frame=0), wrong)
    yield Measured(
        "the same in orientation 3, of the rings that a Gaussian still fits",
        f"{np.abs(offsets).mean():.0f} mdeg ({len(offsets)} rings)",
    )


def dioptas(data: Path) -> Iterator[Measured]:
    """Yield a pattern made by Dioptas without a mask: what the marked pixels do to it."""
    theirs = np.loadtxt(data / DIOPTAS / "CeO2_Pilatus1M.xy")
    image: Any = beamline.read(data / DIOPTAS / "CeO2_Pilatus1M.tif")
    geometry = dataclasses.replace(
        load(data / DIOPTAS / "CeO2_Pilatus1M.poni", orientation=2), shape=(1043, 981)
    )
    options: dict[str, Any] = {
        "bins": len(theirs),
        "splitting": "bbox",
        "two_theta_range": (0.0, len(theirs) * (theirs[1, 0] - theirs[0, 0])),
    }
    signal = xr.Dataset({"counts": (("y", "x"), image["counts"].values[0], {"units": "ADU"})})
    clear = (theirs[:, 0] > 3) & (theirs[:, 0] < 28) & (theirs[:, 1] > 2)

    def ratio(pattern: xr.Dataset) -> Array:
        return np.asarray((pattern["intensity"].values[0] / theirs[:, 1])[clear])

    marked = ratio(xrd.integrate(signal, geometry, error_model="azimuthal", **options))
    yield Measured(
        "CeO2_Pilatus1M with gaps counted as signal, against Dioptas: largest deviation",
        f"{np.abs(marked - 1).max():.1e} of the intensity",
        "0",
        "CeO2_Pilatus1M.xy of Dioptas",
    )
    without = ratio(xrd.integrate(image, geometry, **options))
    yield Measured(
        "how far Dioptas' pattern without a mask lies below the one without gaps",
        f"up to {100 * (1 - 1 / without.max()):.0f} %",
        "0",
        "CeO2_Pilatus1M.xy of Dioptas",
    )


def iron(data: Path) -> Iterator[Measured]:
    """Yield background of five frames of one sample: differences over their errors."""
    folder = data / IRON
    frames: Any = beamline.read([folder / f"BCC1_2GPa_10s_001_{i:05d}.tif" for i in range(1, 6)])
    geometry = load(folder / "CeO2_cal_Dioptas.poni", orientation=2)
    found = xrd.integrate(frames, geometry, bins=1500, mask=folder / "DiffractionMask_Dioptas.mask")
    quiet = (found["two_theta"] > 5) & (found["two_theta"] < 30) & (found["intensity"].mean("frame") < 12)
    intensity, errors = (found[name].values[:, quiet] for name in ("intensity", "intensity_errors"))
    off = np.diff(intensity, axis=0) / np.hypot(errors[1:], errors[:-1])
    yield pulls("pulls between successive frames, background of five bcc-Fe frames", off, off.size / 1.5)


def bins(_: Path) -> Iterator[Measured]:
    """Yield Poisson pulls of bins, and how splitting correlates neighbours."""
    seeds = 60
    noisy = powder_frames(DETECTOR, cells=[CEO2.cell] * seeds, seed=7)[0]
    exact = powder_frames(DETECTOR, seed=None)[0]
    span = float(np.ptp(np.degrees(DETECTOR.two_theta()))) / PIXEL
    splittings: tuple[Literal["none", "bbox", "full"], ...] = ("none", "bbox", "full")
    for splitting in splittings:
        for width in (1.0, 0.5):
            options: dict[str, Any] = {"bins": round(span / width), "splitting": splitting}
            expected = xrd.integrate(exact, DETECTOR, **options).isel(frame=0)
            found = xrd.integrate(noisy, DETECTOR, **options)
            many = expected["coverage"].values > 20
            off = ((found["intensity"] - expected["intensity"]) / expected["intensity_errors"]).values[
                :, many
            ]
            beside = float(np.mean(off[:, 1:] * off[:, :-1]) / np.mean(off**2))
            if width == 1.0:
                yield pulls(f"Poisson pulls of bins of 1 pixel, splitting {splitting}", off, off.size / 2)
            yield Measured(
                f"correlation of neighbouring bins of {width:g} pixel, splitting {splitting}",
                f"{beside:+.2f} ± {1 / math.sqrt(off.size):.2f}",
                *(("0", "pixels are independent") if splitting == "none" else ()),
            )


def rings(_: Path) -> Iterator[Measured]:
    """Yield positions of fitted rings against the information in the pixels; what wide bins do to them."""
    seeds = 60
    images, truth = powder_frames(
        DETECTOR, cells=[CEO2.cell] * seeds, profile=PROFILE, background=BACKGROUND, seed=3
    )
    patterns = xrd.integrate(images, DETECTOR, bins=1000)
    exact, _truth = powder_frames(DETECTOR, profile=PROFILE, background=BACKGROUND, seed=None)
    noiseless = xrd.integrate(exact, DETECTOR, bins=1000).isel(frame=0)
    off, found, limits = [], [], []
    for ring in RINGS:
        position = float(truth["position"][0, ring])
        limits.append(_ring_limit(position, float(truth["area"][0, ring])))
        fits = [_ring_shift(patterns.isel(frame=frame), position) for frame in range(seeds)]
        shifts, errors = np.array(fits).T - np.array([[_ring_shift(noiseless, position)[0]], [0.0]])
        off += list(shifts / errors)
        found.append(rms(shifts))
    yield pulls("pulls of ring positions about those fitted without noise, bins of 0.2 pixel", off)
    yield Measured(
        f"root mean square scatter of these positions, {seeds} frames, two rings",
        f"{1e3 * found[0]:.2f} and {1e3 * found[1]:.2f} mdeg ± {100 / math.sqrt(2 * seeds):.0f} %",
        f"{1e3 * limits[0]:.2f} and {1e3 * limits[1]:.2f} mdeg",
        "Cramér-Rao, from the pixels",
    )
    span = float(np.ptp(np.degrees(DETECTOR.two_theta())))
    for part in (0.06, 0.25, 0.5):
        found = []
        # Bins that begin elsewhere cut the ring elsewhere.
        for count in range(round(span / (part * FWHM)), round(span / (part * FWHM)) + 8):
            pattern = xrd.integrate(exact, DETECTOR, bins=count).isel(frame=0)
            found += [_ring_shift(pattern, float(truth["position"][0, ring]))[0] for ring in RINGS]
        yield Measured(
            f"shift of rings without noise in bins of {part:g} FWHM ({part * FWHM / PIXEL:.1f} pixels)",
            f"up to {np.abs(found).max() / PIXEL:.3f} pixel, root mean square {rms(found) / PIXEL:.3f}",
            "0",
            "positions put in",
        )


def _ceria_offsets(pattern: xr.Dataset, geometry: Geometry) -> tuple[Array, Array]:
    """Return offsets and errors in mdeg of the separate, not too weak rings of ceria."""
    _, truth = powder_frames(geometry, seed=None)
    position, area = truth["position"].values[0], truth["area"].values[0]
    strong = position[area > 0.01 * area.max()]
    gap = np.minimum(np.diff(strong, prepend=-np.inf), np.diff(strong, append=np.inf))
    x, y, errors = (pattern[name].values for name in ("two_theta", "intensity", "intensity_errors"))
    errors = np.where(errors > 0, errors, np.inf)
    found = []
    for start in strong[(gap > 0.25) & (strong < 28.0)]:
        # Rings are no exact Gaussians: unweighted for the position, weighted for what counting leaves open.
        plain = fit_gaussian(x, y, start, 0.125, 0.025)
        weighted = fit_gaussian(x, y, start, 0.125, 0.025, errors)
        if plain is not None:
            found.append((plain[0][1] - start, np.nan if weighted is None else weighted[1][1]))
    offsets, sigma = 1e3 * np.array(found).T
    return offsets, sigma[np.isfinite(sigma)]


def _ring_shift(pattern: xr.Dataset, position: float, half_width: float = 0.25) -> tuple[float, float]:
    """Return by how much a fitted ring is off, and its error, in deg."""
    x, y, errors = (pattern[name].values for name in ("two_theta", "intensity", "intensity_errors"))
    fit = fit_gaussian(x, y, position, half_width, FWHM / 2.355, errors)
    if fit is None:
        raise RuntimeError(f"the ring at {position:.2f} deg was not fitted")
    return float(fit[0][1]) - position, float(fit[1][1])


def _ring_limit(position: float, area: float) -> float:
    """Return the Cramér-Rao limit (deg) of a position, height, width and background not being known."""
    angles = np.degrees(DETECTOR.two_theta())
    near = np.abs(angles - position) < 0.25
    x, weight = angles[near], pixel_normalization(DETECTOR, 0.99)[near]
    constant, amplitude, decay = BACKGROUND
    base = constant + amplitude * math.exp(-position / decay)
    sigma = FWHM / math.sqrt(8 * math.log(2))
    best = [area / sigma / math.sqrt(2 * math.pi), position, sigma, base, -(base - constant) / decay]
    expected = weight * gaussian(x, *best)
    columns = []
    for index, value in enumerate(best):
        step = 1e-5 * max(abs(value), 1e-2)
        up, down = list(best), list(best)
        up[index], down[index] = value + step, value - step
        columns.append(weight * (gaussian(x, *up) - gaussian(x, *down)) / (2 * step))
    design = np.array(columns)
    return math.sqrt(np.linalg.inv((design / expected) @ design.T)[1, 1])


QUANTITIES = {
    **precision_integration.QUANTITIES,
    "ceria": Quantity(ceria, real=True),
    "dioptas": Quantity(dioptas, real=True),
    "iron": Quantity(iron, real=True),
    "bins": Quantity(bins),
    "rings": Quantity(rings),
}
