"""Phases: a cell, a space group and sites, from a CIF or by hand, and how their peaks are broadened.

Names and units are those of GSAS-II (B. H. Toby, R. B. Von Dreele, J. Appl. Cryst. 46 (2013) 544):
crystallite size in µm, microstrain in units of 10⁻⁶ (FWHM of 2θ in rad over tan θ), Uiso in angstrom².
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from beamline.errors import ConfigError, DataFileError

Floats = np.ndarray[Any, np.dtype[np.float64]]

CELL = ("a", "b", "c", "alpha", "beta", "gamma")
SizeModel = Literal["isotropic", "uniaxial"]
Broadening = Literal["isotropic", "uniaxial", "generalised"]
Intensities = Literal["structure", "lebail", "pawley"]

_KINDS = {
    "size_model": get_args(SizeModel),
    "strain_model": get_args(Broadening),
    "intensities": get_args(Intensities),
}
WITHIN = {
    "scale": (0.0, math.inf),
    **dict.fromkeys(("size", "size_axial"), (1e-4, 1e3)),
    **dict.fromkeys(("strain", "strain_axial"), (0.0, 2e5)),
    **dict.fromkeys(("size_mixing", "strain_mixing"), (0.0, 1.0)),
    "march": (0.05, 20.0),
}
"""What numbers of a phase lie between."""

_FREE_CELL = {
    "triclinic": CELL,
    "monoclinic a": ("a", "b", "c", "alpha"),
    "monoclinic b": ("a", "b", "c", "beta"),
    "monoclinic c": ("a", "b", "c", "gamma"),
    "orthorhombic": ("a", "b", "c"),
    "tetragonal": ("a", "c"),
    "hexagonal": ("a", "c"),
    "rhombohedral": ("a", "alpha"),
    "cubic": ("a",),
}
_BETWEEN = ((1, 2), (0, 2), (0, 1))
"""Edges that α, β, γ are between."""

_EQUAL = {
    "tetragonal": {"b": "a"},
    "hexagonal": {"b": "a"},
    "rhombohedral": {"b": "a", "c": "a", "beta": "alpha", "gamma": "alpha"},
    "cubic": {"b": "a", "c": "a"},
}


@dataclass(frozen=True)
class Site:
    """An atom of the asymmetric unit.

    Attributes
    ----------
    label
        Its name in the phase ("Ni1").
    element
        Chemical symbol; the scattering is that of the neutral atom.
    x, y, z
        Fractional coordinates.
    occupancy
        Part of the site that it fills.
    uiso
        Isotropic mean square displacement, angstrom².
    """

    label: str
    element: str
    x: float
    y: float
    z: float
    occupancy: float = 1.0
    uiso: float = 0.01


@dataclass(frozen=True)
class Phase:
    """A crystalline phase in the beam.

    Attributes
    ----------
    name
        What results call it; no "/" in it.
    space_group
        Hermann-Mauguin symbol with its setting ("R -3 m:H", "F d -3 m:2").
    cell
        a, b, c (angstrom), alpha, beta, gamma (deg).
    sites
        Atoms of the asymmetric unit; may be empty for Le Bail and Pawley fits.
    scale
        To begin with; proportional to the number of unit cells in the beam, as in GSAS-II.
    size, size_axial
        Crystallite size (µm), and along `axis` where `size_model` is uniaxial.
    strain, strain_axial
        Microstrain (10⁻⁶), and along `axis` where `strain_model` is uniaxial.
    size_mixing, strain_mixing
        Part of the broadening that is Lorentzian (GSAS-II: LGmix).
    size_model, strain_model
        Size is isotropic or uniaxial; strain also generalised (P. W. Stephens, J. Appl. Cryst. 32 (1999)
        281).
    stephens
        Coefficients of the generalised strain in the order of `xrd.broadening.stephens_terms`.
    axis
        Indices (hkl) of the planes to whose normal uniaxial broadening and March-Dollase texture refer, as in
        GSAS-II.
    march
        March-Dollase ratio along `axis`; 1: no texture.
    harmonics
        Order of harmonic texture, even; 0: none.
    intensities
        ``"structure"`` from the sites, ``"lebail"`` or ``"pawley"`` from the pattern.
    anomalous
        (element, f', f'') of elements whose anomalous scattering is known better than from the tables.
    """

    name: str
    space_group: str
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[Site, ...] = ()
    scale: float = 1.0
    size: float = 1.0
    strain: float = 1000.0
    size_axial: float = 1.0
    strain_axial: float = 1000.0
    size_mixing: float = 1.0
    strain_mixing: float = 1.0
    size_model: SizeModel = "isotropic"
    strain_model: Broadening = "isotropic"
    stephens: tuple[float, ...] = ()
    axis: tuple[int, int, int] = (0, 0, 1)
    march: float = 1.0
    harmonics: int = 0
    intensities: Intensities = "structure"
    anomalous: tuple[tuple[str, float, float], ...] = ()

    def __post_init__(self) -> None:
        subject = f"phase {self.name!r}"
        if not self.name or "/" in self.name:
            raise ConfigError(subject, "is no name of a phase", "give it one without a slash")
        group = space_group(self.space_group)
        lengths, angles = np.array(self.cell[:3]), np.array(self.cell[3:])
        if len(self.cell) != 6 or not (lengths > 0).all() or not ((angles > 0) & (angles < 180)).all():
            raise ConfigError(subject, f"has the cell {self.cell}", "give a, b, c, α, β, γ")
        if not volume(self.cell) > 0:
            raise ConfigError(subject, f"has angles no cell can have: {tuple(angles)}")
        expected = expand_cell(self.lattice, [self.cell[CELL.index(n)] for n in self.free_cell])
        if np.abs(np.array(expected) - self.cell).max() > 2e-3:
            raise ConfigError(
                subject, f"has a cell {self.cell} that {group.xhm()} does not allow", "check cell and setting"
            )
        _check_broadening(subject, self)
        labels = [site.label for site in self.sites]
        if len(set(labels)) != len(labels):
            raise ConfigError(subject, "has two sites of one label", "rename one")
        for site in self.sites:
            _check_site(subject, site)
        if self.intensities == "structure" and not self.sites:
            raise ConfigError(subject, "has no sites", 'give them, or intensities="lebail"')

    @classmethod
    def from_cif(cls, path: str | os.PathLike[str], name: str | None = None, **parameters: Any) -> Self:
        """Read a structure from a CIF.

        Parameters
        ----------
        path
            The file. Of ambiguous origins the symmetry operations in the file decide, else the second choice
            is taken (inversion at the origin).
        name
            Name of the phase; that of the file where not given.
        **parameters
            Other attributes of the phase.

        Raises
        ------
        DataFileError
            The file is no CIF, or lacks cell, space group or sites, or holds an element that does not exist,
            or a layered oxide whose oxygen belongs to the other origin (see `xrd.layered`).
        """
        from xrd import structure_files

        values = structure_files.read(path)
        try:
            phase = cls(**{**values, "name": name or Path(path).stem, **parameters})
            if phase.intensities == "structure":
                from xrd import layered

                layered.check_origin(phase)
        except ConfigError as error:
            raise DataFileError(path, f"{error.subject} {error.problem}", error.remedy) from error
        return phase

    @property
    def lattice(self) -> str:
        """Which cell parameters are free: a key of crystal systems, "rhombohedral" for R on its own axes."""
        return _lattice(self.space_group)

    @property
    def free_cell(self) -> tuple[str, ...]:
        """Names of the cell parameters symmetry leaves free."""
        return _FREE_CELL[self.lattice]

    @property
    def volume(self) -> float:
        """Volume of the cell, angstrom³."""
        return volume(self.cell)

    def contents(self) -> dict[str, float]:
        """Return the atoms of each element in the unit cell."""
        found: dict[str, float] = {}
        for site in self.sites:
            atoms = multiplicity(self.space_group, (site.x, site.y, site.z)) * site.occupancy
            found[site.element] = found.get(site.element, 0.0) + atoms
        return found

    def mass(self) -> float:
        """Return the mass of the unit cell, g/mol."""
        import gemmi

        return float(sum(n * gemmi.Element(element).weight for element, n in self.contents().items()))

    def to_record(self) -> dict[str, Any]:
        """Return everything that defines the phase, as JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Make the phase again from what `to_record` gave."""
        values = {key: value for key, value in record.items() if key not in ("record", "sites")}
        for key in ("cell", "stephens", "axis"):
            values[key] = tuple(values[key])
        values["anomalous"] = tuple((str(e), float(f1), float(f2)) for e, f1, f2 in values["anomalous"])
        return cls(**values, sites=tuple(Site(**site) for site in record["sites"]))


def space_group(symbol: str) -> Any:
    """Return gemmi's space group.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    import gemmi

    group = gemmi.find_spacegroup_by_name(symbol)
    if group is None:
        raise ConfigError(
            f"space group {symbol!r}", "is not known", "write it as in the tables: 'R -3 m:H', 'F d -3 m:2'"
        )
    return group


def metric(cell: Any) -> Floats:
    """Return the metric tensor of a cell, angstrom²."""
    edges = np.array(cell[:3], dtype=float)
    return np.asarray(np.outer(edges, edges) * _cosines(cell))


def metric_slopes(cell: Any) -> Floats:
    """Return the derivatives of the metric tensor by the six cell parameters (6, 3, 3)."""
    edges = np.array(cell[:3], dtype=float)
    slopes = np.zeros((6, 3, 3))
    rows = edges * _cosines(cell)
    for i in range(3):
        slopes[i, i] = rows[i]
        slopes[i, :, i] += rows[i]
    for angle, (i, j) in enumerate(_BETWEEN):
        slope = -edges[i] * edges[j] * math.sin(math.radians(cell[3 + angle])) * math.pi / 180
        slopes[3 + angle, i, j] = slopes[3 + angle, j, i] = slope
    return slopes


def _cosines(cell: Any) -> Floats:
    """Return the cosines between the edges (3, 3), exact at 90 deg."""
    cosines = np.eye(3)
    for angle, (i, j) in zip(cell[3:], _BETWEEN, strict=True):
        cosines[i, j] = cosines[j, i] = math.cos(math.radians(angle)) if angle != 90 else 0.0
    return cosines


def volume(cell: Any) -> float:
    """Return the volume of a cell, angstrom³; 0 where its angles are impossible."""
    return math.sqrt(max(float(np.linalg.det(metric(cell))), 0.0))


def expand_cell(lattice: str, free: Any) -> tuple[float, float, float, float, float, float]:
    """Return the six cell parameters of a lattice from its free ones."""
    values = dict(zip(_FREE_CELL[lattice], free, strict=True))
    fixed = {"alpha": 90.0, "beta": 90.0, "gamma": 120.0 if lattice == "hexagonal" else 90.0}
    equal = _EQUAL.get(lattice, {})
    six = [values[equal.get(name, name)] if equal.get(name, name) in values else fixed[name] for name in CELL]
    a, b, c, alpha, beta, gamma = (float(value) for value in six)
    return a, b, c, alpha, beta, gamma


def cell_dependence(lattice: str) -> Floats:
    """Return the derivative of the six cell parameters with respect to the free ones (6, free)."""
    free = _FREE_CELL[lattice]
    equal = _EQUAL.get(lattice, {})
    return np.array([[1.0 if equal.get(name, name) == f else 0.0 for f in free] for name in CELL])


@functools.lru_cache(maxsize=256)
def operations(symbol: str) -> tuple[Floats, Floats]:
    """Return rotations (op, 3, 3) and translations (op, 3) of a space group, centring included."""
    import gemmi

    ops = list(space_group(symbol).operations())
    rotations = np.array([op.rot for op in ops], dtype=float) / gemmi.Op.DEN
    translations = np.array([op.tran for op in ops], dtype=float) / gemmi.Op.DEN
    return rotations, translations


def orbit(symbol: str, position: Any, tolerance: float = 1e-3) -> Floats:
    """Return the positions (n, 3) in the cell that symmetry makes of one."""
    rotations, translations = operations(symbol)
    images = (rotations @ np.asarray(position, dtype=float) + translations) % 1.0
    kept: list[Floats] = []
    for image in images:
        apart = [np.abs((image - other + 0.5) % 1.0 - 0.5).max() > tolerance for other in kept]
        if all(apart):
            kept.append(image)
    return np.array(kept)


def multiplicity(symbol: str, position: Any) -> int:
    """Return how many times a position occurs in the cell."""
    return _multiplicity(symbol, tuple(float(x) for x in position))


def echelon(matrix: Floats) -> Floats:
    """Return the rows that span those of a matrix, each with a 1 where the others have 0."""
    rows = np.array(matrix, dtype=float)
    rank = 0
    for column in range(rows.shape[1]):
        pivot = rank + int(np.argmax(np.abs(rows[rank:, column]))) if rank < len(rows) else 0
        if rank == len(rows) or abs(rows[pivot, column]) < 1e-6:
            continue
        rows[[rank, pivot]] = rows[[pivot, rank]]
        rows[rank] /= rows[rank, column]
        for other in range(len(rows)):
            if other != rank:
                rows[other] -= rows[other, column] * rows[rank]
        rank += 1
    return rows[:rank]


@functools.lru_cache(maxsize=4096)
def _multiplicity(symbol: str, position: tuple[float, ...]) -> int:
    return len(orbit(symbol, position))


@functools.lru_cache(maxsize=256)
def _lattice(symbol: str) -> str:
    group = space_group(symbol)
    system = str(group.crystal_system_str())
    if system == "trigonal":
        return "rhombohedral" if group.ext == "R" else "hexagonal"
    if system == "monoclinic":
        rotations, _ = operations(symbol)
        traces = np.trace(rotations, axis1=1, axis2=2) * np.linalg.det(rotations)
        twofold = rotations[np.isclose(traces, -1.0)][0]
        return f"monoclinic {'abc'[int(np.argmax(np.diag(twofold) * np.linalg.det(twofold)))]}"
    return system


def _check_broadening(subject: str, phase: Phase) -> None:
    """Refuse a size, strain or texture that no sample can have."""
    for name, kinds in _KINDS.items():
        if getattr(phase, name) not in kinds:
            raise ConfigError(subject, f"has {name}={getattr(phase, name)!r}", f"one of {', '.join(kinds)}")
    for name, (low, high) in WITHIN.items():
        value = getattr(phase, name)
        if not (low <= value <= high and math.isfinite(value)):
            raise ConfigError(subject, f"has {name}={value!r}", f"it lies between {low:g} and {high:g}")
    if not any(phase.axis):
        raise ConfigError(subject, "has the axis (0 0 0)", "give the planes (hkl) it is the normal of")


def _check_site(subject: str, site: Site) -> None:
    import gemmi

    if gemmi.Element(site.element).atomic_number == 0:
        raise ConfigError(
            f"{subject}, site {site.label}", f"is of the unknown element {site.element!r}", "correct it"
        )
    if not all(math.isfinite(v) for v in (site.x, site.y, site.z, site.occupancy, site.uiso)):
        raise ConfigError(f"{subject}, site {site.label}", "has a value that is no number", "complete it")
