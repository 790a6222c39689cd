"""A small simulated beamtime of channels: a cell, a furnace and its gas, on their own clocks."""

from __future__ import annotations

import json
import os
from pathlib import Path

from beamline import simulate
from beamline.atomic import write_atomic
from beamline.clocks import Clock, fit_clock
from beamline.truth import Comparison, open_leaf

_CONFIGURATION = """\
[beamtime]
name = "demonstration (simulated)"
timezone = "America/Chicago"
output = "processed"

[channels.cycler]
files = ["cycler.mpt"]
reference = "Li/Li+"

[channels.log]                  # the beamline's own reading of the voltage
files = ["beamline.csv"]
reference = "Li/Li+"

[channels.furnace]
files = ["furnace.csv"]

[channels.gas]
files = ["*gas.tsv"]
"""


def run(folder: str | os.PathLike[str]) -> Path:
    """Simulate the beamtime in `folder`.

    Returns
    -------
    Path
        The file ``beamtime.toml``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    simulate.write_channels(folder, seed=2022, cycler_clock=Clock(offset=95.2))
    path = Path(folder) / "beamtime.toml"
    write_atomic(path, _CONFIGURATION.encode())
    return path


def compare(beamtime: Path, result: Path) -> list[Comparison]:
    """Return the offset of the cycler's clock, as simulated and as found."""
    truth = json.loads((beamtime.parent / "truth.json").read_text())
    log, cycler = (open_leaf(result, f"channels/{name}") for name in ("log", "cycler"))
    clock = fit_clock(log, cycler, around="95 s")
    offset = Clock.from_record(truth["cycler"]["clock"]).offset
    return [Comparison("clock offset of the cycler (s)", offset, clock.offset, clock.offset_error)]
