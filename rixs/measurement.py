"""What ``[rixs.<name>]`` in ``beamtime.toml`` may say, and the recipe made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, model_validator

from beamline._lazy import resolve
from beamline.config import InputFile, MeasurementConfig, find_files
from beamline.errors import JoinError
from beamline.readers.registry import concatenate
from beamline.recipe import Recipe, Step

if TYPE_CHECKING:
    import xarray as xr

    from calibration.records import Calibration

C = TypeVar("C", bound="Calibration")

CALIBRATIONS = {
    "emission": "calibration.emission:EmissionAxis",
    "excitation": "calibration.excitation:Shift",
    "curvature": "calibration.curvature:Curvature",
    "gain": "calibration.gain:Gain",
    "dark": "calibration.dark:Dark",
    "clip": "calibration.clip:Clip",
}
"""Roles of calibrations in `rixs.reduce`, and their classes."""

TEMPLATE = """\
[rixs.sample]                         # one table for each map
files = ["raw/CCD Scan 17174/*-AI.txt"]   # one scan, or several of one sample that make one map
window = [530.6, 531.8]               # excitation energies integrated, eV
# state = "4.8 V cycle 50"            # of the sample: maps of one state are its fresh samples
# emission = "emission.json"          # emission axis; by default from the scan's own elastic lines
# excitation = "excitation.json"      # correction of the excitation energies (TiO2)
# curvature = "curvature.json"        # by default from the scan's own images
# gain = "gain.json"                  # by default from the scan's own images
# dark = "dark.json"                  # where the images still have their background
# clip = "clip.json"                  # of images clipped at zero; by default from the scan's own images
# pre_edge = 528.5                    # spectra below are background, but for their elastic lines
# channels = ["cycler"]               # what these were at each point; needs the two lines below
# stamp = "start"                     # moment of the exposure the scan's times stand for
# exposure = 300                      # of a point, s
"""


class RixsMeasurement(MeasurementConfig):
    """A map: one scan over excitation energies, or several of the same sample."""

    window: tuple[float, float] | None = Field(
        default=None,
        description="First and last excitation energy (eV) of a window that is integrated; 530.6 to 531.8 "
        "for oxidised oxygen. By default none.",
    )
    state: str | None = Field(
        default=None,
        description="State of the sample, with its voltage and cycle (4.8 V cycle 50; discharged); maps of "
        "one state are its fresh samples. By default the name of the measurement.",
    )
    emission: InputFile | None = Field(
        default=None, description="Saved emission axis; by default from the scan's own elastic lines."
    )
    excitation: InputFile | None = Field(
        default=None, description="Saved correction of the excitation energies; by default none."
    )
    curvature: InputFile | None = Field(
        default=None, description="Saved curvature; by default from the scan's own images."
    )
    gain: InputFile | None = Field(
        default=None, description="Saved gain of the detector; by default from the scan's own images."
    )
    dark: InputFile | None = Field(
        default=None, description="Saved dark of the detector; by default the images have it subtracted."
    )
    clip: InputFile | None = Field(
        default=None,
        description="Saved model of images clipped at zero; by default from the scan's own images.",
    )
    pre_edge: float | None = Field(
        default=None,
        description="Subtract the mean of the spectra below this excitation energy (eV), without their "
        "elastic lines. By default nothing.",
    )

    stamp: Literal["start", "middle", "end"] | None = Field(
        default=None,
        description="Moment of the exposure the scan's times stand for; its files do not say, and channels "
        "need it.",
    )
    exposure: float | None = Field(
        default=None, gt=0, description="Exposure of a point, s; its files do not say, and channels need it."
    )

    @model_validator(mode="after")
    def _ordered(self) -> RixsMeasurement:
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError("window must give the lower energy first")
        return self

    def options(self) -> dict[str, Any]:
        """Return what is stated of the options of `beamline.read`: not every format has every option."""
        names = ("stamp", "exposure")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def calibrations(self) -> dict[str, Calibration]:
        """Return the saved calibrations that were named.

        Raises
        ------
        CalibrationError
            A file cannot be read, or holds another calibration.
        """
        return load_calibrations({name: getattr(self, name) for name in CALIBRATIONS})


def load_calibrations(files: dict[str, Path | None]) -> dict[str, Calibration]:
    """Read saved calibrations by their role in `rixs.reduce`; None is left out.

    Raises
    ------
    CalibrationError
        A file cannot be read, or holds another calibration than its role asks for.
    """
    from beamline.errors import CalibrationError
    from calibration.records import load_record

    loaded = {}
    for role, file in files.items():
        if file is None:
            continue
        record = load_record(file)
        kind = resolve(CALIBRATIONS[role])
        if not isinstance(record, kind):
            raise CalibrationError(file, f"is a {type(record).__name__}, not a {kind.__name__}")
        loaded[role] = record
    return loaded


def recipe(name: str, measurement: RixsMeasurement, folder: Path) -> Recipe:
    """Return the recipe of a measurement: read the scans, put their images together, reduce, integrate.

    The calibrations made from the scan itself need all of its images. So the one scan of a measurement is one
    chunk; of several, the images are put together first.

    Raises
    ------
    CalibrationError
        A calibration cannot be read.
    ConfigError
        `files` matches nothing.
    """
    from rixs.chain import reduce

    files = tuple(find_files(measurement.files, folder))
    background = {} if measurement.pre_edge is None else {"pre_edge": measurement.pre_edge}
    channels = (Step(require_time, {"key": name.replace("/", ".")}),) if measurement.channels else ()
    steps = (
        *channels,
        Step(reduce, {**measurement.calibrations(), **background}),
        Step(with_window, {"limits": measurement.window, "state": measurement.state}),
    )
    if len(files) == 1:
        return Recipe(name=name, files=files, read=measurement.options(), each=steps)
    return Recipe(name=name, files=files, read=measurement.options(), gather=concatenate, then=steps)


def require_time(scan: xr.Dataset, key: str) -> xr.Dataset:
    """Return the scan if channels can be joined to its points; `key` is that of its measurement.

    Raises
    ------
    JoinError
        When its points were exposed is not known.
    """
    if not {"time", "exposure"} <= set(scan.coords):
        raise JoinError(
            f"{key}.channels",
            f"cannot be joined: the files of {key} do not say when its points were exposed",
            f"give {key}.stamp and {key}.exposure",
        )
    return scan


def with_window(
    rmap: xr.Dataset, limits: tuple[float, float] | None, state: str | None = None
) -> xr.DataTree:
    """Return the tree of a result: the leaves ``map`` and, where `limits` (eV) are given, ``window``.

    Both carry the `state` of the sample as an attribute.

    Raises
    ------
    ConfigError
        The window is not within the map.
    """
    import xarray as xr

    from rixs.cuts import window

    rmap = rmap if state is None else rmap.assign_attrs(state=state)
    leaves: dict[str, Any] = {"map": rmap}
    if limits is not None:
        leaves["window"] = window(rmap, *limits)
        leaves["map"] = rmap.assign_attrs(window_from=limits[0], window_to=limits[1])
    return xr.DataTree.from_dict(leaves)
