"""Absorption: pulls of every number, oxides, the shells of NiO, and larch and Athena beside."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
import xas
from beamline.errors import FitError
from benchmarks.measures import Measured, Quantity, pulls, rms
from xas import simulate
from xas.normalization import steepest_rise
from xas.shells import shells

E0 = 8346.0
SCANS = 150
OXIDES = (("MnO", "MnO_rt_01.xdi"), ("Mn2O3", "Mn2O3_rt_01.xdi"), ("MnO2", "MnO2_rt_01.xdi"))


def noise(_: Path) -> Iterator[Measured]:
    """Yield pulls against the scan without noise: the algorithm's answer, which noise scatters around."""
    truth = xas.edge(xas.normalize(simulate.scan(0, noise=1e-9), e0=E0))
    exact = xas.exafs(truth)
    for level in (2e-4, 4e-3):
        step, norm, edge, chi = [], [], [], []
        for seed in range(SCANS):
            found = xas.edge(xas.normalize(simulate.scan(seed, noise=level), e0=E0))
            step.append(float((found["edge_step"] - truth["edge_step"]) / found["edge_step_errors"]))
            norm.append(((found["norm"] - truth["norm"]) / found["norm_errors"]).values)
            edge.append(float((found["edge_energy"] - truth["edge_energy"]) / found["edge_energy_errors"]))
            wave = xas.exafs(found)
            chi.append(((wave["chi"] - exact["chi"]) / wave["chi_errors"]).values)
        at = f"white noise of {100 * level:g} % of μ, {SCANS} scans"
        yield pulls(f"pulls of the edge step, {at}", step)
        yield pulls(f"pulls of the half height, {at}", edge)
        # Points of a scan share the noise of the step: scans are counted, not points.
        yield pulls(f"pulls of norm, {at}", norm, SCANS)
        yield pulls(f"pulls of χ(k), {at}", chi, SCANS)


def shifts(_: Path) -> Iterator[Measured]:
    """Yield shifts found on a foil."""
    level = 3e-3
    off, errors = [], []
    for seed in range(SCANS):
        drift = float(np.random.default_rng(1000 + seed).uniform(-6, 6))
        scans = [simulate.scan(2 * seed, level), simulate.scan(2 * seed + 1, level, drift=drift)]
        found = xas.align(scans)
        errors.append(float(found["energy_shift"][1]) - drift)
        off.append(errors[-1] / float(np.hypot(*found["energy_shift_errors"].values)))
    yield pulls(f"pulls of energy shifts, white noise of {100 * level:g} % of μ, {SCANS} pairs", off)
    yield Measured(
        "root mean square error of these shifts",
        f"{1e3 * rms(errors):.1f} meV ± {100 / math.sqrt(2 * SCANS):.0f} %",
        f"{1e3 * _shift_limit(level):.1f} meV",
        "Cramér-Rao, the foil's μ being known",
    )


def oxides(data: Path) -> Iterator[Measured]:
    """Yield half heights of oxides of known valence, and what the steepest point says instead."""
    ds = beamline.read(data / "xas/athena/NiO.prj")["NiO_000"].to_dataset()
    energy, foil = ds["energy"].values, ds["mu_ref"].values
    usual, rng = steepest_rise(energy, foil), np.random.default_rng(0)
    level = 0.01 * float(xas.normalize(ds.assign(mu=ds["mu_ref"]))["edge_step"])
    noisy = [steepest_rise(energy, foil + rng.normal(0, level, foil.size)) for _ in range(SCANS)]
    jumps = np.abs(np.array(noisy) - usual)
    far = jumps > 6
    yield Measured(
        f"steepest point of the nickel foil of NiO.prj with noise of 1 % of its step added, {SCANS} times",
        f"{100 * far.mean():.0f} % more than 6 eV off"
        + (f", by {np.median(jumps[far]):.0f} eV" if far.any() else ""),
        "0",
        "the foil without added noise",
    )
    first: list[Any] = [beamline.read(data / "xas/oxides" / name) for _, name in OXIDES]
    e0 = [float(xas.normalize(ds)["e0"]) for ds in first]
    yield Measured(
        "steepest points of MnO, Mn2O3 and MnO2", ", ".join(f"{value:.2f}" for value in e0) + " eV"
    )
    for formula, name in OXIDES:
        repeats: list[Any] = [
            beamline.read(data / "xas/oxides" / name.replace("01", f"0{number}")) for number in (1, 2, 3)
        ]
        scans = [xas.edge(xas.normalize(ds)) for ds in repeats]
        found = [float(ds["edge_energy"]) for ds in scans]
        yield Measured(
            f"half height of {formula}, first scan",
            f"{found[0]:.2f} ± {float(scans[0]['edge_energy_errors']):.2f} eV",
            f"{found[1]:.2f} and {found[2]:.2f} eV",
            "the other two scans of the XAS Data Library",
        )


