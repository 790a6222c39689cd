"""What is known of files that have not changed: their hashes, so that they are not read again and again.

The inventory (``.inventory.json`` in the output folder) is a cache and may be deleted at any time. A file is
taken as unchanged if its size, inode and time of last change are the same; a file that was changed less than
two seconds before it was looked at is not entered, because a second change might leave the same time (some
file systems keep time no finer than that).
"""

from __future__ import annotations

import contextlib
import inspect
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamline import __version__, provenance
from beamline.atomic import write_atomic
from beamline.errors import DataFileError, RedoxlightError
from beamline.readers import registry

NAME = ".inventory.json"

SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Raw:
    """What has to be known of a raw file to name the tasks it gives.

    Attributes
    ----------
    files
        The file and those that belong to it, with their sha256.
    frames
        Number of frames of a file that can be read in parts; None for one that is read whole.
    takes_timezone
        Whether its format has an option for the time zone of the file's clock.
    """

    files: tuple[tuple[Path, str], ...]
    frames: int | None
    takes_timezone: bool


class Inventory:
    """The cache of one output folder; an empty one where it is missing, damaged or of another version.

    Attributes
    ----------
    states
        Fingerprints of finished measurements, by their place.
    """

    def __init__(self, output: Path) -> None:
        self._path = output / NAME
        self._files: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(self._path.read_bytes())
            if data["version"] == __version__:
                self._files, self.states = dict(data["files"]), dict(data["states"])

    def look(self, file: Path, kind: str | None) -> Raw:
        """Return what is known of a raw file, or find it out; several threads may look at once.

        Raises
        ------
        DataFileError
            The file cannot be read, or changes while it is read.
        """
        chosen = registry.format_of(file, kind)
        try:
            companions = chosen.companions(file)
            hashes = tuple((item, self.sha256(item)) for item in (file, *companions))
            frames = None
            if chosen.frames:
                entry = self._files.get(str(file), {})
                if entry.get("frames") is None:
                    entry["frames"] = chosen.frames(file)
                frames = int(entry["frames"])
        except RedoxlightError:
            raise
        except Exception as error:
            raise DataFileError(
                file, f"cannot be read as {chosen.name} ({type(error).__name__}: {error})", "is it complete?"
            ) from error
        return Raw(hashes, frames, "timezone" in inspect.signature(chosen.read).parameters)

    def is_known(self, file: Path) -> bool:
        """Tell whether nothing would have to be read to look at the file."""
        entry = self._files.get(str(file))
        return entry is not None and entry["stat"] == stat(file)

    def forget(self, file: Path) -> None:
        """Read the file again the next time."""
        self._files.pop(str(file), None)

    def save(self) -> None:
        """Write the cache, if there is something new in it."""
        data = {"version": __version__, "files": self._files, "states": self.states}
        content = json.dumps(data).encode()
        if not self._path.exists() or self._path.read_bytes() != content:
            write_atomic(self._path, content)

    def sha256(self, file: Path) -> str:
        """Return the hash of a file, without reading it where it is known."""
        if self.is_known(file):
            return str(self._files[str(file)]["sha256"])
        before = stat(file)
        sha256 = provenance.file_hash(file)
        if stat(file) != before:
            raise DataFileError(file, "changes while it is read", "process it again when it is complete")
        if settled(before):
            self._files[str(file)] = {"stat": before, "sha256": sha256}
        return sha256


def stat(file: Path) -> list[int]:
    """Return what changes when a file or folder changes: size, time of last change, inode; [] without one."""
    try:
        found = file.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def settled(of: list[int]) -> bool:
    """Tell whether a change from now on would show in the stat."""
    return bool(of) and time.time_ns() - of[1] > SETTLED_NS
