"""One source of channels in ``beamtime.toml``: ``[channels.<name>]``.

A file (or several of one clock), how to read it, what its clock is against that of the frames, and how far a
sample holds::

    [channels.cycler]
    file = "cycler/cell3.mpt"
    timezone = "America/Chicago"
    reference = "Li/Li+"
    clock = { offset = "-2.79 s", offset_error = "0.1 s" }
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from beamline.clocks import Clock


class ClockTable(BaseModel):
    """Offset and drift of a channel's clock, as `beamline.Clock` takes them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    offset: str | float = Field(default=0.0, description='Frame time minus channel time: "95.2s" or s.')
    drift: float = Field(default=0.0, description="Rate by which the channel's clock is slow, s/s.")
    offset_error: str | float = Field(default=0.0, description="Standard deviation of the offset.")
    drift_error: float = Field(default=0.0, description="Standard deviation of the drift, s/s.")
    reference: str | None = Field(default=None, description="Channel time (UTC) at which the offset holds.")


class ChannelSource(BaseModel):
    """The table ``[channels.<name>]``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: str = Field(min_length=1, description="File of the channels, relative to beamtime.toml.")
    timezone: str | None = Field(
        default=None, description="Time zone of the file's clock; that of the beamtime where it is not given."
    )
    start: str | None = Field(default=None, description="Time stamp (ISO 8601) elapsed times count from.")
    day_first: bool | None = Field(default=None, description="Order of day and month in time stamps.")
    reference: str = Field(default="", description='Reference electrode of the voltage, such as "Li/Li+".')
    in_situ: Literal["yes", "no", ""] = Field(default="", description="Was the cell in the beam?")
    units: dict[str, str] = Field(default={}, description="Units of columns that state none.")
    tolerance: str | float = Field(default="30s", description="How far from a sample its value still holds.")
    clock: ClockTable = ClockTable()

    def options(self, timezone: str) -> dict[str, Any]:
        """Return the options for `beamline.read`, with the beamtime's `timezone` where none is given.

        Only what is stated is among them: not every format has every option.
        """
        stated = {
            "start": self.start,
            "day_first": self.day_first,
            "reference": self.reference or None,
            "in_situ": self.in_situ or None,
            "units": self.units or None,
        }
        return {
            "timezone": self.timezone or timezone,
            **{key: value for key, value in stated.items() if value is not None},
        }

    def to_clock(self) -> Clock:
        """Return the clock, for `beamline.join`.

        Raises
        ------
        ConfigError
            See `beamline.Clock`.
        """
        from beamline.clocks import Clock

        return Clock(**self.clock.model_dump())
