"""How a number came to be, written into the number's own file.

A public processing function is a *step*. The outermost step a user calls records itself in the history of
what it returns; the steps it calls inside do not, so that the history reads as the user's own script.

A history is a list of steps, each after those it used::

    {"id": "9f3c…", "step": "beamline.read", "version": "0.1.0", "parameters": {},
     "kind": "images", "files": [{"name": "ceo2_0001.tif", "sha256": "…"}]}
    {"id": "41d0…", "step": "xrd.integrate", "version": "0.1.0",
     "parameters": {"bins": 3000, "geometry": {"record": "calibration.geometry:Geometry", …}},
     "inputs": {"images": ["9f3c…"]}}

An input that is more than one Dataset has its arrangement under ``forms``: a list, ``{"mapping": {…}}`` or
``{"tree": {…}}`` with the places of the ids at its ends. A file that belongs to the one before is marked as
``companion`` and named by its place beside it ("Andor/scan-00001.tif").

The id of a step is the hash of everything else in it, so equal work has equal ids. There are no clock times
and no folders of a machine in a history: the same work, done twice or elsewhere, gives the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

from beamline import __version__
from beamline.errors import DataFileError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

P = ParamSpec("P")
R = TypeVar("R")

READ = "beamline.read"
"""The step every history begins with."""

_inside_a_step: ContextVar[bool] = ContextVar("inside_a_step", default=False)


@runtime_checkable
class Record(Protocol):
    """What a history writes out in full: a calibration, an instrument, a model.

    ``to_record`` gives plain JSON; the class method ``from_record`` makes the object again.
    """

    def to_record(self) -> dict[str, Any]:
        """Return everything that defines the object, as JSON."""


def step(
    name: str, returns: str | None = None, framewise: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a recorded step of processing.

    Parameters
    ----------
    name
        The public name under which `beamline.replay` finds the function again ("xrd.integrate").
    returns
        Kind of the Dataset it returns; the result is completed with the model's defaults and validated.
    framewise
        Whether it takes every frame on its own, so that a series gives the same frame by frame.

    Notes
    -----
    Datasets, DataTrees and arrays among the arguments are inputs and recorded by their ids; everything else
    is a parameter and must be plain (numbers, text, lists, mappings), a path, or a `Record`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def recorded(*args: P.args, **kwargs: P.kwargs) -> R:
            if _inside_a_step.get():
                return _checked(function(*args, **kwargs), returns)
            token = _inside_a_step.set(True)
            try:
                result = _checked(function(*args, **kwargs), returns)
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                return record(result, name, bound.arguments)
            finally:
                _inside_a_step.reset(token)

        recorded.__dict__.update(step=name, framewise=framewise)
        return recorded

    return decorate


def record(result: R, name: str, arguments: Mapping[str, Any]) -> R:
    """Return `result` (Dataset or DataTree) with the step `name` at the end of its history.

    What is not a Dataset or DataTree is returned as it is.
    """
    import xarray as xr

    entry: dict[str, Any] = {"step": name, "version": __version__, "parameters": {}}
    steps: list[dict[str, Any]] = []
    for key, value in arguments.items():
        datasets = _datasets(value)
        if datasets:
            entry.setdefault("inputs", {})[key] = [result_id(ds) for ds in datasets]
            form = _form(value, itertools.count())
            if form != 0:
                entry.setdefault("forms", {})[key] = form
            steps.extend(s for ds in datasets for s in history(ds))
        elif _is_array(value):
            entry.setdefault("inputs", {})[key] = [array_id(value)]
        else:
            entry["parameters"][key] = plain(value)
    if isinstance(result, xr.Dataset):
        return cast(R, with_history(result, [*steps, entry]))
    if isinstance(result, xr.DataTree):
        return cast(R, _with_history_of_leaves(result, steps, entry))
    return result


def record_read(
    result: R, parameters: Mapping[str, Any], files: Sequence[Path], frames: tuple[int, int] | None = None
) -> R:
    """Return `result` with a history of one step: a raw file was read with these parameters.

    `files` are the file and then those that belong to it.
    `frames` is the half-open range that was read of a file with many frames; None is all of it.
    """
    import xarray as xr

    part = {} if frames is None else {"frames": list(frames)}
    leaf = next(iter(result.leaves)) if isinstance(result, xr.DataTree) else result
    kind = {"kind": leaf.attrs["kind"]} if "kind" in leaf.attrs else {}  # type: ignore[attr-defined]
    named = [{"name": _beside(files[0], file), "sha256": file_hash(file), **part} for file in files]
    entry = {
        "step": READ,
        "version": __version__,
        "parameters": {key: plain(value) for key, value in parameters.items()},
        **kind,
        "files": [*named[:1], *({**file, "companion": True} for file in named[1:])],
    }
    if isinstance(result, xr.Dataset):
        return cast(R, with_history(result, [entry]))
    assert isinstance(result, xr.DataTree)  # noqa: S101 - readers return one of the two
    return cast(R, _with_history_of_leaves(result, [], entry))


def history(ds: xr.Dataset) -> list[dict[str, Any]]:
    """Return the steps that made `ds`, oldest first; empty where nothing was recorded."""
    steps: list[dict[str, Any]] = json.loads(ds.attrs.get("history", "[]"))
    return steps


def result_id(ds: xr.Dataset) -> str:
    """Return the id of `ds`: that of its last step, or a hash of its values where it has no history."""
    steps = history(ds)
    if steps:
        return str(steps[-1]["id"])
    digest = hashlib.sha256()
    for key in sorted(ds.variables, key=str):
        digest.update(f"{key}:{array_id(ds.variables[key].values)}".encode())
    return f"values:{digest.hexdigest()[:16]}"


def merge(parts: Sequence[xr.Dataset]) -> list[dict[str, Any]]:
    """Return the history of frames processed one by one and put together again.

    Where the parts went through the same steps and differ only in the files that were read, this is the
    history of reading all the files and going through the steps once. Otherwise it lists every step.
    """
    histories = [history(ds) for ds in parts]
    first = histories[0]
    if any(_shape_of(h) != _shape_of(first) for h in histories):
        return _unique(step for h in histories for step in h)
    differ = any(h[-1:] != first[-1:] for h in histories)
    renamed: dict[str, str] = {}
    merged = []
    for i, entry in enumerate(first):
        if differ and all(h[i] == entry for h in histories):  # a dark frame they all used
            merged.append(entry)
            continue
        entry = {key: value for key, value in entry.items() if key != "id"}
        if "files" in entry:
            entry["files"] = [file for h in histories for file in h[i]["files"]]
        if "inputs" in entry:
            entry["inputs"] = {k: [renamed.get(v, v) for v in ids] for k, ids in entry["inputs"].items()}
        entry = _identified(entry)
        renamed[first[i]["id"]] = entry["id"]
        merged.append(entry)
    return merged


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file, computed once while the file keeps its size, inode and time of change.

    Raises
    ------
    DataFileError
        The file cannot be read.
    """
    try:
        stat = os.stat(path)
        return _file_hash(os.path.realpath(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    except OSError as error:
        raise DataFileError(path, error.strerror or "cannot be read", "check the path") from error


@functools.lru_cache(maxsize=100_000)
def _file_hash(path: str, size: int, mtime_ns: int, inode: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return a short hash of plain JSON values: the same for the same content, in any order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def with_history(ds: xr.Dataset, steps: Iterable[dict[str, Any]]) -> xr.Dataset:
    """Return `ds` with these steps as its history; new ones get their ids, repeated ones stand once."""
    chain = _unique(step if "id" in step else _identified(step) for step in steps)
    return ds.assign_attrs(history=json.dumps(chain, ensure_ascii=False))


def _identified(entry: dict[str, Any]) -> dict[str, Any]:
    """Put the step's id first, where a reader looks for it."""
    return {"id": digest(entry), **entry}


def _unique(steps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({step["id"]: step for step in steps}.values())


def _shape_of(steps: list[dict[str, Any]]) -> str:
    """Return what two histories have in common when they do the same to other files.

    Inputs count by their place in the history; inputs from outside it must be the same ones.
    """
    places = {step["id"]: i for i, step in enumerate(steps)}
    shapes = [
        {
            **{key: value for key, value in step.items() if key not in ("id", "files")},
            "inputs": {key: [places.get(i, i) for i in ids] for key, ids in step.get("inputs", {}).items()},
            "reads": "files" in step,
        }
        for step in steps
    ]
    return digest(shapes)


def _with_history_of_leaves(
    tree: xr.DataTree, steps: list[dict[str, Any]], entry: dict[str, Any]
) -> xr.DataTree:
    """Return `tree` with these steps and then `entry` as the history of every leaf."""
    import xarray as xr

    nodes = {
        node.path: node.to_dataset()
        if node.children
        else with_history(node.to_dataset(), [*steps, {**entry, "leaf": node.path}])
        for node in tree.subtree
    }
    return xr.DataTree.from_dict(nodes, name=tree.name)


def _checked(result: R, kind: str | None) -> R:
    if kind is None:
        return result
    from beamline import model

    ds = model.with_defaults(cast("xr.Dataset", result), kind)
    model.validate(ds, kind)
    return cast(R, ds)


def _datasets(value: Any) -> list[xr.Dataset]:
    """Return the Datasets in an argument: itself, the leaves of a tree, or those of a list or mapping."""
    import xarray as xr

    if isinstance(value, xr.Dataset):
        return [value]
    if isinstance(value, xr.DataArray):
        return [value.to_dataset(name=value.name or "array")]
    if isinstance(value, xr.DataTree):
        return [node.to_dataset() for node in value.leaves]
    if isinstance(value, Mapping):
        return [ds for item in value.values() for ds in _datasets(item)]
    if isinstance(value, list | tuple):
        return [ds for item in value for ds in _datasets(item)]
    return []


def _form(value: Any, places: Iterator[int]) -> Any:
    """Return how the Datasets in an argument are arranged: each is its place in the list of ids."""
    import xarray as xr

    if isinstance(value, xr.Dataset | xr.DataArray):
        return next(places)
    if isinstance(value, xr.DataTree):
        return {"tree": {node.path: next(places) for node in value.leaves}}
    if isinstance(value, Mapping):
        return {"mapping": {str(key): _form(item, places) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [_form(item, places) for item in value]
    return {"value": plain(value)}


def _beside(first: Path, file: Path) -> str:
    """Name a file by its place beside the first one, so that the layout of a scan can be made again."""
    inside = file.is_relative_to(first.parent)
    return file.relative_to(first.parent).as_posix() if inside else file.name


def _is_array(value: Any) -> bool:
    import numpy as np

    return isinstance(value, np.ndarray) and value.ndim > 0


def array_id(array: np.ndarray[Any, Any]) -> str:
    """Name an array by what it holds: a bare image or mask given by hand has no history.

    An array that holds its own data and cannot be written to is looked through once.
    """
    import numpy as np

    place = id(array)
    # The value of a scalar variable of times is no array, and cannot be watched.
    settled = isinstance(array, np.ndarray) and array.flags.owndata and not array.flags.writeable
    known = _known_ids.get(place) if settled else None
    if known is not None and known[0]() is array:
        return known[1]
    named = _hash_of(array)
    if settled:
        _known_ids[place] = weakref.ref(array, lambda _: _known_ids.pop(place, None)), named
    return named


_known_ids: dict[int, tuple[weakref.ref[Any], str]] = {}


def _hash_of(array: np.ndarray[Any, Any]) -> str:
    import numpy as np

    data = np.ascontiguousarray(array)
    found = hashlib.sha256(f"{data.dtype.str}{data.shape}".encode())
    if data.dtype.kind == "O":
        found.update(repr(data.tolist()).encode())
    else:
        found.update(data.reshape(-1).view(np.uint8).data)
    return f"values:{found.hexdigest()[:16]}"


def plain(value: Any) -> Any:
    """Return a parameter as plain JSON.

    Raises
    ------
    TypeError
        It cannot be written down, so a history with it could not be replayed.
    """
    import numpy as np

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Record):
        kind = type(value)
        return {"record": f"{kind.__module__}:{kind.__qualname__}", **value.to_record()}
    if isinstance(value, os.PathLike):
        return {"file": Path(value).name, "sha256": file_hash(value)}
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if _is_array(value):
        return {"array": array_id(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise TypeError(f"a parameter of type {type(value).__name__} cannot be written into a history")
