"""What every calibration has in common: it is a record that never changes and is named by its content.

A calibration is a frozen dataclass of plain values (numbers, text, tuples, mappings of these; no arrays), so
that it can be hashed, compared, sent to another process and written in full into the history of every result
that was made with it. Its id is the hash of that record: the same calibration has the same id everywhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Any, Self

from beamline import provenance
from beamline._lazy import resolve
from beamline.atomic import write_atomic
from beamline.errors import CalibrationError


@dataclass(frozen=True)
class Calibration:
    """Base of all calibrations; a subclass is a frozen dataclass in the package `calibration`."""

    @property
    def id(self) -> str:
        """Hash of the record: 16 hexadecimal digits."""
        return provenance.digest(self._tagged())

    def to_record(self) -> dict[str, Any]:
        """Return everything that defines the calibration, as plain JSON values."""
        return {field.name: _jsonable(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Make the calibration again from what `to_record` gave.

        Raises
        ------
        CalibrationError
            A value is missing, or there is one that this calibration does not have.
        """
        values = {key: _frozen(value) for key, value in record.items() if key != "record"}
        fields = dataclasses.fields(cls)
        required = {
            f.name
            for f in fields
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        missing = sorted(required - values.keys())
        unknown = sorted(values.keys() - {f.name for f in fields})
        if missing or unknown:
            problem = " and ".join(
                part
                for part in (
                    f"lacks {', '.join(missing)}" if missing else "",
                    f"has {', '.join(unknown)}, which is unknown" if unknown else "",
                )
                if part
            )
            raise CalibrationError(f"record of a {cls.__name__}", problem, "was it edited?")
        return cls(**values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the record as JSON; `load_record` reads it.

        Raises
        ------
        DataFileError
            The file cannot be written.
        """
        text = json.dumps(self._tagged(), indent=2, ensure_ascii=False) + "\n"
        write_atomic(path, text.encode())

    def _tagged(self) -> dict[str, Any]:
        """Return the record with the name of its class, as a history holds it."""
        kind = type(self)
        return {"record": f"{kind.__module__}:{kind.__qualname__}", **self.to_record()}


def load_record(path: str | os.PathLike[str]) -> Calibration:
    """Read a calibration that `Calibration.save` wrote.

    Raises
    ------
    CalibrationError
        The file is missing, or is not such a record.
    """
    text = read_text(path)
    try:
        record = json.loads(text)
    except ValueError as error:
        raise CalibrationError(path, f"is not JSON ({error})", "save the calibration again") from error
    try:
        return restore(record)
    except CalibrationError as error:
        raise CalibrationError(path, f"{error.subject} {error.problem}", error.remedy) from error


def restore(record: Any) -> Calibration:
    """Make a calibration again from a record that names its class, as histories and files hold it.

    Raises
    ------
    CalibrationError
        It names none, or something that is no calibration.
    """
    target = record.get("record") if isinstance(record, dict) else None
    # A file must not be able to name code outside this package.
    if not isinstance(target, str) or not target.startswith("calibration."):
        raise CalibrationError("record", f"does not name a calibration ({target!r})")
    try:
        kind = resolve(target)
    except (ImportError, AttributeError) as error:
        raise CalibrationError("record", f"names {target!r}, which does not exist") from error
    if not (isinstance(kind, type) and issubclass(kind, Calibration)):
        raise CalibrationError("record", f"names {target!r}, which is no calibration")
    return kind.from_record(record)


def read_text(path: str | os.PathLike[str], limit: int = 16_000_000) -> str:
    """Return the text of a calibration file (UTF-8, or Latin-1 where it is not).

    Raises
    ------
    CalibrationError
        The file is missing, larger than `limit` bytes, or not text.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise CalibrationError(path, error.strerror or "cannot be read", "check the path") from error
    if len(content) > limit or b"\0" in content:
        raise CalibrationError(path, "is not a text file", "give the calibration, not the image")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _jsonable(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
