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

import functools
import os
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline import __version__, atomic, config, journal, provenance, tasks, techniques
from beamline._lazy import resolve
from beamline.config import Beamtime, Measurement
from beamline.errors import ConfigError, DataFileError, RedoxlightError
from beamline.inventory import Inventory, Raw, settled, stat
from beamline.journal import DONE, FAILED, KEPT, Entry, Journal
from beamline.recipe import Recipe, Scheduler
from beamline.recipe import scheduler as scheduler_of
from beamline.report import Counts, Failure, Quiet, Report, Reporter
from beamline.tasks import Task

if TYPE_CHECKING:
    import xarray as xr

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
        "serial", "threads:<workers>" or a `beamline.recipe.Scheduler`; the results are the same bytes.
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
    runner = scheduler_of(scheduler) if isinstance(scheduler, str) else scheduler
    with journal.locked(beamtime.output):
        book = Journal(beamtime.output, beamtime.name)
        return _Run(beamtime, book, Inventory(beamtime.output), runner, progress or Quiet()).run(chosen)


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


def _recipe(beamtime: Beamtime, measurement: Measurement, files: Sequence[Path]) -> Recipe:
    """Let the technique make the recipe of a measurement; it finds exactly these files."""
    found = {"files": [str(file) for file in files], "exclude": []}
    make = resolve(techniques.techniques()[measurement.technique].recipe)
    made = make(measurement.place, measurement.config.model_copy(update=found), beamtime.folder)
    recipe: Recipe = replace(made, name=measurement.place)
    if recipe.gather is None and len(recipe.files) > 1:
        raise ConfigError(f"{measurement.key}.files", f"matches {len(recipe.files)} files", "name one")
    return recipe


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


@dataclass
class _Plan:
    """What is known of one measurement in the course of a run."""

    measurement: Measurement
    files: list[Path]
    recipe: Recipe | None = None
    """None where it could not be made."""
    tasks: list[Task] = field(default_factory=list)
    """Chunks of the result, in order."""
    steps: list[Entry] = field(default_factory=list)
    """Steps over the whole, as far as they are done."""
    aside: list[Entry] = field(default_factory=list)
    """What the journal holds beside: what failed, what is kept though it is no part of the result."""
    key: str = ""
    """Key of the result; "" where there is none."""

    @property
    def place(self) -> str:
        return self.measurement.place

    @property
    def entries(self) -> list[Entry]:
        """What the journal will say, in an order that does not depend on how the work went."""
        aside = sorted(self.aside, key=lambda e: (config.natural(e.name), e.frames or (0, 0), e.key))
        return [*(task.entry for task in self.tasks), *aside, *self.steps]


