"""What has been processed: a journal that survives being killed at any moment.

The journal of an output folder is the file ``journal.jsonl``. Its first line names the beamtime, every other
line is an `Entry`: a task (a chunk of raw data, or a step over a whole measurement), the hashes of the files
it read and how it ended. The last line says what ``results.nc`` was made of. Lines are only ever appended
and flushed to disk one by one; at the end of a run the file is replaced, in one step, by the same lines in
the order of the measurements, so that it does not depend on the order things got done in. There are no clock
times in it.

The results themselves are the truth, not the journal: each is a *shard*, a whole file or absent, named after
the key of its task and carrying its entry in the attribute ``task``. A torn last line is therefore dropped,
and a journal that is lost or damaged is written anew from the shards.

One process at a time works on an output folder (`locked`); within it only the coordinating thread writes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from beamline import atomic
from beamline.atomic import write_atomic
from beamline.errors import ConfigError, DataFileError, RedoxlightError

NAME = "journal.jsonl"
SHARDS = "shards"
LOCK = ".lock"
TASK = "task"
"""Attribute of a shard: its entry."""

DONE, KEPT, FAILED = "done", "kept", "failed"


@dataclass(frozen=True)
class Entry:
    """One task and how it ended.

    Attributes
    ----------
    measurement
        Its place in the tree of results ("xrd/bccfe").
    key
        Hash of everything that decides its result.
    state
        "done": its result is stored and is what the present configuration gives; "kept": its result is
        stored, but of no use as long as its file cannot be processed as it would have to be; "failed".
    files
        ``{"name": ..., "sha256": ...}`` of the raw file and of those that belong to it.
    frames
        Half-open range of frames; None for all.
    chunks
        Number of chunks of the file.
    step
        Name of the step over the whole measurement; "" for a chunk.
    error
        ``{"subject", "problem", "remedy"}`` of a task that failed.
    """

    measurement: str
    key: str
    state: str = DONE
    files: tuple[dict[str, str], ...] = ()
    frames: tuple[int, int] | None = None
    chunks: int = 1
    step: str = ""
    error: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """Name of the raw file; "" for a step over the whole."""
        return self.files[0]["name"] if self.files else ""

    def to_json(self) -> str:
        """Return the entry as a line, without what is as usual."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        usual = {f.name: f.default for f in fields(self) if f.name != "state"}
        return json.dumps({name: value for name, value in data.items() if value != usual.get(name, MISSING)})

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """Read a line; fields of a newer redoxlight are passed over.

        Raises
        ------
        ValueError
            The line is no entry.
        """
        return cls._from(json.loads(text))

    @classmethod
    def _from(cls, data: Any) -> Entry:
        try:
            known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
            known["files"] = tuple({"name": f["name"], "sha256": f["sha256"]} for f in data.get("files", ()))
            if data.get("frames") is not None:
                start, stop = data["frames"]
                known["frames"] = (int(start), int(stop))
            entry = cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not an entry of a journal") from error
        if not (isinstance(entry.measurement, str) and isinstance(entry.key, str)):
            raise ValueError("not an entry of a journal")
        return entry


