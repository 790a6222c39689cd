"""The commands of absorption."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def reduce(
    files: Annotated[list[Path], typer.Argument(help="Scans of one edge: XDI, Athena projects, columns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result (.nc).")],
    reference: Annotated[
        str, typer.Option(help="Align on mu_ref (the foil), mu (the sample) or none.")
    ] = "mu_ref",
    element: Annotated[str | None, typer.Option(help="Element, checked against the energy.")] = None,
    convention: Annotated[str, typer.Option(help="Normalisation: larch or athena.")] = "larch",
    e0: Annotated[float | None, typer.Option(help="Edge energy, eV.")] = None,
    exafs: Annotated[bool, typer.Option(help="Go on to χ(k) and χ(R).")] = True,
    rbkg: Annotated[float, typer.Option(help="χ(R) below this is background, angstrom.")] = 1.0,
    kmin: Annotated[float, typer.Option(help="Begin of the transform, 1/angstrom.")] = 3.0,
    kmax: Annotated[float, typer.Option(help="End of the transform, 1/angstrom.")] = 12.0,
    kweight: Annotated[int, typer.Option(help="Power of k in the transform.")] = 2,
) -> dict[str, Any]:
    """Align, normalise and transform absorption scans."""
    import beamline
    import xas
    from xas.measurement import collect, with_exafs

    options = {} if element is None else {"element": element}
    parts = [beamline.read(file, kind="xas.scans", **options) for file in files]
    tree = collect(parts, [str(file) for file in files])
    scans = xas.align(tree, reference=None if reference == "none" else reference)
    scans = xas.edge(xas.normalize(scans, convention=convention, e0=e0))
    result = with_exafs(scans, rbkg, kmin, kmax, kweight, "hanning", 1.0) if exafs else scans
    beamline.save(result, output)
    return {
        "output": str(output),
        "scans": [str(label) for label in scans["label"].values],
        "edge_energy": scans["edge_energy"].values.tolist(),
        "edge_energy_errors": scans["edge_energy_errors"].values.tolist(),
        "energy_shift": scans["energy_shift"].values.tolist(),
    }


def fit(
    result: Annotated[Path, typer.Argument(help="Result of redoxlight xas.")],
    cif: Annotated[Path, typer.Option(help="Structure the paths are calculated from.")],
    absorber: Annotated[str, typer.Option(help="Element that absorbs.")],
    rmin: Annotated[float, typer.Option(help="Begin of the fit in R, angstrom.")] = 1.2,
    rmax: Annotated[float, typer.Option(help="End of the fit in R, angstrom.")] = 3.5,
    site: Annotated[str | None, typer.Option(help="Label of the absorber's site in the CIF.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Shell to leave out.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Result (.nc); by default the input's.")
    ] = None,
) -> dict[str, Any]:
    """Fit the EXAFS of a result with FEFF paths of a structure."""
    import xarray as xr

    import beamline
    import xas
    from beamline.errors import DataFileError

    opened = beamline.open(result)
    if not isinstance(opened, xr.DataTree) or "exafs" not in opened.children:
        raise DataFileError(result, "holds no EXAFS", "make it with redoxlight xas")
    chi = xas.fit(
        opened["exafs"].to_dataset(), xas.feff(cif, absorber, site=site), rmin, rmax, tuple(ignore or ())
    )
    leaves = {name: node.to_dataset() for name, node in opened.children.items()}
    beamline.save(xr.DataTree.from_dict({**leaves, "exafs": chi}), output or result)
    names = ("amplitude", "e0_shift", "distance", "sigma2")
    return {
        "output": str(output or result),
        "shells": chi["shell"].values.tolist(),
        **{name: chi[name].values.tolist() for name in names},
        **{f"{name}_errors": chi[f"{name}_errors"].values.tolist() for name in names},
        "r_factor": chi["r_factor"].values.tolist(),
        "status": chi["status"].values.tolist(),
    }
