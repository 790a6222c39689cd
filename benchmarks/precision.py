"""Every measured number of README and docs, in one table.

``python -m benchmarks.precision [quantity...]`` measures the quantities named, or all of them. Those on real
measurements look for them in the folder ``REDOXLIGHT_DATA`` names; where it is unset they are left out, and a
sentence says so. Simulations are seeded: the same versions give the same table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HEAD = ["quantity", "measured", "reference or limit", "source of the reference"]


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

    from benchmarks import precision_clocks, precision_rixs, precision_xas, precision_xrd

    known = {
        **precision_xrd.QUANTITIES,
        **precision_xas.QUANTITIES,
        **precision_clocks.QUANTITIES,
        **precision_rixs.QUANTITIES,
    }
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
