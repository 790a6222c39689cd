"""What was put into a simulation beside what processing found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beamline.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Comparison:
    """A quantity whose truth is known.

    Attributes
    ----------
    quantity
        What it is, with its unit.
    truth, found, error
        What was simulated; what processing gives, and one standard deviation of it.
    """

    quantity: str
    truth: float
    found: float
    error: float

    @property
    def pull(self) -> float:
        """How many standard deviations off."""
        return (self.found - self.truth) / self.error


def open_leaf(result: Path, place: str) -> xr.Dataset:
    """Return a leaf of a file of results ("rixs/charged/window").

    Raises
    ------
    DataFileError
        There is no such leaf.
    SchemaError
        It is a tree.
    """
    import xarray as xr

    from beamline.store import open_result

    found = open_result(f"{result}::/{place}")
    if not isinstance(found, xr.Dataset):
        raise SchemaError(f"{result}::/{place}", "is a tree", "name one of its leaves")
    return found


def rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Return the table, with its header: numbers with the digits their errors allow."""
    head = ["quantity", "truth", "found", "error", "pull"]
    return [
        head,
        *(
            [c.quantity, *(f"{value:.{_digits(c.error)}f}" for value in (c.truth, c.found, c.error)), pull]
            for c, pull in ((c, f"{c.pull:+.1f}") for c in comparisons)
        ),
    ]


def _digits(error: float) -> int:
    """Return the decimals that show two digits of an error, at least four."""
    return max(4, 1 - math.floor(math.log10(error))) if error > 0 else 4
