"""How the common ground finds the techniques without importing them.

A technique (rixs, xrd, xas) registers one `Technique` under the entry point ``redoxlight.techniques``. It
names its parts as ``"module:attribute"``, so that the command can list what exists without loading any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

from beamline._lazy import resolve as resolve


@dataclass(frozen=True)
class Technique:
    """What a technique contributes to the common ground.

    Attributes
    ----------
    name
        Name of its tables in ``beamtime.toml``: ``[xrd.<measurement>]``.
    title
        What people call it.
    measurement
        ``"module:Class"`` of the pydantic model of one measurement table.
    recipe
        ``"module:function"``: ``(name, measurement, folder) -> beamline.recipe.Recipe``.
    template
        ``"module:TEXT"``: the commented table `redoxlight init` writes.
    figures
        Kind of result to ``"module:function"``: ``(dataset) -> matplotlib Figure``, or a mapping of names to
        several.
    commands
        Command to ``"module:function"``, a function typer can turn into a command. What it returns (a path,
        a mapping of plain values, None) is what `--json` prints.
    demo
        ``"module:function"``: ``(folder) -> text``; simulates raw files in `folder`, which has the name of
        the technique, and returns the tables of ``beamtime.toml`` that process them, with names of files
        relative to the parent of `folder`. "" where there is none.
    checks, full_checks
        What ``redoxlight doctor`` looks at, and what takes it longer than a moment: name to
        ``"module:function"``, a function without arguments that returns a `beamline.doctor.Finding`.
    compare
        ``"module:function"``: ``(folder of the demo, file of its results) -> comparisons``
        (`beamline.truth`) of the simulated truth with what was found. "" where there is none.
    """

    name: str
    title: str
    measurement: str
    recipe: str
    template: str
    figures: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    demo: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)
    full_checks: Mapping[str, str] = field(default_factory=dict)
    compare: str = ""


@cache
def techniques() -> dict[str, Technique]:
    """Return the installed techniques by name."""
    found = (entry.load() for entry in entry_points(group="redoxlight.techniques"))
    return {technique.name: technique for technique in sorted(found, key=lambda t: t.name)}


def packages() -> tuple[str, ...]:
    """Return the packages redoxlight consists of here, those of the installed techniques included."""
    owners = (technique.recipe.partition(":")[0].partition(".")[0] for technique in techniques().values())
    return tuple(dict.fromkeys(("beamline", "calibration", *owners)))
