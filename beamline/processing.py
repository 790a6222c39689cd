"""Process a beamtime: raw files in, one tree of results out, and nothing done twice.

Every measurement of ``beamtime.toml`` becomes a recipe, every recipe a list of tasks: one for each chunk of
raw data, one for each step over the whole. The key of a task is the sha256 of all that decides its result:
the hashes of the files it reads, the range of frames, the names and parameters of its steps with their
calibrations written out, the version of redoxlight. A task whose shard is there is done; the others are run.
So a second run does nothing, a changed parameter or an added file redoes what it touches, and a run that was
killed goes on where it was.

What the tasks give is always read back from the shards, put together and written as one tree, so that
``results.nc`` depends neither on the scheduler nor on interruptions. What is no longer needed is removed
last, when the new results are safe.

Nothing stored is lost without being asked for: a raw file that vanished, or cannot be read any more, keeps
its place in the results as long as its shard is what the present parameters would give; if it is not, the
file is reported as failed and the shard kept aside. Excluding a file, or taking its pattern out of
``beamtime.toml``, drops it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import __version__, atomic, config, journal, provenance, techniques
from beamline._lazy import resolve
from beamline.config import Beamtime, Measurement
from beamline.errors import ConfigError, DataFileError, RedoxlightError
from beamline.inventory import Inventory, settled, stat
from beamline.journal import FAILED, Entry, Journal
from beamline.recipe import Recipe, Scheduler, Step
from beamline.recipe import scheduler as scheduler_of
from beamline.report import Counts, Failure, Quiet, Report, Reporter
from beamline.work import Run, Work, is_changed

if TYPE_CHECKING:
    import xarray as xr

    from beamline.channels_config import Source

RESULTS = "results.nc"


def process(
    path: str | os.PathLike[str],
    scheduler: str | Scheduler = "serial",
    only: str | None = None,
    progress: Reporter | None = None,
) -> Report:
    """Process the measurements of a ``beamtime.toml`` as far as that has not been done.

    Parameters
    ----------
    path
        The configuration.
    scheduler
        "serial", "threads:<workers>", "dask:local:<workers>", the address of a Dask cluster
        ("tcp://host:8786"), or a `beamline.recipe.Scheduler`; the results are the same bytes.
    only
        A technique ("xrd") or measurement ("xrd.bccfe") to process; what is stored of the others stays.
    progress
        Is told how far the work is.

    Returns
    -------
    Report
        Files that failed are named in it; all others are done.

    Raises
    ------
    ConfigError
        The configuration is wrong, or another process works on the same output folder.
    DataFileError
        The output folder cannot be written to.
    """
    beamtime = config.load(path)
    chosen = _chosen(beamtime, only)
    if isinstance(scheduler, str):
        with contextlib.closing(scheduler_of(scheduler)) as runner:
            return process(path, runner, only, progress)
    if not beamtime.output.exists():
        _find(beamtime, chosen)  # before anything is written
    with journal.locked(beamtime.output):
        book = Journal(beamtime.output, beamtime.name)
        found = _find(beamtime, chosen, known=book)
        inventory = Inventory(beamtime.output)
        run = Run(beamtime, book, inventory, scheduler, progress or Quiet(), Report())
        _process([Work(run, measurement, files) for measurement, files in found], run)
        run.report.result = beamtime.output / RESULTS if book.results else None
        return run.report


def check(path: str | os.PathLike[str]) -> dict[str, int]:
    """Check a ``beamtime.toml`` as far as that goes without reading raw data.

    Returns
    -------
    dict
        Number of raw files of every measurement, by its place in the tree of results.

    Raises
    ------
    ConfigError
        Something in it is wrong, or names files that are not there.
    RedoxlightError
        A calibration it names cannot be used.
    """
    beamtime = config.load(path)
    files, problems = {}, []
    for measurement in beamtime.measurements:
        try:
            files[measurement.place] = beamtime.files(measurement)
            _recipe(beamtime, measurement, files[measurement.place])
        except ConfigError as error:
            problems.append(_said(measurement, error))
    if problems:
        raise ConfigError(beamtime.path, "; ".join(problems))
    return {place: len(found) for place, found in files.items()}


def changed(path: str | os.PathLike[str]) -> list[Failure]:
    """Return the raw files of a ``beamtime.toml`` whose bytes are not those that were processed.

    Only files that look touched (their size, time of change or inode) are read. Nothing is written.
    """
    beamtime = config.load(path)
    inventory = Inventory(beamtime.output)
    found = []
    for measurement in beamtime.measurements:
        for name, sha256 in journal.hashes(journal.peek(beamtime.output, measurement.place)).items():
            file = beamtime.folder / name
            if file.is_file() and inventory.sha256(file) != sha256:
                found.append(is_changed(measurement.place, name))
    return found


def _recipe(beamtime: Beamtime, measurement: Measurement, files: Sequence[Path]) -> Recipe:
    """Let the technique make the recipe of a measurement; it finds exactly these files."""
    found = {"files": [str(file) for file in files], "exclude": []}
    make = resolve(techniques.techniques()[measurement.technique].recipe)
    made = make(measurement.place, measurement.config.model_copy(update=found), beamtime.folder)
    recipe: Recipe = replace(made, name=measurement.place)
    sources = beamtime.sources(measurement)
    if sources:
        from beamline.channels_config import join_sources

        joined = Step(join_sources, {"sources": [_source(beamtime, source) for source in sources]})
        recipe = replace(recipe, then=(*recipe.then, joined))
    if recipe.gather is None and len(recipe.files) > 1:
        raise ConfigError(f"{measurement.key}.files", f"matches {len(recipe.files)} files", "name one")
    return recipe


def _source(beamtime: Beamtime, measurement: Measurement) -> Source:
    """Return a table of channels as the step that joins it names it."""
    from beamline.channels_config import ChannelSource, Source

    table = measurement.config
    assert isinstance(table, ChannelSource)  # noqa: S101 - [channels.<name>] is nothing else
    options = {"timezone": beamtime.timezone, **table.options()}
    return Source(tuple(beamtime.files(measurement)), options, table.to_clock(), table.tolerance)


def _said(measurement: Measurement, error: ConfigError) -> str:
    """Return an error with the key of its measurement."""
    return str(error) if error.subject.startswith(measurement.key) else f"{measurement.key}: {error}"


def _chosen(beamtime: Beamtime, only: str | None) -> list[Measurement]:
    if only is None:
        return list(beamtime.measurements)
    chosen = [m for m in beamtime.measurements if only in (m.technique, m.key, m.place)]
    if not chosen:
        known = ", ".join(m.key for m in beamtime.measurements)
        raise ConfigError(f"only {only!r}", f"is no measurement of {beamtime.path}", f"there are {known}")
    return chosen


def _find(
    beamtime: Beamtime, chosen: Sequence[Measurement], known: Journal | None = None
) -> list[tuple[Measurement, list[Path]]]:
    """Return the raw files of the measurements; of one the journal knows, they may all be gone."""
    found, problems = [], []
    for measurement in chosen:
        try:
            stored = known is not None and bool(known.of(measurement.place))
            found.append((measurement, beamtime.files(measurement, stored)))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(beamtime.path, "; ".join(problems))
    return found


def _process(works: Sequence[Work], run: Run) -> None:
    states = {work.place: _state(work, run) for work in works}
    if _is_done(states, run):
        for work in works:
            run.report.measurements[work.place] = Counts(unchanged=len(work.files))
        return
    _make_recipes(works, run)
    for work in works:
        work.do()
    _write_results(works, run)
    _tidy(works, states, run)


def _state(work: Work, run: Run) -> str:
    """Return a fingerprint of all a measurement depends on; "" while files are still changing.

    It knows files by their stat, and needs neither the technique nor what the technique loads. The stat
    of a folder changes when a file comes into it: that is how a new companion of a raw file is noticed.
    """
    sources = run.beamtime.sources(work.measurement)
    tables = [m.config.model_dump(mode="json") for m in (work.measurement, *sources)]
    channels = [file for source in sources for file in run.beamtime.files(source, known=True)]
    companions = [run.path(f["name"]) for e in run.book.of(work.place) for f in e.files[1:]]
    files = [*work.files, *companions, *channels]
    named = (run.beamtime.folder / text for text in _texts(tables))
    watched = {*files, *(file.parent for file in files), *(path for path in named if path.is_file())}
    stats = {run.name(path): stat(path) for path in sorted(watched)}
    if not all(settled(found) for found in stats.values()):
        return ""
    files_in_order = [run.name(file) for file in work.files]
    return provenance.digest([__version__, run.beamtime.timezone, tables, files_in_order, stats])


def _is_done(states: Mapping[str, str], run: Run) -> bool:
    """Tell whether a run would find nothing to do, without looking into any file."""
    seen = run.inventory.states
    places = {measurement.place for measurement in run.beamtime.measurements}
    return (
        all(state and state == seen.get(place) for place, state in states.items())
        and _results_are_intact(run)
        and set(states) <= set(run.book.results) <= places
        and all(run.is_stored(e) for place in states for e in run.book.of(place))
    )


def _results_are_intact(run: Run) -> bool:
    results = run.beamtime.output / RESULTS
    return results.is_file() and run.inventory.states.get(RESULTS) == str(stat(results))


def _make_recipes(works: Sequence[Work], run: Run) -> None:
    problems = []
    for work in works:
        try:
            work.recipe = _recipe(run.beamtime, work.measurement, work.files)
        except ConfigError as error:
            problems.append(_said(work.measurement, error))
        except RedoxlightError as error:
            run.report.failed.append(work.failure(error))
    if problems:
        raise ConfigError(run.beamtime.path, "; ".join(problems))


def _write_results(works: Sequence[Work], run: Run) -> None:
    """Write all results as one tree, unless they are what the file holds already."""
    results = run.beamtime.output / RESULTS
    chosen = {work.place for work in works}
    others = [m.place for m in run.beamtime.measurements if m.place not in chosen]
    keys = {place: run.book.results[place] for place in others if place in run.book.results}
    if _are_written(keys | {work.place: work.key for work in works if work.key}, run):
        return
    whole: dict[str, xr.Dataset | xr.DataTree] = {}

    def collect(work: Work) -> None:
        whole[work.place] = work.value(len(work.steps))

    for work in works:
        if work.key:
            failure = work.attempt(functools.partial(collect, work))
            if failure:
                work.drop(Entry(work.place, work.key, step="gather"), failure)
            else:
                keys[work.place] = work.key
    if _are_written(keys, run):
        return
    import xarray as xr

    from beamline import store

    for place in others:
        try:
            whole[place] = store.open_result(f"{results}{store.SEPARATOR}/{place}")
        except DataFileError:  # it was not processed yet, or the file is lost: the next full run adds it
            keys.pop(place, None)
    leaves = {
        f"/{place}{path.rstrip('/')}": leaf
        for place in sorted(whole)
        for path, leaf in store.leaves(whole[place])
    }
    if leaves:
        store.save(xr.DataTree.from_dict(leaves), results)
    else:
        results.unlink(missing_ok=True)
    run.book.record_results(keys)


def _are_written(keys: Mapping[str, str], run: Run) -> bool:
    return keys == run.book.results and (_results_are_intact(run) or not keys)


def _tidy(works: Sequence[Work], states: Mapping[str, str], run: Run) -> None:
    """Remove what is needed no more, now that the new results are safe, and note how things are."""
    shards = run.beamtime.output / journal.SHARDS
    places = {measurement.place for measurement in run.beamtime.measurements}
    by_place = {place: run.book.of(place) for place in places}
    for work in works:
        by_place[work.place] = work.entries
        used = {run.book.shard(entry) for entry in work.entries if entry.state != FAILED}
        for shard in (shards / work.place).glob("*"):
            if shard not in used:
                shard.unlink()
    for folder in shards.glob("*/*"):
        if folder.relative_to(shards).as_posix() not in places:
            shutil.rmtree(folder)
    atomic.sweep(run.beamtime.output)
    run.book.compact(entry for place in sorted(places) for entry in by_place[place])
    for work in works:
        counts = run.report.measurements[work.place]
        whole = work.key and not counts.failed and not counts.missing
        run.inventory.states[work.place] = states[work.place] if whole else ""
    run.inventory.states[RESULTS] = str(stat(run.beamtime.output / RESULTS))
    run.inventory.save()


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a table."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
