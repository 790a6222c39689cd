"""Simulated absorption: a cathode whose Ni edge moves up on charge and back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from beamline.truth import Comparison, open_leaf
from xas import simulate

_TABLES = """\
[xas.ni_edge]
files = [{files}]
post = [150, 620]      # eV; nearer to the edge its EXAFS is too strong

[xas.ni_edge.fit]
cif = "{place}/structure.cif"
absorber = "Ni"
rmax = 3.2
"""


def run(folder: str | os.PathLike[str]) -> str:
    """Simulate one scan of each state in `folder` and return the tables that reduce and fit them.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    states = {"BR": simulate.STATES["BR"]}
    truth = json.loads(simulate.write_scans(folder, states, 1, 2022, photons=1e7).read_text())
    # In the order they were measured: the first is what the others are aligned on.
    files = ", ".join(f'"{folder.name}/{name}.xdi"' for name in truth["scans"])
    return _TABLES.format(files=files, place=folder.name)


def compare(folder: Path, result: Path) -> list[Comparison]:
    """Return edge shifts against the pristine sample and Ni-O distances, as simulated and as found."""
    truth = json.loads((folder / "truth.json").read_text())["scans"]
    scans = open_leaf(result, "xas/ni_edge/scans")
    fit = open_leaf(result, "xas/ni_edge/exafs")
    energy = scans["edge_energy"].values
    errors = np.hypot(scans["edge_energy_errors"].values, scans["energy_shift_errors"].values)
    names = scans["label"].values.tolist()
    comparisons = []
    for name, scan in truth.items():
        i = names.index(name)
        if i:
            comparisons.append(
                Comparison(
                    f"Ni K edge shift, {scan['state']} (eV)",
                    scan["edge_shift_eV"],
                    float(energy[i] - energy[0]),
                    float(np.hypot(errors[i], errors[0])),
                )
            )
    for name, scan in truth.items():
        i = names.index(name)
        comparisons.append(
            Comparison(
                f"Ni-O distance, {scan['state']} (angstrom)",
                scan["distance_angstrom"]["O"],
                float(fit["distance"].values[i, 0]),
                float(fit["distance_errors"].values[i, 0]),
            )
        )
    return comparisons
