"""Scans with known truth: an arctangent edge, a white line, EXAFS, a foil, and noise.

μ(E) = a + b (E - E0) + Δμ [ ½ + arctan((E - E0)/Γ)/π + w exp(-(E - E0 - 4 eV)²/2s²) + χ(k) θ(E - E0) ]

with χ(k) a sum of shells of the EXAFS equation, amplitude N S₀² f(k) exp(-2k²σ² - 2R/λ)/(kR²), phase
2kR + φ(k) (docs/theory/absorption.md). It is a model to test with, not a calculation of any compound.

`write_scans` measures samples that were charged: XDI files of ion chambers behind each other, I0, sample, It,
foil, Ir. Their EXAFS is that of FEFF paths whose distances r scatter normally about R with variance σ²,

χ(k) = Σ N S₀² Im[ F(k)/k exp(i(2kR_eff + φ) - 2R_eff/λ) ⟨exp(2ip(r - R_eff)) / r²⟩ ],   p = p' + i/λ,

the mean taken numerically (Gauss and Hermite), so that R is the mean distance, not an effective one. The
monochromator's angle is off by δ: E = hc/(2d sin θ) is the true energy, hc/(2d sin(θ + δ)) the one shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.atomic import write_atomic
from xas.constants import ETOK

if TYPE_CHECKING:
    import xarray as xr

    from xas.scattering import Paths

Array = np.ndarray[Any, np.dtype[np.float64]]

OXIDE = ((6.0, 2.09, 0.006), (12.0, 2.95, 0.007))
"""Shells (number, distance in angstrom, σ² in angstrom²) like those of NiO."""
FOIL = ((12.0, 2.49, 0.006),)
"""The first shell of a metal like nickel."""


HC = 12398.419843320026
"""Planck's constant times the speed of light in eV angstrom (exact in the SI)."""

D_SPACING = 3.1356
"""Si(111), angstrom."""

E0_SHIFT = 3.0
"""Where k is 0 in the simulated scans, eV above the centre of the arctangent."""

S02 = 0.85
"""Amplitude factor S₀² of the simulated scans."""

STRUCTURE = """\
data_layered_oxide
_cell_length_a 2.875
_cell_length_b 2.875
_cell_length_c 14.22
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_space_group_name_H-M_alt 'R -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 Li 0 0 0 1
Ni1 Ni 0 0 0.5 1
O1 O 0 0 0.2415 1
"""
"""A layered oxide whose metals are all nickel (CIF): manganese, cobalt and nickel scatter alike."""


@dataclass(frozen=True)
class State:
    """A sample in a state of charge.

    Attributes
    ----------
    label
        "4.55 V".
    edge_shift
        Of the Ni K edge against the pristine sample, eV.
    oxygen, metal
        Distance (angstrom) and σ² (angstrom²) of the nearest oxygen and metal.
    """

    label: str
    edge_shift: float
    oxygen: tuple[float, float] = (1.962, 0.0060)
    metal: tuple[float, float] = (2.875, 0.0050)


STATES: dict[str, tuple[State, ...]] = {
    "BF": (
        State("pristine", 0.0),
        State("4.55V", 1.60, (1.905, 0.0055), (2.840, 0.0050)),
        State("4.7V", 1.75, (1.900, 0.0055), (2.835, 0.0050)),
        State("4.8V", 1.85, (1.897, 0.0055), (2.832, 0.0050)),
        State("2.7V", 0.10, (1.960, 0.0060), (2.873, 0.0050)),
    ),
    "BR": (
        State("pristine", 0.0),
        State("4.55V", 1.60, (1.905, 0.0060), (2.840, 0.0055)),
        State("4.7V", 1.35, (1.908, 0.0065), (2.838, 0.0060)),
        State("4.8V", 1.05, (1.914, 0.0070), (2.838, 0.0065)),
        State("2.7V", 0.15, (1.960, 0.0070), (2.872, 0.0060)),
    ),
}
"""Two cathodes; of one the edge moves back above 4.55 V, as when oxygen is lost. Chosen, not measured."""


