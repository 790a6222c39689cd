"""A run that is killed at any moment goes on, and ends with the bytes of a run that was not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.beamline import fake

MOMENTS = 50

# Everything is loaded once, by a run in this process; every attempt is a fork of it that kills itself at a
# call (of Python or of C) chosen beforehand. Calls are counted, not seconds, so that the moments are spread
# over the whole run however busy the machine is. Files are written in small pieces: it may die within one.
DRIVER = """
import os, random, shutil, signal, sys, threading
from pathlib import Path
import h5netcdf, numpy, xarray
import beamline.store
from beamline import atomic, processing, techniques
from beamline.readers import registry
from tests.beamline import fake
from tests.beamline.test_processing import snapshot

techniques.techniques = lambda: {"fake": fake.TECHNIQUE}
registry.formats = lambda: (fake.FORMAT,)
atomic.CHUNK = 1024
config, moments, scheduler = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
output = config.parent / "out"


def attempt(moment=None, report=None):
    child = os.fork()
    if child == 0:
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            threading.setprofile(count)
            sys.setprofile(count)
            failed = processing.process(config, scheduler=scheduler).failed
            sys.setprofile(None)
            if report is not None:
                os.write(report, str(calls).encode())
            os._exit(1 if failed else 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


processing.process(config)
shutil.rmtree(output)
here, there = os.pipe()
assert attempt(report=there) == 0
total = int(os.read(here, 100))
clean = snapshot(output)
shutil.rmtree(output)

seeded = random.Random(20221103)
killed = partly = 0
for _ in range(moments):
    # One or two kills on the way, then a run to the end.
    for _ in range(seeded.randint(1, 2)):
        ended = attempt(seeded.randrange(1, int(1.1 * total)))
        assert ended in (0, -signal.SIGKILL), ended
        killed += ended == -signal.SIGKILL
    partly += any((output / "shards").rglob("*.nc")) and not (output / "results.nc").exists()
    assert attempt() == 0
    assert snapshot(output) == clean, sorted(set(snapshot(output)) ^ set(clean))
    left = [path for path in output.rglob(".redoxlight-*")]
    assert not left, left
    shutil.rmtree(output)
print(killed, partly)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed, partly = _drive(tmp_path, MOMENTS, "serial")
    assert killed >= MOMENTS / 2
    assert partly >= MOMENTS / 5


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