def nio(data: Path) -> Iterator[Measured]:
    """Yield the nearest shells of nickel oxide."""
    ds = beamline.read(data / "xas/athena/NiO.prj")["NiO_000"].to_dataset()
    chi = xas.fourier(xas.exafs(xas.normalize(ds, e0=8345.0)), 3, 12, 2, "hanning", 1)
    paths = xas.feff(data / "xas/feff/cif/NiO.cif", absorber="Ni")
    fit = xas.fit(chi, paths, rmin=1.2, rmax=3.5)
    model = shells(paths, 3.5)
    by_larch = ("2.071 ± 0.010", "2.945 ± 0.006")
    for index, (shell, theirs) in enumerate(zip(("O", "Ni"), by_larch, strict=True)):
        yield Measured(
            f"R(Ni-{shell}) of NiO.prj, scan NiO_000, two shells",
            f"{float(fit['distance'][index]):.3f} ± {float(fit['distance_errors'][index]):.3f} Å",
            f"{theirs} Å by a script over larch alone; {model[index].reff:.4f} Å in the crystal",
            "feffit of larch (the minimiser is the same), k 3-12, R 1.2-3.5; CIF of NiO",
        )
    r, magnitude = chi["r"].values, np.abs(chi["chi_r"].values)
    for index, (low, high) in enumerate(((1.0, 2.1), (2.1, 3.2))):
        inside = (r > low) & (r < high)
        peak = r[inside][np.argmax(magnitude[inside])]
        yield Measured(
            f"by how much peak {index + 1} of \\|χ(R)\\| lies short of the distance",
            f"{float(fit['distance'][index]) - peak:.2f} Å",
        )


def athena(data: Path) -> Iterator[Measured]:
    """Yield twelve scans of a drifting monochromator, as Athena aligned and normalised them."""
    leaves = [leaf.to_dataset() for leaf in beamline.read(data / "xas/athena/NiO.prj").leaves]
    stored = np.array([float(ds["energy_shift"]) for ds in leaves])
    aligned = xas.align([_as_measured(ds) for ds in leaves])
    off = aligned["energy_shift"].values - (stored - stored[0])
    error = float(np.median(aligned["energy_shift_errors"].values))
    yield Measured(
        f"energy shifts of the {len(leaves)} scans of NiO.prj ({np.ptp(stored):.1f} eV) against Athena's",
        f"root mean square {1e3 * rms(off[1:]):.0f} meV, largest {1e3 * np.abs(off).max():.0f} meV",
        f"{1e3 * error:.1f} meV, the error of a shift",
        "shifts stored in the project",
    )
    steps = [
        float(xas.normalize(ds, convention="athena")["edge_step"]) / ds.attrs["athena_fitted_step"] - 1
        for ds in leaves
    ]
    yield Measured(
        "edge steps of NiO.prj, convention athena: largest deviation",
        f"{np.abs(steps).max():.0e} of the step",
        "0",
        "edge steps stored in the project",
    )


