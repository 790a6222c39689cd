"""The configuration of a beamtime: one file, ``beamtime.toml``.

::

    [beamtime]
    name = "bcc-Fe"
    timezone = "America/Chicago"    # of clocks that do not state theirs
    output = "processed"            # folder, relative to this file

    [xrd.bccfe]                     # technique.measurement
    files = ["raw/BCC1_*.tif"]      # globs, relative to this file

What a table of measurement may hold is said by its technique, with a pydantic model that extends
`MeasurementConfig`. Types are those of TOML: the text "3000" is not the number 3000. Whatever is wrong ends
as one `ConfigError` that lists everything wrong, each by its key.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.functional_validators import AfterValidator

from beamline import techniques
from beamline._lazy import resolve
from beamline.errors import ConfigError, DataFileError, RedoxlightError
from beamline.globs import find_files as find_files

M = TypeVar("M", bound=BaseModel)

CHANNELS = "channels"
"""The tables whose values the frames of measurements can be given."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names of measurements: they become groups and folders."""


class Table(BaseModel):
    """Base of every table of ``beamtime.toml``: unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FilesTable(Table):
    """A table that names raw files."""

    files: list[str] = Field(
        min_length=1,
        description="Raw files: names or globs relative to the file beamtime.toml, in the order of the "
        "measurement; the files of one glob are taken in natural order (frame 2 before frame 10).",
    )
    exclude: list[str] = Field(
        default=[], description="Files (names or globs) to leave out although `files` matches them."
    )


class MeasurementConfig(FilesTable):
    """What every measurement states; techniques extend it."""

    channels: list[str] = Field(
        default=[],
        description="Names of [channels.<name>] tables: every frame gets what these channels were while it "
        "was exposed.",
    )


def _existing(path: Path, info: ValidationInfo) -> Path:
    """Make the path absolute, from the folder of beamtime.toml on, and check that the file is there."""
    path = Path((info.context or {}).get("folder", "."), path)
    if not path.is_file():
        raise ValueError(f"names {path.as_posix()}, which is {_what_it_is(path)}")
    return path


InputFile = Annotated[Path, AfterValidator(_existing)]
"""Type of a key that names a file beside the raw ones: a geometry, a mask, a CIF. The value is absolute."""


class BeamtimeTable(Table):
    """The table ``[beamtime]``."""

    name: str = Field(min_length=1, description="Name of the beamtime; its results carry it.")
    timezone: str = Field(
        description='IANA name ("America/Chicago") of the time zone of clocks that do not state theirs.'
    )
    output: str = Field(
        default="processed",
        min_length=1,
        description="Folder of the results, relative to the file beamtime.toml.",
    )

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError) as error:  # unknown, a folder of zones, not a name
            raise ValueError(f"{name!r} is not a time zone{_zone_hint(name)}") from error
        return name


@dataclass(frozen=True)
class Measurement:
    """One table of measurement.

    Attributes
    ----------
    technique, name
        The two parts of its key: ``[technique.name]``.
    config
        Its table, as the technique's model.
    """

    technique: str
    name: str
    config: FilesTable

    @property
    def place(self) -> str:
        """Place of the result in the tree of results: "technique/name"."""
        return f"{self.technique}/{self.name}"

    @property
    def key(self) -> str:
        """Key of the table in the file: "technique.name"."""
        return f"{self.technique}.{self.name}"


@dataclass(frozen=True)
class Beamtime:
    """A configuration that holds together.

    Attributes
    ----------
    path
        The file it was read from.
    name, timezone
        As stated.
    output
        Folder of the results.
    measurements
        In the order of the file.
    """

    path: Path
    name: str
    timezone: str
    output: Path
    measurements: tuple[Measurement, ...]

    @property
    def folder(self) -> Path:
        """The folder names in the file are relative to."""
        return self.path.parent

    def sources(self, measurement: Measurement) -> list[Measurement]:
        """Return the tables of the channels that are joined to a measurement."""
        wanted = getattr(measurement.config, CHANNELS, [])
        known = {m.name: m for m in self.measurements if m.technique == CHANNELS}
        return [known[name] for name in wanted]

    def files(self, measurement: Measurement, known: bool = False) -> list[Path]:
        """Return the raw files of a measurement, without what it excludes and without our own results.

        With `known`, names that match nothing are passed over: the files were there once.

        Raises
        ------
        ConfigError
            A name or glob matches no file.
        """
        config = measurement.config
        found = find_files(config.files, self.folder, f"{measurement.key}.files", known)
        left_out = set(find_files(config.exclude, self.folder, known=True))
        files = [file for file in found if file not in left_out and not file.is_relative_to(self.output)]
        if not files and not known:
            raise ConfigError(
                f"{measurement.key}.files",
                "finds only files that are excluded, or results",
                "look at exclude",
            )
        return files


def load(path: str | os.PathLike[str]) -> Beamtime:
    """Read and check a ``beamtime.toml``.

    Raises
    ------
    ConfigError
        It cannot be read, or something in it is wrong; the sentence lists everything that is.
    """
    path = Path(os.path.abspath(path))
    data = _parse(path)
    problems: list[str] = []
    table = _validated(BeamtimeTable, data.get("beamtime"), "beamtime", {}, problems)
    measurements = tuple(_measurements(path.parent, data, problems))
    problems.extend(_unknown_channels(data, measurements))
    if problems:
        raise ConfigError(path, "; ".join(problems))
    assert table is not None  # noqa: S101 - a table that is None left a problem
    if not measurements:
        known = " or ".join(f"[{name}.<name>]" for name in techniques.techniques())
        raise ConfigError(path, "has no measurement", f"add a table {known}")
    output = Path(os.path.abspath(path.parent / table.output))
    if path.is_relative_to(output):
        raise ConfigError(path, "beamtime.output holds this file", "name a folder of its own")
    return Beamtime(path, table.name, table.timezone, output, measurements)


def schema() -> dict[str, Any]:
    """Return the JSON schema of ``beamtime.toml`` with the installed techniques."""
    from pydantic.json_schema import models_json_schema

    found = techniques.techniques()
    models: dict[str, type[BaseModel]] = {
        "beamtime": BeamtimeTable,
        **{name: resolve(technique.measurement) for name, technique in found.items()},
    }
    references, definitions = models_json_schema([(model, "validation") for model in models.values()])
    properties: dict[str, Any] = {"beamtime": references[BeamtimeTable, "validation"]}
    for name, technique in found.items():
        properties[name] = {
            "description": technique.title,
            "type": "object",
            "propertyNames": {"pattern": f"^{NAME.pattern}$"},
            "additionalProperties": references[models[name], "validation"],
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "beamtime.toml",
        "type": "object",
        "properties": properties,
        "required": ["beamtime"],
        "additionalProperties": False,
        **definitions,
    }


def write_template(path: Path) -> None:
    """Write a commented ``beamtime.toml`` with a table of every installed technique.

    Raises
    ------
    ConfigError
        The file exists; it is not overwritten.
    DataFileError
        It cannot be written.
    """
    tables = [str(resolve(technique.template)).strip() for technique in techniques.techniques().values()]
    text = "\n\n".join([_TEMPLATE.strip(), *tables]) + "\n"
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(path, "exists and is not overwritten", "name another file") from error
    except OSError as error:
        raise DataFileError(path, f"cannot be written ({error.strerror})", "check the path") from error


_TEMPLATE = """\
[beamtime]
name = "my beamtime"
timezone = "UTC"               # of clocks that do not state theirs, such as "America/Chicago"
output = "processed"           # folder of the results, relative to this file

