"""What is done with scans between their files and their alignment, and how repeats are merged after it.

In this order: single detectors are summed, glitches replaced, quick scans rebinned, the axis calibrated; then
scans are aligned, and repeats merged. What a table of ``beamtime.toml`` leaves out is not done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from beamline.config import InputFile, MeasurementConfig, Table
from beamline.errors import CalibrationError, ConfigError

if TYPE_CHECKING:
    import xarray as xr

    from beamline.recipe import Step
    from calibration.mono import Monochromator

TEMPLATE = """\
# along = "energy"                # or "angle": what a monochromator really drifts by
# drift = false                   # model the drift of the series: smooth pieces and jumps
# mono = "mono.json"              # record of calibration.mono.calibrate
# merge = "_[0-9]+$"              # what of its label tells repeats apart; "all" merges all scans
# from_label = "(?P<sample>[^_]+)_(?P<voltage>[0-9.]+)V"   # coordinates from the labels

# [xas.sample.deglitch]
# threshold = 8.0                 # standard deviations
# [xas.sample.rebin]              # of quick scans
# xanes_step = 0.25               # eV
# [xas.sample.detectors]          # a detector of several elements
# exclude = ["mca3"]
"""


class DeglitchTable(Table):
    """Replace glitches."""

    threshold: float = Field(
        default=8.0,
        gt=3,
        description="How far a point must deviate from its neighbours, standard deviations.",
    )
    ranges: list[tuple[float, float]] = Field(
        default=[], description="Energies to take out of every scan, eV."
    )


class RebinTable(Table):
    """Average quick scans on a usual grid."""

    e0: float | None = Field(
        default=None, gt=0, description="Edge the grid belongs to, eV; by default that of the first scan."
    )
    xanes: tuple[float, float] = Field(
        default=(-30.0, 50.0), description="Range of the fine steps, eV relative to E0."
    )
    pre_step: float = Field(default=5.0, gt=0, description="Steps below it, eV.")
    xanes_step: float = Field(default=0.25, gt=0, description="Steps in it, eV.")
    k_step: float = Field(default=0.05, gt=0, description="Steps beyond it, 1/angstrom.")


class DetectorsTable(Table):
    """Sum the elements of a fluorescence detector."""

    dead_time: float | None = Field(
        default=None, ge=0, description="Dead time in s, where the files do not hold its correction."
    )
    count_time: float = Field(default=1.0, gt=0, description="Time per point in s, for the dead time.")
    exclude: list[str] = Field(default=[], description="Channels to leave out.")


class PreparedMeasurement(MeasurementConfig):
    """Scans and what is done with them before they are normalised."""

    reference: Literal["mu_ref", "mu", "none"] = Field(
        default="mu_ref",
        description="What the scans are aligned on: the foil behind the sample, the sample, or nothing.",
    )
    along: Literal["energy", "angle"] = Field(
        default="energy",
        description="Whether a shift is added to the energies, or turns the monochromator.",
    )
    drift: bool = Field(
        default=False, description="Take the shifts from a model of the drift, smooth pieces and jumps."
    )
    d_spacing: float | None = Field(
        default=None, gt=0, description="Lattice spacing of the monochromator, angstrom, for angles."
    )
    mono: InputFile | None = Field(
        default=None, description="Calibration of the monochromator (record of calibration.mono)."
    )
    merge: str | None = Field(
        default=None,
        description='Regular expression of what tells repeats apart in their labels; "all" merges all scans.',
    )
    from_label: str | None = Field(
        default=None,
        description="Regular expression whose named groups become coordinates: (?P<voltage>[0-9.]+)V.",
    )
    deglitch: DeglitchTable | None = Field(default=None, description="Replace glitches.")
    rebin: RebinTable | None = Field(default=None, description="Average quick scans on a usual grid.")
    detectors: DetectorsTable | None = Field(
        default=None, description="Sum the elements of a fluorescence detector."
    )

    @field_validator("merge", "from_label")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
        return pattern

    def steps(self) -> Iterator[Step]:
        """Yield the steps from scans with an axis each to aligned, merged ones.

        Raises
        ------
        ConfigError
            The record of the monochromator is none.
        """
        from beamline.recipe import Step
        from calibration import mono
        from xas.alignment import align
        from xas.detectors import sum_detectors
        from xas.glitches import deglitch
        from xas.merging import merge
        from xas.rebinning import rebin

        tables = ((sum_detectors, self.detectors), (deglitch, self.deglitch), (rebin, self.rebin))
        for function, table in tables:
            if table is not None:
                yield Step(function, table.model_dump())
        if self.mono is not None:
            yield Step(mono.apply, {"mono": monochromator(self.mono)})
        parameters: dict[str, Any] = {"reference": None if self.reference == "none" else self.reference}
        parameters |= {"along": self.along, "d_spacing": self.d_spacing, "drift": self.drift}
        yield Step(align, parameters)
        if self.from_label is not None:
            yield Step(with_parts_of_labels, {"pattern": self.from_label})
        if self.merge is not None:
            yield Step(merge, {"by": None if self.merge == "all" else self.merge})


def monochromator(path: Any) -> Monochromator:
    """Return the calibration in a file.

    Raises
    ------
    ConfigError
        It is none of a monochromator.
    """
    from calibration.mono import Monochromator
    from calibration.records import load_record

    try:
        record = load_record(path)
    except CalibrationError as error:
        raise ConfigError(error.subject, error.problem, error.remedy) from error
    if not isinstance(record, Monochromator):
        remedy = "make it with redoxlight calibrate mono"
        raise ConfigError(str(path), f"is a {type(record).__name__}, not a Monochromator", remedy)
    return record


def with_parts_of_labels(scans: xr.Dataset, pattern: str) -> xr.Dataset:
    """Return scans with coordinates made of parts of their labels.

    Parameters
    ----------
    scans
        Kind ``xas.scans``, over (scan, energy).
    pattern
        Regular expression; each of its named groups is a coordinate ("(?P<voltage>[0-9.]+)V"): numbers, NaN
        where a label has none, or text where not all of them are numbers.

    Raises
    ------
    ConfigError
        It has no named group, or matches no label.
    """
    import numpy as np

    from beamline import model

    compiled = re.compile(pattern)
    if not compiled.groupindex:
        raise ConfigError("from_label", f"{pattern!r} names no group", "for one: (?P<voltage>[0-9.]+)V")
    labels = [str(label) for label in scans["label"].values]
    found = [compiled.search(label) for label in labels]
    if not any(found):
        raise ConfigError("from_label", f"{pattern!r} is in none of the labels {', '.join(labels[:3])}")
    out = scans
    for name in compiled.groupindex:
        texts = [match[name] or "" if match else "" for match in found]
        try:
            values = np.array([float(text) if text else np.nan for text in texts])
        except ValueError:
            out = out.assign_coords({name: ("scan", np.array(texts))})
            continue
        attrs = {} if name in model.NAMES else {"units": "", "long_name": name.replace("_", " ")}
        out = out.assign_coords({name: ("scan", values, attrs)})
    return model.with_defaults(out, "xas.scans")
