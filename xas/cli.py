"""The commands of absorption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beamline.console import DONE, SOME_FAILED, Outcome, table

if TYPE_CHECKING:
    import xarray as xr

    from xas.preparation import PreparedMeasurement


def reduce(
    files: Annotated[list[Path], typer.Argument(help="Scans of one edge: XDI, Athena projects, columns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result (.nc).")],
    reference: Annotated[
        str, typer.Option(help="Align on mu_ref (the foil), mu (the sample) or none.")
    ] = "mu_ref",
    along: Annotated[
        str, typer.Option(help="A shift is added to the energy, or turns the angle of the monochromator.")
    ] = "energy",
    drift: Annotated[bool, typer.Option(help="Model the drift of the series: smooth pieces, jumps.")] = False,
    mono: Annotated[
        Path | None, typer.Option(help="Calibration of the monochromator, a record of calibration.mono.")
    ] = None,
    detectors: Annotated[
        bool, typer.Option(help="Sum the elements of a fluorescence detector, corrected for dead time.")
    ] = False,
    deglitch: Annotated[bool, typer.Option(help="Replace glitches; each is recorded.")] = False,
    rebin: Annotated[bool, typer.Option(help="Average quick scans on a usual grid.")] = False,
    merge: Annotated[
        str | None,
        typer.Option(help="Average repeats: what tells them apart in their labels (_[0-9]+$), or all."),
    ] = None,
    from_label: Annotated[
        str | None, typer.Option(help="Coordinates from the labels: (?P<voltage>[0-9.]+)V.")
    ] = None,
    element: Annotated[str | None, typer.Option(help="Element, checked against the energy.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="What the columns are, if the header does not say: energy,i0,it,ir.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="transmission or fluorescence, where a file holds both.")
    ] = None,
    d_spacing: Annotated[
        float | None, typer.Option(help="Lattice spacing of the monochromator, angstrom, for angles.")
    ] = None,
    groups: Annotated[
        list[str] | None, typer.Option(help="Group of an Athena project to read; give it once for each.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of the beamline's clock (Europe/Paris), for XDI.")
    ] = None,
    convention: Annotated[str, typer.Option(help="Normalisation: larch, athena or mback.")] = "larch",
    elements: Annotated[
        str | None, typer.Option(help="What the sample is made of: Ni,Co,Mn. Their edges end what is used.")
    ] = None,
    edge_method: Annotated[
        str, typer.Option(help="Edge by half_height, integral, centroid or inflection.")
    ] = "half_height",
    standard: Annotated[
        list[str] | None,
        typer.Option(help="Valence of a scan, LABEL=VALENCE; of two or more, those of the others."),
    ] = None,
    e0: Annotated[float | None, typer.Option(help="Edge energy, eV.")] = None,
    pre: Annotated[
        tuple[float, float] | None, typer.Option(help="Pre-edge range, eV relative to E0.")
    ] = None,
    post: Annotated[
        tuple[float, float] | None, typer.Option(help="Post-edge range, eV relative to E0.")
    ] = None,
    exafs: Annotated[bool, typer.Option(help="Go on to χ(k) and χ(R).")] = True,
    rbkg: Annotated[
        float | None,
        typer.Option(help="χ(R) below this is background, angstrom; by default 1.0 or Athena's."),
    ] = None,
    kmin: Annotated[float, typer.Option(help="Begin of the transform, 1/angstrom.")] = 3.0,
    kmax: Annotated[float, typer.Option(help="End of the transform, 1/angstrom.")] = 12.0,
    kweight: Annotated[int, typer.Option(help="Power of k in the transform.")] = 2,
) -> Outcome:
    """Align, normalise and transform absorption scans."""
    import beamline
    import xas
    from xas.measurement import collect, with_exafs

    given = {
        "element": element,
        "columns": columns.replace(" ", "").split(",") if columns else None,
        "mode": mode,
        "d_spacing": d_spacing,
        "groups": groups or None,
        "timezone": timezone,
    }
    known = _valences(standard or [])
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    prepared = _prepared(
        files=[str(file) for file in files],
        reference=reference,
        along=along,
        d_spacing=d_spacing,
        drift=drift,
        mono=mono.absolute() if mono else None,
        detectors={} if detectors else None,
        deglitch={} if deglitch else None,
        rebin={} if rebin else None,
        merge=merge,
        from_label=from_label,
    )
    parts = [beamline.read(file, kind="xas.scans", **options) for file in files]
    tree = collect(parts, [str(file) for file in files])
    scans: Any = tree
    for preparing in prepared.steps():
        scans = preparing(scans)
    composition = [symbol.strip() for symbol in elements.split(",")] if elements else None
    scans = xas.normalize(scans, convention=convention, e0=e0, pre=pre, post=post, elements=composition)
    scans = xas.edge(scans, edge_method)
    if known:
        scans = xas.valence(scans, list(known), list(known.values()))
    result = with_exafs(scans, rbkg, kmin, kmax, kweight, "hanning", 1.0) if exafs else scans
    beamline.save(result, output)
    names = ("e0", "edge_energy", "edge_energy_errors", "edge_step", "edge_step_errors", "energy_shift")
    numbers = {name: _without_nan(scans[name].values.tolist()) for name in names}
    labels = [str(label) for label in scans["label"].values]
    status = [str(text) for text in _status_of(result, scans)]
    rows: list[list[Any]] = [["scan", "E0 / eV", "edge energy / eV", "edge step", "shift / eV", "status"]]
    for n, label in enumerate(labels):
        energy = _measured(numbers["edge_energy"][n], numbers["edge_energy_errors"][n], 3)
        step = _measured(numbers["edge_step"][n], numbers["edge_step_errors"][n], 5)
        origin, shift = (_measured(numbers[name][n], None, 3) for name in ("e0", "energy_shift"))
        rows.append([label, origin, energy, step, shift, status[n]])
    failed = [
        f"{label}: {text}" for label, text in zip(labels, status, strict=True) if text.startswith("failed")
    ]
    document = {"output": str(output), "scans": labels, "status": status, **numbers}
    if known:
        for name in ("valence", "valence_errors"):
            document[name] = _without_nan(scans[name].values.tolist())
        found = map(_measured, document["valence"], document["valence_errors"], [3] * len(labels))
        rows = [[*row, text] for row, text in zip(rows, ["valence", *found], strict=True)]
    if merge is not None:
        agreement, columns_of_merge = _agreement(scans)
        document |= agreement
        rows = [[*row, *more] for row, more in zip(rows, columns_of_merge, strict=True)]
    return Outcome(document, f"{table(rows)}\n{output}", failed, SOME_FAILED if failed else DONE)


def _prepared(**keys: Any) -> PreparedMeasurement:
    """Return options of the command as the table of a beamtime checks them."""
    from pydantic import ValidationError

    from beamline.errors import ConfigError
    from xas.preparation import PreparedMeasurement

    try:
        return PreparedMeasurement(**keys)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ConfigError(option, str(first["msg"]).removeprefix("Value error, ")) from error


def _valences(texts: list[str]) -> dict[str, float]:
    """Return the valences of standards by their labels."""
    from beamline.errors import ConfigError

    known: dict[str, float] = {}
    for text in texts:
        label, _, number = text.rpartition("=")
        try:
            valence = float(number)
        except ValueError:
            valence = math.nan
        if not label or not math.isfinite(valence) or label in known:
            raise ConfigError("--standard", f"has {text!r}", "give LABEL=VALENCE once for each: NiO=2")
        known[label] = valence
    return known


def _agreement(scans: xr.Dataset) -> tuple[dict[str, Any], list[list[str]]]:
    """Return what merging found out about repeats: for programs, and as columns of the table."""
    names = ("repeats", "agreement_chi2", "dose_p_value", "dose_change")
    numbers = {name: _without_nan(scans[name].values.tolist()) for name in names}
    rows = [["repeats", "chi2 of agreement", "p of dose"]]
    for count, chi2, p in zip(*(numbers[name] for name in names[:3]), strict=True):
        rows.append([str(count), _measured(chi2, None, 2), "-" if p is None else f"{p:.2g}"])
    return numbers, rows


def _status_of(result: xr.Dataset | xr.DataTree, scans: xr.Dataset) -> Any:
    """Return what is said of every scan at the end of its processing; why one was not aligned comes first."""
    import xarray as xr

    leaf = result["exafs"].to_dataset() if isinstance(result, xr.DataTree) else scans
    last = leaf["status"].values
    aligned = scans["alignment"].values if "alignment" in scans.coords else ["ok"] * len(last)
    return [
        first if str(first).startswith("failed") else text for first, text in zip(aligned, last, strict=True)
    ]


def _measured(value: float | None, error: float | None, digits: int) -> str:
    """Return a number with its error; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


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
) -> Outcome:
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
    return Outcome({"output": str(output or result), **_numbers(chi)}, f"{_shells(chi)}\n{output or result}")


