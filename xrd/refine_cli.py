"""The command ``redoxlight refine``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beamline import console
from beamline.console import Outcome
from beamline.errors import ConfigError, DataFileError

if TYPE_CHECKING:
    import xarray as xr

_GOOD = ("converged", "at_bound", "phase_absent")


def refine(
    patterns: Annotated[
        list[Path], typer.Argument(help="Patterns in the order of the series, or a result that holds them.")
    ],
    phase: Annotated[list[Path], typer.Option(help="Structure of a phase (CIF); give it once for each.")],
    instrument: Annotated[Path, typer.Option(help="Peak profile: .instprm, .prm or a saved record.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result (.nc).")],
    le_bail: Annotated[
        list[str] | None, typer.Option(help="Phase whose intensities are taken from the pattern.")
    ] = None,
    limits: Annotated[tuple[float, float] | None, typer.Option(help="First and last 2θ to fit, deg.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="LOW:HIGH", help="Range of 2θ left out, deg; may be repeated.")
    ] = None,
    background: Annotated[int, typer.Option(help="Number of Chebyshev terms of the background.")] = 6,
    free: Annotated[
        list[str] | None, typer.Option(help="What to refine beside the default: zero, '*/uiso'.")
    ] = None,
    fix: Annotated[list[str] | None, typer.Option(help="What to hold instead: layered/size.")] = None,
    start: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Where a parameter begins: layered/a=2.87.")
    ] = None,
    engine: Annotated[str, typer.Option(help="native or gsas2.")] = "native",
    cycles: Annotated[int, typer.Option(help="Cycles after which a fit is given up.")] = 30,
    curves: Annotated[bool, typer.Option(help="Keep the calculated patterns, for figures.")] = True,
    gpx: Annotated[Path | None, typer.Option(help="Write a project for GSAS-II, too.")] = None,
) -> Outcome:
    """Refine structures against powder patterns (Rietveld)."""
    if output.suffix != ".nc":
        raise ConfigError("--output", f"is {output}, results are NetCDF", f"name it {output.stem}.nc")
    if gpx is not None and gpx.suffix != ".gpx":
        raise ConfigError("--gpx", f"is {gpx}", f"name it {gpx.stem}.gpx")
    import beamline
    import xrd
    from xrd.refine_table import model_of

    model = model_of(
        phase, instrument, le_bail or (), limits, [_range(text) for text in exclude or ()], background,
        free or (), fix or (), dict(_value(text) for text in start or ()),
    )  # fmt: skip
    observed = _patterns(patterns)
    several = observed.sizes.get("frame", 1) > 1
    run: Any = xrd.refine_series if several else xrd.refine
    found = run(observed, model, engine=engine, max_cycles=cycles, curves=curves)
    beamline.save(found, output)
    if gpx is not None:
        from xrd.gsas2 import write_project

        write_project(observed, model, gpx, found["setting"].values)
    failed = [
        f"{_name(observed, i)}: {status}{f', {message}' if message else ''}"
        for i, (status, message) in enumerate(
            zip(found["status"].values, found["message"].values, strict=True)
        )
        if status not in _GOOD
    ]
    document = {
        "result": str(output),
        "gpx": gpx and str(gpx),
        "failed": failed,
        "fits": _numbers(found, observed),
    }
    text = f"{console.table(_rows(found, observed))}\nwrote {output}" + (f", {gpx}" if gpx else "")
    return Outcome(document, text, failed, console.SOME_FAILED if failed else console.DONE)


def _patterns(paths: list[Path]) -> xr.Dataset:
    """Return the patterns of raw files, or those a result holds."""
    import xarray as xr

    import beamline
    from beamline import model, store

    if len(paths) > 1 or store.split(paths[0])[0].suffix != ".nc":
        found = beamline.read(list(paths) if len(paths) > 1 else paths[0], kind="xrd.patterns")
        if not isinstance(found, xr.Dataset):
            raise DataFileError(paths[0], "holds several scans", "give them one by one")
        return found
    held = [ds for _, ds in store.leaves(store.open_result(paths[0])) if model.kind_of(ds) == "xrd.patterns"]
    if len(held) != 1:
        problem = f"holds {len(held)} Datasets of patterns"
        raise DataFileError(paths[0], problem, "name one of them as file.nc::/group")
    return held[0]


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise ConfigError("--exclude", f"is {text!r}", "write it as 5.0:5.2") from error


def _value(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise ConfigError("--start", f"is {text!r}", "write it as layered/a=2.87") from error


def _name(patterns: xr.Dataset, frame: int) -> str:
    return str(patterns["file"].values[frame]) if "file" in patterns.coords else f"frame {frame}"


def _rows(found: xr.Dataset, patterns: xr.Dataset) -> list[list[Any]]:
    """Return a table of cells, fractions and agreement."""
    from xrd.results import refined_cell

    names = [*refined_cell(found), *(["volume"] if "volume_errors" in found else [])]
    several = found.sizes["phase"] > 1
    shown = [*names, *(["fraction"] if several and "fraction_errors" in found else [])]
    head = ["pattern", "phase", *shown, "Rwp / %", "GOF", "status"]
    rows: list[list[Any]] = [head]
    for i in range(found.sizes["frame"]):
        for phase in found["phase"].values.tolist():
            one = found.isel(frame=i).sel(phase=phase)
            numbers = [with_error(float(one[name]), float(one[f"{name}_errors"])) for name in shown]
            agreement = [
                f"{100 * float(one['rwp']):.2f}",
                f"{float(one['gof']):.3f}",
                str(one["status"].values),
            ]
            rows.append([_name(patterns, i), phase, *numbers, *agreement])
    return rows


def with_error(value: float, error: float) -> str:
    """Return a number with its standard deviation as crystallographers write it: 2.87201(3)."""
    import math

    if not math.isfinite(value):
        return ""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.6g}"
    digits = max(0, -math.floor(math.log10(error / 1.95)))  # two digits up to 19, else one
    last = round(error * 10**digits)
    return f"{value:.{digits}f}({last})"


def _numbers(found: xr.Dataset, patterns: xr.Dataset) -> list[dict[str, Any]]:
    """Return the free parameters of every pattern; None for what is not known, as JSON has no NaN."""
    fits = []
    for i in range(found.sizes["frame"]):
        one = found.isel(frame=i)
        pairs = zip(one["estimate"].values.tolist(), _errors_of(one), strict=True)
        named = {
            name: [_plain(v) for v in pair]
            for name, pair in zip(one["variable"].values.tolist(), pairs, strict=True)
        }
        fits.append(
            {
                "pattern": _name(patterns, i),
                "status": str(one["status"].values),
                "rwp": _plain(float(one["rwp"])),
                "gof": _plain(float(one["gof"])),
                "parameters": named,
            }
        )
    return fits


def _errors_of(one: xr.Dataset) -> list[float]:
    if "estimate_errors" in one:
        return list(one["estimate_errors"].values.tolist())
    return [float("nan")] * one.sizes["variable"]


def _plain(value: float) -> float | None:
    return value if value == value else None
