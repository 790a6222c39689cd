"""Find raw files by name or glob, in the order a person would put them."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from beamline.errors import ConfigError


def find_files(patterns: Sequence[str], folder: Path, key: str = "files", known: bool = False) -> list[Path]:
    """Return the files that names and globs match, pattern by pattern, each in natural order, each once.

    Parameters
    ----------
    patterns
        Names or globs; ``**`` goes through folders.
    folder
        Folder they are relative to.
    key
        What an error names.
    known
        Pass over patterns that match nothing.

    Raises
    ------
    ConfigError
        A pattern matches no file; all such patterns are listed.
    """
    found: dict[Path, None] = {}
    empty = []
    for pattern in patterns:
        # A file whose name holds brackets or stars is meant as it is written.
        if (folder / pattern).is_file():
            matches = [pattern]
        else:
            names = glob.glob(pattern, root_dir=folder, recursive=True)
            matches = sorted((name for name in names if (folder / name).is_file()), key=natural)
        if not matches:
            empty.append(repr(pattern))
        found.update((Path(os.path.abspath(folder / name)), None) for name in matches)
    if empty and not known:
        raise ConfigError(key, f"{' and '.join(empty)} matches no file in {folder}", "check the path")
    return list(found)


def rank(file: Path, patterns: Sequence[str], folder: Path) -> tuple[int, list[tuple[int, int, str]]] | None:
    """Return a sort key with the order of `find_files`, for a file that need not be there any more.

    None where no pattern matches its name.
    """
    for i, pattern in enumerate(patterns):
        if _matches(file.parts, Path(os.path.normpath(folder / pattern)).parts):
            return i, natural(str(file))
    return None


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts frame 2 before frame 10."""
    parts = re.split(r"(\d+)", name)
    split = [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part]
    return [*split, (-1, 0, name)]  # 7 and 07 are equal so far


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[start:], patterns[1:]) for start in range(len(parts) + 1))
    here = bool(parts) and (parts[0] == patterns[0] or fnmatch.fnmatchcase(parts[0], patterns[0]))
    return here and _matches(parts[1:], patterns[1:])
