"""One way in for every raw format: `read`.

A format is one module with one `Format`. It is recognised by what the file holds where that is certain, else
by its suffix. Formats of other packages come in through the entry point ``redoxlight.readers``. Whatever a
library underneath raises ends here as one `DataFileError` that names the file and the cause.
"""

from __future__ import annotations

import inspect
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import model, provenance
from beamline._lazy import resolve
from beamline.errors import ConfigError, DataFileError, RedoxlightError

if TYPE_CHECKING:
    import xarray as xr

FORMATS: tuple[str, ...] = (
    "beamline.readers.athena:FORMAT",
    "beamline.readers.xdi:FORMAT",
    "beamline.readers.als_irixs:IMAGES",
    "beamline.readers.als_irixs:SPECTRA",
    "beamline.readers.als_irixs:EXPOSURE",
    "beamline.readers.sigscan:FORMAT",
    "beamline.readers.biologic:MPT",
    "beamline.readers.zilien:ZILIEN",
    "beamline.readers.maccor:MACCOR",
    "beamline.readers.adress:IMAGE",
    "beamline.readers.adress:EVENTS",
    "beamline.readers.fits:FORMAT",
    "beamline.readers.tiff:FORMAT",
    "beamline.readers.edf:FORMAT",
    "beamline.readers.fabio_images:FORMAT",
    "beamline.readers.hdf5:FORMAT",
    "beamline.readers.patterns:FORMAT",
    "beamline.readers.xas_columns:FORMAT",
    "beamline.readers.table:TABLE",
)
"""Our own formats, ``"module:attribute"``, the most certain first."""

REFUSED: tuple[str, ...] = ("beamline.readers.binaries:BINARY",)
"""Formats we recognise and do not read; those of other packages go before them."""

HEAD = 4096


@dataclass(frozen=True)
class Format:
    """A raw format.

    Attributes
    ----------
    name
        What people call it.
    kind
        Kind of the Dataset (or of the leaves of the DataTree) it gives.
    suffixes
        Lower-case endings of its file names, with the dot.
    read
        ``(path, **options) -> Dataset or DataTree``. Options are keyword-only. Errors may be of any type.
    sniff
        ``(first 4096 bytes, path) -> bool``: the file is certainly of this format.
    companions
        Files beside it that are part of it (sidecar metadata, images of a scan): they are hashed too.
    frames
        ``path -> number of frames``, cheaply; None where a file is always read whole. A format with `frames`
        takes the option ``frames=(start, stop)``.
    inside
        ``folder -> the file in it that stands for the whole``; None where the folder is not of this format.
    """

    name: str
    kind: str
    suffixes: tuple[str, ...]
    read: Callable[..., xr.Dataset | xr.DataTree]
    sniff: Callable[[bytes, Path], bool] = lambda head, path: False
    companions: Callable[[Path], Sequence[Path]] = lambda path: ()
    frames: Callable[[Path], int] | None = None
    inside: Callable[[Path], Path | None] = lambda folder: None


@cache
def formats() -> tuple[Format, ...]:
    """Return every known format: ours, then those other packages register, then what we refuse."""
    foreign = (entry.load() for entry in entry_points(group="redoxlight.readers"))
    return (*map(resolve, FORMATS), *foreign, *map(resolve, REFUSED))


