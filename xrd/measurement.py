"""What ``[xrd.<name>]`` in ``beamtime.toml`` may say, and the recipe made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from beamline.config import InputFile, MeasurementConfig, find_files
from beamline.errors import CalibrationError, ConfigError, DataFileError
from beamline.readers.registry import concatenate
from beamline.recipe import Recipe, Step
from xrd.refine_table import RefineTable, refine_step

if TYPE_CHECKING:
    from calibration.geometry import Geometry

TEMPLATE = """\
[xrd.sample]                      # one table for each series of frames
files = ["raw/sample_*.tif"]      # names or globs, relative to this file
geometry = "geometry.poni"        # .poni, .imctrl (GSAS-II), or a record of redoxlight calibrate
# orientation = 3                 # of a .poni older than 2.1: 3 image as stored (pyFAI), 2 flipped (Dioptas)
# mask = "mask.mask"              # image or .npy, nonzero = masked
bins = 3000
# two_theta_range = [1.0, 15.0]   # deg
# polarization = 0.99             # 1: horizontal electric field; false: no correction
# gain = 20.0                     # ADU per photon of an integrating detector (flat panel, CCD)
# error_model = "azimuthal"       # where the gain is not known
# read_noise = 30.0               # of an integrating detector, in ADU
# dark = "dark.tif"               # subtracted; flat = "flat.tif" likewise
# sensor = "CsI 500 um"           # corrects for absorption at oblique incidence
# monitor = "i0"                  # or "exposure": divides every frame
# clip = 5.0                      # rejects spots and zingers beyond 5 standard deviations
# group = 10                      # mean of every 10 frames

# [xrd.sample.refine]             # Rietveld refinement of the series
# phases = ["layered.cif"]
# instrument = "11idc.instprm"    # .instprm, .prm, or a record of redoxlight calibrate instrument
# limits = [1.2, 12.0]            # deg
# background = 6                  # Chebyshev terms
# free = ["zero"]                 # beside cell, scale, size and strain of each phase
"""


class XrdMeasurement(MeasurementConfig):
    """A series of diffraction frames."""

    geometry: InputFile = Field(
        description="Detector geometry: a .poni (pyFAI, Dioptas), an .imctrl (GSAS-II) or a saved record."
    )
    orientation: Literal[1, 2, 3, 4] | None = Field(
        default=None,
        description="Which way round the program that wrote the geometry held the image: 3 as stored "
        "(pyFAI), 2 flipped vertically (Dioptas), 4 horizontally, 1 both. Needed where the file does not "
        "say.",
    )
    pixel_size: tuple[float, float] | None = Field(
        default=None, description="Size of a pixel along (y, x) in m; needed for an .imctrl."
    )
    mask: InputFile | None = Field(
        default=None, description="Pixels never to be used: an image or .npy, nonzero = masked."
    )
    mask_orientation: Literal[1, 2, 3, 4] | None = Field(
        default=None,
        description="As orientation, for the mask. By default that of the geometry for a .mask of Dioptas, "
        "else 3.",
    )
    bins: int = Field(default=3000, ge=1, le=1_000_000, description="Number of bins in 2θ.")
    splitting: Literal["none", "bbox", "full"] = Field(
        default="none", description="How a pixel is shared between bins; splitting correlates their errors."
    )
    polarization: Annotated[float, Field(ge=-1, le=1)] | Literal[False] = Field(
        default=0.99,
        description="Polarisation factor of the beam, 1 for a horizontal electric field; false: not "
        "corrected.",
    )
    solid_angle: bool = Field(default=True, description="Whether to correct for the solid angle of pixels.")
    two_theta_range: tuple[float, float] | None = Field(
        default=None, description="First and last edge of the bins in deg; by default all of the detector."
    )
    error_model: Literal["poisson", "azimuthal"] = Field(
        default="poisson", description="Errors from counting statistics, or from the scatter within a bin."
    )
    gain: float | None = Field(
        default=None, gt=0, description="Signal per photon; needed for Poisson errors of ADU."
    )
    saturation: float | None = Field(
        default=None, gt=0, description="Signal from which on a pixel is not used."
    )
    refine: RefineTable | None = Field(default=None, description="Rietveld refinement of the series.")

    read_noise: float | None = Field(
        default=None, gt=0, description="Standard deviation of a pixel without light in one exposure."
    )
    dark: InputFile | None = Field(default=None, description="Image without beam, of the same exposure.")
    flat: InputFile | None = Field(default=None, description="Image of the sensitivity of the pixels.")
    sensor: float | str | None = Field(
        default=None,
        description="Sensor layer whose absorption at oblique incidence is corrected: its μt, or what it is, "
        'as "CsI 500 um".',
    )
    monitor: str | None = Field(
        default=None, description="Coordinate of the frames their intensity is divided by: i0, exposure."
    )
    axis: Literal["two_theta", "q", "d"] = Field(
        default="two_theta", description="What the bins are even in; patterns are over 2θ in any case."
    )
    q_range: tuple[float, float] | None = Field(
        default=None, description="First and last edge of the bins in 1/angstrom, instead of two_theta_range."
    )
    d_range: tuple[float, float] | None = Field(
        default=None, description="First and last edge of the bins in angstrom, instead of two_theta_range."
    )
    azimuth_range: tuple[float, float] | None = Field(
        default=None, description="First and last azimuth in deg of the sector that is integrated."
    )
    clip: float | None = Field(
        default=None,
        gt=0,
        description="Reject pixels so many standard deviations from the mean of their bin.",
    )
    trim: float | None = Field(
        default=None, gt=0, lt=0.5, description="Part of the pixels of a bin left out at either end."
    )
    group: int | None = Field(default=None, ge=1, description="Successive frames to take the mean of.")

    @field_validator("two_theta_range")
    @classmethod
    def _rises(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < value[1] <= 180:
            raise ValueError("it rises, within 0 to 180 deg")
        return value

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of `xrd.integrate`.

        Raises
        ------
        ConfigError
            The geometry cannot be used as the table states it.
        """
        from calibration.geometry import load

        try:
            geometry = load(self.geometry, self.orientation, self.pixel_size)
        except CalibrationError as error:
            raise ConfigError(f"geometry: {error.subject}", error.problem, error.remedy) from error
        others = {"geometry", "orientation", "pixel_size", "polarization", "group", "refine"}
        own = set(XrdMeasurement.model_fields) - set(MeasurementConfig.model_fields) - others
        return {
            "geometry": geometry,
            **{name: getattr(self, name) for name in sorted(own)},
            "polarization": None if self.polarization is False else self.polarization,
        }


