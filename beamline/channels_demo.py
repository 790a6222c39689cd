"""A small simulated beamtime of channels: a cell, a furnace and its gas, on their own clocks."""

from __future__ import annotations

import json
import os
from pathlib import Path

from beamline import simulate
from beamline.clocks import Clock, fit_clock
from beamline.truth import Comparison, open_leaf

_TABLES = """\
[channels.cycler]
files = ["channels/cycler.mpt"]
reference = "Li/Li+"

[channels.log]                      # the beamline's own reading of the voltage
files = ["channels/beamline.csv"]
reference = "Li/Li+"

[channels.furnace]
files = ["channels/furnace.csv"]
clock = { offset = "-12.4 s" }      # frame time minus channel time

[channels.gas]
files = ["channels/*gas.tsv"]
clock = { offset = "-42 s" }        # the gas takes 42 s to the analyser
"""


def run(folder: str | os.PathLike[str]) -> str:
    """Simulate channels in `folder` and return the tables that read them.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    simulate.write_channels(folder, seed=2022, cycler_clock=Clock(offset=95.2))
    return _TABLES


def compare(folder: Path, result: Path) -> list[Comparison]:
    """Return the offset of the cycler's clock, as simulated and as found."""
    truth = json.loads((folder / "truth.json").read_text())
    log, cycler = (open_leaf(result, f"channels/{name}") for name in ("log", "cycler"))
    clock = fit_clock(log, cycler, around="95 s")
    offset = Clock.from_record(truth["cycler"]["clock"]).offset
    return [Comparison("clock offset of the cycler (s)", offset, clock.offset, clock.offset_error)]