class _Run:
    """One run over a beamtime, in an output folder that is locked."""

    def __init__(
        self, beamtime: Beamtime, book: Journal, inventory: Inventory, runner: Scheduler, progress: Reporter
    ) -> None:
        self.beamtime = beamtime
        self.book = book
        self.inventory = inventory
        self.runner = runner
        self.progress = progress
        self.results = beamtime.output / RESULTS
        self.report = Report()

    def run(self, chosen: Sequence[Measurement]) -> Report:
        """Do what is to be done for the chosen measurements."""
        plans = self._find(chosen)
        states = {plan.place: self._state(plan) for plan in plans}
        if self._is_done(states):
            for plan in plans:
                self.report.measurements[plan.place] = Counts(unchanged=len(plan.files))
        else:
            self._make_recipes(plans)
            for plan in plans:
                self._process_chunks(plan)
                self._process_whole(plan)
            self._write_results(plans)
            self._tidy(plans, states)
        self.report.result = self.results if self.book.results else None
        return self.report

    # What is there, and whether it has changed

    def _find(self, chosen: Sequence[Measurement]) -> list[_Plan]:
        plans, problems = [], []
        for measurement in chosen:
            try:
                known = bool(self.book.of(measurement.place))
                plans.append(_Plan(measurement, self.beamtime.files(measurement, known)))
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError(self.beamtime.path, "; ".join(problems))
        return plans

    def _state(self, plan: _Plan) -> str:
        """Return a fingerprint of all a measurement depends on; "" while files are still changing.

        It knows files by their stat, and needs neither the technique nor what the technique loads. The stat
        of a folder changes when a file comes into it: that is how a new companion of a raw file is noticed.
        """
        table = plan.measurement.config.model_dump(mode="json")
        companions = [self._path(f["name"]) for e in self.book.of(plan.place) for f in e.files[1:]]
        files = [*plan.files, *companions]
        named = (self.beamtime.folder / text for text in _texts(table))
        watched = {*files, *(file.parent for file in files), *(path for path in named if path.is_file())}
        stats = {self._name(path): stat(path) for path in sorted(watched)}
        if not all(settled(found) for found in stats.values()):
            return ""
        files_in_order = [self._name(file) for file in plan.files]
        return provenance.digest([__version__, self.beamtime.timezone, table, files_in_order, stats])

    def _is_done(self, states: Mapping[str, str]) -> bool:
        """Tell whether a run would find nothing to do, without looking into any file."""
        seen = self.inventory.states
        places = {measurement.place for measurement in self.beamtime.measurements}
        return (
            all(state and state == seen.get(place) for place, state in states.items())
            and self._results_are_intact()
            and set(states) <= set(self.book.results) <= places
            and all(self._is_stored(e) for place in states for e in self.book.of(place))
        )

    def _results_are_intact(self) -> bool:
        return self.results.is_file() and self.inventory.states.get(RESULTS) == str(stat(self.results))

    def _is_stored(self, entry: Entry) -> bool:
        return self.book.shard(entry).is_file()

    # Recipes and chunks

    def _make_recipes(self, plans: Sequence[_Plan]) -> None:
        problems = []
        for plan in plans:
            try:
                plan.recipe = _recipe(self.beamtime, plan.measurement, plan.files)
            except ConfigError as error:
                problems.append(_said(plan.measurement, error))
            except RedoxlightError as error:
                self.report.failed.append(self._failure(plan, error))
        if problems:
            raise ConfigError(self.beamtime.path, "; ".join(problems))

    def _process_chunks(self, plan: _Plan) -> None:
        """Run the chunks that are not stored yet; put those of the result in order."""
        counts = self.report.measurements[plan.place] = Counts()
        if plan.recipe is None:
            counts.failed = len(plan.files)
            plan.aside = [replace(e, state=KEPT) for e in self.book.of(plan.place) if self._is_stored(e)]
            return
        found, failures = self._look(plan, plan.recipe)
        unreadable = [file for file in failures if not _is_readable(file)]
        todo = [task for file in found for task in found[file] if not self._is_stored(task.entry)]
        failures |= self._run_tasks(plan, plan.recipe, todo)

        missing = self._missing(plan, plan.recipe, found, unreadable)
        for file, stored in missing.items():
            gone = "cannot be read any more" if file in unreadable else "is gone"
            if stored:
                failures.pop(file, None)
                remedy = "its stored result stays; exclude the file to drop it"
                self.report.missing.append(Failure(plan.place, self._name(file), gone, remedy))
            else:
                problem = f"{gone}, and what is stored of it was made with other parameters"
                remedy = "bring it back, or exclude it"
                failures[file] = Failure(plan.place, self._name(file), problem, remedy)

        ran = {task.path for task in todo}
        for file in self._in_order(plan, plan.recipe, [f for f, stored in missing.items() if stored]):
            if file in failures:
                continue
            plan.tasks += found.get(file) or missing[file]
            counts.missing += file in missing
            counts.done += file in ran
            counts.unchanged += file not in ran and file not in missing
        counts.failed = len(failures)
        for file in sorted(failures, key=lambda file: config.natural(str(file))):
            self.report.failed.append(failures[file])
            plan.aside += self._set_aside(plan, file, found.get(file, []), failures[file])

    def _look(self, plan: _Plan, recipe: Recipe) -> tuple[dict[Path, list[Task]], dict[Path, Failure]]:
        """Return the tasks of every raw file, and what is wrong with those that cannot be looked at."""

        def look(file: Path) -> Raw | RedoxlightError:
            try:
                return self.inventory.look(file, recipe.read.get("kind"))
            except RedoxlightError as error:
                return error

        found: dict[Path, list[Task]] = {}
        failures: dict[Path, Failure] = {}
        looked: dict[Path, Raw | RedoxlightError] = {}
        for index, raw in self._progressing(
            f"{plan.place}: files", self.runner.map(look, recipe.files), len(recipe.files)
        ):
            looked[recipe.files[index]] = raw
        for file in recipe.files:
            raw = looked[file]
            if isinstance(raw, Raw):
                names = [self._name(path) for path, _ in raw.files]
                found[file] = tasks.chunks(recipe, file, raw, names, self.beamtime.timezone)
            else:
                failures[file] = self._failure(plan, raw, file)
        return found, failures

    def _run_tasks(self, plan: _Plan, recipe: Recipe, todo: Sequence[Task]) -> dict[Path, Failure]:
        """Run tasks and write down how they ended; return what failed."""

        def run(task: Task) -> Failure | None:
            return self._attempt(
                plan, lambda: tasks.run_chunk(recipe, task, self.book.shard(task.entry)), task.path
            )

        failures: dict[Path, Failure] = {}
        for index, failure in self._progressing(plan.place, self.runner.map(run, todo), len(todo)):
            task = todo[index]
            if failure:
                failures.setdefault(task.path, failure)
                for file in task.entry.files:
                    self.inventory.forget(self._path(file["name"]))
            self.book.append(_failed(task.entry, failure) if failure else task.entry)
        return failures

    def _missing(
        self, plan: _Plan, recipe: Recipe, found: Mapping[Path, list[Task]], unreadable: Sequence[Path]
    ) -> dict[Path, list[Task]]:
        """Return raw files that cannot be read any more, with the chunks stored of them that still hold.

        A file that is there under another name is not missing.
        """
        settings, folder = plan.measurement.config, self.beamtime.folder
        here = {task.entry.files[0]["sha256"] for chunks in found.values() for task in chunks}
        stored: dict[Path, list[Entry]] = {}
        for entry in self.book.of(plan.place):
            file = self._path(entry.name) if entry.name else None
            if file and file not in found and entry.state != FAILED and self._is_stored(entry):
                stored.setdefault(file, []).append(entry)
        missing: dict[Path, list[Task]] = {}
        for file, entries in stored.items():
            latest = entries[-1].files
            if latest[0]["sha256"] in here or (file.is_file() and file not in unreadable):
                continue
            if not config.rank(file, settings.files, folder) or config.rank(file, settings.exclude, folder):
                continue
            holding = [
                Task(file, replace(e, state=DONE))
                for e in sorted(entries, key=lambda e: e.frames or (0, 0))
                if e.files == latest
                and e.key == tasks.chunk_key(recipe, e.files, e.frames, self.beamtime.timezone)
            ]
            missing[file] = holding if holding and len(holding) == holding[0].entry.chunks else []
        return missing

    def _in_order(self, plan: _Plan, recipe: Recipe, missing: Sequence[Path]) -> list[Path]:
        """Return the files of the recipe with missing ones where they would have been."""

        def rank(file: Path) -> Any:
            return config.rank(file, plan.measurement.config.files, self.beamtime.folder) or (0, [])

        order = [file for file in recipe.files if file not in missing]
        for file in sorted(missing, key=rank):
            after = (i for i, other in enumerate(order) if rank(other) > rank(file))
            order.insert(next(after, len(order)), file)
        return order

    def _set_aside(self, plan: _Plan, file: Path, chunks: Sequence[Task], failure: Failure) -> list[Entry]:
        """Return what the journal says of a file that failed: what is stored of it is kept."""
        name = self._name(file)
        kept = {e.key: replace(e, state=KEPT, error=None) for e in self.book.of(plan.place) if e.name == name}
        kept |= {task.entry.key: replace(task.entry, state=KEPT) for task in chunks}
        kept = {key: entry for key, entry in kept.items() if self._is_stored(entry)}
        failed = [_failed(task.entry, failure) for task in chunks if task.entry.key not in kept]
        if not chunks:
            nameless = Entry(plan.place, "", files=({"name": name, "sha256": ""},))
            failed = [_failed(nameless, failure)]
        return [*kept.values(), *failed]

    # The whole

    def _process_whole(self, plan: _Plan) -> None:
        """Run the steps over the whole that are not stored yet."""
        if plan.recipe is None or not plan.tasks:
            return
        first, keys = tasks.whole_keys(plan.recipe, [task.entry.key for task in plan.tasks])
        for step, key in zip(plan.recipe.then, keys, strict=True):
            entry = Entry(plan.place, key, step=tasks.step_name(step))
            plan.steps.append(entry)
            if not self._is_stored(entry):
                self.progress.started(f"{plan.place}: {entry.step}", 1)
                failure = self._attempt(plan, functools.partial(self._value, plan, len(plan.steps)))
                self.progress.finished(f"{plan.place}: {entry.step}")
                if failure:
                    self._drop(plan, entry, failure)
                    return
        plan.key = keys[-1] if keys else first

    def _value(self, plan: _Plan, steps: int) -> xr.Dataset | xr.DataTree:
        """Return the whole after so many steps, from the shards; a damaged shard is made again."""
        assert plan.recipe is not None  # noqa: S101 - no steps without a recipe
        if steps == 0:
            return self._gathered(plan, plan.recipe)
        entry, step = plan.steps[steps - 1], plan.recipe.then[steps - 1]
        shard = self.book.shard(entry)
        if shard.is_file():
            try:
                return tasks.load_shard(shard)
            except DataFileError:
                shard.unlink()
        tasks.store_shard(step(self._value(plan, steps - 1)), entry, shard)
        self.book.append(entry)
        return tasks.load_shard(shard)

    def _gathered(self, plan: _Plan, recipe: Recipe) -> xr.Dataset | xr.DataTree:
        parts, names = [], []
        for task in plan.tasks:
            shard = self.book.shard(task.entry)
            try:
                part = tasks.load_shard(shard)
            except DataFileError:
                if not _is_readable(task.path):
                    raise
                shard.unlink(missing_ok=True)
                tasks.run_chunk(recipe, task, shard)
                part = tasks.load_shard(shard)
            parts.append(part)
            names.append(task.entry.name)
        return parts[0] if recipe.gather is None else recipe.gather(parts, names)

    def _drop(self, plan: _Plan, entry: Entry, failure: Failure) -> None:
        """Give up the result of a measurement; what is stored of its steps is kept."""
        self.report.failed.append(failure)
        steps = [e for e in self.book.of(plan.place) if e.step and self._is_stored(e)]
        kept = {e.key: replace(e, state=KEPT, error=None) for e in steps if e.key != entry.key}
        plan.aside += [*kept.values(), _failed(entry, failure)]
        plan.steps, plan.key = [], ""

    # Results

    def _write_results(self, plans: Sequence[_Plan]) -> None:
        """Write all results as one tree, unless they are what the file holds already."""
        chosen = {plan.place for plan in plans}
        others = [m.place for m in self.beamtime.measurements if m.place not in chosen]
        keys = {place: self.book.results[place] for place in others if place in self.book.results}
        if self._are_written(keys | {plan.place: plan.key for plan in plans if plan.key}):
            return
        whole: dict[str, xr.Dataset | xr.DataTree] = {}

        def collect(plan: _Plan) -> None:
            whole[plan.place] = self._value(plan, len(plan.steps))

        for plan in plans:
            if plan.key:
                failure = self._attempt(plan, functools.partial(collect, plan))
                if failure:
                    self._drop(plan, Entry(plan.place, plan.key, step="gather"), failure)
                else:
                    keys[plan.place] = plan.key
        if self._are_written(keys):
            return
        import xarray as xr

        from beamline import store

        for place in others:
            try:
                whole[place] = store.open_result(f"{self.results}{store.SEPARATOR}/{place}")
            except DataFileError:  # it was not processed yet, or the file is lost: the next full run adds it
                keys.pop(place, None)
        leaves = {
            f"/{place}{path.rstrip('/')}": leaf
            for place in sorted(whole)
            for path, leaf in store.leaves(whole[place])
        }
        if leaves:
            store.save(xr.DataTree.from_dict(leaves), self.results)
        else:
            self.results.unlink(missing_ok=True)
        self.book.record_results(keys)

    def _are_written(self, keys: Mapping[str, str]) -> bool:
        return keys == self.book.results and (self._results_are_intact() or not keys)

    def _tidy(self, plans: Sequence[_Plan], states: Mapping[str, str]) -> None:
        """Remove what is needed no more, now that the new results are safe, and note how things are."""
        shards = self.beamtime.output / journal.SHARDS
        places = {measurement.place for measurement in self.beamtime.measurements}
        by_place = {place: self.book.of(place) for place in places}
        for plan in plans:
            by_place[plan.place] = plan.entries
            used = {self.book.shard(entry) for entry in plan.entries if entry.state != FAILED}
            for shard in (shards / plan.place).glob("*"):
                if shard not in used:
                    shard.unlink()
        for folder in shards.glob("*/*"):
            if folder.relative_to(shards).as_posix() not in places:
                shutil.rmtree(folder)
        atomic.sweep(self.beamtime.output)
        self.book.compact(entry for place in sorted(places) for entry in by_place[place])
        for plan in plans:
            counts = self.report.measurements[plan.place]
            whole = plan.key and not counts.failed and not counts.missing
            self.inventory.states[plan.place] = states[plan.place] if whole else ""
        self.inventory.states[RESULTS] = str(stat(self.results))
        self.inventory.save()

    # Helpers

    def _attempt(self, plan: _Plan, work: Callable[[], Any], file: Path | None = None) -> Failure | None:
        """Do a piece of work that may fail without taking the others with it."""
        try:
            work()
        except RedoxlightError as error:
            return self._failure(plan, error, file)
        except Exception as error:
            subject = self._name(file) if file else plan.place
            problem = f"{type(error).__name__}: {error}"
            remedy = "this is a fault of the program: please report it"
            return Failure(plan.place, subject, problem, remedy, traceback.format_exc())
        return None

    def _failure(self, plan: _Plan, error: RedoxlightError, file: Path | None = None) -> Failure:
        """Return an error with the name of the input it belongs to and without our folders."""
        here = f"{self.beamtime.folder}{os.sep}"
        subject, problem, remedy = (str(part).replace(here, "") for part in error.args)
        if file and self._name(file) not in subject:
            subject, problem = self._name(file), f"{subject}: {problem}"
        return Failure(plan.place, subject, problem, remedy)

    def _progressing(
        self, what: str, results: Iterator[tuple[int, Any]], total: int
    ) -> Iterator[tuple[int, Any]]:
        self.progress.started(what, total)
        try:
            for result in results:
                yield result
                self.progress.advanced(what)
        finally:
            self.progress.finished(what)

    def _name(self, path: Path) -> str:
        """Return a path as the journal names it: from the folder of beamtime.toml, if it is in it."""
        folder = self.beamtime.folder
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)

    def _path(self, name: str) -> Path:
        return self.beamtime.folder / name


def _failed(entry: Entry, failure: Failure) -> Entry:
    error = {"subject": failure.subject, "problem": failure.problem, "remedy": failure.remedy}
    return replace(entry, state=FAILED, error=error)


def _is_readable(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


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