def recipe(name: str, measurement: XrdMeasurement, folder: Path) -> Recipe:
    """Return the recipe of a measurement: read and integrate each file, put them together, refine them.

    Raises
    ------
    ConfigError
        `files` matches nothing, the geometry or the mask is not what the table takes it for, the detector
        sees nothing in the range, or the refinement names what does not exist.
    """
    from xrd.groups import group
    from xrd.integration import integrate
    from xrd.kernel import range_of
    from xrd.parameters import range_along, setup_of
    from xrd.pixels import positions

    parameters = measurement.parameters()
    geometry = parameters["geometry"]
    given = range_along(parameters, geometry.wavelength)
    setup_of(parameters, geometry.shape or (1, 1), ())
    if given is not None and geometry.shape is not None:
        range_of(
            positions(geometry, geometry.shape, measurement.axis), measurement.bins, given, measurement.axis
        )
    if measurement.mask is not None:
        _check_mask(measurement.mask, geometry)
    then = []
    if measurement.group is not None:
        then.append(Step(group, {"size": measurement.group}))
    if measurement.refine is not None:
        then.append(refine_step(measurement.refine, geometry.wavelength))
    return Recipe(
        name=name,
        files=tuple(find_files(measurement.files, folder)),
        read={"kind": "images"},
        each=(Step(integrate, parameters),),
        gather=concatenate,
        then=tuple(then),
    )


def _check_mask(mask: Path, geometry: Geometry) -> None:
    """Read the mask once: what is no mask is wrong before any image is read."""
    from xrd.masks import read_mask

    if geometry.shape is None and mask.suffix.lower() == ".immask":
        return  # its shapes are drawn once the number of pixels is known
    try:
        read_mask(mask, geometry.shape, 3, geometry)
    except DataFileError as error:
        raise ConfigError(f"mask: {error.subject}", error.problem, error.remedy) from error
