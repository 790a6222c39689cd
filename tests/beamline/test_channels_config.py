"""Channels in beamtime.toml: their table, their join, and what is done again when they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

import beamline
from beamline import techniques
from beamline.channels_config import ChannelSource, Source, gather, join_sources
from beamline.channels_technique import TECHNIQUE
from beamline.errors import ConfigError, DataFileError, JoinError
from beamline.provenance import history
from beamline.readers import registry
from beamline.readers.table import TABLE
from tests.beamline import fake

CYCLER = "time,voltage [V]\n" + "".join(
    f"2022-06-30T{h:02d}:{m:02d}:00Z,{3 + 0.001 * (60 * (h - 23) + m)}\n" for h in (22, 23) for m in range(60)
)
LATER = "time,voltage [V]\n" + "".join(f"2022-07-01T00:{m:02d}:00Z,{3.06 + 0.001 * m}\n" for m in range(60))
TABLES = """
[fake.m]
files = ["raw/*.fake"]
channels = ["cycler"]

[channels.cycler]
files = ["cycler_*.csv"]
reference = "Li/Li+"
tolerance = "2 min"
"""


@pytest.fixture
def beamtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    both = {"fake": fake.TECHNIQUE, "channels": TECHNIQUE}
    monkeypatch.setattr(techniques, "techniques", lambda: both)
    monkeypatch.setattr(registry, "formats", lambda: (fake.FORMAT, TABLE))
    path = fake.write(tmp_path, {"raw/a.fake": [[1, 2]], "raw/b.fake": [[3, 4]]})
    head = path.read_text().split("[fake.m]")[0]
    path.write_text(head + TABLES)
    for name in "ab":
        (tmp_path / f"raw/{name}.clock").write_text("a stamp and its moment")
    (tmp_path / "cycler_1.csv").write_text(CYCLER)
    (tmp_path / "cycler_2.csv").write_text(LATER)
    return path


def frames(report: Any) -> xr.Dataset:
    ds = beamline.open(f"{report.result}::/fake/m")
    assert isinstance(ds, xr.Dataset)
    return ds


def test_only_what_is_stated_is_an_option() -> None:
    source = ChannelSource(files=["c"], timezone="UTC", in_situ="no", units={"I": "mA"})
    assert source.options() == {"timezone": "UTC", "in_situ": "no", "units": {"I": "mA"}}
    assert ChannelSource(files=["c"]).options() == {}


def test_its_clock_is_a_clock() -> None:
    source = ChannelSource.model_validate({"files": ["c"], "clock": {"offset": "95.2s", "offset_error": 0.1}})
    assert source.to_clock() == beamline.Clock("95.2s", offset_error=0.1)


@pytest.mark.parametrize(
    "table", [{}, {"files": []}, {"files": ["c"], "zone": "UTC"}, {"files": ["c"], "in_situ": "maybe"}]
)
def test_wrong_tables_are_refused(table: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ChannelSource.model_validate(table)


def test_frames_get_their_voltage(beamtime: Path) -> None:
    report = beamline.process(beamtime)
    ds = frames(report)
    assert np.allclose(ds["voltage"], 3.06, atol=1e-3)
    assert ds["voltage"].attrs["reference"] == "Li/Li+"
    assert (ds["voltage_errors"] > 0).all()
    channels = beamline.open(f"{report.result}::/channels/cycler")
    assert channels.sizes["time"] == 180
    steps = [step["step"] for step in history(ds)]
    assert steps[-1] == "beamline.join"
    names = {file["name"] for step in history(ds) for file in step.get("files", ())}
    assert {"a.fake", "b.fake", "cycler_1.csv", "cycler_2.csv"} <= names


def test_a_clock_that_is_late_moves_the_voltage(beamtime: Path) -> None:
    text = beamtime.read_text()
    beamline.process(beamtime)
    beamtime.write_text(text + 'clock = { offset = "10 min" }\n')
    report = beamline.process(beamtime)
    assert np.allclose(frames(report)["voltage"], 3.05, atol=1e-3)
    assert report.measurements["fake/m"].unchanged == 2  # the frames themselves are not read again


def test_changed_channels_redo_the_join_alone(beamtime: Path) -> None:
    beamline.process(beamtime)
    (beamtime.parent / "cycler_2.csv").write_text(LATER.replace("3.06", "4.06"))
    report = beamline.process(beamtime)
    assert report.measurements["fake/m"].unchanged == 2
    assert report.measurements["channels/cycler"].done == 1
    assert not np.allclose(frames(report)["voltage"], 3.06, atol=1e-3)


def test_schedulers_give_the_same_bytes(beamtime: Path, tmp_path: Path) -> None:
    first = beamline.process(beamtime).result
    assert first is not None
    bytes_of = first.read_bytes()
    first.unlink()
    second = beamline.process(beamtime, scheduler="threads:2").result
    assert second is not None
    assert second.read_bytes() == bytes_of


def test_channels_without_a_table_are_named(beamtime: Path) -> None:
    beamtime.write_text(beamtime.read_text().replace('["cycler"]', '["cyclr"]'))
    with pytest.raises(ConfigError, match=r"fake.m.channels: 'cyclr' .*did you mean 'cycler'"):
        beamline.process(beamtime)


def test_frames_without_a_time_fail_by_name(beamtime: Path) -> None:
    for clock in beamtime.parent.glob("raw/*.clock"):
        clock.unlink()
    report = beamline.process(beamtime)
    assert "time" in f"{report.failed[0].subject} {report.failed[0].problem}"
    assert report.measurements["channels/cycler"].done == 2


def table(start: str, **more: Any) -> xr.Dataset:
    times = np.datetime64(start, "ns") + np.arange(3) * np.timedelta64(1, "m")
    attrs = {"units": "V", "long_name": "voltage"}
    return xr.Dataset(
        {name: ("time", np.arange(3.0), attrs) for name in ("voltage", *more)},
        coords={"time": times},
        attrs={"kind": "channels"},
    )


def test_files_follow_each_other() -> None:
    one, two = table("2022-07-01T00:00"), table("2022-07-01T01:00")
    both = gather([one, two], ["1", "2"])
    assert both.sizes["time"] == 6
    with pytest.raises(DataFileError, match=r"2: begins before"):
        gather([two, one], ["1", "2"])
    with pytest.raises(DataFileError, match="current"):
        gather([one, table("2022-07-01T01:00", current=1)], ["1", "2"])
    with pytest.raises(DataFileError, match="several clocks"):
        gather([one, xr.DataTree.from_dict({"/a": two})], ["1", "2"])


def test_a_tree_in_which_nothing_has_a_time(tmp_path: Path) -> None:
    file = tmp_path / "cycler.csv"
    file.write_text(CYCLER)
    source = Source((file,), {}, beamline.Clock(), "30s")
    with pytest.raises(JoinError, match="when they were taken"):
        join_sources(xr.DataTree.from_dict({"/a": table("2022-07-01T00:00")}), [source])