def energy_axis(e0: float = 8345.0, kmax: float = 14.0) -> Array:
    """Return the axis of a usual scan: 5 eV steps to -20 eV, 0.25 eV to +40 eV, then 0.05 1/angstrom."""
    k = np.arange(np.sqrt(40 * ETOK) + 0.05, kmax, 0.05)
    return np.concatenate(
        [np.arange(e0 - 200, e0 - 20, 5.0), np.arange(e0 - 20, e0 + 40, 0.25), e0 + k**2 / ETOK]
    )


def absorption(
    energy: Array,
    e0: float = 8345.0,
    step: float = 0.8,
    width: float = 1.5,
    white_line: float = 0.6,
    shells: Sequence[tuple[float, float, float]] = OXIDE,
) -> Array:
    """Return μ(E) without noise.

    Parameters
    ----------
    energy
        Axis in eV.
    e0
        Centre of the arctangent, eV.
    step
        Edge step Δμ.
    width
        Γ of the arctangent, eV.
    white_line
        Height of the white line over the step.
    shells
        Coordination number, distance (angstrom) and σ² (angstrom²) of each shell.
    """
    above = np.clip(energy - e0, 0, None)
    k = np.sqrt(ETOK * above)
    edge = 0.5 + np.arctan((energy - e0) / width) / np.pi
    edge = edge + white_line * np.exp(-0.5 * ((energy - e0 - 4.0) / 2.0) ** 2)
    onset = 1 - np.exp(-above / 15.0)
    return np.asarray(0.5 - 3e-4 * (energy - e0) + step * (edge + onset * chi(k, shells)))


def chi(k: Array, shells: Sequence[tuple[float, float, float]] = OXIDE) -> Array:
    """Return χ(k) of shells with a smooth amplitude and phase; k in 1/angstrom."""
    k = np.maximum(np.asarray(k, dtype=float), 0.3)
    total = np.zeros_like(k)
    for number, distance, sigma2 in shells:
        amplitude = number * 0.8 * 0.5 * k * np.exp(-(((k - 3) / 7) ** 2)) / (k * distance**2)
        damping = np.exp(-2 * k**2 * sigma2 - 2 * distance / 8.0)
        total += amplitude * damping * np.sin(2 * k * distance - 0.4 * k)
    return total


def scan(
    seed: int,
    noise: float = 1e-3,
    energy: Array | None = None,
    e0: float = 8345.0,
    drift: float = 0.0,
    label: str = "simulated",
    **edge: Any,
) -> xr.Dataset:
    """Return one scan with its foil, as `beamline.read` would.

    Parameters
    ----------
    seed
        Of the noise.
    noise
        Standard deviation of μ and of the foil's μ, white.
    energy
        True energies in eV; `energy_axis` where not given.
    e0
        Edge energy of the sample, eV; that of the foil is 12 eV lower.
    drift
        What the monochromator shows too little, eV: true energy = shown energy + drift.
    label
        Name of the scan.
    edge
        Further arguments of `absorption`.
    """
    import xarray as xr

    from beamline import model

    energy = energy_axis(e0) if energy is None else energy
    random = np.random.default_rng(seed)
    foil = absorption(energy, e0 - 12, step=0.8, width=2.0, white_line=0.0, shells=FOIL)
    foil += 0.25 * np.exp(-0.5 * ((energy - e0 - 6) / 3.0) ** 2)
    ds = xr.Dataset(
        {
            "mu": ("energy", absorption(energy, e0, **edge) + random.normal(0, noise, energy.size)),
            "mu_ref": ("energy", foil + random.normal(0, noise, energy.size)),
        },
        {"energy": energy - drift, "energy_shift": 0.0},
        {"element": "Ni", "edge": "K", "label": label},
    )
    ds["energy_shift"].attrs |= {"units": "eV", "long_name": "energy shift since measured"}
    return model.with_defaults(ds, "xas.scans")


