"""The commands that calibrate: ``redoxlight calibrate ...``; each technique lists those it uses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beamline.console import Outcome
from beamline.errors import CalibrationError, ConfigError

if TYPE_CHECKING:
    from calibration.geometry import Geometry

Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File of the calibration.")]


def geometry(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image of a calibrant; several are summed.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help=".poni, .imctrl, .yml (HEXRD) or .json (all of it)."
        ),
    ] = None,
    calibrant: Annotated[
        str | None,
        typer.Option(
            help="Name as in pyFAI (CeO2, LaB6_SRM660c), or a CIF; with --judge by default the geometry's.",
            show_default="CeO2",
        ),
    ] = None,
    wavelength: Annotated[float | None, typer.Option(help="In angstrom.")] = None,
    wavelength_error: Annotated[float, typer.Option(help="Standard deviation of it in angstrom.")] = 0.0,
    pixel_size: Annotated[float | None, typer.Option(help="In m; where the file does not say it.")] = None,
    mask: Annotated[Path | None, typer.Option(help="An image or .npy, nonzero = masked.")] = None,
    orientation: Annotated[
        int, typer.Option(help="How the geometry holds the image: 3 as stored, 2 rows reversed.")
    ] = 3,
    guess: Annotated[
        Path | None, typer.Option(help="A geometry that is about right; none is needed.")
    ] = None,
    polarization: Annotated[float, typer.Option(help="Polarisation factor of the beam.")] = 0.99,
    increment: Annotated[
        list[float] | None,
        typer.Option(help="Of each image, how far (m) the detector was moved: several distances at once."),
    ] = None,
    refine_wavelength: Annotated[
        bool, typer.Option("--refine-wavelength", help="With several distances: find the wavelength too.")
    ] = False,
    judge: Annotated[
        Path | None, typer.Option(metavar="GEOMETRY", help="Only judge this geometry by the image.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw rings and residuals of the sectors to this file.")
    ] = None,
) -> Outcome:
    """Find where a detector stands from images of a calibrant."""
    if (output is None) == (judge is None):
        raise ConfigError("--output", "is needed, unless --judge is given", "name a file: -o detector.poni")
    import beamline
    import calibration

    several: list[Any] = [*images] if increment else [images if len(images) > 1 else images[0]]
    read: list[Any] = [beamline.read(source, kind="images") for source in several]
    if judge is not None:
        if increment:
            raise ConfigError("--increment", "goes with a calibration only", "leave it out")
        return _judged(read[0], images[0], judge, calibrant, mask, polarization, figure)
    assert output is not None  # noqa: S101 - checked above
    common: dict[str, Any] = {
        "calibrant": calibrant or "CeO2",
        "wavelength": wavelength,
        "pixel_size": pixel_size,
        "mask": mask,
        "wavelength_error": wavelength_error,
        "orientation": orientation,
        "polarization": polarization,
    }
    geometries = calibration.geometry
    if increment:
        if len(increment) != len(read):
            raise ConfigError("--increment", f"is given {len(increment)} times for {len(read)} images")
        if guess is not None:
            raise ConfigError("--guess", "goes with one distance only", "leave it out")
        found = geometries.calibrate_distances(read, increment, refine_wavelength=refine_wavelength, **common)
    elif refine_wavelength:
        raise ConfigError(
            "--refine-wavelength",
            "needs several distances: in one image wavelength and distance stand for each other",
            "give --increment for each image",
        )
    else:
        found = (geometries.calibrate(read[0], guess=guess, **common),)
    paths = _paths(output, len(found))
    lines, documents = [], []
    for path, one, image in zip(paths, found, read, strict=True):
        one.save(path)
        lines += [f"wrote {path}", *_told(one)]
        documents.append({"result": str(path), **one.to_record()})
        if figure is not None and one is found[0]:
            lines.append(f"figure: {_draw(image, one, mask, figure)}")
    document = documents[0] if len(documents) == 1 else {"results": documents}
    return Outcome(document, "\n".join(lines))


def instrument(
    pattern: Annotated[Path, typer.Argument(metavar="PATTERN", help="Pattern of a calibrant (.nc, .xye).")],
    output: Output,
    calibrant: Annotated[str, typer.Option(help="Name as in pyFAI (CeO2, LaB6_SRM660c), or a CIF.")] = "CeO2",
    wavelength: Annotated[
        float | None, typer.Option(help="In angstrom; where the pattern does not say it.")
    ] = None,
    size: Annotated[
        float | None, typer.Option(help="Crystallite size of the calibrant in um; none: it broadens nothing.")
    ] = None,
    size_error: Annotated[float, typer.Option(help="Standard deviation of it in um.")] = 0.0,
    limits: Annotated[
        tuple[float, float] | None, typer.Option(help="First and last 2θ in deg.", metavar="LO HI")
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(help="Do not refine this one of zero, U, V, W, X, Y, SHL.")
    ] = None,
    polarization: Annotated[float, typer.Option(help="Polarisation of the beam, for the file.")] = 0.99,
) -> Outcome:
    """Find zero and peak shape of an instrument from the pattern of a calibrant."""
    import beamline
    from calibration.instrument import calibrate
    from calibration.instrument_calibration import VARIED

    read: Any = (
        beamline.open(pattern) if pattern.suffix == ".nc" else beamline.read(pattern, kind="xrd.patterns")
    )
    unknown = sorted(set(fix or ()) - set(VARIED))
    if unknown:
        raise ConfigError("--fix", f"names {', '.join(unknown)}", f"choose of {', '.join(VARIED)}")
    found = calibrate(
        read,
        wavelength,
        calibrant,
        size,
        size_error,
        limits,
        [name for name in VARIED if name not in (fix or ())],
        polarization=polarization,
    )
    found.save(output)
    record = output.with_suffix(".json")
    if output.suffix == ".instprm":
        found.save(record)
    errors = found.errors()
    lines = [
        f"wrote {output}",
        *([f"wrote {record}, with the covariance"] if output.suffix == ".instprm" else []),
    ]
    for name in VARIED:
        value, error = getattr(found, name), errors.get(name)
        lines.append(f"{name:<5}{value:12.6g}" + ("  fixed" if error is None else f" ± {error:.2g}"))
    return Outcome({"result": str(output), **found.to_record()}, "\n".join(lines))


def gain(
    frames: Annotated[
        list[Path],
        typer.Argument(metavar="FRAME...", help="Frames of the same light, in order: two or more."),
    ],
    output: Output,
    dark: Annotated[list[Path] | None, typer.Option(help="A frame without light; give two or more.")] = None,
    mask: Annotated[Path | None, typer.Option(help="An image or .npy, nonzero = masked.")] = None,
    reach: Annotated[int, typer.Option(help="How many pixels away light spreads.")] = 4,
    lag: Annotated[int, typer.Option(help="How many frames later charge is still read.")] = 0,
) -> Outcome:
    """Measure ADU per photon and read noise from frames of the same light."""
    import beamline
    from calibration.gain import photon_transfer
    from calibration.mask_files import read_pixels

    masked = None if mask is None else read_pixels(mask)
    found = photon_transfer(
        beamline.read(frames, kind="images"),
        None if not dark else beamline.read(dark, kind="images"),
        masked,
        reach,
        lag,
    )
    found.save(output)
    text = (
        f"wrote {output}\ngain: {found.gain:.3f} ± {found.gain_errors:.3f} ADU per photon\n"
        f"read noise: {found.read_noise:.2f} ADU"
    )
    return Outcome({"result": str(output), **found.to_record()}, text)


def excitation(
    scan: Annotated[
        Path,
        typer.Argument(metavar="SCAN", help="Absorption of the reference (TiO2), or a map of it (.nc)."),
    ],
    output: Output,
    reference: Annotated[float, typer.Option(help="Energy of its first main peak, eV.")] = 531.0,
    largest: Annotated[float, typer.Option(help="Largest shift believed, eV.")] = 5.0,
    emission: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Of a map: emission integrated, eV; else all of it.", metavar="LO HI"),
    ] = None,
) -> Outcome:
    """Find by how much the excitation energies are off, from the absorption of a reference."""
    import xarray as xr

    import beamline
    import calibration

    result = str(scan).partition("::")[0].endswith(".nc")
    read = beamline.open(scan) if result else beamline.read(scan, kind="xas.scans")
    if not isinstance(read, xr.Dataset):
        remedy = f"name one: {scan}::/rixs/name/map" if result else "give the file of one"
        raise CalibrationError(scan, "holds several scans", remedy)
    if read.attrs.get("kind") == "xas.scans":
        read = read.squeeze(drop=False)
    found = calibration.excitation.calibrate(read, reference, largest, emission)
    found.save(output)
    text = f"wrote {output}\nshift: {found.value:+.3f} ± {found.error:.3f} eV"
    return Outcome({"result": str(output), **found.to_record()}, text)


def _judged(
    image: Any,
    name: Path,
    path: Path,
    calibrant: str | None,
    mask: Path | None,
    polarization: float,
    figure: Path | None,
) -> Outcome:
    """Return the judgement of a geometry; a worse one than is accepted is an error."""
    import calibration

    ours = calibration.geometry.load(path)
    sectors = calibration.geometry.judge(image, ours, calibrant, mask, polarization)
    document = {key: sectors.attrs[key] for key in ("residual_mdeg", "residual_px", "found")}
    text = (
        f"{path} and {name}: rings off by {document['residual_mdeg']:.2f} mdeg "
        f"({document['residual_px']:.3f} px) on average"
    )
    if figure is not None:
        text += f"\nfigure: {_draw(image, ours, mask, figure, calibrant)}"
    return Outcome(document, text)


def _draw(image: Any, ours: Geometry, mask: Path | None, path: Path, calibrant: str | None = None) -> Path:
    from calibration.figures import rings

    rings(image, ours, calibrant, mask).savefig(path)
    return path


def _paths(output: Path, count: int) -> list[Path]:
    if count == 1:
        return [output]
    return [output.with_stem(f"{output.stem}_{i}") for i in range(1, count + 1)]


def _told(ours: Geometry) -> list[str]:
    x, y = ours.center
    x_error, y_error = ours.center_errors
    lines = [
        f"distance: {1e3 * ours.distance:.4f} ± {1e3 * ours.distance_error:.4f} mm",
        f"centre:   x {x:.4f} ± {x_error:.4f}, y {y:.4f} ± {y_error:.4f} px",
        f"tilt:     {ours.tilt:.4f} ± {ours.tilt_error:.4f}° in the direction of {ours.tilt_plane:.1f}°",
    ]
    if ours.wavelength_error:
        lines.append(f"wavelength: {ours.wavelength:.6f} ± {ours.wavelength_error:.6f} Å")
    residual = math.nan if ours.residual_mdeg is None else ours.residual_mdeg
    confidence = math.nan if ours.confidence is None else ours.confidence
    lines.append(f"rings:    off by {residual:.2f} mdeg on average; confidence {confidence:.2f}")
    return lines
