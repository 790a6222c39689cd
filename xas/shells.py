"""Fit of χ(R) with FEFF paths: distances and disorder of the first shells.

Every shell is a sum of single-scattering paths of the EXAFS equation

    χ(k) = Σ N S₀² F(k) / (k (R_eff + ΔR)²) exp(-2(R_eff + ΔR)/λ) exp(-2k²σ²) sin(2k(R_eff + ΔR) + φ(k)),

with F, φ and λ from FEFF and k measured from E0 + ΔE0. One amplitude S₀² and one ΔE0 serve all shells; each
has its own ΔR and σ². Paths of one element whose lengths differ by less than `CLOSE` cannot be told apart
over the usual range of k and share both. Coordination numbers are those of the structure.

larch's feffit does the least squares on real and imaginary part of χ(R) between rmin and rmax (M. Newville,
B. Ravel, D. Haskel, J. J. Rehr, E. A. Stern, Y. Yacoby, Physica B 208-209 (1995) 154). As in Artemis, the
errors are scaled by √χ²ᵣ with the number of independent points 1 + 2ΔkΔR/π: they are right if the model is,
and the misfit, not the noise, sets them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, SchemaError
from xas._larch import calling_larch
from xas.normalization import scan_name
from xas.scattering import Paths, ScatteringPath

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

CLOSE = 0.1
"""Paths of one shell differ in length by less than this, angstrom."""


@dataclass(frozen=True)
class Shell:
    """Paths that share ΔR and σ².

    Attributes
    ----------
    name
        Element and number, counted outward: "O1", "Ni1".
    paths
        The paths.
    """

    name: str
    paths: tuple[ScatteringPath, ...]

    @property
    def reff(self) -> float:
        """Mean length of the paths in the structure, angstrom."""
        weights = [p.degeneracy for p in self.paths]
        return float(np.average([p.reff for p in self.paths], weights=weights))

    @property
    def coordination(self) -> float:
        """Number of neighbours in the structure."""
        return float(sum(p.degeneracy for p in self.paths))


def shells(paths: Paths, rmax: float = 3.5) -> list[Shell]:
    """Return the shells of single scattering up to `rmax` (angstrom), the nearest first."""
    found: list[list[ScatteringPath]] = []
    for path in paths:
        if len(path.atoms) != 1 or path.reff > rmax:
            continue
        for group in found:
            if group[0].atoms == path.atoms and path.reff - group[0].reff < CLOSE:
                group.append(path)
                break
        else:
            found.append([path])
    counts: dict[str, int] = {}
    out = []
    for group in found:
        element = group[0].atoms[0]
        counts[element] = counts.get(element, 0) + 1
        out.append(Shell(f"{element}{counts[element]}", tuple(group)))
    return out


@provenance.step("xas.fit", returns="xas.exafs")
def fit(
    chi: xr.Dataset,
    paths: Paths,
    rmin: float = 1.2,
    rmax: float = 3.5,
    ignore: Sequence[str] = (),
) -> xr.Dataset:
    """Fit the shells of a structure to χ(R).

    Parameters
    ----------
    chi
        Transformed EXAFS (`xas.fourier`): its range of k, weight and window are those of the fit.
    paths
        From `xas.feff`.
    rmin, rmax
        Range in R (angstrom), not phase corrected.
    ignore
        Shells to leave out, by name; Li, which scatters next to nothing, is left out by itself.

    Returns
    -------
    Dataset
        `chi` with, per scan, ``amplitude`` (S₀²), ``e0_shift`` (eV), ``r_factor``, ``reduced_chi2``,
        ``independent_points``, ``status`` ("ok", or what speaks against the fit); per scan and shell
        ``distance`` and ``sigma2`` (angstrom, angstrom²); per shell ``coordination`` and ``reff``;
        ``chi_fit`` over k, ``chi_r_fit`` over r; ``covariance`` over (variable, variable_); errors of what is
        fitted. Where the fit does not determine a scan's parameters they are NaN and ``status`` says so.

    Raises
    ------
    SchemaError
        `chi` is not transformed.
    ConfigError
        No shell is left, `ignore` names none, `rmax` is beyond the cluster, or there are more parameters than
        independent points.
    """
    if "chi_r" not in chi or "chi_errors" not in chi:
        raise SchemaError("chi", "is not transformed", "call xas.fourier first")
    transform = {k: chi["chi_r"].attrs[k] for k in ("kmin", "kmax", "kweight", "window", "dk")}
    if not 0 < rmin < rmax:
        raise ConfigError("rmin, rmax", f"are {rmin}, {rmax} angstrom")
    radius = float(paths.source.get("radius", np.inf))  # not known of files made elsewhere
    if rmax > radius:
        raise ConfigError(
            "rmax",
            f"is {rmax} angstrom, but the paths are those of a cluster of {radius:g}",
            "calculate them with a larger radius, or fit less",
        )
    known = shells(paths, rmax)
    unknown = [name for name in ignore if name not in {s.name for s in known}]
    if unknown:
        raise ConfigError(
            "ignore", f"names {unknown[0]!r}", f"the shells are {', '.join(s.name for s in known) or 'none'}"
        )
    model = [s for s in known if s.name not in ignore and s.paths[0].atoms != ("Li",)]
    if not model:
        raise ConfigError("paths", f"have no shell below {rmax} angstrom")
    parameters = 2 + 2 * len(model)
    points = 1 + 2 * (transform["kmax"] - transform["kmin"]) * (rmax - rmin) / np.pi
    if parameters >= points:
        raise ConfigError(
            "fit",
            f"has {parameters} parameters for {points:.1f} independent points",
            f"leave out shells with ignore= (there are {', '.join(s.name for s in model)})",
        )
    k = chi["k"].values
    rows = np.atleast_2d(chi["chi"].values)
    with tempfile.TemporaryDirectory(prefix="feffit") as folder:
        for shell in model:
            for path in shell.paths:
                (Path(folder) / path.name).write_text(path.text, encoding="utf-8")
        settings = {**transform, "rmin": rmin, "rmax": rmax}
        results = [
            _feffit(k, row, noise, model, Path(folder), settings)
            if np.isfinite(row[k <= transform["kmax"]]).all()
            else _nothing(chi, index, 2 + 2 * len(model))
            for index, (row, noise) in enumerate(zip(rows, _noise(chi), strict=True))
        ]
    return _assembled(chi, model, results, points, (rmin, rmax))


def _noise(chi: xr.Dataset) -> Array:
    """Return one standard deviation of χ for each scan, averaged as the transform weights it."""
    weights = (chi["k"].values ** chi["chi_r"].attrs["kweight"] * chi["window"].values) ** 2
    variance = np.nan_to_num(np.atleast_2d(chi["chi_errors"].values)) ** 2
    return np.asarray(np.sqrt(variance @ weights / weights.sum()))


def _nothing(chi: xr.Dataset, index: int, parameters: int) -> dict[str, Any]:
    """Return the result of a scan without χ(k) up to kmax, whose status says why."""
    text = str(np.atleast_1d(chi["status"].values)[index]) if "status" in chi else ""
    reason = text.partition(": ")[2] or "there is no χ(k) up to kmax"
    return {
        "values": np.full(parameters, np.nan),
        "covariance": None,
        "r_factor": np.nan,
        "reduced_chi2": np.nan,
        "chi_fit": np.full(chi.sizes["k"], np.nan),
        "chi_r_fit": np.full(chi.sizes["r"], np.nan, dtype=complex),
        "reason": reason,
    }


def _feffit(
    k: Array, chi: Array, noise: float, model: list[Shell], folder: Path, transform: dict[str, Any]
) -> dict[str, Any]:
    """Fit one scan with larch."""
    size, there = k.size, np.isfinite(chi)
    k, chi = k[there], chi[there]
    with calling_larch():
        from larch import Group
        from larch.fitting import param, param_group
        from larch.xafs import feffit, feffit_dataset, feffit_transform, feffpath

        start = {"amplitude": 1.0, "e0_shift": 0.0}
        for n in range(len(model)):
            start |= {f"delta{n}": 0.0, f"sigma{n}": 0.005}
        group = param_group(**{name: param(value, vary=True) for name, value in start.items()})
        paths = {
            f"p{n}_{m}": feffpath(
                str(folder / path.name),
                s02="amplitude",
                e0="e0_shift",
                deltar=f"delta{n}",
                sigma2=f"sigma{n}",
            )
            for n, shell in enumerate(model)
            for m, path in enumerate(shell.paths)
        }
        data = feffit_dataset(
            data=Group(k=k, chi=chi),
            paths=paths,
            transform=feffit_transform(fitspace="r", **transform),
            epsilon_k=noise,
        )
        out = feffit(group, data)
    names = list(out.var_names)
    covariance = getattr(out.fit_details, "scaled_covar", None)
    values = np.array([out.params[name].value for name in names])
    order = [names.index(name) for name in start]
    if covariance is not None:
        covariance = np.asarray(covariance)[np.ix_(order, order)]
        if not (np.isfinite(covariance).all() and (np.diag(covariance) > 0).all()):
            covariance = None
    # larch's model ends where its data do; beyond, as below k = 0, there is nothing
    model_chi = np.zeros(size)
    reach = min(size, data.model.chi.size)
    model_chi[:reach] = data.model.chi[:reach]
    return {
        "values": values[order],
        "covariance": covariance,
        "r_factor": float(out.rfactor),
        "reduced_chi2": float(out.chi2_reduced),
        "chi_fit": model_chi,
        "chi_r_fit": np.asarray(data.model.chir),
    }


def _assembled(
    chi: xr.Dataset,
    model: list[Shell],
    results: list[dict[str, Any]],
    points: float,
    limits: tuple[float, float],
) -> xr.Dataset:
    """Put the results of all scans into the Dataset."""
    count, dims = len(model), chi["chi"].dims[:-1]
    variables = ["amplitude", "e0_shift"]
    variables += [f"{quantity}/{s.name}" for s in model for quantity in ("distance", "sigma2")]
    reff = np.array([s.reff for s in model])
    status = [_verdict(r, model, scan_name(chi, i)) for i, r in enumerate(results)]
    lost = np.full(2 + 2 * count, np.nan)
    values = np.array([r["values"] if r["covariance"] is not None else lost for r in results])
    covariance = np.array(
        [r["covariance"] if r["covariance"] is not None else np.outer(lost, lost) for r in results]
    )
    errors = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))

    def per_scan(array: Any) -> Any:
        return np.array(array) if dims else np.asarray(array[0])

    def put(name: str, value: Any, error: Any, extra: tuple[str, ...], units: str, text: str) -> None:
        attrs = {"units": units, "long_name": text}
        new[name] = ((*dims, *extra), per_scan(value), attrs)
        if error is not None:
            new[f"{name}_errors"] = ((*dims, *extra), per_scan(error))

    new: dict[str, Any] = {}
    put("amplitude", values[:, 0], errors[:, 0], (), "", "amplitude S₀²")
    put("e0_shift", values[:, 1], errors[:, 1], (), "eV", "shift of E0 in the fit")
    put("distance", reff + values[:, 2::2], errors[:, 2::2], ("shell",), "angstrom", "distance R")
    put("sigma2", values[:, 3::2], errors[:, 3::2], ("shell",), "angstrom**2", "disorder σ²")
    put("r_factor", [r["r_factor"] for r in results], None, (), "", "R-factor of the fit")
    put("reduced_chi2", [r["reduced_chi2"] for r in results], None, (), "", "reduced χ² of the fit")
    put("chi_fit", [r["chi_fit"] for r in results], None, ("k",), "", "fit of χ(k)")
    old = chi["chi_r"]
    fitted = [r["chi_r_fit"][: old.sizes["r"]] for r in results]
    put("chi_r_fit", fitted, None, ("r",), old.attrs["units"], "fit of χ(R)")
    new["chi_r_fit"][2].update(rmin=limits[0], rmax=limits[1])
    put("covariance", covariance, None, ("variable", "variable_"), "", "covariance, in the variables' units")
    new["status"] = (dims, np.array(status) if dims else np.array(status[0]))
    new["coordination"] = (
        "shell",
        np.array([s.coordination for s in model]),
        {"units": "", "long_name": "number of neighbours in the structure"},
    )
    new["reff"] = ("shell", reff, {"units": "angstrom", "long_name": "distance in the structure"})
    new["independent_points"] = ((), points, {"units": "", "long_name": "number of independent points"})
    clean = chi.drop_vars([n for n in (*new, *(f"{n}_errors" for n in new)) if n in chi.variables])
    clean = clean.drop_dims([d for d in ("shell", "variable", "variable_") if d in clean.dims])
    return clean.assign(new).assign_coords(
        shell=np.array([s.name for s in model]),
        variable=np.array(variables),
        variable_=np.array(variables),
    )


def _verdict(result: dict[str, Any], model: list[Shell], name: str) -> str:
    """Return "ok", or what speaks against the fit: an answer outside what crystals and FEFF allow."""
    if result["covariance"] is None:
        return f"failed: {result.get('reason', 'the data do not determine the parameters')}"
    amplitude, shift = result["values"][:2]
    error = float(np.sqrt(result["covariance"][1, 1]))
    found = []
    if result["r_factor"] > 0.05:
        found.append(f"R-factor {result['r_factor']:.2f} is above 0.05")
    if not 0.5 <= amplitude <= 1.3:
        found.append(f"amplitude {amplitude:.2f} is not between 0.5 and 1.3")
    if abs(shift) > 12 or error > 4:
        found.append(f"e0_shift {shift:.1f}({error:.1f}) eV is not determined or too large")
    for n, shell in enumerate(model):
        delta, sigma2 = result["values"][2 + 2 * n : 4 + 2 * n]
        if abs(delta) > 0.15:
            found.append(f"{shell.name} is {delta:+.2f} angstrom from the structure")
        if not 0 < sigma2 < 0.03:
            found.append(f"σ² of {shell.name} is {sigma2:.4f} angstrom²")
    return f"suspect: {'; '.join(found)}" if found else "ok"
