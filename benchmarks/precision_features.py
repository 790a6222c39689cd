"""mRIXS features: areas above several backgrounds, states compared, yields, and files beside ALS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import beamline
import rixs
from beamline.errors import SchemaError
from benchmarks.measures import Measured, Quantity, pulls
from benchmarks.precision_rixs import ALS, SCAN
from calibration.curvature import Curvature
from calibration.emission import EmissionAxis
from calibration.gain import Gain
from rixs import simulate
from rixs.bands import Region
from rixs.features import EMISSION, WINDOW, measure_low_loss, measure_oxidised_oxygen
from rixs.replicates import means
from rixs.simulated_features import BROADENED, CHARGED, PRISTINE, map_of, true_area, true_low_loss

SEEDS = 200
STATES = {"pristine": PRISTINE, "charged": CHARGED, "broadened bands without feature": BROADENED}
ADRESS = "rixs/sls_adress"


def features(_: Path) -> Iterator[Measured]:
    """Yield how the area of the feature is found, above each background model and above none."""
    unit = true_area(CHARGED)
    for name, state in STATES.items():
        truth = true_area(state)
        found, plain = [], []
        for seed in range(SEEDS):
            rmap, reference = map_of(state, seed), map_of(PRISTINE, 100_000 + seed)
            found.append(measure_oxidised_oxygen(rmap, [reference]))
            regions = [Region.of(part, WINDOW, EMISSION) for part in (rmap, reference)]
            plain.append(float(regions[0].bins @ (regions[0].cut - regions[1].cut)))
        yield _bias(f"{name}, {SEEDS} maps: pristine spectrum subtracted", np.array(plain), truth, unit)
        for i, model in enumerate(found[0].models):
            values = np.array([areas.values[i] for areas in found])
            errors = np.sqrt([areas.covariance[i, i] for areas in found])
            yield _bias(f"{name}: background {model}", values, truth, unit)
            yield pulls(f"{name}: background {model}, pulls on counting errors", (values - truth) / errors)
            yield _scatter(f"{name}: background {model}", values, errors, unit)
        values = np.array([areas.mean for areas in found])
        yield _bias(f"{name}: mean of the models", values, truth, unit)
        total = np.array([areas.total for areas in found])
        yield pulls(f"{name}: mean of the models, pulls on all errors", (values - truth) / total)
        spread = [areas.between_models for areas in found]
        yield Measured(
            f"{name}: error from the choice of the background",
            f"{100 * np.mean(spread) / unit:.1f} % of the charged feature (mean)",
            f"{100 * _counting_limit(state) / unit:.1f} %",
            "photon noise of the window under and on the feature, nothing fitted",
        )


def low_loss(_: Path) -> Iterator[Measured]:
    """Yield how the low-loss partner is found, as one band and as a progression of lines."""
    unit = true_low_loss(CHARGED)
    states = {**STATES, "charged, progression of 0.192 eV": replace(CHARGED, vibration=0.192)}
    for name, state in states.items():
        truth = true_low_loss(state)
        found = [measure_low_loss(map_of(state, seed), ()) for seed in range(SEEDS)]
        values = np.array([areas.mean for areas in found])
        yield _bias(f"low loss, {name}", values, truth, unit)
        total = np.array([areas.total for areas in found])
        yield pulls(f"low loss, {name}, pulls on all errors", (values - truth) / total)


def feature_chain(_: Path) -> Iterator[Measured]:
    """Yield the area of the feature in simulated images, everything calibrated from each scan."""
    instrument = simulate.Spectrograph()
    energies = simulate.excitation_energies(step=0.2)
    truth = true_area(replace(PRISTINE, oxidised=1.0), energies, instrument)
    values, errors = [], []
    scans = 60
    for seed in range(scans):
        scan = simulate.scan(1.0, seed, energies, instrument)
        areas = measure_oxidised_oxygen(rixs.reduce(scan), ())
        values.append(areas.values)
        errors.append([*np.sqrt(np.diag(areas.covariance)), areas.mean, areas.total])
    found, sigma = np.array(values), np.array(errors)
    for i, model in enumerate(("local", "fit")):
        yield _bias(f"{scans} simulated scans, images to feature, {model}", found[:, i], truth, truth)
        yield pulls(f"the same, {model}, pulls on counting errors", (found[:, i] - truth) / sigma[:, i])
    yield pulls("the same, mean of both, pulls on all errors", (sigma[:, 2] - truth) / sigma[:, 3])


def replicates(_: Path) -> Iterator[Measured]:
    """Yield how often error bars of means over fresh samples hold the truth."""
    rng = np.random.default_rng(8)
    draws = 4000
    for samples in ((1, 2), (2, 2), (3,), (1, 2, 3), (3, 3)):
        texts = []
        for scatter in (0.0, 1.0, 3.0):
            inside = 0
            for _draw in range(draws):
                values = [rng.normal(0, math.hypot(1, scatter), n) for n in samples]
                found, _tau = means(values, [np.ones(n) for n in samples])
                inside += sum(abs(mean.value) < mean.error() for mean in found)
            texts.append(f"{100 * inside / draws / len(samples):.0f} %")
        yield Measured(
            f"states of {', '.join(map(str, samples))} samples: truth within the error bar; "
            "samples scatter by 0, 1, 3 counting errors",
            ", ".join(texts),
            "68 %",
            "definition of a standard error",
        )


def comparison(_: Path) -> Iterator[Measured]:
    """Yield how often `rixs.compare` holds the true change, with samples whose light scatters by 5 %."""
    truth = true_area(CHARGED)
    for samples in (1, 2, 3):
        rng = np.random.default_rng(samples)
        inside, found, draws = 0, [], 100
        for draw in range(draws):
            maps = {
                state: [
                    map_of(what, 20 * draw + 10 * place + n, scale=float(rng.normal(1, 0.05)))
                    for n in range(samples)
                ]
                for place, (state, what) in enumerate({"pristine": PRISTINE, "4.8 V": CHARGED}.items())
            }
            table = rixs.compare(maps)
            change, error = (float(table[name][1]) for name in ("change", "change_errors"))
            inside += abs(change - truth) < error
            found.append((change / truth, error / truth))
        change_of, error_of = np.array(found).T
        yield Measured(
            f"compare, {samples} fresh sample{'s' * (samples > 1)} per state, light ± 5 %: "
            f"true change within the error bar ({draws} draws)",
            f"{100 * inside / draws:.0f} ± {100 * math.sqrt(0.68 * 0.32 / draws):.0f} %; "
            f"bias {100 * (change_of.mean() - 1):+.1f} %, scatter {100 * change_of.std():.1f} %, "
            f"claimed {100 * np.median(error_of):.1f} %",
            "68 %",
            "definition of a standard error"
            + (" (one sample: what it does not know is not in it)" if samples == 1 else ""),
        )


def inverse_pfy(data: Path) -> Iterator[Measured]:
    """Yield the inverse PFY of O Kα across the Co L edge, beside electron and fluorescence yields."""
    axis = _published_axis(data)
    line, beside = (515.0, 530.0), (490.0, 508.0)
    scan: Any = beamline.read(data / SCAN)
    rmap = rixs.reduce(scan, emission=axis)
    pfy = rixs.emission_window(rmap, *line, background=beside)
    value, error = pfy["intensity"].values, pfy["intensity_errors"].values
    weights = error**-2.0
    total, sigma = (weights @ value) / weights.sum(), weights.sum() ** -0.5
    try:
        rixs.inverse_pfy(rmap, *line, background=beside)
        refusal = "not refused"
    except SchemaError as refused:
        refusal = f"refused: {refused.problem}"
    yield Measured(
        f"scan 17174, O Kα ({line[0]:g} to {line[1]:g} eV) in the mean of its {value.size} points",
        f"{total:.1f} ± {sigma:.1f} ADU per 10⁶ I0 ({total / sigma:.1f} σ); points above 5 σ: "
        f"{int((value > 5 * error).sum())}",
        "5 σ per point to invert",
        refusal,
    )
    tey, tfy = (rixs.counter_yield(rmap, name)["intensity"].values for name in ("tey", "tfy"))
    yield Measured(
        "scan 17174: correlation of its TEY and TFY over the edge",
        f"{np.corrcoef(tey, tfy)[0, 1]:.3f}",
        "1",
        "both follow the absorption",
    )
    other: Any = beamline.read(data / f"{ALS}/irixs/2024-3-28/CCD Scan 16497")
    # Its three images are crowded; the gain is that of scan 17174 (156 ADU at 780 eV), scaled to 525 eV.
    detector = Gain(gain=105.0, read_noise=2.7, offset=1.0)
    straight = Curvature.straight(other.sizes["y"])
    rmap = rixs.reduce(other, emission=axis, curvature=straight, gain=detector)
    inverse = rixs.inverse_pfy(rmap, *line, background=beside)
    value, error = inverse["intensity"].values, inverse["intensity_errors"].values
    ratio = value[1] / value[2]
    sigma = ratio * math.hypot(error[1] / value[1], error[2] / value[2])
    yields = [rixs.counter_yield(rmap, name)["intensity"].values for name in ("tey", "tfy")]
    energy = rmap["excitation_energy"].values
    yield Measured(
        f"scan 16497: inverse PFY of O Kα at {energy[1]:.2f} over {energy[2]:.2f} eV (Co L3 and above)",
        f"{ratio:.2f} ± {sigma:.2f}",
        ", ".join(f"{y[1] / y[2]:.2f}" for y in yields),
        "TEY, TFY of the same points, whose background is not that of Co",
    )


def adress(data: Path) -> Iterator[Measured]:
    """Yield what the files of SLS ADRESS say of themselves."""
    image: Any = beamline.read(data / ADRESS / "LSCO_0040.TIF")
    yield Measured(
        "ADRESS image LSCO_0040: excitation energy, exposure, ring current",
        f"{float(image.excitation_energy[0]):.3f} eV, {float(image.exposure[0]):.1f} s, "
        f"{float(image.beam_current[0]):.1f} mA",
        "929.831 eV, 300.4 s, 400.8 mA",
        "the text behind the image",
    )
    events: Any = beamline.read(data / ADRESS / "Co_0613_d1.h5")
    made = events.attrs["spectrum"]
    yield Measured(
        "ADRESS events Co_0613_d1: events, images, ADU per photon, excitation energy",
        f"{events.attrs['events']}, {events.attrs['images']}, {events.attrs['CountPerPhoton']:.2f}, "
        f"{float(events.excitation_energy[0]):.3f} eV",
        f"{float(events.intensity.sum()):.0f} events in the spectrum",
        made,
    )
    yield Measured("its flux monitor", events.attrs["i0_missing"])


def _bias(quantity: str, values: Any, truth: float, unit: float) -> Measured:
    off = (np.asarray(values) - truth) / unit
    return Measured(
        f"{quantity}: bias",
        f"{100 * off.mean():+.1f} ± {100 * off.std() / math.sqrt(off.size):.1f} % of the charged feature",
        "0",
        "truth of the simulation",
    )


def _scatter(quantity: str, values: Any, errors: Any, unit: float) -> Measured:
    return Measured(
        f"{quantity}: scatter",
        f"{100 * np.std(values) / unit:.1f} %, "
        f"claimed {100 * math.sqrt(np.mean(np.square(errors))) / unit:.1f} %",
    )


def _counting_limit(state: Any) -> float:
    """Return the counting error of the window's area, if the background were known."""
    region = Region.of(map_of(state, 0), WINDOW, EMISSION)
    return float(np.sqrt(region.bins**2 @ region.variance))


def _published_axis(data: Path) -> EmissionAxis:
    """Return the published table of the spectrograph's channels around O Kα as an axis."""
    from benchmarks.precision_rixs import _table

    energy = _table(data)
    channel = np.arange(energy.size, dtype=float)
    near = (energy > 480) & (energy < 800)
    center = float(channel[near].mean())
    fit = np.polynomial.Polynomial.fit(channel[near] - center, energy[near], 2).convert().coef
    first, second, third = map(float, fit)
    # The table states no errors; it is smooth within 0.02 eV.
    covariance = ((4e-4, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    return EmissionAxis((first, second, third), covariance, center)


QUANTITIES = {
    "features": Quantity(features),
    "low_loss": Quantity(low_loss),
    "feature_chain": Quantity(feature_chain),
    "replicates": Quantity(replicates),
    "comparison": Quantity(comparison),
    "inverse_pfy": Quantity(inverse_pfy, real=True),
    "adress": Quantity(adress, real=True),
}
