"""mRIXS: a real scan, and simulated ones with everything calibrated from each scan itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
import rixs
from benchmarks.measures import Array, Measured, Quantity, fit_gaussian, pulls, rms
from benchmarks.precision_rixs_curvature import bent_lines
from benchmarks.precision_rixs_exposures import exposures, halves
from benchmarks.precision_rixs_repeats import repeats
from benchmarks.precision_rixs_states import states
from calibration import clip, curvature, emission, excitation, gain
from calibration.curvature import Curvature
from calibration.excitation import Shift
from calibration.gain import Gain
from calibration.records import restore
from rixs import simulate
from rixs.cuts import integration_weights
from rixs.normalization import normalize
from rixs.spikes import mask_spikes
from rixs.straightening import straighten

ALS = "rixs/als_bl801_irixs"
SCAN = f"{ALS}/irixs/2024-7-5/CCD Scan 17174"
DETECTOR = Gain(gain=simulate.GAIN, read_noise=4.0)
SCANS = 100
FEATURE_AT = 523.7
"""Emission of the oxidised oxygen, eV."""
BEYOND = 70
"""How far (px) from the elastic lines the axis is looked at."""


def scan17174(data: Path) -> Iterator[Measured]:
    """Yield the calibrations of 48 points over the Co L3 edge, ALS 8.0.1."""
    scan: Any = beamline.read(data / SCAN)
    detector = gain.calibrate(scan)
    yield Measured(
        "scan 17174 (780 eV): gain, read noise, offset",
        f"{detector.gain:.0f} ± {detector.gain_errors:.0f} ADU/photon, {detector.read_noise:.1f} ADU, "
        f"{detector.offset:.1f} ADU",
    )
    hidden = clip.calibrate(scan, detector)
    yield Measured(
        "scan 17174: left of the pedestal before the clip, and its noise",
        f"{hidden.hit:.1f} ± {hidden.hit_errors:.1f} ADU, {hidden.read_noise:.1f} ADU",
    )
    masked = mask_spikes(scan, detector)
    bent = curvature.calibrate(masked, detector)
    yield Measured(
        f"curvature of scan 17174 over {bent.rows} rows",
        f"{np.ptp(bent.shift()):.2f} px, known to {bent.shift_errors().max():.2f} px, "
        f"reduced χ² {bent.chi2_reduced:.2f}",
    )
    spectra = normalize(straighten(masked, Curvature.straight(bent.rows), detector))
    axis = emission.calibrate(spectra)
    positions = ", ".join(f"{value:.2f}" for value in axis.pixels[:5])
    yield Measured(
        f"elastic lines of scan 17174, {axis.energies[0]:.2f} to {axis.energies[4]:.2f} eV, straight sums",
        f"{positions} px, each ± {min(axis.pixel_errors[:5]):.2f} to {max(axis.pixel_errors[:5]):.2f} px",
        "1531.80, 1534.19, 1536.54, 1538.54, 1540.96 px",
        "fitted by hand in the plain column sums",
    )
    limits = [_line_limit(spectra, i, x, detector) for i, x in enumerate(axis.pixels[:5])]
    yield Measured(
        "error of such a position",
        f"{float(np.mean(axis.pixel_errors[:5])):.2f} px (mean)",
        f"{float(np.mean(limits)):.2f} px",
        "Fisher: width / √photons, without background",
    )
    dispersion, error = _slope(axis)
    yield Measured(
        "dispersion of the five lines of scan 17174",
        f"{dispersion:.3f} ± {error:.3f} eV/px",
    )
    straight = normalize(straighten(masked, bent, detector))
    axis = emission.calibrate(straight)
    yield Measured(
        "emission axis of scan 17174, straightened",
        f"{len(axis.energies)} lines up to {axis.energies[-1]:.1f} eV, reduced χ² {axis.chi2_reduced:.2f}",
        "reduced χ² of 1",
        "errors of the positions",
    )
    energies = straight["excitation_energy"].values
    upper = [i for i, value in enumerate(energies) if axis.energies[-1] < value < axis.energies[-1] + 1.5]
    apparent, error = _apparent_dispersion(straight, upper, axis)
    yield Measured(
        f"dispersion of the maxima near that axis in the {len(upper)} spectra of the next 1.5 eV",
        f"{apparent:.2f} ± {error:.2f} eV/px",
        f"{float(axis.dispersion(axis.pixels[-1])):.2f} eV/px",
        "the axis there",
    )
    flux = scan["i0"].values
    yield Measured("relative error of a point of scan 17174 from its flux", f"{np.median(flux**-0.5):.1e}")
    ratios = [float(scan[name][0] / scan[name][1]) for name in ("i0", "tfy", "tey")]
    yield Measured(
        "first point of scan 17174 over the second: I0, TFY, TEY",
        ", ".join(f"{100 * ratio:.0f} %" for ratio in ratios),
    )


def wavelength(data: Path) -> Iterator[Measured]:
    """Yield how far the published energies of the spectrograph's channels are from linear in wavelength."""
    energy = _table(data)
    channel = np.arange(energy.size)
    fit = np.polynomial.Polynomial.fit(channel, 1 / energy, 1)
    yield Measured(
        f"channelsToEnergies++, {energy[0]:.0f} to {energy[-1]:.0f} eV: deviation from linear in wavelength",
        f"up to {np.abs(1 / fit(channel) - energy).max():.3f} eV",
        "0",
        "grating of fixed geometry",
    )


