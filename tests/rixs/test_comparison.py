"""States, cycles and fresh samples in one table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from beamline.errors import ConfigError, SchemaError
from beamline.export import export_result
from rixs.comparison import _facts, in_order
from rixs.replicates import Mean, between, means
from rixs.simulated_features import BROADENED, CHARGED, PRISTINE, map_of


@pytest.fixture(scope="module")
def table() -> xr.Dataset:
    return rixs.compare(
        {
            "pristine": [map_of(PRISTINE, 0), map_of(PRISTINE, 1)],
            "4.55 V": [map_of(BROADENED, 2)],
            "4.8 V cycle 1": [map_of(CHARGED, 3), map_of(CHARGED, 4, scale=1.05)],
            "4.8 V cycle 50": [map_of(replace(CHARGED, oxidised=0.6), 5)],
            "2.7 V discharged": [map_of(replace(PRISTINE, oxidised=0.05), 6)],
        }
    )


def test_the_table_says_which_states_have_the_feature(table: xr.Dataset) -> None:
    assert table.significance.sel(state="4.55 V") < 3
    assert table.significance.sel(state="4.8 V cycle 1") > 8
    assert np.isnan(table.change.sel(state="pristine"))
    np.testing.assert_array_equal(table.samples, [2, 1, 2, 1, 1])
    np.testing.assert_array_equal(table.voltage, [np.nan, 4.55, 4.8, 4.8, 2.7])
    np.testing.assert_array_equal(table.cycle, [np.nan, np.nan, 1, 50, np.nan])
    parts = table.counting**2 + table.scatter**2 + table.models**2
    assert (table.area_errors >= np.sqrt(parts) * 0.999).all()


def test_the_findings_are_sentences(table: xr.Dataset) -> None:
    onset, left, cycling = json.loads(table.attrs["findings"])
    assert onset.startswith("oxidised oxygen appears above 4.55 V (")
    assert left.startswith("2.7 V discharged: ")
    assert "of the change at 4.8 V cycle 1 is left" in left
    assert cycling.startswith("at 4.8 V it changes by -")
    assert "over 49 cycles" in cycling


def test_the_table_is_kept_and_exported(table: xr.Dataset, tmp_path: Path) -> None:
    beamline.save(table, tmp_path / "table.nc")
    assert beamline.open(tmp_path / "table.nc").equals(table)
    written = export_result(tmp_path / "table.nc", tmp_path / "csv", "csv")
    rows = (tmp_path / "csv" / "table_state.csv").read_text().splitlines()
    assert written
    assert rows[2].startswith('"state","voltage (V)","cycle"')
    assert len(rows) == 3 + table.sizes["state"]


def test_labels_can_be_explained() -> None:
    states = {"A": [map_of(PRISTINE, 0)], "B": [map_of(CHARGED, 1)]}
    table = rixs.compare(states, voltage={"B": 4.8}, cycle={"B": 100})
    assert (float(table.voltage[1]), float(table.cycle[1])) == (4.8, 100.0)
    assert table.attrs["between_samples"].startswith("not known")
    assert np.isnan(table.voltage[0])


@pytest.mark.parametrize(
    ("label", "facts"),
    [
        ("4.8 V cycle 50", (4.8, 50.0, False)),
        ("4.8V_cycle50", (4.8, 50.0, False)),
        ("BR_4.55V_2nd_cycle_a", (4.55, 2.0, False)),
        ("2.7V_dis_cyc3", (2.7, 3.0, True)),
        ("vanadium 4 Vol", (None, None, False)),
    ],
)
def test_labels_of_files_say_voltage_and_cycle(
    label: str, facts: tuple[float | None, float | None, bool]
) -> None:
    found = _facts(label, {}, {})
    given = [None if np.isnan(value) else value for value in (found.voltage, found.cycle)]
    assert (*given, found.discharged) == facts


def test_states_are_put_in_the_order_of_a_paper() -> None:
    given = ["4.8 V cycle 50", "discharged 2.7 V", "4.8 V cycle 1", "4.55 V", "Pristine", "odd"]
    order = in_order(dict.fromkeys(given))
    assert order == ["Pristine", "4.55 V", "4.8 V cycle 1", "4.8 V cycle 50", "odd", "discharged 2.7 V"]
    assert in_order({"4.8 V": 0, "2.7 V discharged": 0}) == ["2.7 V discharged", "4.8 V"]


def test_low_loss_is_compared_as_well() -> None:
    states = {"pristine": [map_of(PRISTINE, 0)], "4.8 V": [map_of(CHARGED, 1)]}
    assert rixs.compare(states, feature="low_loss").significance[1] > 5


def test_what_cannot_be_compared_is_refused() -> None:
    one, other = map_of(PRISTINE, 0), map_of(CHARGED, 1)
    with pytest.raises(ConfigError, match="not known"):
        rixs.compare({"a": [one], "b": [other]}, feature="smell")
    with pytest.raises(ConfigError, match="at least one more"):
        rixs.compare({"a": [one]})
    with pytest.raises(ConfigError, match="has no map"):
        rixs.compare({"a": [one], "b": []})
    changed = other.copy()
    changed["intensity"] = changed["intensity"].assign_attrs(units="photon/eV")
    with pytest.raises(SchemaError, match="different units"):
        rixs.compare({"a": [one], "b": [changed]})
    with pytest.raises(SchemaError, match=r"not rixs\.map"):
        rixs.compare({"a": [one], "b": [rixs.window(other, 530.6, 531.8)]})


@pytest.mark.parametrize("scatter", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("samples", [(1, 2), (3,), (1, 2, 3)])
def test_error_bars_cover_as_often_as_they_should(samples: tuple[int, ...], scatter: float) -> None:
    """Replicates of true scatter τ (in counting errors): 68 % within the bar, never far below."""
    rng = np.random.default_rng(5)
    draws, inside = 400, 0
    for _ in range(draws):
        values = [rng.normal(0, np.hypot(1, scatter), n) for n in samples]
        found, _ = means(values, [np.ones(n) for n in samples])
        inside += sum(abs(mean.value) < mean.error() for mean in found)
    coverage = inside / draws / len(samples)
    assert 0.58 < coverage < 0.82


def test_scatter_is_found_where_it_is() -> None:
    rng = np.random.default_rng(2)
    values = [rng.normal(0, np.hypot(1, 2), 2) for _ in range(2000)]
    ones = [np.ones(2)] * 2000
    assert between(values, ones) == pytest.approx(4.0, rel=0.15)
    assert between([np.array([1.0, 1.1])], [np.ones(2)]) == 0.0


def test_unequal_samples_weigh_by_their_errors() -> None:
    found, tau = means([np.array([0.0, 0.1])], [np.array([1.0, 4.0])])
    assert tau == 0.0
    assert found[0].value == pytest.approx(0.02)
    assert found[0].error() == pytest.approx(np.sqrt(0.8))


def test_without_replicates_the_scatter_is_not_known() -> None:
    found, tau = means([np.array([1.0]), np.array([2.0])], [np.array([1.0]), np.array([1.0])])
    assert np.isnan(tau)
    assert found[1].minus(found[0]).error() == pytest.approx(np.sqrt(2))


def test_a_pair_alone_says_little() -> None:
    pair = Mean(10.0, 0.0, 4.0, 1)
    assert pair.error() == pytest.approx(2 * 1.8367, rel=1e-3)
    assert pair.significance() < 2.0
    assert Mean(10.0, 4.0, 0.0, 1).significance() == pytest.approx(5.0)
    assert Mean(-10.0, 4.0, 0.0, 1).significance() == pytest.approx(-5.0)
    assert Mean(1000.0, 4.0, 0.0, 0).significance() == pytest.approx(500, rel=0.01)
