"""Stacks of frames in HDF5 and NeXus files.

The frames are the signal of the default NXdata, or the only dataset of the size of an image; the
``data_000001``, ``data_000002`` ... of an Eiger are one stack. Anything else is refused with the candidates
listed. Files are opened read-only and without locks, so a file can be read while it is written; frames that
are not written yet are refused, where HDF5 itself would give zeros. Links and virtual datasets are followed
to files in the same folder or below it and nowhere else.

References: NeXus manual, NXdata and NXdetector; Dectris Eiger: data_collection_date is the start of the
series, frame i starts i frame_time later; areaDetector NDFileHDF5: EPICS time counts from 1990-01-01 UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import model, units
from beamline.errors import DataFileError, SchemaError
from beamline.readers import images, sidecars
from beamline.readers.images import Header
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import xarray as xr

MAX_BYTES = 8 * 2**30
"""Most bytes of frames read at once."""

_MAGIC = b"\x89HDF\r\n\x1a\n"
_SMALLEST = 16  # pixels along either side of what is taken for an image unasked
_DEEPEST = 32
_PART = re.compile(r"data_\d+$")
_NO_FRAMES = re.compile(r"(?i)(bad|mask|flat|dark|background|gain|correction|sensitivity)")
_EXPOSURES = ("count_time", "exposure_time", "acquire_time", "AcquireTime")
_EPICS_EPOCH = datetime(1990, 1, 1, tzinfo=UTC)


def read(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    dataset: str | None = None,
    timezone: str | None = None,
    stamp: str | None = None,
) -> xr.Dataset:
    """Read a stack of frames.

    Parameters
    ----------
    path
        The file.
    frames
        Half-open range of frames to read; None is all.
    dataset
        Path of the dataset inside the file, such as ``"/entry/data/data"``; needed where it is not clear.
    timezone, stamp
        As `beamline.readers.images.dataset`.

    Raises
    ------
    DataFileError
        The file is damaged or not fully written, holds no stack or several, links to files elsewhere, or is a
        result of redoxlight.
    """
    import numpy as np

    with ExitStack() as stack:
        tree = _Tree(path, stack)
        parts = tree.find(dataset)
        total = sum(_frames(part) for part in parts.values())
        chosen = images.frame_range(path, frames, total)
        name, whole = next(iter(parts.items()))
        shape, dtype = whole.shape[-2:], np.dtype(whole.dtype)
        size = dtype.itemsize * int(np.prod(shape, dtype=object))
        if size > images.MAX_FRAME_BYTES or size * len(chosen) > MAX_BYTES:
            raise DataFileError(
                path,
                f"holds {len(chosen)} frames of {size} bytes: too much at once",
                "give frames=(start, stop)",
            )
        counts = np.empty((len(chosen), *shape), dtype.newbyteorder("="))
        first = 0
        for other, part in parts.items():
            if part.shape[-2:] != shape or part.dtype != dtype:
                raise DataFileError(path, f"{other} has frames of another size or type than {name}")
            start, stop = max(chosen.start - first, 0), min(chosen.stop - first, _frames(part))
            if start < stop:
                tree.check(part, start, stop)
                target = counts[first + start - chosen.start : first + stop - chosen.start]
                target[:] = part[start:stop] if part.ndim == 3 else part[()]
            first += _frames(part)
        headers = tree.headers(whole, total)[chosen.start : chosen.stop]
    ds = images.dataset(path, counts, headers, timezone=timezone, stamp=stamp)
    return ds.assign_attrs(dataset=name)


def count(path: Path) -> int:
    """Return the number of frames."""
    with ExitStack() as stack:
        return sum(_frames(part) for part in _Tree(path, stack).find(None).values())


def companions(path: Path) -> list[Path]:
    """Return the files a file links to; none where it cannot be read, which `read` will say."""
    try:
        with ExitStack() as stack:
            tree = _Tree(path, stack)
            for part in tree.find(None).values():
                tree.check(part, 0, 0)
            return [*tree.linked, *sidecars.companions(path)]
    except (DataFileError, OSError, KeyError, ValueError, RuntimeError):
        return []


class _Tree:
    """A file and the files it links to, open as long as they are read."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.folder = path.resolve().parent
        self.stack = stack
        self.files: dict[Path, Any] = {}
        self.root = self.open(path.resolve())

    @property
    def linked(self) -> list[Path]:
        """The other files."""
        return list(self.files)[1:]

    def open(self, path: Path) -> Any:
        import h5py
        import hdf5plugin  # noqa: F401 - registers the filters of detectors

        if path not in self.files:
            try:
                self.files[path] = self.stack.enter_context(h5py.File(path, "r", locking=False))
            except OSError as error:
                raise DataFileError(path, f"cannot be opened as HDF5 ({error})", "is it complete?") from error
        return self.files[path]

    def beside(self, name: str, source: Any) -> Any:
        """Open a file that another one names; it must lie in the folder or below."""
        target = (Path(source.file.filename).parent / name).resolve()
        if not target.is_relative_to(self.folder):
            raise DataFileError(
                self.path, f"links to {target}, outside its folder", "copy that file beside it"
            )
        if not target.is_file():
            raise DataFileError(self.path, f"links to {name}, which is not there", "copy that file beside it")
        return self.open(target)

    def get(self, group: Any, name: str, depth: int = 0) -> Any:
        """Return the object of a path, following links one by one; None where there is none."""
        import h5py

        if depth > _DEEPEST:
            raise DataFileError(self.path, f"has links that lead nowhere at {name}")
        current = group.file if name.startswith("/") else group
        for step in filter(None, name.split("/")):
            if not isinstance(current, h5py.Group) or step not in current.keys():  # noqa: SIM118 - "in" follows links
                return None
            link = current.get(step, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                current = self.get(self.beside(link.filename, current), link.path, depth + 1)
            elif isinstance(link, h5py.SoftLink):
                current = self.get(current, link.path, depth + 1)
            else:
                current = current.get(step)
        return current

    def find(self, dataset: str | None) -> dict[str, Any]:
        """Return the dataset of the frames, or its parts in order, by their paths in this file."""
        import h5py

        kind = _text(self.root.attrs.get("kind"))
        if kind in model.KINDS:
            raise DataFileError(self.path, "is a result of redoxlight", "open it with beamline.open")
        if dataset is not None:
            found = self.get(self.root, dataset)
            if not isinstance(found, h5py.Dataset) or not _is_stack(found, 1) or found.size == 0:
                raise DataFileError(self.path, f"has no stack of frames at {dataset}", self.listed())
            return {dataset: found}
        signal = self.signal()
        if signal is not None:
            return {str(signal.name): signal}
        stacks = dict(self.stacks(self.root, "", set()))
        best = {name: s for name, s in stacks.items() if s.ndim == 3} or stacks
        empty = [name for name, s in best.items() if s.size == 0]
        if empty:
            raise DataFileError(self.path, f"holds no frame: {empty[0]} is empty", self.listed())
        parts = sorted(name for name in best if _PART.search(name))
        if len(parts) == len(best) and len({name.rpartition("/")[0] for name in parts}) == 1:
            return {name: best[name] for name in parts}
        if len(best) == 1:
            return best
        what = (
            f"{len(best)} datasets that could be the frames" if best else "no dataset of the size of an image"
        )
        raise DataFileError(self.path, f"has {what}", self.listed())

    def listed(self) -> str:
        """Return the remedy: the stacks one may ask for."""
        every = self.stacks(self.root, "", set(), every=True)
        stacks = [f'"{name}" {s.shape}' for name, s in every if s.size]
        return f"give dataset=, one of {', '.join(stacks[:20])}" if stacks else "is it the right file?"

    def signal(self) -> Any:
        """Return the signal of the default NXdata; None where there is none, or it is no stack."""
        group = self.root
        for wanted in ("NXentry", "NXdata"):
            name = _text(group.attrs.get("default"))
            inside = self.get(group, name) if name else None
            if inside is None:
                of_class = [
                    found
                    for key in group
                    if (found := self.get(group, key)) is not None
                    and _text(found.attrs.get("NX_class")) == wanted
                ]
                if len(of_class) != 1:
                    return None
                inside = of_class[0]
            group = inside
            if _text(group.attrs.get("NX_class")) == "NXdata":
                break
        name = _text(group.attrs.get("signal"))
        found = self.get(group, name) if name else None
        return found if found is not None and _is_stack(found, 1) and found.size else None

    def stacks(self, group: Any, at: str, seen: set[Any], every: bool = False) -> Iterator[tuple[str, Any]]:
        """Yield path and dataset of all images and stacks, each once; masks and the like only if `every`."""
        import h5py

        if group.id in seen:
            return
        seen.add(group.id)
        for key in group:
            found = self.get(group, key)
            if isinstance(found, h5py.Group):
                yield from self.stacks(found, f"{at}/{key}", seen, every)
            elif isinstance(found, h5py.Dataset) and found.id not in seen and _is_stack(found, _SMALLEST):
                seen.add(found.id)
                if every or not _NO_FRAMES.search(key):
                    yield f"{at}/{key}", found

    def check(self, part: Any, start: int, stop: int) -> None:
        """Refuse pixels that are kept elsewhere or were not written."""
        if part.external:
            raise DataFileError(self.path, f"keeps the pixels of {part.name} in {part.external[0][0]}", "")
        if part.is_virtual:
            for source in part.virtual_sources():
                if "%" in source.file_name:
                    raise DataFileError(
                        self.path, f"{part.name} has a source of open end: {source.file_name}"
                    )
                inside = part.file if source.file_name == "." else self.beside(source.file_name, part)
                found = self.get(inside, source.dset_name)
                if found is None:
                    raise DataFileError(
                        self.path, f"{part.name} needs {source.dset_name}, which is not there"
                    )
                self.check(found, 0, _frames(found) if stop else 0)
            return
        missing = _unwritten(part, start, stop)
        if missing is not None:
            raise DataFileError(
                self.path,
                f"frame {missing} of {part.name} is not written",
                "is it complete? give frames=(start, stop) to read the rest",
            )

    def headers(self, part: Any, total: int) -> list[Header]:
        """Return what the file says about each of the frames."""
        near = self.near(part)
        exposure = self.per_frame(near, _EXPOSURES, total, "s")
        sizes = [self.per_frame(near, (f"{axis}_pixel_size",), 1, "m") for axis in "yx"]
        found: dict[str, Any] = {}
        name = next((self.value(g, "description") for g in near if self.value(g, "description")), "")
        found["detector"] = _text(name)
        if sizes[0] and sizes[1] and sizes[0][0] > 0 and sizes[1][0] > 0:
            found["pixel_size"] = (sizes[0][0], sizes[1][0])
        stamps, moment = self.stamps(near, total)
        return [
            Header(
                **found,
                exposure=exposure[i] if exposure else None,
                stamp=stamps[i] if stamps else None,
                moment=moment,
            )
            for i in range(total)
        ]

    def near(self, part: Any) -> list[Any]:
        """Return the groups that speak of a dataset: its own, those of the instrument, the entry."""
        import h5py

        entry = part.parent
        names = part.name.strip("/").split("/")
        if len(names) > 1:
            entry = self.root.get(names[0], part.parent) if part.file == self.root else part.parent
        if part.file != self.root:  # a linked file: what speaks of it stands in the file that links to it
            entries = [g for k in self.root if isinstance(g := self.get(self.root, k), h5py.Group)]
            entry = entries[0] if len(entries) == 1 else part.parent
        groups = [part.parent]
        instrument = self.get(entry, "instrument")
        if isinstance(instrument, h5py.Group):
            inside = [g for k in instrument if isinstance(g := self.get(instrument, k), h5py.Group)]
            groups += [g for g in inside if _text(g.attrs.get("NX_class")) == "NXdetector"]
            groups += [g for g in inside if g.name.endswith(("detector", "NDAttributes")) and g not in groups]
        return [*groups, entry]

    def value(self, group: Any, name: str) -> Any:
        """Return the value of a dataset; None where there is none."""
        import h5py

        found = self.get(group, name)
        return found[()] if isinstance(found, h5py.Dataset) and found.size and found.size < 10**7 else None

    def per_frame(self, groups: list[Any], names: tuple[str, ...], total: int, unit: str) -> list[float]:
        """Return the first of these values that fits the number of frames, in `unit`; [] where none does."""
        import numpy as np

        for group in groups:
            for name in names:
                value = self.value(group, name)
                if value is None or np.asarray(value).dtype.kind not in "iuf":
                    continue
                numbers = np.ravel(value).astype(float)
                stated = _text(self.get(group, name).attrs.get("units")) or unit
                try:
                    numbers = np.asarray(units.convert(numbers, stated, unit))
                except SchemaError:
                    continue
                if numbers.size in (1, total) and np.isfinite(numbers).all() and (numbers >= 0).all():
                    return [float(n) for n in np.broadcast_to(numbers, total)]
        return []

    def stamps(self, near: list[Any], total: int) -> tuple[list[datetime], str | None]:
        """Return the time of each frame and its moment."""
        import numpy as np

        for group in near:
            begin = _text(self.value(group, "detectorSpecific/data_collection_date"))
            triggers = self.value(group, "detectorSpecific/ntrigger")
            steps = self.per_frame([group], ("frame_time",), 1, "s")
            start = images.parse_stamp(begin) if begin else None
            if (
                start is not None
                and (steps or total == 1)
                and (triggers is None or int(np.max(triggers)) == 1)
            ):
                step = steps[0] if steps else 0.0
                return [start + timedelta(seconds=i * step) for i in range(total)], "start"
            seconds = self.per_frame([group], ("NDArrayEpicsTSSec",), total, "s")
            if seconds and self.get(group, "NDArrayEpicsTSSec").size == total:
                parts = self.per_frame([group], ("NDArrayEpicsTSnSec",), total, "s") or [0.0] * total
                pairs = zip(seconds, parts, strict=True)
                return [_EPICS_EPOCH + timedelta(seconds=s, microseconds=n / 1000) for s, n in pairs], None
        begin = _text(self.value(near[-1], "start_time"))
        start = images.parse_stamp(begin) if begin else None
        return ([start], "start") if total == 1 and start is not None else ([], None)


def _frames(part: Any) -> int:
    return int(part.shape[0]) if part.ndim == 3 else 1


def _is_stack(found: Any, smallest: int) -> bool:
    import h5py

    return (
        isinstance(found, h5py.Dataset)
        and found.ndim in (2, 3)
        and found.dtype.kind in "iuf"
        and (min(found.shape[-2:]) >= smallest or (found.ndim == 3 and found.size == 0))
    )


def _unwritten(part: Any, start: int, stop: int) -> int | None:
    """Return the first frame of a range that has no pixels in the file; None where all have."""
    import numpy as np

    if part.chunks is None:
        return start if start < stop and part.id.get_storage_size() == 0 else None
    grid = [-(-size // chunk) for size, chunk in zip(part.shape, part.chunks, strict=True)]
    if part.id.get_num_chunks() == int(np.prod(grid, dtype=object)):
        return None
    written: set[tuple[int, ...]] = set()
    part.id.chunk_iter(lambda info: written.add(tuple(info.chunk_offset)))
    rest = [range(0, size, chunk) for size, chunk in zip(part.shape[-2:], part.chunks[-2:], strict=True)]
    for frame in range(start, stop):
        lead = (frame - frame % part.chunks[0],) if part.ndim == 3 else ()
        if any((*lead, *offset) not in written for offset in product(*rest)):
            return frame
    return None


def _text(value: Any) -> str:
    """Return an attribute or a dataset of text as str; "" for anything else."""
    import numpy as np

    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str) else ""


FORMAT = Format(
    name="HDF5 stack",
    kind="images",
    suffixes=(".h5", ".hdf5", ".nxs", ".nx5", ".hdf"),
    read=read,
    sniff=lambda head, path: head.startswith(_MAGIC),
    companions=companions,
    frames=count,
)
