"""Every measured number of README and docs, in one table.

``python -m benchmarks.precision [quantity...]`` measures the quantities named, or all of them. Those on real
measurements look for them in the folder ``REDOXLIGHT_DATA`` names; where it is unset they are left out, and a
sentence says so. Simulations are seeded: the same versions give the same table.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.measures import Quantity

HEAD = ["quantity", "measured", "reference or limit", "source of the reference"]


MODULES = (
    "calibration",
    "precision_xrd",
    "refinement",
    "refinement_real",
    "precision_rixs",
    "precision_features",
    "precision_xas",
    "precision_alignment",
    "precision_clocks",
)
"""Where the quantities are measured."""


def quantities() -> dict[str, Quantity]:
    """Return all quantities by name."""
    modules = [importlib.import_module(f"benchmarks.{name}") for name in MODULES]
    return {name: quantity for module in modules for name, quantity in module.QUANTITIES.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print.

    Parameters
    ----------
    arguments
        Of the command; those of the process where not given.
    """
    from beamline.recipe import single_threaded_libraries

    # Before the libraries are loaded: with several threads sums differ in the last bit.
    single_threaded_libraries()

    known = quantities()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("quantity", nargs="*", help=f"any of {', '.join(known)}; all by default")
    chosen = parser.parse_args(arguments).quantity or list(known)
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"{', '.join(unknown)}: not known; known: {', '.join(known)}")

    data = os.environ.get("REDOXLIGHT_DATA")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for name in chosen:
        if not known[name].real or data:
            for line in known[name].lines(Path(data or "")):
                print(f"| {' | '.join(line.cells())} |", flush=True)
    skipped = [name for name in chosen if known[name].real and not data]
    if skipped:
        print(
            f"\nLeft out, since they need real measurements: {', '.join(skipped)}. "
            "Set REDOXLIGHT_DATA to the folder that holds them."
        )


if __name__ == "__main__":
    main()
