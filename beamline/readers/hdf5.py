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
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import model, units
from beamline.errors import DataFileError, SchemaError
from beamline.readers import energy_tables, images, sidecars
from beamline.readers.hdf5_links import Tree
from beamline.readers.images import Header
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

MAX_BYTES = 8 * 2**30
"""Most bytes of frames read at once."""

_MAGIC = b"\x89HDF\r\n\x1a\n"
_SMALLEST = 16  # pixels along either side of what is taken for an image unasked
_PART = re.compile(r"data_\d+$")
_NO_FRAMES = re.compile(r"(?i)(bad|mask|flat|dark|background|gain|correction|sensitivity)")
_EXPOSURES = ("count_time", "exposure_time", "acquire_time", "AcquireTime")
_ENERGIES = ("excitation_energy", "incident_energy", "photon_energy", "PhotonEnergy", "energy")
_EPICS_EPOCH = datetime(1990, 1, 1, tzinfo=UTC)


def read(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    dataset: str | None = None,
    energies: str | None = None,
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
    energies
        Path of a dataset inside the file with the excitation energy of each frame; one of a usual name with a
        value per frame is found unasked, and a table beside the file is read (`energy_tables`).
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
        tree = Tree(path, stack)
        parts = _find(tree, dataset)
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
            if start < stop and part.ndim == 3:
                tree.check(part, start, stop)
                into = slice(first + start - chosen.start, first + stop - chosen.start)
                part.read_direct(counts, source_sel=np.s_[start:stop], dest_sel=np.s_[into])
            elif start < stop:
                tree.check(part, 0, part.shape[0])
                counts[0] = part[()]
            first += _frames(part)
        headers = _headers(tree, name, total)[chosen.start : chosen.stop]
        energy = _energies(tree, name, energies, total)
    ds = images.dataset(path, counts, headers, timezone=timezone, stamp=stamp).assign_attrs(dataset=name)
    if energy is not None:
        label = (energy_tables.ENERGY, ("frame", energy[chosen.start : chosen.stop]))
        ds = ds.assign_coords(dict([label]))
    return energy_tables.complete(path, ds, chosen, total)


def count(path: Path) -> int:
    """Return the number of frames."""
    with ExitStack() as stack:
        return sum(_frames(part) for part in _find(Tree(path, stack), None).values())


def companions(path: Path) -> list[Path]:
    """Return the files a file links to; what cannot be followed is left to `read`."""
    # h5py raises whatever comes to hand on a damaged file
    with suppress(Exception), ExitStack() as stack:
        tree = Tree(path, stack)
        for _, found in tree.walk(tree.root, forgiving=True):
            with suppress(DataFileError):
                list(tree.sources(found) if found.is_virtual else ())
        return [*tree.linked, *sidecars.companions(path), *energy_tables.companions(path)]
    return []


def _find(tree: Tree, dataset: str | None) -> dict[str, Any]:
    """Return the dataset of the frames, or its parts in order, by their paths in this file."""
    import h5py

    own = [key for key in tree.root if isinstance(tree.root.get(key, getlink=True), h5py.HardLink)]
    groups = (tree.root, *(tree.root[key] for key in own))
    if any(_text(group.attrs.get("kind")) in model.KINDS for group in groups):
        raise DataFileError(tree.path, "is a result of redoxlight", "open it with beamline.open")
    if dataset is not None:
        found = tree.get(tree.root, dataset)
        if not isinstance(found, h5py.Dataset) or not _is_stack(found, 1) or found.size == 0:
            raise DataFileError(tree.path, f"has no stack of frames at {dataset}", _listed(tree))
        return {f"/{dataset.strip('/')}": found}
    signal = _signal(tree)
    if signal is not None:
        return {str(signal.name): signal}
    stacks = _stacks(tree)
    best = {name: s for name, s in stacks.items() if s.ndim == 3} or stacks
    empty = [name for name, s in best.items() if s.size == 0]
    if empty:
        raise DataFileError(tree.path, f"holds no frame: {empty[0]} is empty", _listed(tree))
    parts = sorted(name for name in best if _PART.search(name))
    if len(parts) == len(best) and len({name.rpartition("/")[0] for name in parts}) == 1:
        return {name: best[name] for name in parts}
    if len(best) == 1:
        return best
    what = f"{len(best)} datasets that could be the frames" if best else "no dataset of the size of an image"
    raise DataFileError(tree.path, f"has {what}", _listed(tree))


def _stacks(tree: Tree, every: bool = False) -> dict[str, Any]:
    """Return all images and stacks by their paths; masks and the like only if `every`."""
    return {
        name: found
        for name, found in tree.walk(tree.root)
        if _is_stack(found, _SMALLEST) and (every or not _NO_FRAMES.search(name.rpartition("/")[2]))
    }


def _listed(tree: Tree) -> str:
    """Return the remedy: the stacks one may ask for."""
    stacks = [f'"{name}" {s.shape}' for name, s in _stacks(tree, every=True).items() if s.size]
    return f"give dataset=, one of {', '.join(stacks[:20])}" if stacks else "is it the right file?"


def _signal(tree: Tree) -> Any:
    """Return the signal of the default NXdata; None where there is none, or it is no stack."""
    group = tree.root
    for wanted in ("NXentry", "NXdata"):
        name = _text(group.attrs.get("default"))
        inside = tree.get(group, name) if name else None
        if inside is None:
            of_class = [
                found
                for key in group
                if (found := tree.get(group, key)) is not None
                and _text(found.attrs.get("NX_class")) == wanted
            ]
            if len(of_class) != 1:
                return None
            inside = of_class[0]
        group = inside
        if _text(group.attrs.get("NX_class")) == "NXdata":
            break
    name = _text(group.attrs.get("signal"))
    found = tree.get(group, name) if name else None
    return found if found is not None and _is_stack(found, 1) and found.size else None


def _headers(tree: Tree, name: str, total: int) -> list[Header]:
    """Return what the file says about each of the frames."""
    near = _near(tree, name)
    exposure = _per_frame(tree, near, _EXPOSURES, total, "s")
    sizes = [_per_frame(tree, near, (f"{axis}_pixel_size",), 1, "m") for axis in "yx"]
    found: dict[str, Any] = {}
    found["detector"] = next(filter(None, (_text(_value(tree, group, "description")) for group in near)), "")
    if sizes[0] and sizes[1] and sizes[0][0] > 0 and sizes[1][0] > 0:
        found["pixel_size"] = (sizes[0][0], sizes[1][0])
    stamps, moment = _stamps(tree, near, total)
    return [
        Header(
            **found,
            exposure=exposure[i] if exposure else None,
            stamp=stamps[i] if stamps else None,
            moment=moment,
        )
        for i in range(total)
    ]


def _energies(tree: Tree, name: str, asked: str | None, total: int) -> np.ndarray[Any, Any] | None:
    """Return the excitation energies (eV) of all frames; None where the file has none."""
    import h5py
    import numpy as np

    if asked is None:
        # One frame has one of every number of the file: which is its energy, must be said.
        near = _near(tree, name) if total > 1 else []
        found = next((f for f in (tree.get(g, n) for g in near for n in _ENERGIES) if _fits(f, total)), None)
        if found is None:
            return None
    else:
        found = tree.get(tree.root, asked)
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iuf" or found.size != total:
            raise DataFileError(
                tree.path, f"has no {total} energies at {asked}", "give energies=, one for each frame"
            )
    tree.check(found, 0, found.shape[0] if found.ndim else 0)
    values = np.ravel(found[()]).astype(float)
    stated = _text(found.attrs.get("units")) or "eV"
    try:
        values = np.asarray(units.convert(values, stated, "eV"))
    except SchemaError as error:
        raise DataFileError(tree.path, f"has energies in {stated!r}") from error
    energy_tables.check_energies(tree.path, values)
    return values


def _fits(found: Any, total: int) -> bool:
    """Tell whether something is a number for each frame."""
    import h5py

    return isinstance(found, h5py.Dataset) and found.dtype.kind in "iuf" and found.shape == (total,)


def _near(tree: Tree, name: str) -> list[Any]:
    """Return the groups that speak of the dataset at a path: its own, those of the instrument, the entry."""
    import h5py

    entry = tree.get(tree.root, name.strip("/").split("/")[0])
    if not isinstance(entry, h5py.Group):
        entry = tree.root
    groups = [tree.get(tree.root, name.rpartition("/")[0] or "/")]
    instrument = tree.get(entry, "instrument")
    for key in instrument if isinstance(instrument, h5py.Group) else ():
        with suppress(DataFileError):  # a lost link of another device spoils no frame
            inside = tree.get(instrument, key)
            is_detector = isinstance(inside, h5py.Group) and (
                _text(inside.attrs.get("NX_class")) == "NXdetector" or key in ("detector", "NDAttributes")
            )
            if is_detector and inside not in groups:
                groups.append(inside)
    return [*groups, entry]


def _value(tree: Tree, group: Any, name: str) -> Any:
    """Return the value of a dataset; None where there is none."""
    import h5py

    found = tree.get(group, name)
    return found[()] if isinstance(found, h5py.Dataset) and found.size and found.size < 10**7 else None


def _per_frame(tree: Tree, groups: list[Any], names: tuple[str, ...], total: int, unit: str) -> list[float]:
    """Return the first of these values that fits the number of frames, in `unit`; [] where none does."""
    import numpy as np

    for group in groups:
        for name in names:
            value = _value(tree, group, name)
            if value is None or np.asarray(value).dtype.kind not in "iuf":
                continue
            numbers = np.ravel(value).astype(float)
            stated = _text(tree.get(group, name).attrs.get("units")) or unit
            try:
                numbers = np.asarray(units.convert(numbers, stated, unit))
            except SchemaError:
                continue
            if numbers.size in (1, total) and np.isfinite(numbers).all() and (numbers >= 0).all():
                return [float(n) for n in np.broadcast_to(numbers, total)]
    return []


def _stamps(tree: Tree, near: list[Any], total: int) -> tuple[list[datetime], str | None]:
    """Return the time of each frame and its moment."""
    import numpy as np

    for group in near:
        begin = _text(_value(tree, group, "detectorSpecific/data_collection_date"))
        triggers = _value(tree, group, "detectorSpecific/ntrigger")
        steps = _per_frame(tree, [group], ("frame_time",), 1, "s")
        start = images.parse_stamp(begin) if begin else None
        if start is not None and (steps or total == 1) and (triggers is None or int(np.max(triggers)) == 1):
            step = steps[0] if steps else 0.0
            return [start + timedelta(seconds=i * step) for i in range(total)], "start"
        seconds = _per_frame(tree, [group], ("NDArrayEpicsTSSec",), total, "s")
        if seconds and tree.get(group, "NDArrayEpicsTSSec").size == total:
            parts = _per_frame(tree, [group], ("NDArrayEpicsTSnSec",), total, "s") or [0.0] * total
            pairs = zip(seconds, parts, strict=True)
            return [_EPICS_EPOCH + timedelta(seconds=s, microseconds=n / 1000) for s, n in pairs], None
    begin = _text(_value(tree, near[-1], "start_time"))
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
