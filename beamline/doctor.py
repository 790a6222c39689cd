"""What is installed and works, and what is in the way.

Every finding is one line: ok, missing (optional parts) or broken, with what to do. Nothing is changed. Checks
of a technique's own libraries come from the technique (`beamline.techniques.Technique.checks`).
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.metadata
import locale
import re
import shutil
import sys
import tempfile
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from beamline import __version__, techniques
from beamline._lazy import resolve
from beamline.errors import RedoxlightError

LEAST_SPACE = 2e9
"""Bytes that should be free in the output folder."""

_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    name
        What was looked at.
    state
        "ok"; "missing" for what redoxlight can do without; "broken".
    text
        What was found.
    remedy
        What to do about it.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    text: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        sentence = f"{self.name}: {self.text}" if self.text else self.name
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


def examine(beamtime: Path | None = None, full: bool = False) -> list[Finding]:
    """Return the findings of all checks.

    Parameters
    ----------
    beamtime
        A ``beamtime.toml``: its output folder is looked at, and the raw files are compared with what the
        journal says they were when they were first seen. Every file is read for that.
    full
        Run the checks that take longer than a moment (FEFF).
    """
    findings = [Finding("redoxlight", "ok", f"{__version__} in {_root()}"), *_python(), *_libraries()]
    findings += _shadows(list(sys.path), Path.cwd())
    checks: dict[str, Callable[[], Finding]] = {
        "HDF5 compression": _hdf5_plugins,
        "time zones": _time_zones,
        "encoding": _encoding,
    }
    for technique in techniques.techniques().values():
        found = {**technique.checks, **(technique.full_checks if full else {})}
        checks |= {name: resolve(target) for name, target in found.items()}
    findings += [_attempted(name, check) for name, check in checks.items()]
    return [*findings, *(_folder(Path.cwd()) if beamtime is None else _beamtime(beamtime))]


def _attempted(name: str, check: Callable[[], Finding]) -> Finding:
    """Run a check; whatever it raises is what is broken."""
    try:
        return check()
    except RedoxlightError as error:
        return Finding(name, "broken", f"{error.subject} {error.problem}", error.remedy)
    except Exception as error:
        text = f"does not work ({type(error).__name__}: {error})"
        return Finding(name, "broken", text, "install redoxlight anew in an environment of its own")


def _root() -> Path:
    return Path(__file__).resolve().parents[1]


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Finding("Python", "ok", f"{version} at {sys.executable}")
    else:
        yield Finding("Python", "broken", f"is {version}", "redoxlight needs Python 3.11 to 3.13")


def _libraries() -> Iterator[Finding]:
    """Compare what redoxlight needs with what is installed."""
    try:
        needed = importlib.metadata.requires("redoxlight") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("redoxlight", "broken", "is not installed, only imported", "pip install redoxlight")
        return
    for requirement in needed:
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?", requirement)
        assert match  # noqa: S101 - every requirement begins with a name
        name, least = match[1], match[2] or ""
        optional = "extra ==" in requirement
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if not optional:
                yield Finding(name, "broken", "is not installed", f"pip install '{name}>={least}'")
            continue
        if _release(version) < _release(least):
            yield Finding(name, "broken", f"is {version}, older than {least}", f"pip install -U {name}")
        elif not optional:
            yield Finding(name, "ok", version)


def _release(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _shadows(search: list[str], here: Path) -> Iterator[Finding]:
    """Find other modules that have the names of our packages, which are short and common."""
    root = _root()
    providers = importlib.metadata.packages_distributions()
    clean = True
    packages = techniques.packages()
    for package in packages:
        others = []
        for entry in dict.fromkeys([str(here), *(str(Path(item or here)) for item in search)]):
            if Path(entry).resolve() == root or not Path(entry).is_dir():
                continue
            spec = importlib.machinery.PathFinder.find_spec(package, [entry])
            if spec and spec.origin and not Path(spec.origin).resolve().is_relative_to(root):
                others.append(spec.origin)
        foreign = {name for name in providers.get(package, ()) if name.lower() != "redoxlight"}
        for origin in others:
            clean = False
            yield Finding(
                package, "broken", f"another module {package} is at {origin}", "rename or remove it"
            )
        for name in sorted(foreign):
            clean = False
            yield Finding(
                package,
                "broken",
                f"the package {name} installs a module {package} too",
                f"pip uninstall {name}, or use an environment for each",
            )
    if clean:
        yield Finding("names", "ok", f"no other module is called {', '.join(packages)}")


def _hdf5_plugins() -> Finding:
    import h5py
    import hdf5plugin
    import numpy as np

    data = np.arange(1000, dtype=np.uint32)
    works = []
    with h5py.File("probe.h5", "w", driver="core", backing_store=False) as file:
        for name in ("Bitshuffle", "LZ4", "Zstd", "Blosc"):
            file.create_dataset(name, data=data, chunks=(100,), **getattr(hdf5plugin, name)())
            file.flush()
            if not (file[name][()] == data).all():
                text = f"{name} does not give back what was stored"
                return Finding("HDF5 compression", "broken", text, "pip install -U hdf5plugin")
            works.append(name)
    return Finding("HDF5 compression", "ok", ", ".join(works))


def _time_zones() -> Finding:
    try:
        for name in ("America/Los_Angeles", "Europe/Berlin"):
            zoneinfo.ZoneInfo(name)
    except zoneinfo.ZoneInfoNotFoundError:
        return Finding("time zones", "broken", "the data base of time zones is missing", "pip install tzdata")
    return Finding("time zones", "ok", f"{len(zoneinfo.available_timezones())} known")


def _encoding() -> Finding:
    names = {sys.getfilesystemencoding(), locale.getpreferredencoding(False)}
    if all(name.lower().replace("-", "") == "utf8" for name in names):
        return Finding("encoding", "ok", "UTF-8")
    text = f"is {' and '.join(sorted(names))}: file names and labels beyond ASCII may break"
    return Finding("encoding", "broken", text, "set PYTHONUTF8=1")


def _folder(folder: Path) -> Iterator[Finding]:
    """Tell whether there is room in a folder, and whether it can be written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        remedy = "choose another folder, or get the right to write to it"
        yield Finding(str(folder), "broken", f"cannot be written to ({error.strerror})", remedy)
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free"
    if free < LEAST_SPACE:
        yield Finding(str(folder), "broken", text, f"results need room: free {LEAST_SPACE / 1e9:.0f} GB")
    else:
        yield Finding(str(folder), "ok", text)