def format_of(path: Path, kind: str | None = None) -> Format:
    """Return the format of a file, by its content if that is certain, else by its suffix.

    Raises
    ------
    DataFileError
        There is no such file, it is empty, or no format (of `kind`) reads it.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            raise DataFileError(path, "is not a file")
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise DataFileError(path, error.strerror or "cannot be read", "check the path") from error
    if not head:
        raise DataFileError(path, "is empty")
    known = [f for f in formats() if kind is None or f.kind == kind]
    for candidate in known:
        if candidate.sniff(head, path):
            return candidate
    for candidate in known:
        if path.name.lower().endswith(candidate.suffixes):
            return candidate
    what = f"a file of kind {kind}" if kind else "a format redoxlight knows"
    raise DataFileError(path, f"is not {what}", "the formats are listed in docs/formats.md")


def file_inside(folder: Path, kind: str | None = None) -> Path:
    """Return the file of a scan's folder that stands for the whole scan.

    Raises
    ------
    DataFileError
        No format (of `kind`) knows the folder.
    """
    for candidate in formats():
        if kind is None or candidate.kind == kind:
            found = candidate.inside(folder)
            if found is not None:
                return found
    raise DataFileError(folder, "is a folder without a scan redoxlight knows", "name the file to read")


def read(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], kind: str | None = None, **options: Any
) -> xr.Dataset | xr.DataTree:
    """Read a raw file.

    Parameters
    ----------
    path
        A file (or the folder of a scan), or several files of one format that become the frames of one
        Dataset, in the order given.
    kind
        Kind of data expected (`beamline.model.KINDS`); only needed where a file could be of several.
    options
        Options of the format (docs/formats.md), such as ``timezone="Europe/Paris"`` for the clock of a
        detector that does not state one.

    Returns
    -------
    Dataset or DataTree
        A Dataset of the format's kind; a DataTree for a file of several scans or clocks. The sha256 of every
        file read is in its history.

    Raises
    ------
    DataFileError
        A file is missing, damaged or not of a known format.
    ConfigError
        The format has no such option.
    """
    if isinstance(path, str | os.PathLike):
        return _read_one(Path(path), kind, options)
    if not isinstance(path, Sequence) or not all(isinstance(item, str | os.PathLike) for item in path):
        raise ConfigError("read", f"was given {path!r}", "give a path or a list of paths")
    import xarray as xr

    frames = [_read_one(Path(item), kind, options) for item in path]
    if not frames:
        raise ConfigError("read", "was given no file")
    for item, frame in zip(path, frames, strict=True):
        if not isinstance(frame, xr.Dataset) or "frame" not in frame.dims:
            raise DataFileError(item, "is not one frame of a series", "read it on its own")
    return concatenate([f for f in frames if isinstance(f, xr.Dataset)], [str(item) for item in path])


def concatenate(parts: Sequence[xr.Dataset], names: Sequence[str], along: str = "frame") -> xr.Dataset:
    """Put Datasets together along a dim; `names` say which is which when they do not fit.

    Raises
    ------
    DataFileError
        A part differs from the first in kind, in the size of a dim, in an axis, in what it holds or in units.
    """
    import numpy as np
    import xarray as xr

    first = parts[0]
    for part, name in zip(parts, names, strict=True):
        if part.attrs.get("kind") != first.attrs.get("kind"):
            raise DataFileError(name, f"is of kind {part.attrs.get('kind')}, not {first.attrs.get('kind')}")
        for dim, size in first.sizes.items():
            if dim == along:
                continue
            if part.sizes.get(dim) != size:
                raise DataFileError(
                    name, f"has {part.sizes.get(dim)} along {dim!r}, the first file has {size}"
                )
            if dim in first.coords and not np.array_equal(part[dim].values, first[dim].values):
                raise DataFileError(name, f"has another axis {dim!r} than the first file")
        odd = sorted(map(str, set(part.variables) ^ set(first.variables)))
        if odd:
            raise DataFileError(name, f"differs from the first file in having or lacking {', '.join(odd)}")
        for variable in part.variables:
            if part[variable].attrs.get("units") != first[variable].attrs.get("units"):
                raise DataFileError(name, f"has {variable!r} in other units than the first file")
    whole = xr.concat(
        list(parts),
        along,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="drop_conflicts",
        join="override",
    )
    merged = provenance.merge(parts)
    if merged:
        whole = provenance.with_history(whole, merged)
    return whole


def _read_one(path: Path, kind: str | None, options: dict[str, Any]) -> xr.Dataset | xr.DataTree:
    import xarray as xr

    if path.is_dir():
        path = file_inside(path, kind)
    chosen = format_of(path, kind)
    allowed = [p for p in inspect.signature(chosen.read).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in {p.name for p in allowed}:
            names = ", ".join(p.name for p in allowed) or "none"
            raise ConfigError(f"option {option!r}", f"is not one of {chosen.name} (options: {names})")
    files = [path, *chosen.companions(path)]
    try:
        data = chosen.read(path, **options)
        if isinstance(data, xr.Dataset):
            data = _valid(data, chosen.kind)
        else:
            data = xr.DataTree.from_dict({n.path: _valid(n.to_dataset(), chosen.kind) for n in data.leaves})
    except DataFileError:
        raise
    except RedoxlightError as error:
        raise DataFileError(path, f"{error.subject}: {error.problem}", error.remedy) from error
    except MemoryError as error:
        raise DataFileError(path, "needs more memory than there is") from error
    except Exception as error:
        raise DataFileError(
            path, f"cannot be read as {chosen.name} ({type(error).__name__}: {error})", "is it complete?"
        ) from error
    parameters = {key: value for key, value in options.items() if key != "frames"}
    return provenance.record_read(data, parameters, files, options.get("frames"))


def _valid(ds: xr.Dataset, kind: str) -> xr.Dataset:
    ds = model.with_defaults(ds, kind)
    model.validate(ds, kind)
    return ds
