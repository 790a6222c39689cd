"""A small beamtime in a folder: raw files of every technique with known truth, and one ``beamtime.toml``.

Each technique simulates its own raw files in a subfolder of its name and says which tables process them
(`Technique.demo`); after processing it says what was put in beside what was found (`Technique.compare`).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from beamline import techniques
from beamline._lazy import resolve
from beamline.atomic import write_atomic
from beamline.errors import ConfigError
from beamline.truth import Comparison

_HEAD = """\
# A simulated beamtime: truth.json in each folder of raw files says what is in them.

[beamtime]
name = "demonstration (simulated)"
timezone = "America/Chicago"
output = "processed"
"""


def write(folder: str | os.PathLike[str], only: Collection[str] | None = None) -> Path:
    """Simulate a beamtime.

    Parameters
    ----------
    folder
        Gets ``beamtime.toml`` and a subfolder of raw files for each technique.
    only
        Names of the techniques; by default all that have a demonstration.

    Returns
    -------
    Path
        The file ``beamtime.toml``.

    Raises
    ------
    ConfigError
        No technique has a demonstration.
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    demos = {name: t.demo for name, t in techniques.techniques().items() if t.demo}
    if not demos:
        raise ConfigError("demo", "no installed technique has one")
    chosen = [name for name in demos if only is None or name in only]
    tables = [resolve(demos[name])(folder / name).strip() for name in chosen]
    path = folder / "beamtime.toml"
    write_atomic(path, "\n\n".join([_HEAD.strip(), *tables, ""]).encode())
    return path


def compare(beamtime: Path, result: Path) -> list[Comparison]:
    """Return what was simulated beside what was found, of every technique whose raw files are there.

    Parameters
    ----------
    beamtime
        The file `write` returned.
    result
        The file of results made from it.
    """
    found: list[Comparison] = []
    for name, technique in techniques.techniques().items():
        folder = beamtime.parent / name
        if technique.compare and folder.is_dir():
            found += resolve(technique.compare)(folder, result)
    return found
