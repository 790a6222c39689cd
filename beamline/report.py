"""What processing tells: how far it is, and what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from beamline.errors import RedoxlightError


class Reporter(Protocol):
    """Is told how far the work is."""

    def started(self, what: str, total: int) -> None:
        """Begin `total` pieces of work."""

    def advanced(self, what: str) -> None:
        """Count one of them as finished."""

    def finished(self, what: str) -> None:
        """End the work, be it complete or not."""


class Quiet:
    """Says nothing."""

    def started(self, what: str, total: int) -> None:
        """Begin `total` pieces of work."""

    def advanced(self, what: str) -> None:
        """Count one of them as finished."""

    def finished(self, what: str) -> None:
        """End the work, be it complete or not."""


@dataclass(frozen=True)
class Failure:
    """An input, or a step over a measurement, that did not work out.

    Attributes
    ----------
    measurement
        Its place in the tree of results ("xrd/bccfe").
    subject, problem, remedy
        As in `beamline.errors.RedoxlightError`; files are relative to the folder of ``beamtime.toml``.
    traceback
        Of an exception nobody expected; "" otherwise.
    """

    measurement: str
    subject: str
    problem: str
    remedy: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        return str(RedoxlightError(self.subject, self.problem, self.remedy))


@dataclass
class Counts:
    """What became of the raw files of a measurement."""

    done: int = 0
    unchanged: int = 0
    failed: int = 0
    missing: int = 0


@dataclass
class Report:
    """What `beamline.process` did.

    Attributes
    ----------
    result
        The file of results; None where there is no result at all.
    measurements
        Counts of raw files by measurement.
    failed
        What did not work out; everything else is done.
    missing
        Raw files that cannot be read any more and whose stored results stay.
    changed
        Raw files, and files that belong to them, whose bytes are not those first processed. They are
        processed as new ones.
    """

    result: Path | None = None
    measurements: dict[str, Counts] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    missing: list[Failure] = field(default_factory=list)
    changed: list[Failure] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {**asdict(self), "result": None if self.result is None else str(self.result)}

    def to_json(self) -> str:
        """Return the report as a JSON document."""
        return json.dumps(self.to_dict())
