"""Raw files found by what they hold, under whatever name and wherever they are by now."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from beamline import provenance
from beamline.errors import RedoxlightError, ReplayError

SHOWN = 5
"""Missing files that are named."""


class RawFiles:
    """The raw files of a replay.

    Parameters
    ----------
    search
        Folders below which they are looked for.
    scratch
        Temporary folder for files that are to be put together.
    """

    def __init__(self, search: Sequence[Path], scratch: Path) -> None:
        self._search = search
        self._scratch = scratch
        self._found: dict[str, list[Path]] = {}

    def find(self, wanted: Mapping[str, str]) -> None:
        """Find files by sha256, those with the name they had first.

        Raises
        ------
        ReplayError
            Some are not there.
        """
        for folder in self._search:
            if not folder.is_dir():
                raise ReplayError(folder, "is not a folder to search")
        names = {PurePosixPath(name).name for name in wanted.values()}
        suffixes = {PurePosixPath(name).suffix for name in wanted.values()}
        ranked: list[list[Path]] = [[], [], []]
        for path in self._walk():
            ranked[0 if path.name in names else 1 if path.suffix in suffixes else 2].append(path)
        for paths in ranked:
            if wanted.keys() <= self._found.keys():
                return
            for path in paths:
                with contextlib.suppress(RedoxlightError):  # what cannot be read is not what is looked for
                    self._found.setdefault(provenance.file_hash(path), []).append(path)
        missing = [f"{name} (sha256 {sha})" for sha, name in wanted.items() if sha not in self._found]
        if missing:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            where = ", ".join(str(folder) for folder in self._search) or "no folder"
            raise ReplayError(
                ", ".join(missing[:SHOWN]) + more,
                f"not found below {where}",
                "name the folder it is in with search; a file that was changed is another file",
            )

    def as_found(self, name: str, sha256: str) -> list[Path]:
        """Return the places of a file that still has the name it had."""
        return [path for path in self._found[sha256] if path.name == PurePosixPath(name).name]

    def named(self, name: str, sha256: str) -> Path:
        """Return a path of a file that ends with the name it had."""
        found = self.as_found(name, sha256)
        return found[0] if found else self.staged([{"name": name, "sha256": sha256}])[0]

    def staged(self, files: Sequence[Mapping[str, Any]]) -> list[Path]:
        """Put a file and what belongs to it together as a history names them."""
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        places = []
        for file in files:
            inside = PurePosixPath(file["name"])
            if inside.is_absolute() or ".." in inside.parts:
                inside = PurePosixPath(inside.name)
            places.append(folder / inside)
            places[-1].parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                places[-1].symlink_to(self._found[file["sha256"]][0].resolve())
        return places

    def _walk(self) -> Iterator[Path]:
        for top in self._search:
            for folder, inside, names in os.walk(top):
                inside.sort()
                paths = (Path(folder, name) for name in sorted(names))
                yield from (path for path in paths if path.is_file())
