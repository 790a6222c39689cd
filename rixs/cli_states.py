"""The command that compares states, cycles and fresh samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beamline.console import Outcome

if TYPE_CHECKING:
    import xarray as xr


def rixs_compare(
    maps: Annotated[
        list[str],
        typer.Argument(
            metavar="STATE=MAP...",
            help="A map with its state ('4.8 V cycle 50=a.nc'), repeated for fresh samples; or a file of "
            "results, whose maps say their states (a map that says none has the name of its file).",
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Comparison (.nc).")] = None,
    feature: Annotated[str, typer.Option(help="oxidised_oxygen or low_loss.")] = "oxidised_oxygen",
    reference: Annotated[
        str | None,
        typer.Option(help="State the others are compared with; else pristine, or the lowest voltage."),
    ] = None,
    window: Annotated[
        tuple[float, float], typer.Option(metavar="LO HI", help="Excitation energies integrated, eV.")
    ] = (530.6, 531.8),
    table: Annotated[
        list[Path] | None,
        typer.Option("--table", metavar="FILE", help="Table as .md, .tex or .csv; may be repeated."),
    ] = None,
) -> Outcome:
    """Compare a feature between states of charge, cycles and fresh samples, with significance."""
    import beamline
    from beamline.errors import ConfigError
    from rixs import tables
    from rixs.comparison import compare

    states = gather(maps)
    if reference is not None:
        if reference not in states:
            raise ConfigError(f"reference {reference!r}", f"is not one of {', '.join(states)}")
        states = {reference: states.pop(reference), **states}
    result = compare(states, feature, window)
    written = [str(tables.write(result, path)) for path in table or ()]
    if output is not None:
        beamline.save(result, output)
        written.append(str(output))
    document = {
        "written": written,
        "findings": json.loads(result.attrs["findings"]),
        "states": [_state(result.isel(state=i)) for i in range(result.sizes["state"])],
    }
    return Outcome(document, "\n".join([tables.markdown(result), *written]))


def gather(arguments: list[str]) -> dict[str, list[xr.Dataset]]:
    """Return the maps by state of arguments "STATE=FILE", or of files of results, pristine first.

    Raises
    ------
    ConfigError
        An argument is no map, or there is none in a file.
    DataFileError
        A file cannot be read.
    """
    from beamline import store
    from beamline.errors import ConfigError
    from rixs.comparison import in_order
    from rixs.states import maps_by_state

    states: dict[str, list[xr.Dataset]] = {}
    for argument in arguments:
        label, separator, file = argument.rpartition("=")
        if not Path(store.split(argument)[0]).exists() and separator:
            if not (label.strip() and file):
                raise ConfigError(argument, "lacks a state or a file", "give STATE=FILE, 4.8 V=a.nc for one")
            leaves = dict(store.leaves(store.open_result(file)))
            found = {label: [m for ms in maps_by_state(leaves).values() for m in ms]}
        else:
            stem = Path(store.split(argument)[0]).stem
            found = maps_by_state(dict(store.leaves(store.open_result(argument))), stem)
        if not any(found.values()):
            raise ConfigError(argument, "holds no map", "give STATE=FILE, a map or a file of results")
        for state, maps in found.items():
            states.setdefault(state, []).extend(maps)
    return {state: states[state] for state in in_order(states)}


def _state(row: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of a state, with null for what there is not."""

    def number(name: str) -> float | None:
        value = float(row[name])
        return None if value != value else value

    units = str(row["area"].attrs["units"])
    return {
        "state": str(row["state"].values),
        "voltage": number("voltage"),
        "cycle": number("cycle"),
        "samples": int(row["samples"]),
        "area": {"value": number("area"), "error": number("area_errors"), "units": units},
        "change": {"value": number("change"), "error": number("change_errors"), "units": units},
        "significance": number("significance"),
    }
