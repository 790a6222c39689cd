"""A technique and a raw format small enough to see through: rows of numbers, scaled and averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr
from pydantic import Field

from beamline import model, provenance, techniques
from beamline.config import InputFile, MeasurementConfig
from beamline.readers import registry
from beamline.recipe import Recipe, Step
from beamline.techniques import Technique


class FakeMeasurement(MeasurementConfig):
    factor: float = Field(default=2.0, description="What intensities are multiplied by.")
    bins: int = Field(default=4, gt=0, description="Number of bins.")
    mode: Literal["mean", "median"] = Field(default="mean", description="How frames are averaged.")
    average: bool = Field(default=False, description="Average the frames.")
    reference: InputFile | None = Field(default=None, description="A file with a factor in it.")
    window: tuple[float, float] | None = Field(default=None, description="Range of 2theta.")
    frames_per_chunk: int = Field(default=64, gt=0, description="Frames read at once.")


TEMPLATE = """\
[fake.sample]
files = ["raw/*.fake"]        # rows of numbers
# factor = 2.0                # what intensities are multiplied by
"""


@provenance.step("tests.beamline.fake.scale", returns="xrd.patterns")
def scale(patterns: xr.Dataset, factor: float = 2.0) -> xr.Dataset:
    if bool((patterns.intensity == -1).any()):
        raise RuntimeError("a fault in the code")
    result = patterns.copy()
    result["intensity"] = patterns.intensity * factor
    result["intensity"].attrs = patterns.intensity.attrs
    return result


@provenance.step("tests.beamline.fake.average", returns="xrd.patterns")
def average(patterns: xr.Dataset, mode: str = "mean") -> xr.Dataset:
    result: xr.Dataset = getattr(patterns[["intensity"]], mode)("frame", keep_attrs=True)
    return result


def recipe(name: str, config: FakeMeasurement, folder: Path) -> Recipe:
    factor = config.factor
    if config.reference:
        factor = float(config.reference.read_text())
    return Recipe(
        name=name,
        files=tuple(folder / file for file in config.files),
        read={"kind": "xrd.patterns"},
        each=(Step(scale, {"factor": factor}),),
        gather=registry.concatenate,
        then=(Step(average, {"mode": config.mode}),) if config.average else (),
        frames_per_chunk=config.frames_per_chunk,
    )


def figure(ds: xr.Dataset) -> object:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(2, 2))
    drawn.add_subplot().plot(ds.two_theta, ds.intensity.values.reshape(-1, ds.sizes["two_theta"]).T)
    return drawn


def greet(name: str) -> dict[str, str]:
    """Say hello."""
    print(f"hello {name}")  # noqa: T201 - a command may print
    return {"hello": name}


def demo(folder: Path) -> str:
    folder.mkdir(parents=True)
    for i in range(3):
        (folder / f"f{i}.fake").write_text(f"{i} 1 2 3")
    return f'[fake.m]\nfiles = ["{folder.name}/*.fake"]'


def read_rows(
    path: Path, *, frames: tuple[int, int] | None = None, timezone: str | None = None
) -> xr.Dataset:
    rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
    rows = rows[slice(*frames)] if frames else rows
    ds = xr.Dataset(
        {"intensity": (("frame", "two_theta"), np.array(rows), {"units": "count"})},
        coords={"two_theta": np.arange(float(len(rows[0])))},
    )
    clock = path.with_suffix(".clock")
    if clock.exists():
        label = timezone if timezone and "moment" in clock.read_text() else "local"
        name = "local_time" if label == "local" else "time"
        when = np.full(len(rows), np.datetime64("2022-07-01T00:00", "ns"))
        ds = ds.assign_coords({name: ("frame", when)}).assign_attrs(zone=label)
        if name == "time":
            ds = ds.assign_coords(exposure=("frame", np.full(len(rows), 60.0)))
    return model.with_defaults(ds, "xrd.patterns")


def beside(path: Path) -> list[Path]:
    side = path.with_suffix(".side")
    return [side] if side.exists() else []


FORMAT = registry.Format(
    name="fake rows",
    kind="xrd.patterns",
    suffixes=(".fake",),
    read=read_rows,
    companions=beside,
    frames=lambda path: len(path.read_text().splitlines()),
)

HERE = "tests.beamline.fake"

TECHNIQUE = Technique(
    name="fake",
    title="Fake measurements",
    measurement=f"{HERE}:FakeMeasurement",
    recipe=f"{HERE}:recipe",
    template=f"{HERE}:TEMPLATE",
    figures={"xrd.patterns": f"{HERE}:figure"},
    commands={"greet": f"{HERE}:greet"},
    demo=f"{HERE}:demo",
)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this the only technique and the only raw format."""
    monkeypatch.setattr(techniques, "techniques", lambda: {"fake": TECHNIQUE})
    monkeypatch.setattr(registry, "formats", lambda: (FORMAT,))


def write(folder: Path, files: dict[str, list[list[float]]], keys: str = "", output: str = "out") -> Path:
    """Write raw files and a beamtime.toml with one measurement of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        raw = folder / name
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_text("\n".join(" ".join(str(value) for value in row) for row in rows))
    path = folder / "beamtime.toml"
    path.write_text(
        f'[beamtime]\nname = "test"\ntimezone = "UTC"\noutput = "{output}"\n'
        f'[fake.m]\nfiles = ["raw/*.fake"]\n{keys}\n'
    )
    return path