def write_scans(
    folder: str | os.PathLike[str],
    states: Mapping[str, Sequence[State]] = STATES,
    repeats: int = 2,
    seed: int = 0,
    photons: float = 1e9,
    drift: float = 0.15,
    e0: float = 8345.0,
    kmax: float = 13.0,
    start: str = "2022-06-15T09:00:00",
) -> Path:
    """Write scans of samples in several states of charge at the Ni K edge, as XDI, with their truth.

    Parameters
    ----------
    folder
        Gets ``<sample>_<state>_<repeat>.xdi``, ``structure.cif`` and ``truth.json``.
    states
        Samples and their states, in the order they are measured.
    repeats
        Scans of every state.
    seed
        Seed of noise and drift.
    photons
        Counts of I0 per point.
    drift
        Standard deviation of the step the monochromator makes from scan to scan, eV at the edge.
    e0
        Centre of the edge of the pristine sample, eV; that of the foil is 12 eV lower.
    kmax
        End of the scans, 1/angstrom.
    start
        Local time of the first scan; each takes 12 min.

    Returns
    -------
    Path
        The file ``truth.json``: of every scan edge shift (eV), distances (angstrom), σ² (angstrom²) and the
        shift of the monochromator (deg; eV at the edge: true energy minus shown).

    Raises
    ------
    DataFileError
        A file cannot be written.
    FitError
        FEFF does not run.
    """
    from xas.scattering import feff

    folder = Path(folder)
    cif = folder / "structure.cif"
    write_atomic(cif, STRUCTURE.encode())
    paths = feff(cif, absorber="Ni")  # a smaller cluster has other potentials: distances come out 7 mÅ off
    rng = np.random.default_rng(seed)
    # 1 eV of true minus shown energy is this angle: E' = -E cot θ.
    per_ev = 1 / (e0 / np.tan(np.arcsin(HC / (2 * D_SPACING * e0))))
    angle, began = 0.0, datetime.fromisoformat(start)
    scans: dict[str, Any] = {}
    for sample, series in states.items():
        for state in series:
            shifted = e0 + state.edge_shift
            mu = _absorption_of_state(shifted, state, paths, kmax)
            for repeat in range(1, repeats + 1):
                shown = energy_axis(e0, kmax)
                true = HC / (2 * D_SPACING * np.sin(np.arcsin(HC / (2 * D_SPACING * shown)) - angle))
                counts = _chambers(mu(true), _foil(true, e0), photons, rng)
                name = f"{sample}_{state.label}_{repeat:03d}"
                ended = began + timedelta(minutes=12)
                write_atomic(folder / f"{name}.xdi", _xdi(name, shown, counts, began, ended).encode())
                scans[name] = {
                    "sample": sample,
                    "state": state.label,
                    "edge_shift_eV": state.edge_shift,
                    "distance_angstrom": {"O": state.oxygen[0], "Ni": state.metal[0]},
                    "sigma2_angstrom2": {"O": state.oxygen[1], "Ni": state.metal[1]},
                    "mono_offset_deg": float(np.degrees(angle)),
                    "mono_shift_eV": float(angle / per_ev),
                }
                angle += rng.normal(0.0, drift) * per_ev
                began = ended + timedelta(minutes=1)
    truth = {"seed": seed, "element": "Ni", "edge": "K", "s02": S02, "d_spacing_angstrom": D_SPACING}
    path = folder / "truth.json"
    write_atomic(path, (json.dumps({**truth, "scans": scans}, indent=1) + "\n").encode())
    return path