def _beamtime(path: Path) -> Iterator[Finding]:
    """Look at the output folder of a beamtime, and whether its raw files are what they were."""
    from beamline import config, journal

    try:
        beamtime = config.load(path)
    except RedoxlightError as error:
        yield Finding(str(path), "broken", str(error))
        return
    yield from _folder(beamtime.output)
    if not (beamtime.output / journal.NAME).is_file():
        yield Finding(
            "raw files", "missing", "nothing was processed yet, so there is nothing to compare with"
        )
        return
    try:
        with journal.locked(beamtime.output):
            book = journal.Journal(beamtime.output, beamtime.name)
    except RedoxlightError as error:
        yield Finding("raw files", "broken", f"{error.subject} {error.problem}", error.remedy)
        return
    seen = {file["name"]: file["sha256"] for entry in book.entries.values() for file in entry.files}
    changed, gone = [], []
    for name, sha256 in seen.items():
        try:
            with open(beamtime.folder / name, "rb") as file:  # a hash kept from before would prove nothing
                if sha256 and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    changed.append(name)
        except OSError:
            gone.append(name)
    for names, problem, remedy in (
        (changed, "are not what they were when first seen", "copy them again, or process what they are now"),
        (gone, "cannot be read any more", "their stored results stay; bring them back or exclude them"),
    ):
        if names:
            shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            yield Finding("raw files", "broken", f"{len(names)} {problem}: {shown}", remedy)
    if not changed and not gone:
        yield Finding("raw files", "ok", f"{len(seen)} have the bytes they had when first seen")