def larch(data: Path) -> Iterator[Measured]:
    """Yield what larch gives in the same run."""
    from larch import Group
    from larch.xafs import autobk, pre_edge

    scans = [leaf.to_dataset() for leaf in beamline.read(data / "xas/athena/NiO.prj").leaves]
    scans += [beamline.read(path) for path in sorted((data / "xas/oxides").glob("*.xdi"))]
    norm, chi = [], []
    for ds in scans:
        ours = xas.normalize(ds)
        theirs = Group(energy=ds["energy"].values.copy(), mu=ds["mu"].values.copy())
        pre_edge(theirs.energy, theirs.mu, group=theirs)
        norm.append(np.abs(ours["norm"].values - theirs.norm).max())
        try:
            wave = xas.exafs(ours, rbkg=1.0, kweight=2)["chi"].values
        except FitError:  # the scan ends too soon after its edge
            continue
        autobk(theirs.energy, theirs.mu, group=theirs, rbkg=1.0, kweight=2)
        chi.append(np.abs(wave - theirs.chi[: wave.size]).max() / np.abs(theirs.chi).max())
    for name, deviations in (("norm", norm), ("χ(k), background by larch's autobk in both", chi)):
        yield Measured(
            f"{name} of {len(deviations)} scans (NiO.prj, XDI of oxides): largest deviation from larch's",
            f"{max(deviations):.0e}",
            "0",
            "larch's pre_edge and autobk in the same run",
        )


def feff(_: Path) -> Iterator[Measured]:
    """Compare the simulator of EXAFS with larch, and its edge step by post-edge range."""
    from larch.xafs import feffpath, path2chi

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        states = {"BF": (simulate.State("pristine", 0.0),)}
        simulate.write_scans(folder, states, repeats=1, seed=0, drift=0.0)
        paths = xas.feff(folder / "structure.cif", "Ni")
        path = next(p for p in paths if p.atoms == ("O",))
        (folder / path.name).write_text(path.text)
        k = np.arange(0.0, 12.0, 0.05)
        theirs = feffpath(str(folder / path.name), s02=simulate.S02, deltar=1.92 - path.reff, sigma2=0.006)
        path2chi(theirs, k=k)
        ours = simulate.chi_of_paths(k, paths, {"O": (1.92, 0.006)})
        far = k > 4
        yield Measured(
            "simulated χ(k) of one shell above k = 4: largest deviation from larch's path2chi",
            f"{100 * np.abs(ours - theirs.chi)[far].max() / np.abs(ours)[far].max():.1f} % of the largest χ",
            "0",
            "larch's path2chi",
        )
        scan: Any = beamline.read(folder / "BF_pristine_001.xdi")
    for text, post in (("from 25 eV (default)", None), ("from 150 eV", (150.0, 620.0))):
        step = float(xas.normalize(scan, e0=8345.0, post=post)["edge_step"])
        yield Measured(
            f"edge step of a simulated scan, post-edge range {text}",
            f"{100 * (step / 0.8 - 1):+.1f} % off",
            "0",
            "edge step put in",
        )


def _shift_limit(level: float) -> float:
    """Return the Cramér-Rao limit (eV) of the shift between two foils, scale and line not being known."""
    from xas.shifts import WINDOW

    ds = simulate.scan(0, noise=1e-9)
    energy, mu = ds["energy"].values, ds["mu_ref"].values
    e0 = steepest_rise(energy, mu)
    near = (energy > e0 + WINDOW[0]) & (energy < e0 + WINDOW[1])
    design = np.stack([np.gradient(mu, energy), mu, np.ones_like(mu), energy - e0])[:, near] / level
    return math.sqrt(2 * np.linalg.inv(design @ design.T)[0, 0])


def _as_measured(ds: xr.Dataset) -> xr.Dataset:
    """Take the stored shift off the axis."""
    out = ds.assign_coords(energy=(ds["energy"] - ds["energy_shift"]).values, energy_shift=0.0)
    for name in ("energy", "energy_shift"):
        out[name].attrs = dict(ds[name].attrs)
    return out


QUANTITIES = {
    "noise": Quantity(noise),
    "shifts": Quantity(shifts),
    "oxides": Quantity(oxides, real=True),
    "nio": Quantity(nio, real=True),
    "athena": Quantity(athena, real=True),
    "larch": Quantity(larch, real=True),
    "feff": Quantity(feff),
}
