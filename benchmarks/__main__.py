"""Print the table: ``python -m benchmarks [--repeats N]``."""

from __future__ import annotations

import argparse

from benchmarks.timing import copy_bandwidth, machine, pinned_to_one_core, versions

HEAD = ["task", "redoxlight, ms", "against", "ms", "times faster", "limit, ms"]


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each task")
    repeats = parser.parse_args().repeats
    pins = pinned_to_one_core()

    # After the pins: the libraries read them when they are loaded.
    from benchmarks import integration

    bandwidth = copy_bandwidth()
    print(f"Machine: {machine()}  \n{pins}  ")
    print(f"Versions: {versions('redoxlight', 'numpy', 'xarray', 'pyFAI', 'fabio')}  ")
    print(f"Memory: {bandwidth / 1e9:.1f} GB/s copied (read + written), one thread  ")
    print(f"Times: wall, best (median) of {repeats} calls; the limit is memory traffic at that bandwidth.\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for row in integration.rows(bandwidth, repeats):
        print(f"| {' | '.join(row.cells())} |", flush=True)


if __name__ == "__main__":
    main()