# One table [technique.name] for every measurement; delete those you do not need.
# All keys and what they mean: redoxlight check --schema
"""


def _parse(path: Path) -> dict[str, Any]:
    """Read TOML, whatever an editor did to its encoding."""
    if not path.is_file():
        raise ConfigError(path, f"is {_what_it_is(path)}", "`redoxlight init` writes a template")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror})") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(path, "is in UTF-16", "save it as UTF-8")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, f"is not in UTF-8 (line {line})", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(path, "is nested too deeply") from error


def _measurements(folder: Path, data: Mapping[str, Any], problems: list[str]) -> Iterator[Measurement]:
    """Yield the tables that are right; say what is wrong with the others."""
    known = techniques.techniques()
    for name, tables in data.items():
        if name == "beamtime":
            continue
        if name not in known:
            problems.append(f"{name} is not a technique{_meant(name, ['beamtime', *known])}")
            continue
        if not isinstance(tables, dict):
            problems.append(f"{name} is not a table; write [{name}.<name of the measurement>]")
            continue
        model = resolve(known[name].measurement)
        for measurement, table in tables.items():
            key = f"{name}.{measurement}"
            if not isinstance(table, dict):
                problems.append(f"{key} is not a table; keys go into [{name}.<name of the measurement>]")
            elif not NAME.fullmatch(measurement):
                problems.append(f"{key}: the name of a measurement is made of letters, digits, _ and -")
            else:
                config = _validated(model, table, key, {"folder": folder}, problems)
                if config is not None:
                    yield Measurement(name, measurement, config)


def _unknown_channels(data: Mapping[str, Any], measurements: Sequence[Measurement]) -> Iterator[str]:
    """Say which channels are asked for and have no table."""
    tables = data.get(CHANNELS)
    known = list(tables) if isinstance(tables, dict) else []
    for measurement in measurements:
        for name in getattr(measurement.config, CHANNELS, []):
            if name not in known:
                hint = _meant(name, known) or f" (there is no table [{CHANNELS}.<name>])"
                yield f"{measurement.key}.{CHANNELS}: {name!r} is not a table of channels{hint}"


def _validated(
    model: type[M], table: Any, key: str, context: dict[str, Any], problems: list[str]
) -> M | None:
    """Return the table as its model, or None and say what is wrong with it."""
    if table is None:
        problems.append(f"[{key}] is missing")
        return None
    try:
        # As JSON, because only there is strict checking (no text for numbers, no true for 1) at peace with
        # paths and tuples, which neither TOML nor JSON know.
        return model.model_validate_json(json.dumps(table, default=str), strict=True, context=context)
    except ValidationError as error:
        # Errors of the members of a union come one by one for the same key.
        reasons: dict[str, list[str]] = {}
        for item in error.errors(include_url=False):
            where = _place(key, table, item["loc"], missing=item["type"] == "missing")
            reasons.setdefault(where, []).append(_reason(dict(item), model, where.rpartition(".")[2]))
        problems.extend(f"{where} {' or '.join(dict.fromkeys(said))}" for where, said in reasons.items())
    except RedoxlightError as error:
        problems.append(f"{key}: {error}")
    return None


def _place(key: str, table: Any, loc: Sequence[int | str], missing: bool) -> str:
    """Write where an error is as a key of the file; pydantic adds names of models, which no file has."""
    node = table
    for i, part in enumerate(loc):
        if isinstance(node, list) and isinstance(part, int) and part < len(node):
            node, key = node[part], f"{key}[{part}]"
        elif isinstance(node, dict) and part in node:
            node, key = node[part], f"{key}.{part}"
        elif missing and i == len(loc) - 1:
            key = f"{key}.{part}"
    return key


def _reason(item: dict[str, Any], model: type[BaseModel], name: str) -> str:
    """Say in words what pydantic found."""
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "extra_forbidden":
        keys = list(model.model_fields) if len(item["loc"]) == 1 else []
        return f"is not a key of this table{_meant(name, keys)}"
    message = str(item["msg"])
    if item["type"] in {"value_error", "assertion_error"}:
        return message.partition(", ")[2]
    message = message.replace("Input should", "must", 1)
    value = item["input"]
    if isinstance(value, str | int | float):
        return f"is {value!r} but {message}"
    return message[:1].lower() + message[1:]


def _meant(name: str, allowed: Iterable[str]) -> str:
    """Return the end of a sentence: what was meant, and what may be written."""
    names = list(allowed)
    close = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f" ({hint}known: {', '.join(names)})" if names else ""


def _zone_hint(name: str) -> str:
    from zoneinfo import available_timezones

    close = difflib.get_close_matches(name, available_timezones(), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ' (an IANA name such as "Europe/Paris")'


def _what_it_is(path: Path) -> str:
    """Say why a path that should be a file is none."""
    if path.is_dir():
        return "a folder, not a file"
    return "not a regular file" if path.exists() else "missing"
