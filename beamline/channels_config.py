"""Channels in ``beamtime.toml``: one source in ``[channels.<name>]``, and its join to measurements.

A source says where its file is, how to read it, what its clock is against that of the frames, and how long a
sample holds. Measurements name the sources whose values their frames are to have::

    [channels.cycler]
    files = ["cycler/cell3.mpt"]
    reference = "Li/Li+"
    clock = { offset = "-2.79 s", offset_error = "0.1 s" }

    [xrd.cell3]
    files = ["raw/cell3_*.tif"]
    channels = ["cycler"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from beamline import provenance
from beamline.config import FilesTable, Table, find_files
from beamline.errors import DataFileError, JoinError
from beamline.recipe import Recipe

if TYPE_CHECKING:
    import xarray as xr

    from beamline.clocks import Clock

TEMPLATE = """\
# [channels.cycler]               # one table for each clock: cycler, furnace, gas analyser
# files = ["cycler/cell3.mpt"]    # BioLogic .mpt, Maccor text, Zilien tsv, csv
# timezone = "Europe/Berlin"      # by default that of the beamtime
# reference = "Li/Li+"            # reference electrode of the voltage
# clock = { offset = "0 s", offset_error = "1 s" }   # frame time minus channel time
# tolerance = "30 s"              # how long a sample holds
# # and in a measurement:  channels = ["cycler"]
"""


class ClockTable(Table):
    """Offset and drift of a channel's clock, as `beamline.Clock` takes them."""

    offset: str | float = Field(default=0.0, description='Frame time minus channel time: "95.2s" or s.')
    drift: float = Field(default=0.0, description="Rate by which the channel's clock is slow, s/s.")
    offset_error: str | float = Field(default=0.0, description="Standard deviation of the offset.")
    drift_error: float = Field(default=0.0, description="Standard deviation of the drift, s/s.")
    reference: str | None = Field(default=None, description="Channel time (UTC) at which the offset holds.")


class ChannelSource(FilesTable):
    """Channels on one clock."""

    timezone: str | None = Field(
        default=None, description="Time zone of the file's clock; that of the beamtime where it is not given."
    )
    start: str | None = Field(default=None, description="Time stamp (ISO 8601) elapsed times count from.")
    day_first: bool | None = Field(default=None, description="Order of day and month in time stamps.")
    reference: str | None = Field(
        default=None, description='Reference electrode of the voltage, such as "Li/Li+".'
    )
    in_situ: Literal["yes", "no"] | None = Field(default=None, description="Was the cell in the beam?")
    units: dict[str, str] | None = Field(default=None, description="Units of columns that state none.")
    tolerance: str | float = Field(default="30s", description="How far from a sample its value still holds.")
    clock: ClockTable = Field(
        default=ClockTable(), description="The channel's clock against that of the frames."
    )

    def options(self) -> dict[str, Any]:
        """Return what is stated of the options of `beamline.read`: not every format has every option."""
        names = ("timezone", "start", "day_first", "reference", "in_situ", "units")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def to_clock(self) -> Clock:
        """Return the clock, for `beamline.join`.

        Raises
        ------
        ConfigError
            See `beamline.Clock`.
        """
        from beamline.clocks import Clock

        return Clock(**self.clock.model_dump())


@dataclass(frozen=True)
class Source:
    """Channels as a step of a recipe names them: files, and how they are read and joined."""

    files: tuple[Path, ...]
    options: Mapping[str, Any]
    clock: Clock
    tolerance: str | float

    def to_record(self) -> dict[str, Any]:
        """Return all that decides the joined values, as JSON."""
        return {
            "files": [{"name": file.name, "sha256": provenance.file_hash(file)} for file in self.files],
            "options": dict(self.options),
            "clock": self.clock.to_record(),
            "tolerance": self.tolerance,
        }

    def read(self) -> xr.Dataset | xr.DataTree:
        """Return the channels.

        Raises
        ------
        DataFileError
            A file cannot be read, or the files do not follow each other.
        """
        from beamline.readers.registry import read

        parts = [read(file, kind="channels", **self.options) for file in self.files]
        return gather(parts, [file.name for file in self.files])


def recipe(name: str, source: ChannelSource, folder: Path) -> Recipe:
    """Return the recipe of a source: read its files and put them one after the other.

    Raises
    ------
    ConfigError
        `files` matches nothing, or the clock cannot be.
    """
    source.to_clock()
    return Recipe(
        name=name,
        files=tuple(find_files(source.files, folder)),
        read={"kind": "channels", **source.options()},
        gather=gather,
    )


def gather(parts: Sequence[xr.Dataset | xr.DataTree], names: Sequence[str]) -> xr.Dataset | xr.DataTree:
    """Put the files of one clock together along time.

    Raises
    ------
    DataFileError
        A file begins before the one before it ends, has other channels, or has clocks of its own.
    """
    import xarray as xr

    from beamline.readers.registry import concatenate

    if len(parts) == 1:
        return parts[0]
    tables: list[xr.Dataset] = []
    for part, name in zip(parts, names, strict=True):
        if isinstance(part, xr.DataTree):
            raise DataFileError(name, "has several clocks", "give it a table of channels of its own")
        if tables and part["time"][0] <= tables[-1]["time"][-1]:
            raise DataFileError(
                name, "begins before the file before it ends", "put the files in order of time"
            )
        tables.append(part)
    return concatenate(tables, names, along="time")


def join_sources(result: xr.Dataset | xr.DataTree, sources: Sequence[Source]) -> xr.Dataset | xr.DataTree:
    """Give the frames of a result what the channels of the sources were while they were exposed.

    In a tree, every leaf whose frames have ``time`` and ``exposure`` gets them.

    Raises
    ------
    DataFileError
        A source cannot be read.
    JoinError
        No frames of the result say when they were taken, or see `beamline.join`.
    """
    import xarray as xr

    from beamline.channels import join

    tables = [(source, source.read()) for source in sources]

    def joined(ds: xr.Dataset) -> xr.Dataset:
        for source, channels in tables:
            ds = join(ds, channels, tolerance=source.tolerance, clock=source.clock)
        return ds

    if isinstance(result, xr.Dataset):
        return joined(result)
    leaves = {node.path: node.to_dataset() for node in result.leaves}
    timed = [path for path, ds in leaves.items() if {"time", "exposure"} <= set(ds.coords)]
    if not timed:
        raise JoinError("frames", "do not say when they were taken", "channels need their time and exposure")
    return xr.DataTree.from_dict({path: joined(ds) if path in timed else ds for path, ds in leaves.items()})
