r"""Calibrants: powders whose lattice spacings are known.

The names are those of pyFAI, whose tables of spacings are used; a CIF stands for any other powder. Of a CIF
the spacings come from the cell, and reflections weaker than `WEAK` of the strongest (structure factors of
independent atoms times multiplicity, over :math:`\sin^2θ \cosθ` at the wavelength used) are left out.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from beamline.errors import CalibrationError

WEAK = 0.003
"""A reflection of a CIF is left out when it has less than this part of the strongest one's intensity."""

SAME = 1e-7
"""Spacings that differ by less than this part are one ring."""


@dataclass(frozen=True)
class Calibrant:
    """Spacings of a powder in falling order, in angstrom."""

    name: str
    spacings: tuple[float, ...]

    def two_theta(self, wavelength: float, highest: float = math.pi) -> list[float]:
        """Return the angles (rad) of its rings up to `highest` at a wavelength in angstrom, rising."""
        limit = math.sin(min(highest, math.pi) / 2)
        sines = (wavelength / (2 * d) for d in self.spacings)
        return [2 * math.asin(sine) for sine in sines if sine < limit]


def find_calibrant(name: str | os.PathLike[str], wavelength: float) -> Calibrant:
    """Return a calibrant.

    Parameters
    ----------
    name
        A name pyFAI knows, in any case ("CeO2", "LaB6_SRM660c"), or a CIF.
    wavelength
        In angstrom: decides which reflections of a CIF exist and are strong.

    Raises
    ------
    CalibrationError
        The name is not known, or the CIF holds no structure that reflects.
    """
    if Path(name).suffix.lower() == ".cif":
        return _of_cif(Path(name), wavelength)
    from pyFAI.calibrant import CALIBRANT_FACTORY, get_calibrant

    known = {str(key).lower(): str(key) for key in CALIBRANT_FACTORY.keys()}  # noqa: SIM118 - no mapping
    key = known.get(os.fspath(name).lower())
    if key is None:
        raise CalibrationError(
            f"calibrant {os.fspath(name)!r}",
            "is not known",
            f"give a CIF, or one of {', '.join(known.values())}",
        )
    return Calibrant(key, _distinct([float(d) for d in get_calibrant(key).dspacing]))


def _of_cif(path: Path, wavelength: float) -> Calibrant:
    import gemmi
    import numpy as np

    try:
        structure = gemmi.read_small_structure(str(path))
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise CalibrationError(path, f"cannot be read as a CIF ({error})", "check the file") from error
    group = structure.spacegroup
    if not structure.sites or not structure.cell.is_crystal() or group is None:
        raise CalibrationError(path, "holds no cell, space group and atoms", "complete the CIF")
    d_min = max(wavelength / 2 * 1.0001, structure.cell.volume ** (1 / 3) / 30)
    hkl = gemmi.make_miller_array(structure.cell, group, d_min)
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    operations = group.operations()
    spacings, strengths = [], []
    for index in hkl:
        h = tuple(int(i) for i in index)
        d = structure.cell.calculate_d(h)
        sine = wavelength / 2 / d
        multiplicity = (
            len(operations.sym_ops)
            / operations.epsilon_factor(h)
            * (1 if operations.is_reflection_centric(h) else 2)
        )
        factor = abs(calculator.calculate_sf_from_small_structure(structure, h)) ** 2
        spacings.append(d)
        strengths.append(multiplicity * factor / (sine**2 * math.sqrt(1 - sine**2)))
    strength = np.array(strengths)
    if not strength.size or not strength.max() > 0:
        raise CalibrationError(path, "has no reflection at this wavelength", "check the structure")
    seen = [d for d, strong in zip(spacings, strength > WEAK * strength.max(), strict=True) if strong]
    return Calibrant(path.stem, _distinct(seen))


def _distinct(spacings: list[float]) -> tuple[float, ...]:
    """Return spacings in falling order, those that coincide once."""
    found: list[float] = []
    for d in sorted(spacings, reverse=True):
        if not found or d < found[-1] * (1 - SAME):
            found.append(d)
    return tuple(found)
