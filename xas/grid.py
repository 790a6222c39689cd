"""An axis of energies that operators can be remembered by."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


class Grid:
    """Energies of a scan (eV, increasing), hashable: what is calculated for an axis serves all its scans.

    Parameters
    ----------
    energy
        Shape (energy,).
    """

    def __init__(self, energy: Array) -> None:
        self.energy = np.array(energy, dtype=float)  # a copy: it must not change
        self.energy.flags.writeable = False
        self._digest = hashlib.sha256(self.energy.tobytes()).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)
