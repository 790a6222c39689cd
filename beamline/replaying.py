"""Making a result again from its history and the raw files, wherever these are by now.

A history names the raw files by their sha256, the steps by their public names, and parameters and
calibrations in full (`beamline.provenance`). So the files are looked for by content, every step is run again
through its public function, and what comes out is compared with the original array by array, byte by byte.

A file is read where it is found, with what lies beside it. Where it has another name by now, or what belongs
to it is elsewhere, the files are put together in a temporary folder (symbolic links) as the history names
them. Functions and classes are only taken from redoxlight and the installed techniques: a result must not be
able to name any other code.
"""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import __version__, provenance, store, techniques
from beamline._lazy import resolve
from beamline.comparison import History, compare
from beamline.errors import RedoxlightError, ReplayError
from beamline.raw_files import RawFiles
from beamline.readers.registry import concatenate, read

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Replay:
    """What came of a replay.

    Attributes
    ----------
    result
        The result made again.
    differences
        Where it is not what the original was: variables and histories, by name; empty where nothing differs.
    remarks
        Attributes that no recorded step has made.
    versions
        Other versions of redoxlight the original was made with.
    """

    result: xr.Dataset | xr.DataTree
    differences: tuple[str, ...]
    remarks: tuple[str, ...]
    versions: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether every array has the same bytes, and the history is the same."""
        return not self.differences


def replay(
    result: xr.Dataset | xr.DataTree | str | os.PathLike[str],
    search: Sequence[str | os.PathLike[str]],
) -> Replay:
    """Make a result again from its history, and compare.

    Parameters
    ----------
    result
        A result, or the path of one (``results.nc``, ``results.nc::/xrd/bccfe``).
    search
        Folders below which the raw files are looked for.

    Returns
    -------
    Replay
        The result made again, and what differs. Where another version of redoxlight made the original, a
        warning says so.

    Raises
    ------
    ReplayError
        It has no history, a raw file is not found, or the history holds what only its author had: arrays
        given by hand, steps that are not installed.
    DataFileError
        The result cannot be read.
    """
    made = remake(result, search)
    if made.versions:
        text = f"made with redoxlight {', '.join(made.versions)}, replayed with {__version__}"
        warnings.warn(text, stacklevel=2)
    return made


def remake(
    result: xr.Dataset | xr.DataTree | str | os.PathLike[str], search: Sequence[str | os.PathLike[str]]
) -> Replay:
    """Do what `replay` does, without a warning."""
    import xarray as xr

    original = store.open_result(result) if isinstance(result, str | os.PathLike) else result
    leaves = dict(store.leaves(original))
    histories = {place: _history(place, leaf) for place, leaf in leaves.items()}
    with tempfile.TemporaryDirectory(prefix="redoxlight-replay-") as scratch:
        files = RawFiles([Path(folder) for folder in search], Path(scratch))
        files.find(_wanted(histories.values()))
        player = _Player(files)
        made = {place: player.play(steps) for place, steps in histories.items()}
        again: xr.Dataset | xr.DataTree = (
            made["/"] if isinstance(original, xr.Dataset) else xr.DataTree.from_dict(made)
        )
    differences, remarks = compare(original, again)
    return Replay(again, tuple(differences), tuple(remarks), _versions(histories.values()))


def _history(place: str, ds: xr.Dataset) -> History:
    """Return a history that can be replayed as far as its form goes."""
    steps = provenance.history(ds)
    name = "result" if place == "/" else place
    if not steps:
        raise ReplayError(name, "has no history", "only what redoxlight read and processed can be replayed")
    used = {i for step in steps for ids in step.get("inputs", {}).values() for i in ids}
    ends = [step for step in steps if step["id"] not in used]
    if len(ends) > 1:
        raise ReplayError(
            name,
            f"was put together from {len(ends)} results of different steps, and no step says how",
            "replay the parts",
        )
    for step in steps:
        known = {other["id"] for other in steps}
        for key, ids in step.get("inputs", {}).items():
            if not set(ids) <= known:
                raise ReplayError(
                    f"{step['step']}: {key}",
                    "was given by hand and is not in the history",
                    "give it as a file",
                )
        if any(_is_array(value) for value in _values(step["parameters"])):
            raise ReplayError(step["step"], "has arrays given by hand as parameters", "give them as files")
    return steps


def _wanted(histories: Iterable[History]) -> dict[str, str]:
    """Return the files the histories need: sha256 to name."""
    wanted: dict[str, str] = {}
    for steps in histories:
        for step in steps:
            files = [*step.get("files", ()), *filter(_is_file, _values(step["parameters"]))]
            wanted |= {file["sha256"]: file.get("name") or file["file"] for file in files}
    return wanted


class _Player:
    """Runs the steps of histories; what several of them share is run once."""

    def __init__(self, files: RawFiles) -> None:
        self._files = files
        self._done: dict[str, Any] = {}

    def play(self, steps: History) -> xr.Dataset:
        """Return what a history leads to."""
        return self._make(steps[-1]["id"], {step["id"]: step for step in steps})

    def _make(self, key: str, steps: Mapping[str, dict[str, Any]]) -> xr.Dataset:
        step = steps[key]
        shared = provenance.digest({k: v for k, v in step.items() if k not in ("id", "leaf")})
        if shared not in self._done:
            self._done[shared] = self._read(step) if "files" in step else self._run(step, steps)
        return _leaf(self._done[shared], step)

    def _run(self, step: dict[str, Any], steps: Mapping[str, dict[str, Any]]) -> Any:
        """Run a step; one that takes frame by frame gets the files of a series one after the other."""
        function = _function(step["step"])
        inputs, forms = step.get("inputs", {}), step.get("forms", {})
        parameters = {key: self._restored(value) for key, value in step["parameters"].items()}
        first = steps[next(iter(inputs.values()))[0]] if len(inputs) == 1 else {}
        if function.framewise and not forms and "files" in first and "leaf" not in first:
            (name,) = inputs
            parts = [_called(function, step, {name: part, **parameters}) for part in self._parts(first)]
            return _whole(parts)
        for key, ids in inputs.items():
            made = [self._make(i, steps) for i in ids]
            form = forms.get(key, 0 if len(ids) == 1 else list(range(len(ids))))
            parameters[key] = self._arranged(form, made)
        return _called(function, step, parameters)

    def _read(self, step: dict[str, Any]) -> Any:
        return _whole(list(self._parts(step)))

    def _parts(self, step: dict[str, Any]) -> Iterator[Any]:
        """Read the files of a step one after the other, each with what belongs to it."""
        groups: list[list[dict[str, Any]]] = []
        for file in step["files"]:
            if file.get("companion"):
                groups[-1].append(file)
            else:
                groups.append([file])
        for group in groups:
            first = group[0]
            places = self._files.as_found(first["name"], first["sha256"])
            found = (self._part(path, step, group) for path in places)
            part = next((part for part in found if part is not None), None)
            if part is None:
                part = self._part(self._files.staged(group)[0], step, group, is_last=True)
            yield part

    def _part(
        self, path: Path, step: dict[str, Any], group: Sequence[dict[str, Any]], is_last: bool = False
    ) -> Any:
        """Read a file; None where what is read with it is not what the history names."""
        options = {key: self._restored(value) for key, value in step["parameters"].items()}
        if "frames" in group[0]:
            options["frames"] = tuple(group[0]["frames"])
        try:
            part = read(path, step.get("kind"), **options)
        except RedoxlightError as error:
            if not is_last:
                return None
            raise ReplayError(group[0]["name"], f"cannot be read again ({error})") from error
        _, leaf = next(store.leaves(part))
        files = [file["sha256"] for file in provenance.history(leaf)[0]["files"]]
        if files == [file["sha256"] for file in group]:
            return part
        if is_last:
            names = "other files than the history names"
            raise ReplayError(group[0]["name"], f"is read together with {names} in this version")
        return None

    def _restored(self, value: Any) -> Any:
        """Return a parameter as the function got it: records, files and what holds them."""
        if _is_file(value):
            return self._files.named(value["file"], value["sha256"])
        if isinstance(value, dict) and "record" in value:
            return _record(value)
        if isinstance(value, dict):
            return {key: self._restored(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._restored(item) for item in value]
        return value

    def _arranged(self, form: Any, made: Sequence[xr.Dataset]) -> Any:
        """Return Datasets in the arrangement the function got them in."""
        import xarray as xr

        if isinstance(form, int):
            return made[form]
        if isinstance(form, list):
            return [self._arranged(item, made) for item in form]
        if "tree" in form:
            return xr.DataTree.from_dict({path: made[i] for path, i in form["tree"].items()})
        if "mapping" in form:
            return {key: self._arranged(item, made) for key, item in form["mapping"].items()}
        return self._restored(form["value"])


def _called(function: Any, step: Mapping[str, Any], arguments: dict[str, Any]) -> Any:
    """Call a step with arguments as its history names them."""
    signature = inspect.signature(function)
    unknown = sorted(arguments.keys() - signature.parameters.keys())
    if unknown:
        raise ReplayError(
            step["step"],
            f"has no parameter {', '.join(unknown)} in this version",
            f"the result was made with redoxlight {step.get('version')}",
        )
    bound = inspect.BoundArguments(
        signature, {k: arguments[k] for k in signature.parameters if k in arguments}
    )
    return function(*bound.args, **bound.kwargs)


def _whole(parts: Sequence[Any]) -> Any:
    """Put the parts of a series together, as processing does."""
    if len(parts) == 1:
        return parts[0]
    along = "time" if parts[0].attrs.get("kind") == "channels" else "frame"
    names = [provenance.history(part)[0]["files"][0]["name"] for part in parts]
    return concatenate(parts, names, along)


def _leaf(made: Any, step: Mapping[str, Any]) -> xr.Dataset:
    import xarray as xr

    if isinstance(made, xr.Dataset):
        return made
    try:
        node = made[step["leaf"]]
    except KeyError:
        raise ReplayError(step["step"], f"gives no leaf {step.get('leaf')} any more") from None
    ds: xr.Dataset = node.to_dataset()
    return ds


def _function(name: str) -> Any:
    """Return the function of a step."""
    module, _, attribute = name.rpartition(".")
    function = _ours(f"{module}:{attribute}")
    if getattr(function, "step", None) != name:
        raise ReplayError(f"step {name}", "is not a function of this version of redoxlight")
    return function


def _record(value: Mapping[str, Any]) -> Any:
    """Return the object of a record."""
    kind = _ours(str(value["record"]))
    if not isinstance(kind, type) or not hasattr(kind, "from_record"):
        raise ReplayError(f"record {value['record']}", "cannot be made again in this version of redoxlight")
    return kind.from_record({key: item for key, item in value.items() if key != "record"})


def _ours(target: str) -> Any:
    """Return what ``"module:name"`` names in redoxlight or an installed technique; None if nothing."""
    package = target.partition(":")[0].partition(".")[0]
    if package not in techniques.packages():
        raise ReplayError(target.replace(":", "."), f"is of {package!r}, which is no installed technique")
    try:
        return resolve(target)
    except (ImportError, AttributeError, ValueError):
        return None


def _versions(histories: Iterable[History]) -> tuple[str, ...]:
    made_with = {str(step.get("version")) for steps in histories for step in steps}
    return tuple(sorted(made_with - {__version__}))


def _values(value: Any) -> Iterator[Any]:
    """Yield everything in a parameter, from the outside in; what is in a record belongs to it."""
    yield value
    if isinstance(value, dict) and "record" not in value:
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item)


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"file", "sha256"}


def _is_array(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"array"}
