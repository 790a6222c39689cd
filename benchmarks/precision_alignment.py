"""Alignment, monochromator, merging: pulls, limits, and larch and Athena beside."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
import xas
from benchmarks.measures import Measured, Quantity, pulls, rms
from calibration import mono
from calibration.inflections import BELOW, ENDS, first_inflection
from xas import simulate
from xas.doses import change_with_dose
from xas.drifts import model_drift
from xas.normalization import steepest_rise
from xas.shifts import WINDOW

Array = np.ndarray[Any, np.dtype[np.float64]]

DRAWS = 300
D = 3.1356
OXIDES = {"MnO": "MnO", "Mn3O4": "Mn3O4", "Mn2O3": "Mn2O3x", "MnO2": "Pyrolusite"}
"""Oxides and their groups in Mn.prj."""


def shifts(_: Path) -> Iterator[Measured]:
    """Yield shifts of pairs and of a series against the truth."""
    level = 3e-3
    errors, off = [], []
    for seed in range(DRAWS):
        drift = float(np.random.default_rng(1000 + seed).uniform(-6, 6))
        scans = [simulate.scan(2 * seed, level), simulate.scan(2 * seed + 1, level, drift=drift)]
        found = xas.align(scans)
        errors.append(float(found["energy_shift"][1]) - drift)
        off.append(errors[-1] / float(np.hypot(*found["energy_shift_errors"].values)))
    yield pulls(f"pulls of energy shifts, noise of {100 * level:g} % of μ, {DRAWS} pairs of foils", off)
    yield Measured(
        "root mean square error of these shifts",
        f"{1e3 * rms(errors):.2f} meV ± {100 / math.sqrt(2 * DRAWS):.0f} %",
        f"{1e3 * math.sqrt(2) * _shift_limit(level):.2f} meV",
        "Cramér-Rao, the foil's μ being known",
    )
    true = np.random.default_rng(5).uniform(-6, 6, DRAWS + 1)
    true[0] = 0.0
    found = xas.align([simulate.scan(n, level, drift=d) for n, d in enumerate(true)])
    off_series = found["energy_shift"].values[1:] - true[1:]
    scatter = off_series - off_series.mean()  # the error of the first foil is common to all
    yield pulls(
        f"pulls of the shifts of one series of {DRAWS} scans, less their mean",
        scatter / found["energy_shift_errors"].values[1:],
    )


def drifts(_: Path) -> Iterator[Measured]:
    """Yield smooth drifts with jumps."""
    sigma, n, jump = 0.02, 60, 0.5
    t = np.arange(n) / n
    off, sizes, elsewhere, missed, fresh = [], [], 0, 0, 0
    for seed in range(DRAWS):
        noise = np.random.default_rng(seed).normal(0, sigma, n)
        smooth = 0.8 * t - 0.5 * t**2
        calm = model_drift(smooth + noise, np.full(n, sigma))
        off.append((calm.shift - smooth) / calm.errors)
        fresh += len(calm.jumps)
        broken = model_drift(smooth + noise + np.where(np.arange(n) >= 25, jump, 0.0), np.full(n, sigma))
        at = {place: (size - jump) / error for place, size, error in broken.jumps}
        missed += 25 not in at
        sizes += [at.pop(25)] if 25 in at else []
        elsewhere += len(at)
    yield pulls(f"pulls of a modelled drift, {n} scans of {1e3 * sigma:g} meV, {DRAWS} series", off, DRAWS)
    yield pulls(f"pulls of the size of a jump of {jump:g} eV in these", sizes)
    yield Measured(
        "jumps found where there is none, and missed",
        f"{fresh + elsewhere} in {2 * DRAWS} series, {missed} of {DRAWS}",
        "0 and 0",
    )


def monochromator(_: Path) -> Iterator[Measured]:
    """Yield the angle of a monochromator from simulated foils."""
    level, off, errors = 5e-3, [], []
    for seed in range(DRAWS):
        delta = float(np.random.default_rng(9000 + seed).uniform(-0.01, 0.01))
        found = mono.calibrate(_foil(seed, level, delta), "Ni", D, d_error=1e-9)
        errors.append(found.delta_theta - delta)
        off.append(errors[-1] / math.sqrt(found.covariance[0][0]))
    yield pulls(
        f"pulls of the angle Δθ, foil with noise of {100 * level:g} % of its step, {DRAWS} times", off
    )
    yield Measured(
        "root mean square error of Δθ",
        f"{1e3 * rms(errors):.3f} mdeg ± {100 / math.sqrt(2 * DRAWS):.0f} %",
        f"{1e3 * _angle_limit(level):.3f} mdeg",
        f"Cramér-Rao, error function on a line, {BELOW:g} eV below to {ENDS[1]:g} eV above",
    )
    angle = mono.angle_of(np.array([8338.0, 8333.0]), D)
    far = mono.turned(np.array([9300.0]), float(angle[0] - angle[1]), D)[0] - 9300.0
    yield Measured(
        "what 5 eV at 8333 eV are at 9300 eV, Si(111)", f"{far:.2f} eV", "5 eV", "a constant shift"
    )


def foil_jumps(data: Path) -> Iterator[Measured]:
    """Yield first inflections of foils with noise of 1 % of their step, by larch's E0 and a cubic, too."""
    from larch.xafs import find_e0

    trials = 1000
    foils = {
        "Ni, NiO.prj": _reference(data),
        "Ni, ni_metal_rt.xdi": _mu(data / "xas/foils/ni_metal_rt.xdi"),
        "Co, co_metal_rt.xdi": _mu(data / "xas/foils/co_metal_rt.xdi"),
        "Fe, fe.060": _mu(data / "xas/series_FeFoil_miscalibrated/fe.060"),
    }
    for name, (energy, mu) in foils.items():
        clean, error = first_inflection(energy, mu)
        yield Measured(
            f"first inflection of a foil ({name})",
            f"{clean:.2f} ± {error:.2f} eV",
            f"{_steepest_of_cubic(energy, mu, clean):.2f} eV",
            "steepest point of a cubic within 2.5 eV",
        )
        if not name.startswith("Ni"):
            continue
        near = np.abs(energy - clean) < 150
        step = float(np.ptp(mu[near & (np.abs(energy - clean) < 60)]))
        rng = np.random.default_rng(0)
        noisy = [mu + rng.normal(0, 0.01 * step, mu.size) for _ in range(trials)]
        off = np.abs([first_inflection(energy, rows)[0] - clean for rows in noisy])
        larch = np.abs(np.array([find_e0(energy, rows) for rows in noisy]) - find_e0(energy, mu))
        cubic = [_steepest_of_cubic(energy, rows, clean) for rows in noisy]
        yield Measured(
            f"the same with noise of 1 % of the step, {trials} trials",
            f"largest {off.max():.2f} eV off, rms {rms(off):.3f} eV, {int((off > 0.5).sum())} above 0.5 eV",
            f"{100 * (larch > 3).mean():.0f} % above 3 eV; rms {np.std(cubic):.3f} eV",
            "larch's find_e0; the cubic, told where to look",
        )


