"""Tasks: what a recipe comes down to, each with the key of its result, and how one is run.

A chunk is a raw file, or a range of frames of one that holds many; a task reads it, takes it through the
steps `each` and stores the result as a shard. The steps over the whole have keys of their own that build on
those of the chunks.
"""

from __future__ import annotations

import functools
import hashlib
import json
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import __version__, journal, provenance
from beamline.errors import DataFileError, RedoxlightError
from beamline.inventory import Raw
from beamline.journal import Entry
from beamline.recipe import Recipe, Step

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Task:
    """One chunk of raw data.

    Attributes
    ----------
    path
        The raw file.
    entry
        What the journal will say when it is done.
    timezone
        Time zone of clocks that do not state theirs, where the format can make use of it; "" otherwise.
    """

    path: Path
    entry: Entry
    timezone: str = ""


def chunks(recipe: Recipe, path: Path, raw: Raw, names: Sequence[str], timezone: str) -> list[Task]:
    """Return the tasks of one raw file; `names` are those of the file and its companions for the journal."""
    files = tuple({"name": n, "sha256": sha256} for n, (_, sha256) in zip(names, raw.files, strict=True))
    size = recipe.frames_per_chunk
    ranges: list[tuple[int, int] | None] = [None]
    if raw.frames is not None and raw.frames > size:
        ranges = [(start, min(start + size, raw.frames)) for start in range(0, raw.frames, size)]
    return [
        Task(
            path,
            Entry(
                measurement=recipe.name,
                key=chunk_key(recipe, files, frames, timezone),
                files=files,
                frames=frames,
                chunks=len(ranges),
            ),
            timezone if raw.takes_timezone else "",
        )
        for frames in ranges
    ]


def chunk_key(
    recipe: Recipe, files: Iterable[dict[str, str]], frames: tuple[int, int] | None, timezone: str
) -> str:
    """Return the key of a chunk: the hash of all that decides its result.

    The name of a file does, as it stands in the result; the folder does not.
    """
    return _sha256(
        {
            "version": __version__,
            "files": [{**file, "name": Path(file["name"]).name} for file in files],
            "frames": frames,
            "timezone": timezone,
            "read": provenance.plain(recipe.read),
            "each": [_identity(step) for step in recipe.each],
        }
    )


def whole_keys(recipe: Recipe, chunk_keys: Sequence[str]) -> tuple[str, list[str]]:
    """Return the key of what `gather` gives, and those of the results of the steps `then`."""
    gather = _function(recipe.gather) if recipe.gather else None
    key = first = _sha256({"version": __version__, "gather": gather, "chunks": list(chunk_keys)})
    keys = []
    for step in recipe.then:
        key = _sha256({"of": key, "step": _identity(step)})
        keys.append(key)
    return first, keys


def step_name(step: Step) -> str:
    """Return the name of a step: the one it is recorded by, or where its function is."""
    return str(getattr(step.function, "step", "") or _function(step.function))


def run_chunk(recipe: Recipe, task: Task, shard: Path) -> None:
    """Read a chunk, take it through its steps and store what comes out.

    Raises
    ------
    DataFileError
        The raw file cannot be read, or is not what it was when its key was made.
    """
    data = _read(recipe, task)
    if _hashes_read(data) != {file["sha256"] for file in task.entry.files}:
        raise DataFileError(task.path, "changed while it was processed", "process it again")
    for step in recipe.each:
        data = step(data)
    store_shard(data, task.entry, shard)


@dataclass(frozen=True)
class Fault:
    """An exception nobody expected, as text: the exception itself may not survive the way from a worker."""

    problem: str
    traceback: str


def attempt_chunk(recipe: Recipe, task_and_shard: tuple[Task, Path]) -> RedoxlightError | Fault | None:
    """Run a chunk, in whatever process; return what went wrong."""
    return attempt(functools.partial(run_chunk, recipe, *task_and_shard))


def attempt(work: Callable[[], Any]) -> RedoxlightError | Fault | None:
    """Do a piece of work that may fail without taking the others with it; return what went wrong."""
    try:
        work()
    except RedoxlightError as error:
        error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold the data
        return error
    except Exception as error:
        return Fault(f"{type(error).__name__}: {error}", traceback.format_exc())
    return None


def store_shard(data: xr.Dataset | xr.DataTree, entry: Entry, shard: Path) -> None:
    """Save the result of a task with its entry."""
    from beamline import store

    data = data.copy(deep=False)
    data.attrs = {**data.attrs, journal.TASK: entry.to_json()}
    store.save(data, shard)


def load_shard(shard: Path) -> xr.Dataset | xr.DataTree:
    """Return the result of a task as its last step gave it."""
    from beamline import store

    data = store.open_result(shard)
    data.attrs = {key: value for key, value in data.attrs.items() if key != journal.TASK}
    return data


def _read(recipe: Recipe, task: Task) -> Any:
    """Read a chunk; a clock that states no zone is in the time zone of the beamtime."""
    from beamline.readers.registry import read

    options = dict(recipe.read)
    if task.entry.frames is not None:
        options["frames"] = task.entry.frames
    if task.timezone:
        options.setdefault("timezone", task.timezone)
    return read(task.path, **options)


def _hashes_read(data: xr.Dataset | xr.DataTree) -> set[str]:
    """Return the hashes of the files a history says were read."""
    from beamline import store

    return {
        file["sha256"]
        for _, leaf in store.leaves(data)
        for step in provenance.history(leaf)
        for file in step.get("files", ())
    }


def _identity(step: Step) -> dict[str, Any]:
    return {"step": step_name(step), "parameters": provenance.plain(step.parameters)}


def _function(function: Callable[..., Any]) -> Any:
    """Name a function of a recipe.

    Raises
    ------
    TypeError
        It is made on the fly: what it closes over would be missing from the key of its results.
    """
    if isinstance(function, functools.partial):
        bound = [provenance.plain(function.args), provenance.plain(function.keywords)]
        return [_function(function.func), *bound]
    if "<" in function.__qualname__:
        raise TypeError(f"{function.__qualname__} is not a function of a module, so a recipe cannot hold it")
    return f"{function.__module__}:{function.__qualname__}"


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
