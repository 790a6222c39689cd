"""Print the table: ``python -m benchmarks [--repeats N] [topic ...]``."""

from __future__ import annotations

import argparse
import importlib

from benchmarks.timing import copy_bandwidth, machine, pinned_to_one_core, versions

HEAD = ["task", "redoxlight, ms", "against", "ms", "times faster", "limit, ms"]
TOPICS = {
    "integration": "integration",
    "refinement": "refinement",
    "rixs": "rixs_speed",
    "alignment": "alignment_speed",
    "xas": "xas_speed",
}
"""Modules that yield the rows of a topic."""
PACKAGES = ("redoxlight", "numpy", "xarray", "numba", "pyFAI", "fabio", "xraylarch", "brixs")


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each task")
    parser.add_argument("topic", nargs="*", help=f"any of {', '.join(TOPICS)}; all by default")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.topic if name not in TOPICS]:
        parser.error(f"{', '.join(unknown)}: not known; known: {', '.join(TOPICS)}")
    repeats = arguments.repeats
    pins = pinned_to_one_core()
    # After the pins: the libraries read them when they are loaded.
    topics = [importlib.import_module(f"benchmarks.{TOPICS[name]}") for name in arguments.topic or TOPICS]

    bandwidth = copy_bandwidth()
    print(f"Machine: {machine()}  \n{pins}  ")
    print(f"Versions: {versions(*PACKAGES)}  ")
    print(f"Memory: {bandwidth / 1e9:.1f} GB/s copied (read + written), one thread  ")
    print(
        f"Times: best (median) of {repeats} calls, or fewer of long ones; limit: traffic at that bandwidth.\n"
    )
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for topic in topics:
        for row in topic.rows(bandwidth, repeats):
            print(f"| {' | '.join(row.cells())} |", flush=True)


if __name__ == "__main__":
    main()
