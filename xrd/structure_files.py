"""Structures from CIF, through gemmi."""

from __future__ import annotations

import os
from typing import Any

from beamline.errors import DataFileError
from xrd.phases import Site

DEFAULT_UISO = 0.01
"""Where a file states no displacement, angstrom². What it states is kept, also where it is 0 or negative."""


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return space group, cell and sites of the first structure in a CIF, as arguments of `Phase`.

    Raises
    ------
    DataFileError
        The file is no CIF, or lacks one of them.
    """
    import gemmi

    try:
        structure = gemmi.read_small_structure(os.fspath(path))
    except OSError as error:
        raise DataFileError(path, error.strerror or "cannot be read", "check the path") from error
    except (ValueError, RuntimeError, IndexError) as error:
        raise DataFileError(path, f"is no CIF ({error})", "export it again") from error
    cell = structure.cell.parameters
    if tuple(cell) == (1.0, 1.0, 1.0, 90.0, 90.0, 90.0):
        raise DataFileError(path, "states no cell", "complete _cell_length_a and the others")
    # Operations in the file decide on the setting, then the symbol, of two origins the one with inversion.
    structure.determine_and_set_spacegroup("S.H2")
    group: Any = structure.spacegroup
    if group is None:
        stated = structure.spacegroup_hm or "none"
        raise DataFileError(path, f"has no space group that is known ({stated})", "state its H-M symbol")
    known = _states_displacements(path, len(structure.sites))
    sites = tuple(_site(atom, path, is_known) for atom, is_known in zip(structure.sites, known, strict=True))
    if not sites:
        raise DataFileError(path, "has no atoms", "complete the loop of _atom_site")
    return {"space_group": group.xhm(), "cell": tuple(cell), "sites": sites}


def _states_displacements(path: str | os.PathLike[str], count: int) -> list[bool]:
    """Tell of which atoms the file states a displacement: gemmi gives 0 where there is none, too."""
    import gemmi

    blocks = [block for block in gemmi.cif.read(os.fspath(path)) if block.find_values("_atom_site_fract_x")]
    stated = [False] * count
    for tag in ("_atom_site_U_iso_or_equiv", "_atom_site_B_iso_or_equiv"):
        values = list(blocks[0].find_values(tag)) if blocks else []
        if len(values) == count:
            stated = [was or value not in ("?", ".") for was, value in zip(stated, values, strict=True)]
    return stated


def _site(atom: Any, path: str | os.PathLike[str], has_displacement: bool) -> Site:
    element = atom.element.name
    if atom.element.atomic_number == 0:
        symbol = atom.type_symbol or atom.label
        raise DataFileError(path, f"has an atom of the unknown element {symbol!r}", "correct its symbol")
    x, y, z = (float(value) for value in atom.fract.tolist())
    uiso = float(atom.u_iso) if has_displacement or atom.u_iso > 0 else DEFAULT_UISO
    return Site(str(atom.label), str(element), x, y, z, float(atom.occ), uiso)