class Journal:
    """The journal of one output folder, to be used while the folder is `locked`.

    Attributes
    ----------
    entries
        The latest entry of every task, by measurement and key.
    results
        What ``results.nc`` was made of: the key of the result of every measurement.
    """

    def __init__(self, output: Path, beamtime: str) -> None:
        self.output = output
        self.beamtime = beamtime
        self.entries: dict[tuple[str, str], Entry] = {}
        self.results: dict[str, str] = {}
        self._path = output / NAME
        try:
            text = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise DataFileError(self._path, f"cannot be read ({error.strerror})") from error
        whole, _, torn = text.rpartition(b"\n")
        try:
            self._read(whole.decode())
        except ValueError:  # of the encoding, of JSON, of an entry
            self.entries = {entry_id(entry): entry for entry in self._stored()}
            self.results = {}
            self._replace(self.entries.values())
        else:
            if torn:
                self._replace(self.entries.values())

    def shard(self, entry: Entry) -> Path:
        """Return where the result of a task is stored."""
        return self.output / SHARDS / entry.measurement / f"{entry.key}.nc"

    def of(self, measurement: str) -> list[Entry]:
        """Return the entries of one measurement, in their order."""
        return [entry for entry in self.entries.values() if entry.measurement == measurement]

    def append(self, entry: Entry) -> None:
        """Write down how a task ended."""
        self._append(entry.to_json())
        self.entries[entry_id(entry)] = entry

    def record_results(self, results: dict[str, str]) -> None:
        """Write down what ``results.nc`` is made of now."""
        self._append(json.dumps({"results": results}))
        self.results = dict(results)

    def compact(self, entries: Iterable[Entry]) -> None:
        """Replace the journal by these entries, in this order."""
        self.entries = {entry_id(entry): entry for entry in entries}
        self._replace(self.entries.values())

    def _read(self, text: str) -> None:
        """Take over the lines of a file; ValueError where it is not a journal from its first line on."""
        first, *lines = text.split("\n")
        header = json.loads(first)
        if not (isinstance(header, dict) and isinstance(header.get("beamtime"), str)):
            raise ValueError("not the first line of a journal")
        if header["beamtime"] != self.beamtime:
            raise ConfigError(
                self.output,
                f"holds the results of the beamtime {header['beamtime']!r}, not of {self.beamtime!r}",
                "give every beamtime an output folder of its own",
            )
        for line in lines:
            data = json.loads(line)
            if isinstance(data, dict) and "results" in data:
                self.results = {str(place): str(key) for place, key in data["results"].items()}
            else:
                entry = Entry._from(data)
                # The place in the order is that of the latest entry.
                self.entries.pop(entry_id(entry), None)
                self.entries[entry_id(entry)] = entry

    def _stored(self) -> Iterator[Entry]:
        """Yield the entries the shards carry, as far as they can be read."""
        shards = sorted((self.output / SHARDS).glob("*/*/*.nc"))
        if not shards:
            return
        import h5py

        for shard in shards:
            with contextlib.suppress(OSError, KeyError, ValueError, RuntimeError):
                with h5py.File(shard, "r", locking=False) as file:
                    entry = Entry.from_json(str(file.attrs[TASK]))
                if self.shard(entry) == shard:
                    yield entry

    def _append(self, line: str) -> None:
        try:
            with open(self._path, "ab", buffering=0) as file:
                end = file.tell()
                try:
                    view = memoryview(f"{line}\n".encode())
                    while view:  # a disk that fills up takes a part
                        view = view[atomic._write(file, view) :]
                    os.fsync(file.fileno())
                except BaseException:
                    with contextlib.suppress(OSError):  # the next line must not follow a part of this one
                        file.truncate(end)
                    raise
        except OSError as error:
            raise DataFileError(
                self._path, f"cannot be written ({error.strerror})", "make room on the disk and try again"
            ) from error

    def _replace(self, entries: Iterable[Entry]) -> None:
        lines = [json.dumps({"beamtime": self.beamtime})]
        lines += [entry.to_json() for entry in entries]
        if self.results:
            lines.append(json.dumps({"results": dict(sorted(self.results.items()))}))
        content = "".join(f"{line}\n" for line in lines).encode()
        if not self._path.exists() or self._path.read_bytes() != content:
            write_atomic(self._path, content)


def hashes(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the sha256 of every file when it was last processed, by its name."""
    return {f["name"]: f["sha256"] for entry in entries if entry.state != FAILED for f in entry.files}


def peek(output: Path, measurement: str) -> list[Entry]:
    """Return the entries of a measurement without locking or mending anything; [] where none can be read."""
    try:
        lines = (output / NAME).read_bytes().decode(errors="replace").split("\n")
    except OSError:
        return []
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError):
            entries.append(Entry.from_json(line))
    return [entry for entry in entries if entry.measurement == measurement]


def entry_id(entry: Entry) -> tuple[str, str]:
    """Return what tells two tasks apart; a file that could not be hashed has no key."""
    return entry.measurement, entry.key or f"name:{entry.name}"


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep other processes out of an output folder; the folder is made where it is missing.

    The system drops the lock when its holder ends, however it ends.

    Raises
    ------
    ConfigError
        Another process works on the folder (it is named), or the file system has no locks.
    DataFileError
        The folder cannot be made or written to.
    """
    path = output / LOCK
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115 - closed below
    except OSError as error:
        raise DataFileError(output, f"cannot be written to ({error.strerror})", "check the path") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _not_locked(output, path, error) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _not_locked(output: Path, path: Path, error: OSError) -> RedoxlightError:
    if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
        holder = path.read_text().strip() or "unknown"
        return ConfigError(output, f"is being worked on by process {holder}", "wait until it is done")
    return ConfigError(
        output, f"is on a file system without locks ({error.strerror})", "put `output` somewhere else"
    )
