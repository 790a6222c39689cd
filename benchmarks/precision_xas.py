"""Absorption: pulls of every number, oxides, the shells of NiO, and larch and Athena beside."""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
import xas
from beamline import model
from beamline.errors import FitError, RedoxlightError
from benchmarks.measures import Measured, Quantity, pulls, rms
from benchmarks.precision_alignment import as_measured, shifts
from xas import simulate
from xas.normalization import steepest_rise
from xas.positions import METHODS
from xas.shells import shells

E0 = 8346.0
SCANS = 150
DRAWS = 400
OXIDES = (("MnO", "MnO_rt_01.xdi"), ("Mn2O3", "Mn2O3_rt_01.xdi"), ("MnO2", "MnO2_rt_01.xdi"))


def noise(_: Path) -> Iterator[Measured]:
    """Yield pulls against the scan without noise: the algorithm's answer, which noise scatters around."""
    states = np.array([0.0, 1.6, 1.05])  # up, and back
    which = np.repeat(np.arange(states.size), DRAWS)
    for convention in ("larch", "mback"):
        for level in (2e-4, 4e-3):
            exact = _stack(0, 1e-9, states)
            truth = xas.normalize(exact, convention=convention, e0=E0)
            found = xas.normalize(_stack(1, level, states[which]), convention=convention, e0=E0)
            at = f"{convention}, noise of {100 * level:g} % of μ, {which.size} scans, edges that move back"
            step, size = _pulls(found, truth, which, "edge_step")
            yield pulls(f"pulls of the edge step, {at}", step)
            yield Measured(
                "error of these edge steps",
                f"{size:.1e}",
                f"{_limits(level)['step']:.1e}",
                "Cramér-Rao, all of μ(E) being known but its step, its edge energy and a line",
            )
            # Points of a scan share the noise of the step: scans are counted, not points.
            yield pulls(f"pulls of norm, {at}", _pulls(found, truth, which, "norm")[0], which.size)
            for method in METHODS:
                true, edges = xas.edge(truth, method), xas.edge(found, method)
                off, size = _pulls(edges, true, which, "edge_energy")
                yield pulls(f"pulls of the edge by {method}, {at}", off)
                yield Measured(
                    f"error of these edges by {method}",
                    f"{1e3 * size:.1f} meV",
                    f"{1e3 * _limits(level)['energy']:.1f} meV",
                    "Cramér-Rao, all of μ(E) being known but its step, its edge energy and a line",
                )
            if convention == "larch":
                wave, exact_wave = xas.exafs(found), xas.exafs(truth)
                off, _size = _pulls(wave, exact_wave, which, "chi")
                yield pulls(f"pulls of χ(k), {at}", off, which.size)


