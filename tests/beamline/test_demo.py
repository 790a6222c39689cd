"""The demonstration finds what was simulated, and notices when processing goes wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import beamline
from beamline import demonstration, truth
from beamline.errors import SchemaError
from beamline.truth import Comparison
from calibration import geometry as geometries
from xrd import demo as xrd_demo


def process(beamtime: Path) -> Path:
    report = beamline.process(beamtime)
    assert not report.failed
    assert report.result
    return Path(report.result)


def test_a_pull_counts_standard_deviations() -> None:
    assert Comparison("a", 1.0, 1.3, 0.1).pull == pytest.approx(3.0)


def test_the_table_has_a_line_for_each_quantity() -> None:
    table = truth.rows([Comparison("offset (s)", 95.2, 95.0, 0.1)])
    assert table[1] == ["offset (s)", "95.2000", "95.0000", "0.1000", "-2.0"]


def test_a_leaf_must_be_one(tmp_path: Path) -> None:
    result = process(demonstration.write(tmp_path, ["channels"]))
    with pytest.raises(SchemaError, match="is a tree"):
        truth.open_leaf(result, "channels")


def test_the_clock_is_found_and_a_wrong_one_noticed(tmp_path: Path) -> None:
    beamtime = demonstration.write(tmp_path, ["channels"])
    (good,) = demonstration.compare(beamtime, process(beamtime))
    assert abs(good.pull) < 3.5
    cycler = tmp_path / "channels/cycler.mpt"
    text = cycler.read_bytes().decode("cp1252")
    assert "06:58:24" in text
    cycler.write_bytes(text.replace("06:58:24", "06:58:04").encode("cp1252"))
    (wrong,) = demonstration.compare(beamtime, process(beamtime))
    assert wrong.pull > 10


def test_the_feature_is_found_and_a_wrong_excitation_noticed(tmp_path: Path) -> None:
    beamtime = demonstration.write(tmp_path, ["rixs"])
    good = demonstration.compare(beamtime, process(beamtime))
    assert len(good) == 3
    assert all(abs(c.pull) < 3.5 for c in good)
    assert good[1].found > 1.5 * good[0].found
    beamtime.write_text(beamtime.read_text().replace('excitation = "rixs/excitation.json"', ""))
    wrong = demonstration.compare(beamtime, process(beamtime))
    assert max(abs(c.pull) for c in wrong) > 5


def test_edges_and_distances_are_found_and_a_skipped_alignment_noticed(tmp_path: Path) -> None:
    beamtime = demonstration.write(tmp_path, ["xas"])
    good = demonstration.compare(beamtime, process(beamtime))
    assert [abs(c.pull) < 4 for c in good] == [True] * 9
    shifts = [c.found for c in good[:4]]
    assert shifts[0] > shifts[1] > shifts[2] > shifts[3]
    simulated = json.loads((tmp_path / "xas/truth.json").read_text())["scans"]
    drift = [scan["mono_shift_eV"] for scan in simulated.values()]
    assert np.ptp(drift) > 0.1
    beamtime.write_text(beamtime.read_text().replace("post =", 'reference = "mu"\npost ='))
    wrong = demonstration.compare(beamtime, process(beamtime))
    assert max(abs(c.pull) for c in wrong[:4]) > 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_geometry_and_cells_are_found_and_a_moved_panel_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xrd_demo, "_HEATED", 2)
    beamtime = demonstration.write(tmp_path, ["channels", "xrd"])
    good = demonstration.compare(beamtime, process(beamtime))[1:]
    assert [c.quantity.split()[0] for c in good] == ["distance", "beam", "beam", "tilt", *"acacac"]
    assert all(abs(c.pull) < 4 for c in good)
    path = tmp_path / "xrd" / "panel_geometry.json"
    geometry = geometries.load(path)
    dataclasses.replace(geometry, distance=1.001 * geometry.distance).save(path)
    wrong = demonstration.compare(beamtime, process(beamtime))[1:]
    assert all(abs(c.pull) > 20 for c in wrong if c.quantity.split()[0] in ("distance", "a", "c"))
