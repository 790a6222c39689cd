"""Figures, tables and the command over several states."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from beamline import cli, drawing
from beamline.errors import ConfigError
from rixs import figures, states, tables
from rixs.cli import window
from rixs.cli_states import gather
from rixs.measurement import with_window
from rixs.simulated_features import CHARGED, PRISTINE, map_of


@pytest.fixture(scope="module")
def maps() -> dict[str, list[xr.Dataset]]:
    return {
        "pristine": [map_of(PRISTINE, 0)],
        "4.7 V": [map_of(replace(CHARGED, oxidised=0.5), 2)],
        "4.8 V cycle 1": [map_of(CHARGED, 3), map_of(CHARGED, 4)],
        "4.8 V cycle 50": [map_of(replace(CHARGED, oxidised=0.6), 5)],
        "2.7 V discharged": [map_of(PRISTINE, 6)],
    }


@pytest.fixture(scope="module")
def table(maps: dict[str, list[xr.Dataset]]) -> xr.Dataset:
    return rixs.compare(maps)


@pytest.fixture(scope="module")
def result(maps: dict[str, list[xr.Dataset]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of results with two samples of one state."""
    tree = {}
    for number, (state, found) in enumerate(maps.items()):
        for sample, rmap in enumerate(found):
            leaves = with_window(rmap, (530.6, 531.8), state)
            for leaf in leaves.leaves:
                tree[f"/rixs/m{number}{sample}{leaf.path}"] = leaf.to_dataset()
    path = tmp_path_factory.mktemp("states") / "results.nc"
    beamline.save(xr.DataTree.from_dict(tree), path)
    return path


def test_maps_share_a_scale_and_a_window(maps: dict[str, list[xr.Dataset]]) -> None:
    figure = states.maps({state: found[0] for state, found in maps.items()})
    panels = [axes for axes in figure.axes if axes.collections and axes.get_title()]
    assert [axes.get_title() for axes in panels] == list(maps)
    limits = {axes.collections[0].get_clim() for axes in panels}
    assert len(limits) == 1
    for axes in panels:
        edges = {line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2}
        assert edges == {530.6, 531.8}


def test_the_comparison_draws_every_state_once(table: xr.Dataset) -> None:
    figure = states.comparison(table)
    spectra, areas, cycles = figure.axes[:3]
    shown = [text.get_text() for text in spectra.get_legend().get_texts()]
    assert shown == ["pristine", "4.7 V", "4.8 V cycle 1", "2.7 V discharged"]
    inset = spectra.child_axes[0]
    assert [t.get_text() for t in inset.get_legend().get_texts()] == ["cycle 1", "cycle 50"]
    assert areas.get_xlabel() == "voltage (V)"
    assert len(areas.containers) == 3
    assert (cycles.get_xlabel(), len(cycles.containers)) == ("cycle", 2)


def test_states_without_voltage_stand_side_by_side() -> None:
    table = rixs.compare({"A": [map_of(PRISTINE, 0)], "B": [map_of(CHARGED, 1)]})
    _, areas = states.comparison(table).axes
    assert [label.get_text() for label in areas.get_xticklabels()] == ["A", "B"]


@pytest.mark.parametrize("measure", ["oxidised_oxygen", "low_loss"])
def test_a_feature_is_drawn_with_its_backgrounds(measure: str) -> None:
    left, right = figures.feature(getattr(rixs, measure)(map_of(CHARGED, 1))).axes
    assert len(left.get_legend().get_texts()) == 3
    assert right.get_ylabel() == "area (ADU eV per 10⁶ I₀ counts)"


@pytest.mark.parametrize(
    ("cut", "label"),
    [
        (lambda m: rixs.super_pfy(m), "excitation energy (eV)"),
        (lambda m: rixs.loss_window(m, 530.6, 531.8), "energy loss (eV)"),
        (lambda m: rixs.window(m, 530.6, 531.8), "emission energy (eV)"),
    ],
)
def test_cuts_over_every_axis_are_drawn(cut: object, label: str) -> None:
    assert figures.cut(cut(map_of(CHARGED, 1))).axes[0].get_xlabel() == label  # type: ignore[operator]


def test_the_figures_of_a_result_hold_those_of_its_states(result: Path, tmp_path: Path) -> None:
    written, failed = drawing.draw(result, tmp_path)
    assert not failed
    assert {path.name for path in written} >= {"rixs_maps.png", "rixs_maps.pdf", "rixs_states.png"}


