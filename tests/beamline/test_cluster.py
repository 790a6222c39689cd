"""Dask as a scheduler: the same bytes in other processes, and a killed worker costs its chunk only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import provenance, recipe, techniques
from beamline.errors import ConfigError
from beamline.recipe import Recipe, Step
from tests.beamline import fake
from tests.beamline.examples import patterns

pytest.importorskip("distributed", reason="the extra dask is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # what distributed warns of while processes are killed

HERE = "tests.beamline.test_cluster"


@provenance.step(f"{HERE}.scale_or_die", returns="xrd.patterns")
def scale_or_die(data: xr.Dataset, factor: float = 2.0) -> xr.Dataset:
    if bool((data["intensity"] == 666).any()):
        os.kill(os.getpid(), signal.SIGKILL)
    return fake.scale(data, factor)


def make_recipe(name: str, config: fake.FakeMeasurement, folder: Path) -> Recipe:
    made = fake.recipe(name, config, folder)
    return replace(made, each=(Step(scale_or_die, {"factor": config.factor}),))


@pytest.fixture(autouse=True)
def _only_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    technique = replace(fake.TECHNIQUE, recipe=f"{HERE}:make_recipe")
    monkeypatch.setattr(techniques, "techniques", lambda: {"fake": technique})


@pytest.fixture(scope="module")
def dask() -> Iterator[recipe.Scheduler]:
    import dask.config

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        scheduler = recipe.scheduler("dask:local:2")
        yield scheduler
        scheduler.close()


def write(folder: Path, special: dict[int, float] | None = None, number: int = 5) -> Path:
    """Write patterns in a format the workers know; `special` values mark files."""
    (folder / "raw").mkdir(parents=True)
    for i in range(number):
        rows = [f"{1 + j / 10} {(special or {}).get(i, i) if j == 3 else 100 + i} {10 + j}" for j in range(6)]
        (folder / f"raw/f{i}.xye").write_text("\n".join(rows) + "\n")
    path = folder / "beamtime.toml"
    path.write_text(
        '[beamtime]\nname = "test"\ntimezone = "UTC"\noutput = "out"\n'
        '[fake.m]\nfiles = ["raw/*.xye"]\naverage = true\n'
    )
    return path


def contents(folder: Path) -> dict[str, bytes]:
    wanted = (path for path in (folder / "out").rglob("*") if path.suffix in (".nc", ".jsonl"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in wanted}


def test_same_bytes_as_serial(dask: recipe.Scheduler, tmp_path: Path) -> None:
    serial = beamline.process(write(tmp_path / "a"))
    report = beamline.process(write(tmp_path / "b"), dask)
    assert not serial.failed
    assert not report.failed
    assert report.measurements["fake/m"].done == 5
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 8  # five shards, the average, the tree, the journal


def test_what_fails_is_named_with_its_traceback(dask: recipe.Scheduler, tmp_path: Path) -> None:
    path = write(tmp_path, {1: -1.0})
    (tmp_path / "raw/f3.xye").write_text("")
    report = beamline.process(path, dask)
    failed = {failure.subject: failure for failure in report.failed}
    assert set(failed) == {"raw/f1.xye", "raw/f3.xye"}
    assert "RuntimeError: a fault in the code" in failed["raw/f1.xye"].problem
    assert "fake.py" in failed["raw/f1.xye"].traceback
    assert report.measurements["fake/m"].done == 3


def test_results_come_as_they_are_done_and_the_loop_may_be_left(dask: recipe.Scheduler) -> None:
    slow_first = dask.map(nap, [1.5, 0.0])
    assert next(iter(slow_first)) == (1, 0.0)
    slow_first.close()  # type: ignore[attr-defined]
    assert list(dask.map(nap, [0.0])) == [(0, 0.0)]


def test_libraries_of_workers_have_one_thread(dask: recipe.Scheduler) -> None:
    ((_, found),) = dask.map(os.getenv, ["NUMBA_NUM_THREADS"])
    assert found == os.environ.get("NUMBA_NUM_THREADS", "1")


def test_cluster_of_others_is_joined(tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        report = beamline.process(write(tmp_path, number=2), cluster.scheduler_address)
        assert not report.failed
    with pytest.raises(ConfigError, match=r"scheduler tcp://127\.0\.0\.1:9: cannot be reached"):
        next(iter(recipe.scheduler("tcp://127.0.0.1:9").map(nap, [0.0])))


def test_result_is_saved_while_a_client_is_there(tmp_path: Path) -> None:
    from distributed import Client

    with Client(processes=False, dashboard_address="127.0.0.1:0"):
        beamline.save(patterns(), tmp_path / "x.nc")
    xr.testing.assert_identical(beamline.open(tmp_path / "x.nc"), patterns())  # type: ignore[arg-type]


def nap(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return float(np.float64(seconds))


def test_killed_worker_costs_its_chunk_only(dask: recipe.Scheduler, tmp_path: Path) -> None:
    # The last one: the workers it kills take a while to come back.
    report = beamline.process(write(tmp_path, {2: 666.0}), dask)
    (failure,) = report.failed
    assert failure.subject == "raw/f2.xye"
    assert "killed every time" in failure.problem
    assert report.measurements["fake/m"].done == 4
