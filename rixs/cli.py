"""The commands of mRIXS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def rixs(
    scans: Annotated[list[Path], typer.Argument(metavar="SCAN...", help="A scan's table or folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Map (.nc).")],
    emission: Annotated[
        Path | None, typer.Option(help="Saved emission axis; else from the scan's own elastic lines.")
    ] = None,
    excitation: Annotated[
        Path | None, typer.Option(help="Saved correction of the excitation energies.")
    ] = None,
    curvature: Annotated[Path | None, typer.Option(help="Saved curvature; else from the images.")] = None,
    gain: Annotated[Path | None, typer.Option(help="Saved gain; else from the images.")] = None,
) -> Path:
    """Make a map of excitation and emission energy from scans of one sample."""
    import beamline
    from rixs.chain import reduce
    from rixs.measurement import load_calibrations

    files = {"emission": emission, "excitation": excitation, "curvature": curvature, "gain": gain}
    records = load_calibrations(files)
    scan = beamline.read(scans[0] if len(scans) == 1 else list(scans))
    beamline.save(reduce(scan, **records), output)  # type: ignore[arg-type]  # load_calibrations checked them
    return output


def window(
    result: Annotated[Path, typer.Argument(metavar="MAP", help="A map, or results.nc::/rixs/name/map.")],
    lo: Annotated[float, typer.Option("--from", help="First excitation energy, eV.")],
    hi: Annotated[float, typer.Option("--to", help="Last excitation energy, eV.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Cut (.nc); printed as a table where not given.")
    ] = None,
) -> Path | None:
    """Integrate a map over a window of excitation energies, against the emission energy."""
    import beamline
    from beamline.errors import SchemaError
    from rixs.cuts import window as integrate

    rmap = beamline.open(result)
    if rmap.attrs.get("kind") != "rixs.map":
        raise SchemaError(
            str(result), "is not a map", "name the map in a tree of results as FILE::/rixs/name/map"
        )
    cut = integrate(rmap, lo, hi)  # type: ignore[arg-type]  # the kind was checked
    if output is not None:
        beamline.save(cut, output)
        return output
    units = cut["intensity"].attrs["units"]
    typer.echo(f"# emission_energy (eV)\tintensity ({units})\tstandard deviation")
    errors = cut["intensity_errors"].values
    for energy, value, error in zip(
        cut["emission_energy"].values, cut["intensity"].values, errors, strict=True
    ):
        typer.echo(f"{energy:.4f}\t{value:.6g}\t{error:.3g}")
    return None
