"""The commands of diffraction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beamline import console
from beamline.console import Outcome
from beamline.errors import ConfigError, RedoxlightError

if TYPE_CHECKING:
    import xarray as xr

    from xrd.integration import Integrator


def integrate(
    images: Annotated[list[Path], typer.Argument(help="Detector images, in the order of the series.")],
    geometry: Annotated[Path, typer.Option(help="Detector geometry: .poni, .imctrl or a saved record.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result (.nc).")],
    orientation: Annotated[
        int | None, typer.Option(help="Of an old .poni: 3 image as stored (pyFAI), 2 flipped (Dioptas).")
    ] = None,
    pixel_size: Annotated[
        tuple[float, float] | None, typer.Option(help="Pixel size y, x in m, for an .imctrl.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Mask: an image or .npy, nonzero = masked.")] = None,
    mask_orientation: Annotated[int | None, typer.Option(help="As --orientation, for the mask.")] = None,
    bins: Annotated[int, typer.Option(help="Number of bins in 2θ.")] = 3000,
    splitting: Annotated[str, typer.Option(help="none, bbox or full.")] = "none",
    polarization: Annotated[
        float | None,
        typer.Option(help="Polarisation factor, 1 for a horizontal electric field.", show_default="0.99"),
    ] = None,
    no_polarization: Annotated[
        bool, typer.Option("--no-polarization", help="Do not correct for the polarisation.")
    ] = False,
    no_solid_angle: Annotated[
        bool, typer.Option("--no-solid-angle", help="Do not correct for the solid angle of the pixels.")
    ] = False,
    two_theta_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="First and last 2θ in deg.")
    ] = None,
    gain: Annotated[float | None, typer.Option(help="ADU per photon, for Poisson errors of ADU.")] = None,
    saturation: Annotated[
        float | None, typer.Option(help="Signal from which on a pixel is not used.")
    ] = None,
    error_model: Annotated[str, typer.Option(help="poisson or azimuthal.")] = "poisson",
    axis: Annotated[str, typer.Option(help="What bins are even in: two_theta, q or d.")] = "two_theta",
    q_range: Annotated[
        tuple[float, float] | None, typer.Option(help="First and last q in 1/angstrom, instead of --range.")
    ] = None,
    d_range: Annotated[
        tuple[float, float] | None, typer.Option(help="First and last d in angstrom, instead of --range.")
    ] = None,
    azimuth: Annotated[
        tuple[float, float] | None, typer.Option(help="First and last azimuth of a sector in deg.")
    ] = None,
    dark: Annotated[Path | None, typer.Option(help="Image without beam, subtracted.")] = None,
    flat: Annotated[Path | None, typer.Option(help="Image of the sensitivity of the pixels.")] = None,
    read_noise: Annotated[
        float | None, typer.Option(help="Standard deviation of a pixel without light.")
    ] = None,
    sensor: Annotated[
        str | None, typer.Option(help='Sensor whose absorption is corrected: "CsI 500 um".')
    ] = None,
    monitor: Annotated[str | None, typer.Option(help="What to divide every frame by: i0, exposure.")] = None,
    clip: Annotated[
        float | None, typer.Option(help="Reject pixels so many standard deviations off their bin.")
    ] = None,
    trim: Annotated[
        float | None, typer.Option(help="Part of the pixels of a bin left out at either end.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Images worked on at a time.")] = 2,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of clocks that do not state theirs (America/Chicago).")
    ] = None,
) -> Outcome:
    """Integrate detector images to patterns of intensity against 2θ."""
    if output.suffix != ".nc":
        raise ConfigError("--output", f"is {output}, results are NetCDF", f"name it {output.stem}.nc")
    if no_polarization and polarization is not None:
        raise ConfigError("--no-polarization", "contradicts --polarization", "give one of them")
    import beamline
    import xrd
    from beamline.readers import registry
    from calibration import geometry as geometries

    integrator = xrd.Integrator(
        geometries.load(geometry, orientation, pixel_size),
        bins=bins,
        splitting=splitting,  # type: ignore[arg-type]  # checked by Integrator, which says what is allowed
        mask=mask,
        mask_orientation=mask_orientation,
        polarization=False if no_polarization else 0.99 if polarization is None else polarization,
        solid_angle=not no_solid_angle,
        two_theta_range=two_theta_range,
        gain=gain,
        saturation=saturation,
        error_model=error_model,  # type: ignore[arg-type]  # as above
        axis=axis,  # type: ignore[arg-type]  # as above
        q_range=q_range,
        d_range=d_range,
        azimuth_range=azimuth,
        dark=dark,
        flat=flat,
        read_noise=read_noise,
        sensor=sensor,
        monitor=monitor,
        clip=clip,
        trim=trim,
    )
    options = {} if timezone is None else {"timezone": timezone}
    patterns, failed = _patterns(images, integrator, threads, options)
    code = console.SOME_FAILED if failed else console.DONE
    if not patterns:
        return Outcome({"result": None, "failed": failed}, "", failed, code)
    beamline.save(registry.concatenate(list(patterns.values()), list(patterns)), output)
    text = f"wrote {output}: {len(patterns)} of {len(images)} images"
    return Outcome({"result": str(output), "failed": failed}, text, failed, code)


def find_mask(
    images: Annotated[list[Path], typer.Argument(help="Detector images of one sample.")],
    geometry: Annotated[Path, typer.Option(help="Detector geometry: .poni, .imctrl or a saved record.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Mask (.npy), nonzero = masked.")],
    orientation: Annotated[
        int | None, typer.Option(help="Of an old .poni: 3 image as stored (pyFAI), 2 flipped (Dioptas).")
    ] = None,
    pixel_size: Annotated[
        tuple[float, float] | None, typer.Option(help="Pixel size y, x in m, for an .imctrl.")
    ] = None,
) -> Outcome:
    """Find dead and hot pixels, gaps, and the shadows of beam stop and holder."""
    if output.suffix != ".npy":
        raise ConfigError("--output", f"is {output}, masks are NumPy arrays", f"name it {output.stem}.npy")
    import io

    import numpy as np

    import beamline
    import xrd
    from beamline.atomic import write_atomic
    from calibration import geometry as geometries

    where = geometries.load(geometry, orientation, pixel_size)
    frames: Any = beamline.read(images, kind="images")
    mask = xrd.find_mask(frames, where)
    memory = io.BytesIO()
    np.save(memory, mask.values)
    write_atomic(output, memory.getvalue())
    names = mask.attrs["flag_meanings"].split()
    found = {
        name: int(((mask.values & bit) != 0).sum())
        for name, bit in zip(names, mask.attrs["flag_masks"], strict=True)
    }
    said = ", ".join(f"{number} {name}" for name, number in found.items() if number) or "nothing"
    return Outcome({"result": str(output), "pixels": found}, f"wrote {output}: {said}", [], console.DONE)


def _patterns(
    images: list[Path], integrator: Integrator, threads: int, options: dict[str, Any]
) -> tuple[dict[str, xr.Dataset], list[str]]:
    """Return the patterns of the images by their names, and a sentence on every image that has none."""
    from beamline.readers.registry import concatenate
    from xrd.streaming import stream

    patterns: dict[str, xr.Dataset] = {}
    failed = []
    # Few images at a time: a series of frames is larger than the memory.
    for image, pattern in zip(images, stream(images, integrator, threads, options), strict=True):
        try:
            if isinstance(pattern, RedoxlightError):
                raise pattern
            if patterns:  # what does not go with the first would stop all of them
                concatenate([next(iter(patterns.values())), pattern], [next(iter(patterns)), str(image)])
            patterns[str(image)] = pattern
        except RedoxlightError as error:
            failed.append(str(error))
    return patterns, failed