def _steepest_of_cubic(energy: Array, mu: Array, near: float) -> float:
    """Return the inflection of a cubic fitted within 2.5 eV of it."""
    at = near
    for _ in range(4):
        used = np.abs(energy - at) <= 2.5
        c = np.polynomial.polynomial.polyfit((energy[used] - at) / 2.5, mu[used], 3)
        at = float(np.clip(at + 1.25 * np.clip(-c[2] / (3 * c[3]), -1, 1), near - 2, near + 2))
    return at


def nio(data: Path) -> Iterator[Measured]:
    """Yield the eleven scans of a drifting monochromator: ours, larch's and Athena's shifts."""
    from larch import Group
    from larch.xafs import energy_align, pre_edge

    leaves = [leaf.to_dataset() for leaf in beamline.read(data / "xas/athena/NiO.prj").leaves]
    stored = np.array([float(ds["energy_shift"]) for ds in leaves])
    stored = stored - stored[0]
    scans = [as_measured(ds) for ds in leaves]
    aligned = xas.align(scans)
    ours = aligned["energy_shift"].values - stored
    groups = []
    for ds in scans:
        group = Group(energy=ds["energy"].values.copy(), mu=ds["mu_ref"].values.copy())
        pre_edge(group.energy, group.mu, group=group)
        groups.append(group)
    larch = np.array([0.0, *(float(energy_align(group, groups[0])) for group in groups[1:])]) - stored
    right = [0.0, *(float(energy_align(g, groups[0], array="dmude", emin=15)) for g in groups[1:])] - stored
    yield Measured(
        f"shifts of the {len(scans)} scans of NiO.prj ({np.ptp(stored):.1f} eV) against Athena's",
        f"largest {1e3 * np.abs(ours).max():.0f} meV (about their mean "
        f"{1e3 * np.abs(ours - ours.mean()).max():.0f} meV), rms {1e3 * rms(ours[1:]):.0f} meV",
        f"{1e3 * float(np.median(aligned['energy_shift_errors'])):.1f} meV, the error of a shift",
        "shifts stored in the project",
    )
    yield Measured(
        "the same, larch's energy_align as it is",
        f"largest {np.abs(larch).max():.2f} eV, {int((np.abs(larch) > 3).sum())} of {len(scans)} above 3 eV",
        f"{1e3 * np.abs(right).max():.0f} meV",
        "energy_align with emin=15, in the same run",
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        merged = xas.merge(aligned)
    yield Measured(
        f"what these {len(scans)} scans differ by from their mean, over their noise",
        f"{math.sqrt(float(merged['agreement_chi2'][0])):.0f}",
        "1",
        "white noise alone",
    )


def oxides(data: Path) -> Iterator[Measured]:
    """Yield the edges of manganese oxides in the order of their valence."""
    leaves = {
        leaf.attrs["label"]: leaf.to_dataset() for leaf in beamline.read(data / "xas/athena/Mn.prj").leaves
    }
    found = [xas.edge(xas.normalize(leaves[label])) for label in OXIDES.values()]
    edges = [float(ds["edge_energy"]) for ds in found]
    rising = bool((np.diff(edges) > 0).all())
    steepest = [f"{float(ds['e0']):.2f}" for ds in found]
    told = ", ".join(f"{name} {value:.2f}" for name, value in zip(OXIDES, edges, strict=True))
    yield Measured(
        "half heights of manganese oxides, Mn.prj",
        f"{told} eV: {'in' if rising else 'not in'} the order of valence",
        f"{', '.join(steepest)} eV",
        "the steepest points",
    )


def repeats(_: Path) -> Iterator[Measured]:
    """Yield means of repeats, their agreement, and p-values of a dose that is none."""
    levels = (1e-3, 2e-3, 1e-3, 3e-3)
    truth = simulate.scan(0, 1e-12)["mu"].values
    off, p_values, agreement = [], [], []
    energy = simulate.energy_axis()
    sigma = np.array(levels)[:, None] * np.ones(energy.size)
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        rows = simulate.absorption(energy) + rng.normal(0, sigma)
        p_values.append(change_with_dose(energy, rows, sigma, np.arange(4.0), True).p_value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(100):
            scans = [simulate.scan(1000 * seed + n, level) for n, level in enumerate(levels)]
            merged = xas.merge(xas.align(scans, reference=None))
            off.append(((merged["mu"][0] - truth) / merged["mu_errors"][0]).values)
            agreement.append(float(merged["agreement_chi2"][0]))
    yield pulls("pulls of the mean of four repeats of different noise, 100 series", off, 100)
    yield Measured(
        "χ² of agreement of these", f"{np.mean(agreement):.2f} ± {np.std(agreement) / 10:.2f}", "1"
    )
    shares = ", ".join(f"{100 * np.mean(np.array(p_values) < level):.0f} %" for level in (0.1, 0.5, 0.9))
    yield Measured(
        f"p-values of a change with dose below 0.1, 0.5, 0.9 where there is none, {DRAWS} series",
        shares,
        "10 %, 50 %, 90 %",
        "definition of a p-value",
    )
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        changed = [simulate.absorption(energy, white_line=0.6 - 0.002 * n) for n in range(4)]
        rows = np.array(changed) + rng.normal(0, sigma)
        found.append(change_with_dose(energy, rows, sigma, np.arange(4.0), True).p_value)
    change = "a white line that falls by 0.6 % of the step in all"
    yield Measured(f"p-value of {change}, median of 30", f"{np.median(found):.0e}")


def rebinned(_: Path) -> Iterator[Measured]:
    """Yield a quick scan on the grid of a usual one."""
    rng = np.random.default_rng(1)
    energy = np.arange(8145.0, 9100.0, 0.05)
    energy = energy + rng.uniform(-0.02, 0.02, energy.size)
    off = []
    for seed in range(40):
        out: Any = xas.rebin(simulate.scan(seed, 5e-3, energy=energy), e0=8345.0)
        off.append(((out["mu"] - simulate.absorption(out["energy"].values)) / out["mu_errors"]).values)
    yield pulls(f"pulls of μ of {energy.size} points averaged on {out.sizes['energy']}, 40 scans", off)
    exact: Any = xas.rebin(simulate.scan(0, 1e-12, energy=energy), e0=8345.0)
    blur = np.abs(exact["mu"].values - simulate.absorption(exact["energy"].values)).max() / 0.8
    yield Measured("what its bins blur, largest", f"{1e3 * blur:.1f} ‰ of the step", "0")


def _foil(seed: int, noise: float, delta: float) -> xr.Dataset:
    """Return a foil whose first rise is an error function, as a monochromator off by `delta` deg shows it."""
    from scipy.special import erf

    edge = 8333.0
    true = np.concatenate([np.arange(edge - 150, edge - 20, 5.0), np.arange(edge - 20, edge + 80, 0.25)])
    mu = 0.2 + 0.25 * (2 + erf((true - edge) / 3.0) + erf((true - edge - 13) / 3.5))
    mu = mu + np.random.default_rng(seed).normal(0, noise, true.size)
    ds = _scan(mono.turned(true, -delta, D), mu)
    return ds.assign(mu_errors=("energy", np.full(true.size, noise)))


def _angle_limit(noise: float) -> float:
    """Return the Cramér-Rao limit of Δθ in deg for `_foil`."""
    from scipy.special import erf

    x = np.arange(-BELOW, ENDS[1], 0.25)
    bell = 0.25 * 2 / np.sqrt(np.pi) * np.exp(-((x / 3.0) ** 2)) / 3.0
    design = np.stack([bell, bell * x / 3.0, erf(x / 3.0), np.ones_like(x), x]) / noise
    limit = math.sqrt(np.linalg.inv(design @ design.T)[0, 0])
    angle = math.radians(float(mono.angle_of(np.array([8333.0]), D)[0]))
    return math.degrees(limit * math.tan(angle) / 8333.0)


def _shift_limit(level: float) -> float:
    """Return the Cramér-Rao limit (eV) of the shift of a simulated foil, scale and line not being known."""
    ds = simulate.scan(0, noise=1e-9)
    energy, mu = ds["energy"].values, ds["mu_ref"].values
    e0 = steepest_rise(energy, mu)
    near = (energy > e0 + WINDOW[0]) & (energy < e0 + WINDOW[1])
    design = np.stack([np.gradient(mu, energy), mu, np.ones_like(mu), energy - e0])[:, near] / level
    return math.sqrt(np.linalg.inv(design @ design.T)[0, 0])


def _reference(data: Path) -> tuple[Array, Array]:
    ds = beamline.read(data / "xas/athena/NiO.prj")["NiO_000"].to_dataset()
    return ds["energy"].values, ds["mu_ref"].values


def _mu(path: Path) -> tuple[Array, Array]:
    ds: Any = beamline.read(path)
    return ds["energy"].values, ds["mu"].values


def _scan(energy: Array, mu: Array) -> xr.Dataset:
    return xr.Dataset({"mu": ("energy", mu)}, {"energy": energy}, {"element": "Ni", "edge": "K"})


def as_measured(ds: xr.Dataset) -> xr.Dataset:
    """Take the stored shift off the axis."""
    out = ds.assign_coords(energy=(ds["energy"] - ds["energy_shift"]).values, energy_shift=0.0)
    for name in ("energy", "energy_shift"):
        out[name].attrs = dict(ds[name].attrs)
    return out


QUANTITIES = {
    "align_shifts": Quantity(shifts),
    "align_drifts": Quantity(drifts),
    "align_mono": Quantity(monochromator),
    "align_foils": Quantity(foil_jumps, real=True),
    "align_nio": Quantity(nio, real=True),
    "align_oxides": Quantity(oxides, real=True),
    "align_repeats": Quantity(repeats),
    "align_rebinned": Quantity(rebinned),
}
