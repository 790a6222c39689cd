"""Phases: what a CIF means, which parameters symmetry leaves, where the metal of a layered oxide is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamline.errors import ConfigError, DataFileError
from tests.xrd.refinable import INSTRUMENT, LAYERED, SPINEL, SYSTEMS, phase_of
from xrd import layered
from xrd.broadening import isotropic_stephens, stephens_matrix, stephens_terms
from xrd.models import Model
from xrd.phases import Phase, Site, metric, metric_slopes, multiplicity
from xrd.reflections import families, label, parse_label
from xrd.site_links import link_mixing, link_tetrahedral
from xrd.variables import coordinate_freedom

CIF = """data_x
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c 14.23
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M '{group}'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Li1 Li 0 0 {li} 1.0 0.012
Ni1 {metal} 0 0 {ni} 1.0 0.004
O1 O 0 0 {z} 1.0 0.009
"""


def _cif(folder: Path, **changes: object) -> Path:
    values = {"a": 2.872, "group": "R -3 m", "li": 0, "ni": 0.5, "z": 0.2415, "metal": "Ni"}
    path = folder / "phase.cif"
    path.write_text(CIF.format(**{**values, **changes}))
    return path


def test_a_cif_is_read(tmp_path: Path) -> None:
    phase = Phase.from_cif(_cif(tmp_path), size=0.2)
    assert (phase.name, phase.space_group, phase.size) == ("phase", "R -3 m:H", 0.2)
    assert phase.contents() == {"Li": 3, "Ni": 3, "O": 6}
    assert phase.free_cell == ("a", "c")
    assert Phase.from_record(phase.to_record()) == phase


def test_both_origins_of_the_layered_cell_are_accepted(tmp_path: Path) -> None:
    one = layered.layers(Phase.from_cif(_cif(tmp_path)))
    other = layered.layers(Phase.from_cif(_cif(tmp_path, li=0.5, ni=0, z=0.2585)))
    assert one is not None
    assert other is not None
    assert (one.metal, one.metal_z) == (("Ni1",), 0.5)
    assert (other.metal, other.metal_z) == (("Ni1",), 0.0)
    assert one.metal_slab == pytest.approx(other.metal_slab)


@pytest.mark.parametrize("mixed", [{"z": 0.2585}, {"li": 0.5, "ni": 0}])
def test_mixed_origins_are_refused_with_a_hint(mixed: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"mixes two origins.*exchange alkali and metal, or put O1"):
        Phase.from_cif(_cif(tmp_path, **mixed))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"metal": "Xx"}, "unknown element"),
        ({"group": "R 9 z"}, "no space group that is known"),
        ({"group": "F m -3 m"}, "does not allow"),
    ],
)
def test_a_wrong_cif_is_refused(changes: dict[str, object], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=complaint):
        Phase.from_cif(_cif(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", "data_x\n_cell_length_a 3", "loop_\n_a _b\n1 2 3", "\x00\x01"])
def test_what_is_no_cif_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.cif"
    path.write_text(content)
    with pytest.raises(DataFileError, match=r"broken\.cif"):
        Phase.from_cif(path)


def test_a_missing_cif_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="nowhere"):
        Phase.from_cif(tmp_path / "nowhere.cif")


def test_reflections_and_multiplicities_are_those_of_the_tables() -> None:
    found = families(SPINEL, 1.5)
    names = dict(zip(map(label, found.hkl), found.multiplicity.tolist(), strict=True))
    assert names == {
        "111": 8,
        "220": 12,
        "311": 24,
        "222": 8,
        "400": 6,
        "331": 24,
        "422": 24,
        "511": 24,
        "333": 8,
    }
    layers = families(LAYERED, 1.85)
    assert list(map(label, layers.hkl)) == ["003", "101", "006", "012", "104", "015"]
    assert layers.multiplicity.tolist() == [2, 6, 2, 6, 6, 6]


@pytest.mark.parametrize("system", SYSTEMS)
def test_all_members_of_all_families_are_all_reflections(system: str) -> None:
    # Counted one by one: every hkl of a ball that the group does not forbid belongs to one family.
    phase = phase_of(system)
    found = families(phase, 1.2)
    grid = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), -1).reshape(-1, 3)
    q = np.einsum("ni,ij,nj->n", grid, np.linalg.inv(metric(phase.cell)), grid)
    inside = grid[(q > 0) & (q <= 1.2**-2)]
    from xrd.reflections import is_absent

    assert found.multiplicity.sum() == (~is_absent(phase, inside)).sum()


def test_labels_of_the_battery_literature_are_understood() -> None:
    assert parse_label(LAYERED, "003") == (0, 0, 3)
    assert parse_label(LAYERED, "(104)") == (1, 0, 4)
    assert parse_label(LAYERED, "105") == (0, 1, 5)
    assert parse_label(LAYERED, "1 0 10") == (1, 0, 10)
    with pytest.raises(ConfigError, match="forbidden"):
        parse_label(LAYERED, "001")
    with pytest.raises(ConfigError, match="no label"):
        parse_label(LAYERED, "abc")


def test_coordinates_that_symmetry_fixes_cannot_be_freed() -> None:
    model = Model([LAYERED, SPINEL], INSTRUMENT).free("layered/coordinates", "spinel/coordinates")
    free = [name for name in model.variables if name.endswith((".x", ".y", ".z"))]
    assert free == ["layered/O1.z", "spinel/O1.x"]
    with pytest.raises(ConfigError, match="cannot be free"):
        model.free("layered/Ni1.z")


def test_coordinates_on_a_diagonal_follow_each_other() -> None:
    model = Model([SPINEL], INSTRUMENT).start({"spinel/O1.x": 0.27})
    values = dict(zip(model.parameters, model.values(), strict=True))
    assert [values[f"spinel/O1.{axis}"] for axis in "xyz"] == pytest.approx([0.27] * 3)
    assert coordinate_freedom("P 63/m m c", (1 / 3, 2 / 3, 0.25))[0] == []


def test_multiplicities_of_sites_are_those_of_the_tables() -> None:
    assert multiplicity("F d -3 m:2", (0.5, 0.5, 0.5)) == 16
    assert multiplicity("F d -3 m:2", (0.2625, 0.2625, 0.2625)) == 32
    assert multiplicity("P n m a", (0.1, 0.25, 0.3)) == 4


@pytest.mark.parametrize("system", SYSTEMS)
def test_isotropic_coefficients_of_generalised_strain_are_the_same_in_all_directions(system: str) -> None:
    phase = phase_of(system)
    hkl = families(phase, 1.5).hkl
    sums = stephens_matrix(phase.space_group, hkl) @ np.array(isotropic_stephens(phase))
    q = np.einsum("ni,ij,nj->n", hkl, np.linalg.inv(metric(phase.cell)), hkl)
    np.testing.assert_allclose(np.sqrt(sums) / q, phase.strain, rtol=1e-6)
    count = {"triclinic": 15, "monoclinic": 9, "orthorhombic": 6, "cubic": 2, "hexagonal": 3}
    assert len(stephens_terms(phase.space_group)) == count.get(system, 4)


def test_slopes_of_the_metric_are_its_derivatives() -> None:
    cell = np.array(SYSTEMS["triclinic"][1])
    for i, slope in enumerate(metric_slopes(cell)):
        step = np.eye(6)[i] * 1e-5
        np.testing.assert_allclose(slope, (metric(cell + step) - metric(cell - step)) / 2e-5, atol=1e-7)


def test_exchange_of_lithium_and_nickel_is_one_number() -> None:
    model = Model([LAYERED], INSTRUMENT)
    name = link_mixing(model, "layered")
    model.start({name: 0.05})
    values = dict(zip(model.parameters, model.values(), strict=True))
    occupancy = {key: values[f"layered/{key}.occupancy"] for key in ("Li1", "Ni2", "Ni1", "Li2")}
    assert occupancy == pytest.approx({"Li1": 0.95, "Ni2": 0.05, "Ni1": 0.55, "Li2": 0.05})
    with pytest.raises(ConfigError, match="no layered oxide"):
        link_mixing(Model([SPINEL], INSTRUMENT), "spinel")


def test_tetrahedral_metal_and_amount_of_spinel_are_two_numbers() -> None:
    sites = (
        *SPINEL.sites,
        Site("Ni8", "Ni", 0.125, 0.125, 0.125, 0.0),
        Site("Mn8", "Mn", 0.125, 0.125, 0.125, 0.0),
    )
    model = Model([dataclasses.replace(SPINEL, sites=sites)], INSTRUMENT)
    name = link_tetrahedral(model, "spinel")
    before = model.parameters["spinel/scale"].value
    model.start({name: 1 / 3})
    values = dict(zip(model.parameters, model.values(), strict=True))
    assert 8 * values["spinel/Ni8.occupancy"] == pytest.approx(0.6 * 16 / 3)
    assert 16 * values["spinel/Ni1.occupancy"] == pytest.approx(0.6 * 16 * 2 / 3)
    assert values["spinel/scale"] == before
    with pytest.raises(ConfigError, match="no tetrahedral site for Ni, Mn"):
        link_tetrahedral(Model([SPINEL], INSTRUMENT), "spinel")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 0.0}, "has size=0.0; it lies between 0.0001 and 1000"),
        ({"strain": float("nan")}, "has strain=nan"),
        ({"march": 0.0}, "has march=0.0"),
        ({"size_mixing": 2.0}, "has size_mixing=2.0"),
        ({"strain_model": "stephens"}, "one of isotropic, uniaxial, generalised"),
        ({"intensities": "le bail"}, "one of structure, lebail, pawley"),
        ({"axis": (0, 0, 0)}, "axis"),
    ],
)
def test_what_a_phase_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(LAYERED, **change)


def test_models_survive_their_record() -> None:
    model = Model([LAYERED, SPINEL], INSTRUMENT, 4, (1.5, 9.0), [(3.0, 3.1)]).free("zero", "*/uiso")
    model.add("shared", 0.3).tie("spinel/size", "shared", 0.1).restrain("zero", 0.0, 0.01)
    model.bound("layered/a", 2.8, 2.9).fix("layered/strain")
    again = Model.from_record(model.to_record())
    assert again.to_record() == model.to_record()
    assert again.variables == model.variables
    np.testing.assert_array_equal(again.values(), model.values())


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda m: m.free("layered/q"), "does not exist"),
        (lambda m: m.start({"layered/a": float("nan")}), "is set to nan"),
        (lambda m: m.start({"layered/size": 0.0}), "is set to 0; it lies between 0.0001 and 1000"),
        (lambda m: m.start({"layered/a": -2.87}), "is set to -2.87"),
        (lambda m: m.bound("zero", 1.0, 0.0), "they rise"),
        (lambda m: Model(m.phases, INSTRUMENT, "six"), "whole number of Chebyshev terms"),
        (lambda m: m.restrain("zero", 0.0, 0.0), "above 0"),
        (lambda m: m.tie("layered/a", "layered/a"), "tied parameter"),
        (lambda m: m.add("zero", 0.0), "exists already"),
    ],
)
def test_what_a_model_cannot_be_is_refused(wrong: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        wrong(Model([LAYERED], INSTRUMENT))  # type: ignore[operator]