def errors(_: Path) -> Iterator[Measured]:
    """Yield the errors of χ(k) beside those of larch, and what both scatter by."""
    from larch import Group
    from larch.xafs import autobk

    scans = _stack(5, 2e-3, np.zeros(DRAWS))
    found = xas.exafs(xas.normalize(scans, e0=E0))
    scatter = np.std(found["chi"].values, axis=0)
    energy, theirs = scans["energy"].values, []
    for row in scans["mu"].values[:20]:
        group = Group(energy=energy.copy(), mu=row.copy())
        autobk(group, ek0=E0, rbkg=1.0, kweight=2, calc_uncertainties=True)
        theirs.append(group.delta_chi)
    k = found["k"].values
    for low, high in ((0.5, 3.0), (3.0, 8.0), (8.0, 13.0)):
        near = (k >= low) & (k < high)
        ours = float(np.mean(found["chi_errors"].values[:, near] / scatter[near]))
        larch = float(np.mean(np.array(theirs)[:, near] / scatter[near]))
        yield Measured(
            f"error of χ(k) over its scatter, k {low:g} to {high:g}, {DRAWS} scans",
            f"{ours:.2f}",
            f"1; larch's delta_chi: {larch:.2f}",
            "what errors are for; larch takes the misfit of the spline for noise and not the noise of μ",
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
    ranked = [xas.edge(xas.normalize(ds)) for ds in first]
    for number, text in ((2, "MnO and MnO2"), (3, "MnO, Mn2O3 and MnO2")):
        chosen = [0, 2] if number == 2 else [0, 1, 2]
        found = xas.valence(ranked[1], [ranked[n] for n in chosen], [(2, 3, 4)[n] for n in chosen])
        yield Measured(
            f"valence of Mn2O3 by half height, from a line through {text}",
            f"{float(found['valence']):.2f} ± {float(found['valence_errors']):.2f}",
            "3",
            "its formula; two standards cannot say how well they predict",
        )
    for formula, name in OXIDES:
        repeats: list[Any] = [
            beamline.read(data / "xas/oxides" / name.replace("01", f"0{number}")) for number in (1, 2, 3)
        ]
        scans = [xas.edge(xas.normalize(ds)) for ds in repeats]
        edges = [float(ds["edge_energy"]) for ds in scans]
        yield Measured(
            f"half height of {formula}, first scan",
            f"{edges[0]:.2f} ± {float(scans[0]['edge_energy_errors']):.2f} eV",
            f"{edges[1]:.2f} and {edges[2]:.2f} eV",
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
    aligned = xas.align([as_measured(ds) for ds in leaves])
    off = aligned["energy_shift"].values - (stored - stored[0])
    error = float(np.median(aligned["energy_shift_errors"].values))
    yield Measured(
        f"energy shifts of the {len(leaves)} scans of NiO.prj ({np.ptp(stored):.1f} eV) against Athena's",
        f"root mean square {1e3 * rms(off[1:]):.0f} meV, largest {1e3 * np.abs(off).max():.0f} meV",
        f"{1e3 * error:.1f} meV, the error of a shift",
        "shifts stored in the project",
    )
    deviations = []
    for path in sorted((data / "xas/athena").glob("*.prj")):
        for leaf in beamline.read(path).leaves:
            ds = leaf.to_dataset()
            fitted = ds.attrs.get("athena_fitted_step", ds.attrs.get("athena_edge_step"))
            if fitted:
                deviations.append(
                    abs(float(xas.normalize(ds, convention="athena")["edge_step"]) / fitted - 1)
                )
    yield Measured(
        f"edge steps of {len(deviations)} groups of all projects, convention athena: deviation",
        f"median {100 * np.median(deviations):.3f} %, largest {100 * max(deviations):.2f} %",
        "0",
        "edge steps stored in the projects, by larch or by Ifeffit",
    )


def larch(data: Path) -> Iterator[Measured]:
    """Yield what larch gives in the same run, of every spectrum there is."""
    from larch import Group
    from larch.xafs import autobk, pre_edge, xftf

    found: dict[str, list[float]] = {"e0": [], "norm": [], "chi": [], "chi_r": []}
    early, short, total = 0, 0, 0
    refused: list[str] = []
    for name, energy, mu in _spectra(data / "xas"):
        total += 1
        ds = model.with_defaults(xr.Dataset({"mu": ("energy", mu)}, {"energy": energy}), "xas.scans")
        theirs = Group(energy=energy.copy(), mu=mu.copy())
        pre_edge(theirs)
        try:
            ours = xas.normalize(ds)
        except FitError as reason:
            refused.append(f"{name} ({reason.problem})")
            continue
        found["e0"].append(abs(float(ours["e0"]) - theirs.e0))
        found["norm"].append(np.abs(ours["norm"].values - theirs.norm).max() / np.ptp(theirs.norm))
        try:
            wave = xas.exafs(ours)
        except FitError:  # the scan ends too soon after its edge
            short += 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            autobk(theirs, rbkg=1.0, kweight=2)
        kmax = min(12.0, float(theirs.k[-1]) - 0.5)
        xftf(theirs, kmin=kmax / 4, kmax=kmax, dk=1, window="hanning", kweight=2)
        transformed = xas.fourier(wave, kmax / 4, kmax, 2, "hanning", 1.0)
        chi = np.abs(wave["chi"].values - theirs.chi).max() / np.abs(theirs.chi).max()
        magnitude = (
            np.abs(np.abs(transformed["chi_r"].values) - theirs.chir_mag).max() / theirs.chir_mag.max()
        )
        if max(chi, magnitude) > 1e-6 and _objective(theirs, wave) < theirs.autobk_details.chisqr:
            early += 1  # larch's minimiser stopped above the minimum
            continue
        found["chi"].append(chi)
        found["chi_r"].append(magnitude)
    told = {"e0": "E0 (eV)", "norm": "norm", "chi": "χ(k)", "chi_r": "\\|χ(R)\\|"}
    for key, text in told.items():
        yield Measured(
            f"{text} of {len(found[key])} of the {total} spectra: largest deviation from larch's",
            f"{max(found[key]):.0e}" + ("" if key == "e0" else " of its largest"),
            "0",
            "larch's pre_edge, autobk and xftf in the same run",
        )
    yield Measured("spectra that end before k = 5", f"{short}")
    yield Measured("spectra larch's autobk leaves above the minimum it looks for, left out above", f"{early}")
    yield Measured(
        f"spectra refused, to all of which larch gives an edge step: {len(refused)}", "; ".join(refused)
    )


def _spectra(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, energies and finite μ of every scan and reference of the folder."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "feff" not in p.parts):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read = beamline.read(path, kind="xas.scans")
        except RedoxlightError:
            continue
        for leaf in read.leaves if isinstance(read, xr.DataTree) else [read]:
            ds = leaf.to_dataset() if isinstance(leaf, xr.DataTree) else leaf
            for variable in ("mu", "mu_ref"):
                if variable in ds and int(np.isfinite(ds[variable]).sum()) > 50:
                    good = np.isfinite(ds[variable].values)
                    name = f"{path.name}, {ds.attrs.get('label', '')}, {variable}"
                    yield name, ds["energy"].values[good], ds[variable].values[good]


def _objective(theirs: Any, wave: xr.Dataset) -> float:
    """Return what larch's autobk minimises, for our background."""
    from larch.xafs.autobk import _resid
    from larch.xafs.xafsft import ftwindow
    from scipy.interpolate import BSpline

    d = theirs.autobk_details
    raw = d.kraw[: d.iemax - d.iek0 + 1]
    used = slice(d.iek0, d.iemax + 1)
    basis = BSpline(d.knots, np.eye(d.nspl), d.order)(raw)
    coefficients = np.linalg.lstsq(basis, wave["background"].values[used], rcond=None)[0]
    window = theirs.k**2 * ftwindow(theirs.k, xmin=d.kmin, xmax=d.kmax, window="hanning", dx=0.1, dx2=0.1)
    given = (len(d.coefs), raw, d.mu[used], None, d.knots, d.order, theirs.k, window, 2048, d.irbkg, 3, 0, 1)
    return float(np.sum(_resid(coefficients, *given) ** 2))


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


def distances(_: Path) -> Iterator[Measured]:
    """Yield what comes back of the shells of a simulated series, by one fit and by a second one."""
    with tempfile.TemporaryDirectory() as name:
        states = {"BR": simulate.STATES["BR"]}
        record = simulate.write_scans(name, states, repeats=1, seed=5, photons=1e9)
        truth = json.loads(record.read_text())["scans"]
        read: list[Any] = [beamline.read(Path(name) / f"{label}.xdi") for label in truth]
        scans = xas.align(read)
        normalised = xas.normalize(scans, post=(150, 620))
        paths = xas.feff(Path(name) / "structure.cif", "Ni")
        small = xas.feff(Path(name) / "structure.cif", "Ni", radius=4.5)

    def of(key: str) -> Any:
        return np.array([[scan[key][element] for element in ("O", "Ni")] for scan in truth.values()])

    once = xas.fit(xas.fourier(xas.exafs(normalised)), paths, 1.2, 3.2)
    twice = xas.fit(xas.fourier(xas.exafs(normalised, standard=once)), paths, 1.2, 3.2)
    other = xas.fit(xas.fourier(xas.exafs(normalised)), small, 1.2, 3.2)
    kinds = (
        (once, "a single fit"),
        (twice, "a second fit, the first one's shells no background"),
        (other, "a single fit with paths of a cluster of 4.5 Å, not the 6 Å it was made with"),
    )
    for fit, text in kinds:
        off = 1e3 * (fit["distance"].values - of("distance_angstrom"))
        ratio = fit["sigma2"].values / of("sigma2_angstrom2")
        for index, shell in enumerate(("O", "Ni")):
            yield Measured(
                f"Ni-{shell} of five simulated states, {text}: distance, and σ² over its true value",
                f"{off[:, index].mean():+.1f} mÅ, largest {np.abs(off[:, index]).max():.1f}; "
                f"{ratio[:, index].mean():.2f}",
                f"0 ± {1e3 * float(fit['distance_errors'].values[:, index].mean()):.1f} mÅ; 1",
                "what was simulated",
            )


def _stack(seed: int, level: float, shifts: Any) -> xr.Dataset:
    """Return a series of simulated scans whose edges are shifted (eV)."""
    energy = simulate.energy_axis()
    clean = {float(shift): simulate.absorption(energy, 8345.0 + shift) for shift in np.unique(shifts)}
    mu = np.array([clean[float(shift)] for shift in shifts])
    mu = mu + np.random.default_rng(seed).normal(0, level, mu.shape)
    ds = xr.Dataset({"mu": (("scan", "energy"), mu)}, {"energy": energy}, {"element": "Ni", "edge": "K"})
    return model.with_defaults(ds, "xas.scans")


def _pulls(found: xr.Dataset, truth: xr.Dataset, which: Any, name: str) -> tuple[Any, float]:
    """Return (found - true) / error, and the median error; `which` of the true ones belongs to each scan."""
    size = min(found[name].shape[-1], truth[name].shape[-1]) if found[name].ndim > 1 else None
    sigma = found[f"{name}_errors"].values[..., :size]
    off = found[name].values[..., :size] - truth[name].values[which][..., :size]
    return off / sigma, float(np.median(sigma))


def _limits(level: float) -> dict[str, float]:
    """Return the Cramér-Rao limits of edge energy (eV) and edge step."""
    energy = simulate.energy_axis()
    shape = simulate.absorption(energy) - simulate.absorption(energy, step=0.0)
    slope = (simulate.absorption(energy, 8345.01) - simulate.absorption(energy, 8344.99)) / 0.02
    design = np.stack([shape / 0.8, slope, np.ones_like(energy), energy - 8345.0]) / level
    covariance = np.linalg.inv(design @ design.T)
    return {"step": math.sqrt(covariance[0, 0]), "energy": math.sqrt(covariance[1, 1])}


QUANTITIES = {
    "noise": Quantity(noise),
    "errors": Quantity(errors),
    "shifts": Quantity(shifts),
    "oxides": Quantity(oxides, real=True),
    "nio": Quantity(nio, real=True),
    "athena": Quantity(athena, real=True),
    "larch": Quantity(larch, real=True),
    "feff": Quantity(feff),
    "distances": Quantity(distances),
}