def test_maps_that_do_not_reach_the_feature_are_still_drawn_together() -> None:
    short = {f"/rixs/{name}/map": map_of(PRISTINE, 1).isel(excitation_energy=slice(8)) for name in "ab"}
    assert set(states.gallery(short)) == {"maps"}
    assert states.gallery({"/rixs/a/map": map_of(PRISTINE, 1)}) == {}


def test_a_map_of_another_edge_is_not_drawn_beside_them() -> None:
    metal = map_of(PRISTINE, 1, np.array([527.0, 528.0]))
    metal = metal.assign_coords(excitation_energy=metal.excitation_energy + 250)
    both = {f"/rixs/{name}/map": map_of(PRISTINE, 1) for name in ("a", "b")}
    figure = states.gallery({"/rixs/Co L/map": metal, **both})["maps"]
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["a", "b"]


def test_the_command_compares_a_file_of_results(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [tmp_path / name for name in ("t.md", "t.tex", "t.csv")]
    options = [part for path in outputs for part in ("--table", str(path))]
    code = cli.main(["rixs-compare", str(result), "-o", str(tmp_path / "c.nc"), *options, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["states"][0]["state"] == "pristine"
    assert document["states"][2]["samples"] == 2
    assert document["findings"][0].startswith("oxidised oxygen ")
    assert beamline.open(tmp_path / "c.nc").attrs["kind"] == "rixs.comparison"
    assert "4.8 V cycle 50 & 4.8 & 50 & 1 & " in outputs[1].read_text()
    assert outputs[0].read_text().count("\n|") == 6
    assert '"pristine","","","1",' in outputs[2].read_text()


def test_maps_are_named_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, state in (("a", PRISTINE), ("b", CHARGED)):
        beamline.save(map_of(state, 1), tmp_path / f"{name}.nc")
    given = [f"pristine={tmp_path}/a.nc", f"4.8 V={tmp_path}/b.nc"]
    assert list(gather(given)) == ["pristine", "4.8 V"]
    # maps that say no state are not samples of one: each has the name of its file
    assert list(gather([f"{tmp_path}/a.nc", f"{tmp_path}/b.nc"])) == ["a", "b"]
    for wrong in (f"={tmp_path}/a.nc", "4.8 V="):
        with pytest.raises(ConfigError, match="lacks a state or a file"):
            gather([wrong])
    assert cli.main(["rixs-compare", *given, "--reference", "4.8 V"]) == 0
    assert "change from 4.8 V" in capsys.readouterr().out
    assert cli.main(["rixs-compare", *given, "--reference", "5 V"]) == 2
    beamline.save(rixs.window(map_of(PRISTINE, 1), 530.6, 531.8), tmp_path / "cut.nc")
    with pytest.raises(ConfigError, match="holds no map"):
        gather([str(tmp_path / "cut.nc")])
    with pytest.raises(ConfigError, match="suffix of a table"):
        tables.write(rixs.compare(gather(given)), tmp_path / "table.docx")


def test_a_window_without_errors_or_without_light_has_none(tmp_path: Path) -> None:
    rmap = map_of(CHARGED, 1)
    beamline.save(rmap.drop_vars("intensity_errors"), tmp_path / "plain.nc")
    outcome = window(tmp_path / "plain.nc", 530.6, 531.8)
    assert outcome.document["area"]["error"] is None
    assert outcome.document["area"]["value"] > 0
    assert outcome.text.splitlines()[1].endswith("\tnan")
    assert "its error is not known" in window(tmp_path / "plain.nc", 530.6, 531.8, tmp_path / "c.nc").text
    dark = rmap.copy(deep=True)
    dark["intensity"][:] = dark["intensity_errors"][:] = np.nan
    beamline.save(dark, tmp_path / "dark.nc")
    assert window(tmp_path / "dark.nc", 530.6, 531.8).document["area"]["value"] is None
    assert "area: not measured" in window(tmp_path / "dark.nc", 530.6, 531.8, tmp_path / "c.nc").text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1236.4, 84.6, "1236 ± 85"),
        (1236.4, 123.4, "1240 ± 120"),
        (0.01234, 0.00056, "0.01234 ± 0.00056"),
        (-3.0, 0.999, "-3.0 ± 1.0"),
        (np.nan, 1.0, ""),
        (5.0, np.nan, "5"),
    ],
)
def test_errors_have_two_digits(value: float, error: float, text: str) -> None:
    assert tables.with_error(value, error) == text
