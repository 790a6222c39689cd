"""The commands of diffraction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
        float | None, typer.Option(help="Polarisation factor, 1 for a horizontal electric field.")
    ] = 0.99,
    two_theta_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="First and last 2θ in deg.")
    ] = None,
    gain: Annotated[float | None, typer.Option(help="ADU per photon, for Poisson errors of ADU.")] = None,
    error_model: Annotated[str, typer.Option(help="poisson or azimuthal.")] = "poisson",
) -> Path:
    """Integrate detector images to patterns of intensity against 2θ."""
    import beamline
    import xrd
    from beamline.readers.registry import concatenate
    from calibration import geometry as geometries

    integrator = xrd.Integrator(
        geometries.load(geometry, orientation, pixel_size),
        bins=bins,
        splitting=splitting,  # type: ignore[arg-type]  # checked by integrate, which says what is allowed
        mask=mask,
        mask_orientation=mask_orientation,
        polarization=polarization,
        two_theta_range=two_theta_range,
        gain=gain,
        error_model=error_model,  # type: ignore[arg-type]  # as above
    )
    # One image at a time: a series of frames is larger than the memory.
    frames = (beamline.read(image, kind="images") for image in images)
    patterns = [integrator(frame) for frame in frames]  # type: ignore[arg-type]  # images are no tree
    beamline.save(concatenate(patterns, [str(image) for image in images]), output)
    return output
