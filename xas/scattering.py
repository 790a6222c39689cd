"""Scattering paths from a crystal structure, calculated by FEFF.

The structure (CIF, read by gemmi) is cut to a cluster around one absorbing atom; FEFF8L, which comes with
larch, gives amplitude and phase of every path (J. J. Rehr, R. C. Albers, Rev. Mod. Phys. 72 (2000) 621;
A. L. Ankudinov, B. Ravel, J. J. Rehr, S. D. Conradson, Phys. Rev. B 58 (1998) 7565), without
self-consistency: what EXAFS beyond k = 3 needs.

A site that several elements share is given to the most abundant one: Mn, Fe, Co and Ni scatter alike, and a
random draw, which other programs make, gives another answer each time. Where a tenth or more of a site is of
an element more than three places away in the periodic table, the calculation is refused. A site that is less
than half full is left empty, others are filled. `Paths.notes` says what was done.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import ConfigError, DataFileError, FitError
from xas._larch import calling_larch

if TYPE_CHECKING:
    import gemmi

MODULES = ("rdinp", "pot", "xsph", "pathfinder", "genfmt", "ff2x")
TIMEOUT = 600
SAME_SITE = 0.05
"""Atoms closer than this (angstrom) share a site."""


@dataclass(frozen=True)
class ScatteringPath:
    """One path of FEFF.

    Attributes
    ----------
    name
        Name of its file, "feff0001.dat".
    text
        The file.
    reff
        Half its length, angstrom.
    degeneracy
        How many such paths there are.
    atoms
        Elements along the path, the absorber left out: one for single scattering.
    """

    name: str
    text: str = field(repr=False)
    reff: float
    degeneracy: float
    atoms: tuple[str, ...]

    @classmethod
    def from_text(cls, name: str, text: str) -> ScatteringPath:
        """Read the head of a ``feffNNNN.dat``.

        Raises
        ------
        DataFileError
            It is none.
        """
        lines = text.splitlines()
        head = next((n for n, line in enumerate(lines) if "nleg, deg, reff" in line), None)
        try:
            if head is None:
                raise ValueError("no line of nleg, deg, reff")
            legs, degeneracy, reff = lines[head].split()[:3]
            rows = [line.split() for line in lines[head + 2 : head + 2 + int(legs)]]
            atoms = tuple(row[5] for row in rows[1:])
            return cls(name, text, float(reff), float(degeneracy), atoms)
        except (ValueError, IndexError) as error:
            raise DataFileError(name, f"is not a path of FEFF ({error})") from error


@dataclass(frozen=True)
class Paths:
    """The paths of one calculation, shortest first.

    Attributes
    ----------
    paths
        The paths.
    source
        What they can be calculated from again: structure, absorber, edge, radius, site; or the files they
        were read from.
    notes
        What was done to the structure.
    """

    paths: tuple[ScatteringPath, ...]
    source: Mapping[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[ScatteringPath]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def from_files(cls, files: Sequence[str | os.PathLike[str]]) -> Paths:
        """Read ``feffNNNN.dat`` files of a calculation made elsewhere.

        Raises
        ------
        DataFileError
            A file is missing or is none.
        """
        texts = {}
        for file in files:
            try:
                texts[Path(file).name] = Path(file).read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise DataFileError(file, error.strerror or "cannot be read", "check the path") from error
        return cls._from_texts(texts, {"files": texts})

    def to_record(self) -> dict[str, Any]:
        """Return what the paths can be made from again."""
        return dict(self.source)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Paths:
        """Make the paths of a record again, by running FEFF where they were calculated."""
        if "files" in record:
            return cls._from_texts(record["files"], {"files": dict(record["files"])})
        return _calculated(**{k: record[k] for k in ("cif", "absorber", "edge", "radius", "site")})

    @classmethod
    def _from_texts(
        cls, texts: Mapping[str, str], source: Mapping[str, Any], notes: tuple[str, ...] = ()
    ) -> Paths:
        paths = [ScatteringPath.from_text(name, text) for name, text in texts.items()]
        return cls(tuple(sorted(paths, key=lambda p: (p.reff, p.name))), source, notes)


def feff(
    cif: str | os.PathLike[str],
    absorber: str,
    edge: str = "K",
    radius: float = 6.0,
    site: str | None = None,
) -> Paths:
    """Calculate the scattering paths around an atom of a crystal.

    Parameters
    ----------
    cif
        The structure.
    absorber
        Element that absorbs ("Ni").
    edge
        "K", "L1", "L2" or "L3".
    radius
        Of the cluster and of the longest path (half its length), angstrom.
    site
        Label of the absorbing site in the CIF, where the element is on several.

    Returns
    -------
    Paths
        Single and multiple scattering, shortest first.

    Raises
    ------
    DataFileError
        The CIF cannot be read.
    ConfigError
        The absorber is not in the structure, or on several sites.
    FitError
        FEFF failed.
    """
    try:
        text = Path(cif).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataFileError(cif, error.strerror or "cannot be read", "check the path") from error
    return _calculated(text, absorber, edge, radius, site)


def _calculated(cif: str, absorber: str, edge: str, radius: float, site: str | None) -> Paths:
    if edge not in ("K", "L1", "L2", "L3"):
        raise ConfigError("edge", f"is {edge!r}", "K, L1, L2 or L3")
    if not 3.0 <= radius <= 10.0:
        raise ConfigError("radius", f"is {radius} angstrom", "between 3 and 10")
    elements, positions, notes = _cluster(cif, absorber, radius, site)
    texts = _run(_input(elements, positions, edge, radius))
    source = {"cif": cif, "absorber": absorber, "edge": edge, "radius": radius, "site": site}
    return Paths._from_texts(texts, source, tuple(notes))


def _cluster(
    cif: str, absorber: str, radius: float, site: str | None
) -> tuple[list[str], np.ndarray[Any, Any], list[str]]:
    """Return elements and positions (angstrom, the absorber first, at the origin), and what was done."""
    import gemmi

    try:
        structure = gemmi.make_small_structure_from_block(gemmi.cif.read_string(cif).sole_block())
    except (ValueError, RuntimeError, IndexError) as error:
        raise DataFileError("CIF", f"cannot be read ({error})") from error
    if not structure.sites or structure.cell.volume <= 1.0:
        raise DataFileError("CIF", "holds no structure")
    centres = [s for s in structure.sites if s.element.name == absorber and site in (None, s.label)]
    if not centres:
        known = ", ".join(f"{s.label} ({s.element.name})" for s in structure.sites)
        raise ConfigError("absorber", f"{site or absorber} is not in the structure", f"sites: {known}")
    if len(centres) > 1:
        raise ConfigError(
            "absorber",
            f"{absorber} is on several sites",
            f"give site=, one of {', '.join(s.label for s in centres)}",
        )
    atoms, notes = _filled(structure)
    origin = structure.cell.orthogonalize(centres[0].fract)
    found: list[tuple[float, str, tuple[float, float, float]]] = []
    # distance between the lattice planes: how many cells the sphere reaches across
    vectors = np.array([structure.cell.orthogonalize(gemmi.Fractional(*e)).tolist() for e in np.eye(3)])
    planes = 1 / np.linalg.norm(np.linalg.inv(vectors), axis=0)
    reach = np.ceil(radius / planes).astype(int) + 1
    for element, fract in atoms:
        for i in range(-reach[0], reach[0] + 1):
            for j in range(-reach[1], reach[1] + 1):
                for k in range(-reach[2], reach[2] + 1):
                    p = (
                        structure.cell.orthogonalize(gemmi.Fractional(fract.x + i, fract.y + j, fract.z + k))
                        - origin
                    )
                    if SAME_SITE < p.length() <= radius:
                        found.append((round(p.length(), 6), element, (p.x, p.y, p.z)))
    found.sort()
    elements = [absorber, *(element for _, element, _ in found)]
    positions = np.array([(0.0, 0.0, 0.0), *(position for _, _, position in found)])
    return elements, positions, notes


def _filled(structure: gemmi.SmallStructure) -> tuple[list[tuple[str, gemmi.Fractional]], list[str]]:
    """Return one element per site of the unit cell."""
    groups: list[list[gemmi.SmallStructure.Site]] = []
    for atom in structure.get_all_unit_cell_sites():
        for group in groups:
            apart = (atom.fract - group[0].fract).wrap_to_zero()
            if structure.cell.orthogonalize(apart).length() < SAME_SITE:
                group.append(atom)
                break
        else:
            groups.append([atom])
    atoms, notes = [], []
    for group in groups:
        main = max(group, key=lambda s: s.occ)
        content = " ".join(f"{s.label} {s.occ:g}" for s in group)
        total = sum(s.occ for s in group)
        if total < 0.5:
            notes.append(f"site {content}: left empty")
            continue
        for other in group:
            far = abs(other.element.atomic_number - main.element.atomic_number) > 3
            if other is not main and far and other.occ >= 0.1:
                raise ConfigError(
                    "CIF",
                    f"{content} share a site but scatter differently",
                    "calculate each in a structure of its own",
                )
        if len(group) > 1 or total < 0.99:
            notes.append(f"site {content}: calculated as {main.element.name}")
        atoms.append((main.element.name, main.fract))
    return atoms, sorted(set(notes))


def _input(elements: list[str], positions: np.ndarray[Any, Any], edge: str, radius: float) -> str:
    """Write the input of FEFF8L."""
    import gemmi

    kinds = list(dict.fromkeys(elements[1:]))
    potentials = [f"0 {gemmi.Element(elements[0]).atomic_number} {elements[0]} -1 -1 0.01"]
    potentials += [f"{n} {gemmi.Element(e).atomic_number} {e} -1 -1" for n, e in enumerate(kinds, 1)]
    atoms = [
        f"{x:.5f} {y:.5f} {z:.5f} {0 if n == 0 else kinds.index(element) + 1} {element}"
        for n, (element, (x, y, z)) in enumerate(zip(elements, positions, strict=True))
    ]
    return "\n".join(
        [
            f"TITLE {elements[0]} in a cluster of {len(elements)} atoms",
            f"EDGE {edge}",
            "S02 1.0",
            "CONTROL 1 1 1 1 1 1",
            "PRINT 1 0 0 0 0 3",
            "EXCHANGE 0 0.0 0.0",
            f"RPATH {radius:.2f}",
            "EXAFS 20",
            "NLEG 6",
            "POTENTIALS",
            *potentials,
            "ATOMS",
            *atoms,
            "END",
            "",
        ]
    )


def _run(text: str) -> dict[str, str]:
    """Run the programs of FEFF8L one after the other in a folder of their own."""
    with calling_larch():
        from larch.utils import bindir

    with tempfile.TemporaryDirectory(prefix="feff") as name:
        folder = Path(name)
        (folder / "feff.inp").write_text(text, encoding="ascii")
        for module in MODULES:
            program = Path(bindir) / f"feff8l_{module}"
            try:
                done = subprocess.run(  # noqa: S603 - a program of larch, without arguments
                    [str(program)], cwd=folder, capture_output=True, timeout=TIMEOUT, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise FitError("FEFF", f"{module} could not run ({error})", "`redoxlight doctor`") from error
            if done.returncode != 0:
                last = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()[-1:]
                raise FitError("FEFF", f"{module} failed: {''.join(last) or done.returncode}")
        texts = {f.name: f.read_text(encoding="utf-8") for f in sorted(folder.glob("feff[0-9]*.dat"))}
    if not texts:
        raise FitError("FEFF", "found no path", "is the radius long enough?")
    return texts
