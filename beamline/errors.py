"""Everything that can go wrong, by name.

Each error reads as one sentence: what it is about (a file, a key, a variable), what is wrong with it, and
what to do. They are built from those three parts, so that programs can use the parts (`--json`) and people
read the sentence. This module imports nothing, and every error survives pickling between processes.
"""

from __future__ import annotations

import os


class RedoxlightError(Exception):
    """Base of all errors redoxlight raises on purpose.

    Parameters
    ----------
    subject
        The file, configuration key or variable the error is about.
    problem
        What is wrong with it.
    remedy
        What the user can do about it; "" where nothing is known to help.
    """

    def __init__(self, subject: str | os.PathLike[str], problem: str, remedy: str = "") -> None:
        super().__init__(os.fspath(subject), problem, remedy)

    @property
    def subject(self) -> str:
        """What the error is about."""
        return str(self.args[0])

    @property
    def problem(self) -> str:
        """What is wrong."""
        return str(self.args[1])

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return str(self.args[2])

    def __str__(self) -> str:
        sentence = f"{self.subject}: {self.problem}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class DataFileError(RedoxlightError):
    """A file cannot be read or written as what it claims to be."""


class SchemaError(RedoxlightError):
    """A Dataset is not a valid one of its kind (see `beamline.model`)."""


class CalibrationError(RedoxlightError):
    """A calibration is missing, contradicts the data, or is not good enough to use."""


class FitError(RedoxlightError):
    """A fit did not give numbers that can be believed."""


class JoinError(RedoxlightError):
    """Channels and frames cannot be brought onto one clock."""


class ReplayError(RedoxlightError):
    """A result cannot be made again from its history."""


class ConfigError(RedoxlightError):
    """The configuration or the command line is wrong."""
