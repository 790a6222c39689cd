"""The command that calibrates a monochromator from foils."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from beamline.console import Outcome


def mono(
    foils: Annotated[
        list[Path], typer.Argument(metavar="FOIL...", help="Scan of a foil; two or more give d.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Record (.json).")],
    element: Annotated[
        list[str] | None, typer.Option(help="Element of each foil; by default what its file says.")
    ] = None,
    d_spacing: Annotated[
        float | None, typer.Option(help="Lattice spacing the energies were calculated with, angstrom.")
    ] = None,
    reference: Annotated[
        list[float] | None, typer.Option(help="Energy of each first inflection, eV; by default tabulated.")
    ] = None,
    channel: Annotated[str, typer.Option(help="mu, or mu_ref where the foil is behind a sample.")] = "mu",
    largest: Annotated[float, typer.Option(help="Largest distance from the reference, eV.")] = 10.0,
) -> Outcome:
    """Find by what angle a monochromator is off."""
    import beamline
    from beamline.errors import DataFileError
    from calibration.mono import calibrate

    scans: list[Any] = []
    for path in foils:
        scan = beamline.read(path, kind="xas.scans")
        if not hasattr(scan, "sizes") or "energy" not in scan.dims:
            raise DataFileError(path, "holds several scans", "give files of one scan")
        scans.append(scan)
    found = calibrate(
        scans, element or None, d_spacing, reference=reference or None, channel=channel, largest=largest
    )
    found.save(output)
    errors = [math.sqrt(found.covariance[i][i]) for i in range(2)]
    document = {
        "output": str(output),
        "delta_theta": found.delta_theta,
        "delta_theta_errors": errors[0],
        "d_spacing": found.d_spacing,
        "d_spacing_errors": errors[1],
        "shift": found.shift,
        "foils": [list(foil) for foil in found.foils],
    }
    lines = [
        f"{symbol}: first inflection at {shown:.3f} ± {error:.3f} eV, put at {put_at:g} eV"
        for symbol, shown, error, put_at in found.foils
    ]
    angle = f"{1e3 * found.delta_theta:+.3f} ± {1e3 * errors[0]:.3f} mdeg"
    lines.append(f"angle {angle}, as a constant {found.shift:+.3f} eV")
    lines.append(f"d {found.d_spacing:.5f} ± {errors[1]:.5f} angstrom")
    return Outcome(document, "\n".join([*lines, str(output)]))
