"""A run that is killed at any moment goes on, and ends with the bytes of a run that was not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.beamline import fake

MOMENTS = 50

# Everything is loaded once, by a run in this process; every attempt is a fork of it, killed after a while.
DRIVER = """
import os, random, shutil, signal, sys, time
from pathlib import Path
import h5netcdf, numpy, xarray
import beamline.store
from beamline import processing, techniques
from beamline.readers import registry
from tests.beamline import fake
from tests.beamline.test_processing import snapshot

techniques.techniques = lambda: {"fake": fake.TECHNIQUE}
registry.formats = lambda: (fake.FORMAT,)
config, moments, scheduler = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
output = config.parent / "out"


def attempt(delay):
    child = os.fork()
    if child == 0:
        try:
            report = processing.process(config, scheduler=scheduler)
            os._exit(1 if report.failed else 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(3)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


processing.process(config)
shutil.rmtree(output)
begin = time.monotonic()
assert attempt(None) == 0
took = time.monotonic() - begin
clean = snapshot(output)
shutil.rmtree(output)

moment = random.Random(20221103)
killed = partly = 0
for _ in range(moments):
    # One or two kills on the way, then a run to the end.
    for _ in range(moment.randint(1, 2)):
        ended = attempt(moment.uniform(0, 1.1 * took))
        assert ended in (0, -signal.SIGKILL), ended
        killed += ended == -signal.SIGKILL
    partly += any((output / "shards").rglob("*.nc")) and not (output / "results.nc").exists()
    assert attempt(None) == 0
    assert snapshot(output) == clean, sorted(set(snapshot(output)) ^ set(clean))
    left = [path for path in output.rglob(".redoxlight-*")]
    assert not left, left
    shutil.rmtree(output)
print(killed, partly)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed, partly = _drive(tmp_path, MOMENTS, "serial")
    # How many depends on what else the machine does; usually about 40, 20 of them in the middle of the work.
    assert killed > MOMENTS / 5
    assert partly > 0


def test_a_killed_run_with_threads_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed, _ = _drive(tmp_path, 8, "threads:2")
    assert killed > 0


def _drive(folder: Path, moments: int, scheduler: str) -> tuple[int, int]:
    rows = {"raw/a.fake": [[1, 1.0], [1, 2.0], [1, 3.0]], "raw/b.fake": [[2, 1.0]]}
    config = fake.write(folder, rows, "average = true\nframes_per_chunk = 2")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, config, str(moments), scheduler],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    killed, partly = done.stdout.split()
    return int(killed), int(partly)