def _numbers(chi: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of a fit; None for those of a fit that failed, as JSON has no NaN."""
    names = ("amplitude", "e0_shift", "distance", "sigma2")
    every = [*names, *(f"{name}_errors" for name in names), "r_factor"]
    return {
        "shells": chi["shell"].values.tolist(),
        **{name: _without_nan(chi[name].values.tolist()) for name in every},
        "status": chi["status"].values.tolist(),
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value if math.isfinite(value) else None


def _shells(chi: xr.Dataset) -> str:
    """Return a table of the shells of every scan."""
    from xas.normalization import scan_name

    series = chi if "scan" in chi.dims else chi.expand_dims("scan")
    rows: list[list[Any]] = [["scan", "shell", "R / angstrom", "sigma2 / angstrom**2", "R-factor", "status"]]
    for n in range(series.sizes["scan"]):
        scan = series.isel(scan=n)
        for shell in scan["shell"].values:
            at = scan.sel(shell=shell)
            distance = f"{float(at['distance']):.4f} ± {float(at['distance_errors']):.4f}"
            sigma2 = f"{float(at['sigma2']):.5f} ± {float(at['sigma2_errors']):.5f}"
            factor = f"{float(at['r_factor']):.4f}"
            rows.append(
                [scan_name(series, n), str(shell), distance, sigma2, factor, str(at["status"].values)]
            )
    return table(rows)
