"""The commands of mRIXS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beamline.console import Outcome

if TYPE_CHECKING:
    import xarray as xr


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
    dark: Annotated[
        Path | None, typer.Option(help="Saved dark, where the images have their background.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(help="Saved model of images clipped at zero; else from the images.")
    ] = None,
    pre_edge: Annotated[
        float | None,
        typer.Option(help="Subtract the spectra below this excitation energy, without elastic lines, eV."),
    ] = None,
) -> Outcome:
    """Make a map of excitation and emission energy from scans of one sample."""
    import beamline
    from rixs.chain import reduce
    from rixs.measurement import load_calibrations

    files = {
        "emission": emission, "excitation": excitation, "curvature": curvature, "gain": gain, "dark": dark,
        "clip": clip,
    }  # fmt: skip
    records = load_calibrations(files)
    scan = _read(scans)
    rmap = reduce(scan, **records, pre_edge=pre_edge)  # type: ignore[arg-type]  # load_calibrations checked them
    beamline.save(rmap, output)
    document = _summary(rmap)
    text = "\n".join(f"{name.replace('_', ' ')}: {_text(value)}" for name, value in document.items())
    return Outcome({"result": str(output), **document}, f"{text}\nmap: {output}")


def calibrate_emission(
    scans: Annotated[
        list[Path], typer.Argument(metavar="SCAN...", help="Table or folder of a scan with elastic lines.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Emission axis (.json).")],
    excitation: Annotated[
        Path | None, typer.Option(help="Saved correction of the excitation energies.")
    ] = None,
    curvature: Annotated[Path | None, typer.Option(help="Saved curvature; else from the images.")] = None,
    gain: Annotated[Path | None, typer.Option(help="Saved gain; else from the images.")] = None,
    dark: Annotated[
        Path | None, typer.Option(help="Saved dark, where the images have their background.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(help="Saved model of images clipped at zero; else from the images.")
    ] = None,
    drift: Annotated[
        float | None, typer.Option(help="How much the lines may move during the scan, px (default 0.1).")
    ] = None,
) -> Outcome:
    """Find the emission energy of every pixel from the elastic lines of a scan."""
    import numpy as np

    from calibration import emission
    from rixs.chain import normalized_spectra
    from rixs.measurement import load_calibrations

    files = {
        "excitation": excitation, "curvature": curvature, "gain": gain, "dark": dark, "clip": clip
    }  # fmt: skip
    spectra, _ = normalized_spectra(_read(scans), **load_calibrations(files))  # type: ignore[arg-type]
    axis = emission.calibrate(spectra, drift=emission.DRIFT if drift is None else drift)
    axis.save(output)
    lines = [
        f"wrote {output}",
        f"elastic lines: {len(axis.energies)} from {min(axis.energies):.2f} to {max(axis.energies):.2f} eV, "
        f"chi2 {axis.chi2_reduced:.2f}",
        f"energy at pixel {axis.center:.1f}: {axis.coefficients[0]:.3f} "
        f"± {float(axis.energy_errors(axis.center)):.3f} eV",
        f"dispersion: {axis.coefficients[1]:.5f} ± {float(np.sqrt(axis.covariance[1][1])):.2g} eV/px",
        f"drift: {axis.drift:+.3f} ± {axis.drift_errors:.2g} px over the scan",
    ]
    return Outcome({"result": str(output), **axis.to_record()}, "\n".join(lines))


def window(
    result: Annotated[Path, typer.Argument(metavar="MAP", help="A map, or results.nc::/rixs/name/map.")],
    lo: Annotated[float, typer.Option("--from", help="First excitation energy, eV.")],
    hi: Annotated[float, typer.Option("--to", help="Last excitation energy, eV.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Cut (.nc); printed as a table where not given.")
    ] = None,
) -> Outcome:
    """Integrate a map over a window of excitation energies, against the emission energy."""
    import beamline
    from rixs.cuts import window as integrate

    cut = integrate(_map(result), lo, hi)
    document = _numbers(cut)
    if output is not None:
        beamline.save(cut, output)
        return Outcome({"result": str(output), **document}, f"area: {_text(document['area'])}\ncut: {output}")
    lines = [f"# emission_energy (eV)\tintensity ({document['units']})\tstandard deviation"]
    columns = (document[name] for name in ("emission_energy", "intensity", "intensity_errors"))
    for energy, value, error in zip(*columns, strict=True):
        measured = ("nan" if number is None else f"{number:.{n}g}" for number, n in ((value, 6), (error, 3)))
        lines.append("\t".join([f"{energy:.4f}", *measured]))
    return Outcome(document, "\n".join(lines))


def loss(
    result: Annotated[Path, typer.Argument(metavar="MAP", help="A map, or results.nc::/rixs/name/map.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Map over energy loss (.nc).")],
    step: Annotated[
        float | None, typer.Option(help="Width of the bins, eV; that of a pixel where not given.")
    ] = None,
) -> Outcome:
    """Put a map on an axis of energy loss."""
    import beamline
    from rixs.loss import loss_map

    made = loss_map(_map(result), step)
    beamline.save(made, output)
    axis = made["energy_loss"].values
    document = {
        "result": str(output), "from": float(axis[0]), "to": float(axis[-1]),
        "step": float(axis[1] - axis[0]), "units": "eV",
    }  # fmt: skip
    text = f"energy loss: {axis[0]:.3f} to {axis[-1]:.3f} eV in steps of {document['step']:.4f} eV"
    return Outcome(document, f"{text}\nmap: {output}")


def _map(path: Path) -> xr.Dataset:
    """Return the map of a file.

    Raises
    ------
    SchemaError
        It holds none.
    """
    import xarray as xr

    import beamline
    from beamline.errors import SchemaError

    rmap = beamline.open(path)
    if not isinstance(rmap, xr.Dataset) or rmap.attrs.get("kind") != "rixs.map":
        raise SchemaError(
            str(path), "is not a map", "name the map in a tree of results as FILE::/rixs/name/map"
        )
    return rmap


def _read(scans: list[Path]) -> xr.Dataset:
    """Return the scans as one Dataset.

    Raises
    ------
    SchemaError
        They are no mRIXS scan.
    """
    import xarray as xr

    import beamline
    from beamline.errors import SchemaError

    scan = beamline.read(scans[0] if len(scans) == 1 else list(scans))
    kind = scan.attrs.get("kind")
    if not isinstance(scan, xr.Dataset) or kind not in ("images", "rixs.spectra"):
        raise SchemaError(
            str(scans[0]),
            f"is no mRIXS scan: it holds {kind or 'several Datasets'}",
            "give the table (-AI.txt) or the folder of a scan with its images",
        )
    return scan


def _summary(rmap: xr.Dataset) -> dict[str, Any]:
    """Return what the map was made with, and which of its points need a look."""
    import json

    import numpy as np

    from calibration.records import restore

    records: dict[str, Any] = {
        name: restore(record) for name, record in json.loads(rmap.attrs["calibrations"]).items()
    }
    axis = records["emission"]
    found: dict[str, Any] = {
        "points": rmap.sizes["excitation_energy"],
        "points_flagged": int(np.count_nonzero(rmap["i0_mask"].values)),
        "points_without_flux": rmap.attrs["points_without_flux"] or "none",
        "dispersion": {
            "value": axis.coefficients[1],
            "error": float(np.sqrt(axis.covariance[1][1])),
            "units": "eV/px",
        },
        "elastic_lines": len(axis.energies),
        "emission_axis_chi2": axis.chi2_reduced,
    }
    if "pre_edge" in rmap.attrs:
        found["pre_edge"] = rmap.attrs["pre_edge"]
    if "clip_bias" in rmap.attrs:
        found["clip"] = rmap.attrs["clip_bias"]
    changed = int(np.count_nonzero(rmap["repeats_mask"].values)) if "repeats_mask" in rmap.coords else 0
    if changed:
        found["points_whose_repeats_differ"] = changed
    if axis.drift_errors > 0:
        found["drift"] = {"value": axis.drift, "error": axis.drift_errors, "units": "px over the scan"}
    if "gain" in records:
        gain = records["gain"]
        found["gain"] = {"value": gain.gain, "error": gain.gain_errors, "units": "ADU per photon"}
    if "curvature" in records:
        curvature = records["curvature"]
        found["curvature"] = {
            "value": float(np.ptp(curvature.shift())),
            "error": float(curvature.shift_errors().max()),
            "units": "px over the slit",
        }
    return found


def _numbers(cut: xr.Dataset) -> dict[str, Any]:
    """Return the arrays of a cut, with null where nothing was measured, and the area under it."""
    import numpy as np

    energy, intensity = cut["emission_energy"].values, cut["intensity"].values
    # maps of spectra whose gain is not known have none
    errors = cut["intensity_errors"].values if "intensity_errors" in cut else np.full(energy.shape, np.nan)
    width = np.gradient(energy)
    seen = np.isfinite(intensity)
    units = str(cut["intensity"].attrs["units"])

    def listed(values: Any) -> list[float | None]:
        return [number(value) for value in values]

    def number(value: Any) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "window": {"from": cut.attrs["window_from"], "to": cut.attrs["window_to"], "units": "eV"},
        "area": {
            "value": number((width * intensity)[seen].sum() if seen.any() else np.nan),
            "error": number(np.sqrt(((width * errors)[seen] ** 2).sum()) if seen.any() else np.nan),
            "units": f"{units}*eV",
        },
        "units": units,
        "emission_energy": listed(energy),
        "intensity": listed(intensity),
        "intensity_errors": listed(errors),
        "flagged": bool(cut["i0_mask"].values) if "i0_mask" in cut.coords else None,
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        if value["value"] is None:
            return "not measured"
        if value["error"] is None:
            return f"{value['value']:.6g} {value['units']}, its error is not known"
        return f"{value['value']:.6g} ± {value['error']:.2g} {value['units']}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