def chi_of_paths(k: Array, paths: Paths, shells: Mapping[str, tuple[float, float]]) -> Array:
    """Return χ(k) of the nearest shell of each element, from FEFF paths.

    Parameters
    ----------
    k
        1/angstrom; χ is 0 where it is 0.
    paths
        From `xas.feff`.
    shells
        Of each element its mean distance (angstrom) and σ² (angstrom²).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()
    positive = k > 0
    q = k[positive]
    total = np.zeros(k.size)
    for element, (distance, sigma2) in shells.items():
        path = next(p for p in paths if p.atoms == (element,))
        table = _columns_of(path.text)
        phase, amplitude, more_phase, reduction, mean_free_path, momentum = (
            np.interp(q, table[:, 0], column) for column in table[:, 1:7].T
        )
        p = momentum + 1j / mean_free_path
        r = distance + np.sqrt(sigma2) * nodes
        spread = np.exp(2j * p[:, None] * (r - path.reff)) / r**2 @ weights
        wave = np.exp(1j * (2 * q * path.reff + phase + more_phase) - 2 * path.reff / mean_free_path)
        total[positive] += path.degeneracy * S02 * (amplitude * reduction / q * wave * spread).imag
    return total


def _columns_of(text: str) -> Array:
    """Return the table of a ``feffNNNN.dat``: k, central phase, |F|, phase of F, reduction, λ, Re p."""
    lines = text.splitlines()
    head = next(n for n, line in enumerate(lines) if "real[2*phc]" in line)
    return np.array([[float(word) for word in line.split()] for line in lines[head + 1 :] if line.strip()])


def _absorption_of_state(e0: float, state: State, paths: Paths, kmax: float) -> Any:
    """Return μ as a function of the true energy."""
    k = np.linspace(0.0, kmax + 1.0, 100 * round(kmax + 1) + 1)
    wave = chi_of_paths(k, paths, {"O": state.oxygen, "Ni": state.metal})

    def mu(energy: Array) -> Array:
        q = np.sqrt(ETOK * np.clip(energy - e0 - E0_SHIFT, 0, None))
        # Single scattering does not hold near the edge: it sets in between k = 1 and k = 2.8.
        u = np.clip((q - 1.0) / 1.8, 0.0, 1.0)
        return np.asarray(
            absorption(energy, e0, shells=()) + 0.8 * u**2 * (3 - 2 * u) * np.interp(q, k, wave)
        )

    return mu


def _foil(energy: Array, e0: float) -> Array:
    """Return μ of the foil: an edge 12 eV below that of the sample, with a second rise."""
    edge = absorption(energy, e0 - 12, step=0.8, width=2.0, white_line=0.0, shells=FOIL)
    return np.asarray(edge + 0.25 * np.exp(-0.5 * ((energy - e0 - 6) / 3.0) ** 2))


def _chambers(mu: Array, foil: Array, photons: float, rng: np.random.Generator) -> Array:
    """Return the counts of I0, It and Ir: each chamber takes what the law of Poisson gives it."""
    flux = photons * np.linspace(1.0, 0.97, mu.size)
    behind = flux * np.exp(-mu)
    return np.stack([rng.poisson(rate) for rate in (flux, behind, behind * np.exp(-foil))], axis=1)


def _xdi(name: str, energy: Array, counts: Array, began: datetime, ended: datetime) -> str:
    """Return an XDI file."""
    columns = ("energy eV", "i0 counts", "itrans counts", "irefer counts")
    fields = [
        "XDI/1.0 redoxlight",
        *(f"Column.{number}: {column}" for number, column in enumerate(columns, 1)),
        "Element.symbol: Ni",
        "Element.edge: K",
        "Mono.name: Si(111)",
        f"Mono.d_spacing: {D_SPACING}",
        "Beamline.name: simulated",
        f"Sample.name: {name}",
        "Sample.reference: Ni foil",
        f"Scan.start_time: {began.isoformat()}",
        f"Scan.end_time: {ended.isoformat()}",
        "///",
        "simulated",
        "-----",
        " ".join(column.split()[0] for column in columns),
    ]
    rows = [f"{e:12.4f} {a:12d} {b:12d} {c:12d}" for e, (a, b, c) in zip(energy, counts, strict=True)]
    return "\n".join([*(f"# {field}" for field in fields), *rows]) + "\n"