def window(_: Path) -> Iterator[Measured]:
    """Yield areas of the feature in the window, curvature and axis, each from its own scan."""
    instrument = simulate.Spectrograph()
    shift = Shift(value=0.3, error=0.01, reference=531.0, position=530.7)
    energies = simulate.excitation_energies()
    off, errors, claimed, bent, within = [], [], [], [], []
    places: dict[str, list[tuple[float, float]]] = {
        f"at the feature ({FEATURE_AT} eV)": [],
        f"{BEYOND} px beyond its lines": [],
    }
    for seed in range(SCANS):
        scan = simulate.scan(seed=seed, spectrograph=instrument, first_point=0.53, mono_offset=0.3)
        rmap = rixs.reduce(scan, excitation=shift)
        found, expected, error = _areas(rmap, instrument)
        off.append((found - expected) / error)
        errors.append(found / expected - 1)
        claimed.append(error / expected)
        records: Any = {
            name: restore(value) for name, value in json.loads(rmap.attrs["calibrations"]).items()
        }
        lines, axis = records["curvature"], records["emission"]
        wrong = np.array(lines.coefficients) - [instrument.tilt, instrument.bow]
        bent.append(wrong / np.sqrt(np.diag(lines.covariance)))
        at = np.array([_pixel_of(FEATURE_AT, instrument), axis.pixels[0] - BEYOND, np.mean(axis.pixels)])
        miss, sigma = axis.energy(at) - instrument.energy(at), axis.energy_errors(at)
        for index, found_there in enumerate(places.values()):
            found_there.append((miss[index], sigma[index]))
        within.append(1e3 * miss[2])
    yield pulls(f"pulls of the area in the window, {SCANS} simulated scans, all calibrated from each", off)
    flux = 3e7 * np.linspace(1.0, 0.9, energies.size)
    flux[0] *= 0.53
    limit = _counting_limit(energies, flux, instrument)
    yield Measured(
        "relative error of this area",
        f"{100 * rms(errors):.2f} % ± {100 / math.sqrt(2 * SCANS):.0f} % of it, "
        f"claimed {100 * float(np.mean(claimed)):.2f} %",
        f"{100 * limit:.2f} %",
        "counting of the photons in it",
    )
    for index, name in enumerate(("tilt", "bow")):
        yield pulls(f"pulls of the curvature's {name}, the same scans", [each[index] for each in bent])
    for place, found_there in places.items():
        misses, sigmas = 1e3 * np.array(found_there).T
        yield Measured(
            f"emission axis {place}, the same scans",
            f"root mean square {rms(misses):.0f} meV, mean {misses.mean():+.0f} ± "
            f"{misses.std() / math.sqrt(SCANS):.0f} meV",
            f"{rms(sigmas):.0f} meV",
            "error claimed",
        )
        yield pulls(f"pulls of the emission axis {place}", misses / sigmas)
    yield Measured(
        "emission axis in the middle of its lines, a low-loss feature beside the elastic",
        f"mean {np.mean(within):+.1f} ± {np.std(within) / math.sqrt(SCANS):.1f} meV",
        "0",
        "axis put in",
    )

    without = []
    for seed in range(SCANS // 2):
        scan = simulate.scan(0.0, seed, spectrograph=instrument, first_point=0.53, mono_offset=0.3)
        axis = restore(json.loads(rixs.reduce(scan, excitation=shift).attrs["calibrations"])["emission"])
        if isinstance(axis, emission.EmissionAxis):
            without.append(1e3 * (float(axis.energy(_pixel_of(FEATURE_AT, instrument))) - FEATURE_AT))
    yield Measured(
        f"emission axis at {FEATURE_AT} eV, {len(without)} scans without feature and low-loss feature",
        f"mean {np.mean(without):+.0f} ± {np.std(without) / math.sqrt(len(without)):.0f} meV",
        "0",
        "axis put in",
    )


def tio2(_: Path) -> Iterator[Measured]:
    """Yield the shift of the excitation energies from the absorption of TiO2."""
    for counts in (2e3, 2e4, 2e5):
        found = [excitation.calibrate(simulate.tio2(seed, 0.36, counts)) for seed in range(SCANS)]
        miss = np.array([shift.value - 0.36 for shift in found])
        yield Measured(
            f"excitation shift from simulated TiO2, {counts:.0e} counts at the peak",
            f"root mean square pull {rms(miss / np.array([shift.error for shift in found])):.2f}, "
            f"mean off by {1e3 * miss.mean():+.1f} ± {1e3 * miss.std() / math.sqrt(SCANS):.1f} meV",
            "1 and 0",
            "definition of a standard error; shift put in",
        )


def spikes(_: Path) -> Iterator[Measured]:
    """Yield what is left of cosmic rays, and what is lost of the signal."""
    charge, signal, masked, hits = [], [], [], []
    for seed in range(10):
        clean, hit = (
            simulate.scan(seed=seed, spectrograph=simulate.Spectrograph(cosmics=rays)) for rays in (0.0, 3.0)
        )
        charge.append((hit["counts"] - clean["counts"]).values.astype(float))
        signal.append(clean["counts"].values)
        masked.append(mask_spikes(hit, DETECTOR)["counts_mask"].values != 0)
        hits.append(hit)
    rays, light, mask = np.array(charge), np.array(signal), np.array(masked)
    yield Measured(
        "charge of simulated cosmic rays that is not masked, 10 scans",
        f"{100 * rays[~mask].sum() / rays.sum():.2f} %",
        "0",
        "charge put in",
    )
    yield Measured(
        "signal masked with them", f"{100 * light[mask].sum() / light.sum():.2f} %", "0", "signal put in"
    )
    for loss in (1e-6, 1e-5, 1e-4, 1e-3):
        found = [
            mask_spikes(hit.isel(frame=slice(None, None, 4)), DETECTOR, loss)["counts_mask"].values != 0
            for hit in hits[:4]
        ]
        some = np.array(found)
        those, shine = rays[:4, ::4], light[:4, ::4]
        yield Measured(
            f"the same at a loss of {loss:.0e} of the light: left, masked",
            f"{100 * those[~some].sum() / those.sum():.2f} %, {100 * shine[some].sum() / shine.sum():.2f} %",
            "what is left holds no more than photons do",
        )
    stay = rays[~mask & (rays > 0)] / simulate.GAIN
    low, high = np.quantile(stay, (0.5, 0.95))
    yield Measured("hit pixels that stay", f"half below {low:.1f} photons, 95 % below {high:.1f} photons")
    yield from repeats(_)


def single_pixels(_: Path) -> Iterator[Measured]:
    """Yield scatter over error of straightened spectra, one pixel and four together."""
    rng = np.random.default_rng(1)
    zero = ((0.0, 0.0), (0.0, 0.0))
    bent = Curvature(coefficients=(0.8, -0.5), covariance=zero, rows=16)
    for rate in (0.05, 1.0):
        photons = rng.poisson(rate, (400, 16, 40))
        counts = np.rint(photons * DETECTOR.gain + rng.normal(0, 4.0, photons.shape)).astype(int)
        images = xr.Dataset(
            {"counts": (("frame", "y", "x"), counts, {"units": "ADU"})},
            coords={"excitation_energy": ("frame", np.arange(400) + 530.0, {"units": "eV"})},
            attrs={"kind": "images", "background": "subtracted"},
        )
        spectra = straighten(images, bent, DETECTOR).sel(pixel=slice(4, 35))
        for count in (1, 4):
            sums = spectra["intensity"].values.reshape(400, -1, count).sum(axis=2)
            variance = (spectra["intensity_errors"].values ** 2).reshape(400, -1, count).sum(axis=2)
            yield Measured(
                f"scatter over error of sums of {count} straightened pixel{'s' * (count > 1)}, "
                f"{rate:g} photons per detector pixel",
                f"{sums.std() / math.sqrt(variance.mean()):.2f} ± {1 / math.sqrt(2 * sums.size):.2f}",
                "1",
                "definition of a standard error",
            )


def _areas(rmap: xr.Dataset, instrument: simulate.Spectrograph) -> tuple[float, float, float]:
    """Return found and expected area of the feature in the window, and the error of the found one."""
    cut = rixs.window(rmap, *simulate.WINDOW)
    energy, emitted = rmap["excitation_energy"].values, cut["emission_energy"].values
    truth = simulate.true_map(1.0, energy, instrument, emitted)
    expected = integration_weights(energy, *simulate.WINDOW) @ truth
    inside = (emitted >= simulate.FEATURE[0]) & (emitted < simulate.FEATURE[1])
    width = np.where(inside, np.gradient(emitted), 0.0)
    found = float(width @ np.nan_to_num(cut["intensity"].values))
    error = math.sqrt(width**2 @ np.nan_to_num(cut["intensity_errors"].values) ** 2)
    return found, float(width @ expected), error


def _counting_limit(energies: Array, flux: Array, instrument: simulate.Spectrograph) -> float:
    """Return the relative error of the area that the number of photons leaves."""
    edges = np.array(simulate.FEATURE)
    photons = np.array(
        [float(simulate.spectrum(float(e), edges, 1.0, instrument.resolution)[0]) for e in energies]
    )
    weights = integration_weights(energies, *simulate.WINDOW)
    return math.sqrt(weights**2 @ (photons / (flux / 1e6))) / float(weights @ photons)


def _line_limit(spectra: xr.Dataset, frame: int, position: float, detector: Gain) -> float:
    """Return width / √photons (px) of the elastic line near `position`."""
    row = spectra.isel(frame=frame)
    scale = float(row["i0"]) / 1e6
    x, y = row["pixel"].values.astype(float), row["intensity"].values
    fit = fit_gaussian(x, y, position, 6.0, 2.0)
    if fit is None:
        return math.nan
    height, _, sigma, *_rest = fit[0]
    photons = height * abs(sigma) * math.sqrt(2 * math.pi) * scale / detector.gain
    return float(abs(sigma) / math.sqrt(photons))


def _slope(axis: emission.EmissionAxis) -> tuple[float, float]:
    """Return the dispersion of the five lowest lines and its error, eV/px."""
    energy, x, sigma = (np.array(v[:5]) for v in (axis.energies, axis.pixels, axis.pixel_errors))
    t = x - np.average(x, weights=sigma**-2)
    slope = float(np.polyfit(t, energy, 1, w=1 / sigma)[0])
    return slope, abs(slope) / math.sqrt(float(np.sum((t / sigma) ** 2)))


def _apparent_dispersion(
    spectra: xr.Dataset, frames: list[int], axis: emission.EmissionAxis
) -> tuple[float, float]:
    """Return the dispersion (eV/px) and its error of the maxima near where elastic lines are expected."""
    pixel = spectra["pixel"].values.astype(float)
    energies = spectra["excitation_energy"].values[frames]
    found = []
    for frame, energy in zip(frames, energies, strict=True):
        expected = pixel[int(np.argmin(np.abs(axis.energy(pixel) - energy)))]
        fit = fit_gaussian(pixel, spectra["intensity"].values[frame], float(expected), 6.0, 2.0)
        found.append(math.nan if fit is None else float(fit[0][1]))
    good = np.isfinite(found)
    (slope, _), covariance = np.polyfit(energies[good], np.array(found)[good], 1, cov=True)
    return float(1 / slope), float(np.sqrt(covariance[0, 0]) / slope**2)


def _pixel_of(energy: float, instrument: simulate.Spectrograph) -> float:
    """Return the pixel of an energy (eV): the inverse of `Spectrograph.energy`."""
    offset = (1 - instrument.center_energy / energy) * instrument.center_energy / instrument.dispersion
    return (instrument.columns - 1) / 2 + offset


def _table(data: Path) -> Array:
    """Return the energies (eV) of the spectrograph's channels."""
    path = data / ALS / "calibration/channelsToEnergies++.txt"
    rows = [line.split() for line in path.read_text().splitlines()[1:]]
    return np.array([float(row[0]) for row in rows if row])


QUANTITIES = {
    "scan17174": Quantity(scan17174, real=True),
    "wavelength": Quantity(wavelength, real=True),
    "window": Quantity(window),
    "tio2": Quantity(tio2),
    "spikes": Quantity(spikes),
    "single_pixels": Quantity(single_pixels),
    "rixs_states": Quantity(states),
    "bent_lines": Quantity(bent_lines),
    "rixs_exposures": Quantity(exposures, real=True),
    "rixs_halves": Quantity(halves, real=True),
}
