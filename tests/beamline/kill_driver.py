"""Kills a saving process at every step and at random moments; run as a process of its own.

The imports are done once and every attempt is a fork, so that hundreds of kills take seconds. Prints one JSON
object: how many points were forced, and every violation found.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import beamline
from beamline import atomic
from tests.beamline.examples import patterns

PRIMITIVES = ("_mkdir", "_create", "_lock", "_write", "_sync", "_rename", "_sync_folder", "_remove")
OLD, NEW = patterns(seed=1), patterns(frames=5, seed=2)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def armed(at: int) -> Callable[[], int]:
    """Make this process die at point `at`; points lie before, within (writes) and after each system call."""
    count = 0

    def point() -> None:
        nonlocal count
        if count == at:
            die()
        count += 1

    def wrap(name: str) -> None:
        original = getattr(atomic, name)

        def replacement(*args: Any) -> Any:
            point()
            if name == "_write" and len(args[1]) > 1:
                done = original(args[0], args[1][: len(args[1]) // 2])
                point()
                return done
            result = original(*args)
            point()
            return result

        setattr(atomic, name, replacement)

    atomic.CHUNK = 4096
    for name in PRIMITIVES:
        wrap(name)
    return lambda: count


def forked(work: Callable[[Callable[[], object]], None], delay: float | None = None) -> int:
    """Run `work` in a child and return how it ended; kill it `delay` after it said it is at work."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(functools.partial(os.write, there, b"."))
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(there)
    if delay is not None:
        os.read(here, 1)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    os.close(here)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def violations(target: Path, allowed: list[bytes | None], where: str) -> Iterator[str]:
    """Check the target, then that the next save to the folder leaves nothing but the target."""
    now = target.read_bytes() if target.exists() else None
    if now not in allowed:
        yield f"{where}: the target is neither old nor new"
    beamline.save(OLD, target)
    left = [path.name for path in target.parent.iterdir() if path != target]
    if left:
        yield f"{where}: {left} left behind after the next save"


def main(folder: Path) -> None:
    images = {}
    for name, result in (("old", OLD), ("new", NEW)):
        beamline.save(result, folder / name)
        images[name] = (folder / name).read_bytes()
    found: list[str] = []
    forced = 0
    for old in (None, images["old"]):
        for at in range(1000):
            place = folder / f"{forced}"
            target = place / "x.nc"
            if old is not None:
                beamline.save(OLD, target)
                (place / f"{atomic.PREFIX}killed-before{atomic.SUFFIX}").write_bytes(b"part")

            def save(_: Callable[[], object], at: int = at, target: Path = target) -> None:
                armed(at)
                beamline.save(NEW, target)

            ended = forked(save)
            if ended == 0:
                if target.read_bytes() != images["new"]:
                    found.append("a save that was not killed did not write the new file")
                break
            if ended != -signal.SIGKILL:
                found.append(f"point {at}: ended with {ended}")
            forced += 1
            if place.exists():
                found += violations(target, [old, images["new"]], f"point {at}")
    rng = random.Random(20260301)  # noqa: S311
    target = folder / "random" / "x.nc"
    beamline.save(OLD, target)

    def write_for_ever(at_work: Callable[[], object]) -> None:
        atomic.CHUNK = 512
        at_work()
        while True:
            atomic.write_atomic(target, images["new"])
            atomic.write_atomic(target, images["old"])

    littered = 0
    for number in range(100):
        ended = forked(write_for_ever, delay=rng.uniform(0.0, 0.03))
        littered += len(list(target.parent.iterdir())) > 1
        if ended != -signal.SIGKILL:
            found.append(f"random kill {number}: ended with {ended}")
        found += violations(target, [images["old"], images["new"]], f"random kill {number}")
    print(json.dumps({"forced": forced, "littered": littered, "violations": found}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
