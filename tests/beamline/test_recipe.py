from __future__ import annotations

import os
import threading
import time

import pytest

from beamline import recipe
from beamline.errors import ConfigError


@pytest.mark.parametrize("runner", [recipe.Serial(), recipe.Threads(1), recipe.Threads(3)])
def test_every_item_is_run_once_and_keeps_its_index(runner: recipe.Scheduler) -> None:
    done = sorted(runner.map(lambda item: item * 10, range(20)))
    assert done == [(index, index * 10) for index in range(20)]


def test_threads_work_at_the_same_time() -> None:
    meet = threading.Barrier(2)
    # Each waits for the other: one thread alone would never come back.
    assert len(list(recipe.Threads(2).map(lambda _: meet.wait(timeout=10), range(2)))) == 2


def test_a_fault_ends_the_work() -> None:
    begun: list[int] = []

    def fail(item: int) -> None:
        begun.append(item)
        if item:
            time.sleep(0.2)  # long enough for the fault of item 0 to be noticed
        raise KeyError(item)

    for runner in (recipe.Serial(), recipe.Threads(2)):
        begun.clear()
        with pytest.raises(KeyError):
            list(runner.map(fail, range(50)))
        assert len(begun) < 10


def test_leaving_the_loop_drops_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item:
            time.sleep(0.2)

    results = recipe.Threads(1).map(work, range(50))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) < 10


def test_schedulers_have_names() -> None:
    assert isinstance(recipe.scheduler("serial"), recipe.Serial)
    assert recipe.scheduler("threads:2") == recipe.Threads(2)


@pytest.mark.parametrize(
    "name",
    ["", "threads", "threads:", "threads:0", "threads:-1", "threads:2000", "threads:²", "serial:2", "dask"],
)
def test_other_schedulers_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="write serial, threads:"):
        recipe.scheduler(name)


def test_libraries_get_one_thread_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "4"})
    recipe.single_threaded_libraries()
    assert os.environ["OMP_NUM_THREADS"] == "4"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


def test_a_step_puts_the_data_first() -> None:
    assert recipe.Step(lambda data, by: data / by, {"by": 4})(2) == 0.5


@pytest.mark.parametrize(
    "name", ["dask", "dask:local", "dask:local:0", "dask:local:x", "tcp://host", "tcp:8786"]
)
def test_cluster_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        recipe.scheduler(name)


def test_cluster_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"dask: is not installed; pip install 'redoxlight\[dask\]'"):
        recipe.scheduler("dask:local:2")
