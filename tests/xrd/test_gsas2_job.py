from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamline.errors import ConfigError, FitError
from calibration.instrument import Instrument
from tests.xrd import refinement_files as files
from xrd.engines import Options
from xrd.gsas2 import Gsas2
from xrd.gsas2_job import STRAINS, Job, cell_of, tensor_of
from xrd.models import Background, Hump, Model
from xrd.observations import Observations, observations
from xrd.phases import CELL, Phase, Site, expand_cell

GROUPS = {
    "triclinic": ("P -1", (4.1, 5.2, 6.3, 84.0, 97.0, 103.0)),
    "monoclinic a": ("P 2/m 1 1", (4.1, 5.2, 6.3, 84.0, 90.0, 90.0)),
    "monoclinic b": ("C 1 2/m 1", (4.94, 8.55, 5.03, 90.0, 109.2, 90.0)),
    "monoclinic c": ("P 1 1 2/m", (4.1, 5.2, 6.3, 90.0, 90.0, 103.0)),
    "orthorhombic": ("F d d d:2", (7.71, 8.54, 8.53, 90.0, 90.0, 90.0)),
    "tetragonal": ("I 41/a m d:2", (5.7, 5.7, 9.4, 90.0, 90.0, 90.0)),
    "hexagonal": ("R -3 m:H", (2.87, 2.87, 14.2, 90.0, 90.0, 120.0)),
    "rhombohedral": ("R -3 m:R", (5.02, 5.02, 5.02, 33.2, 33.2, 33.2)),
    "cubic": ("F d -3 m:2", (8.1, 8.1, 8.1, 90.0, 90.0, 90.0)),
}


def phase(lattice: str) -> Phase:
    symbol, cell = GROUPS[lattice]
    return Phase(lattice.replace(" ", "_"), symbol, cell, (Site("Ni", "Ni", 0.0, 0.0, 0.0),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("job")
    files.write_model(path)
    return path


def seen(model: Model, frames: int = 2) -> Observations:
    two_theta = np.linspace(1.0, 6.5, 100)
    counts = np.full((frames, 100), 100.0)
    return Observations(two_theta, counts, np.sqrt(counts), (two_theta > 1.2) & (two_theta < 6), False,
                        tuple(f"p_{i}.xye" for i in range(frames)))  # fmt: skip


@pytest.mark.parametrize("lattice", GROUPS)
def test_a_cell_comes_back_from_its_tensor(lattice: str) -> None:
    one = phase(lattice)
    assert one.lattice == lattice
    start = tensor_of(one.cell)
    free = [one.cell[CELL.index(name)] * 1.003 for name in one.free_cell]
    moved = expand_cell(lattice, free)
    apart = tensor_of(moved) - start
    shifts = np.array([apart[elements[0]] for elements in STRAINS[lattice].values()])
    cell, _ = cell_of(one, start, shifts)
    np.testing.assert_allclose(cell, moved, rtol=1e-12)


@pytest.mark.parametrize("lattice", GROUPS)
def test_the_slopes_of_a_cell_are_its_differences(lattice: str) -> None:
    one = phase(lattice)
    start, count = tensor_of(one.cell), len(STRAINS[lattice])
    _, slopes = cell_of(one, start, np.zeros(count))
    for column in range(count):
        step = np.zeros(count)
        step[column] = 1e-6
        up, down = (cell_of(one, start, sign * step)[0] for sign in (1, -1))
        np.testing.assert_allclose(slopes[:, column], (up - down) / 2e-6, atol=2e-5, rtol=1e-6)


def test_the_error_of_a_hexagonal_edge_is_that_of_its_tensor() -> None:
    one = phase("hexagonal")
    start = tensor_of(one.cell)
    _, slopes = cell_of(one, start, np.zeros(2))
    # d(A0) = -2 A0 da / a: what is printed for a as its error, by a transposed matrix, is 5/3 of it
    assert abs(slopes[0, 0]) == pytest.approx(one.cell[0] / (2 * start[0]))
    assert abs(slopes[2, 1]) == pytest.approx(one.cell[2] / (2 * start[2]))


def test_a_lost_cell_is_an_error() -> None:
    one = phase("cubic")
    with pytest.raises(FitError, match="was lost"):
        cell_of(one, tensor_of(one.cell), np.array([-1.0]))


def test_parameters_have_gsas2_names(folder: Path) -> None:
    model = files.model(folder)
    model.free("zero", "layered/O1.z", "layered/O1.uiso", "instrument/U", "displacement_x")
    job = Job(seen(model), model)
    assert job.description()["free"] == [
        "0:*:Scale", "0:*:Size;i", "0:*:Mustrain;i", "0::dAz:3", "0::AUiso:3", ":*:Back;0", ":*:Back;1",
        ":*:Zero", ":*:DisplaceX", ":*:U", "0:*:D11", "0:*:D33",
    ]  # fmt: skip
    stages = job.stages(warm=True)
    assert [(stage["all"], stage["copy"]) for stage in stages] == [
        (False, False), (False, False), (True, True), (True, False),
    ]  # fmt: skip
    assert stages[0]["free"] == ["0:*:Scale", ":*:Back;0", ":*:Back;1"]
    assert "0:*:D11" in stages[1]["free"]
    assert "0:*:Size;i" not in stages[2]["free"]
    assert stages[3]["free"] == job.description()["free"]


def test_values_and_limits_go_along(folder: Path) -> None:
    background = Background(2, (10.0, -3.0), (Hump(2.2, 50.0, 3000.0),))
    base = files.model(folder)
    model = Model(base.phases, base.instrument, background, (1.2, 6.0), [(5.0, 5.2)])
    observed = seen(model)
    described = Job(observed, model).description()
    (start,) = described["values"]
    assert start[":*:Back;1"] == -3.0
    assert (start[":*:BkPkpos;0"], start[":*:BkPksig;0"]) == (2.2, 3000.0)
    assert (start["0:*:Size;i"], start["0:*:D11"]) == (0.2, 0.0)
    assert described["limits"] == observed.two_theta[observed.used][[0, -1]].tolist()
    assert described["excluded"] == [[5.0, 5.2]]
    (given,) = described["phases"]
    assert (given["space_group"], given["atoms"][3][:2]) == ("R -3 m", ["O1", "O"])
    assert len(given["operations"]) == 36


def test_patterns_may_begin_with_cells_of_their_own(folder: Path) -> None:
    model = files.model(folder)
    values = [model.values(), model.copy().start({"layered/a": 2.85}).values()]
    first, second = Job(seen(model), model, values).description()["values"]
    assert first["0:*:D11"] == 0.0
    assert second["0:*:D11"] == pytest.approx(4 / (3 * 2.85**2) - 4 / (3 * 2.872**2))
    assert second["0:*:D33"] == pytest.approx(0.0, abs=1e-12)


def test_ties_become_equations_of_what_gsas2_knows(folder: Path) -> None:
    model = files.model(folder)
    # one number exchanges cobalt for nickel, another moves both displacements
    model.add("mixing", 0.1).tie("layered/Ni1.occupancy", {"mixing": 1.0}, offset=0.5)
    model.tie("layered/Co1.occupancy", {"mixing": -1.0}, offset=0.5)
    model.free("layered/Ni1.uiso").tie("layered/Co1.uiso", "layered/Ni1.uiso")
    job = Job(seen(model), model)
    found = job.description()
    assert {"0::Afrac:1", "0::Afrac:2", "0::AUiso:1", "0::AUiso:2"} <= set(found["free"])
    values = dict(zip(model.parameters, model.values(), strict=True))
    known = {job.variables[name]: value for name, value in values.items() if name in job.variables}
    assert len(found["constraints"]) == 2
    for equation in found["constraints"]:
        assert len(equation["terms"]) == 2
        assert sum(known[name] * factor for name, factor in equation["terms"]) == pytest.approx(
            equation["total"]
        )


def test_what_was_found_is_told_in_terms_of_the_model(folder: Path) -> None:
    model = files.model(folder).add("mixing", 0.1)
    model.tie("layered/Ni1.occupancy", {"mixing": 1.0}, offset=0.5)
    model.tie("layered/Co1.occupancy", {"mixing": -1.0}, offset=0.5)
    job = Job(seen(model), model)
    exact = {**dict.fromkeys(job.moving, 1.0), "layered/Ni1.occupancy": 0.62, "layered/Co1.occupancy": 0.38}
    values = np.array([*(exact[name] for name in job.moving), 1e-4, -1e-5])
    rng = np.random.default_rng(4)
    spread = rng.normal(size=(len(values), 3)) * np.append(np.ones(len(values) - 2), [1e-6, 1e-7])[:, None]
    ni, co = (job.moving.index(f"layered/{m}1.occupancy") for m in ("Ni", "Co"))
    spread[co] = -spread[ni]
    arrays = {"values": values, "covariance": spread @ spread.T,
              "reciprocal": tensor_of(model.phases[0].cell)[None]}  # fmt: skip
    found, covariance = job.found(arrays)
    named = dict(zip(model.parameters, found, strict=True))
    assert named["mixing"] == pytest.approx(0.12)
    assert named["layered/Ni1.occupancy"] == pytest.approx(0.62)
    errors = dict(zip(model.variables, np.sqrt(np.diag(covariance)), strict=True))
    assert errors["mixing"] == pytest.approx(np.linalg.norm(spread[ni]))
    a0 = tensor_of(model.phases[0].cell)[0] + 1e-4
    assert named["layered/a"] == pytest.approx(np.sqrt(4 / (3 * a0)))
    assert errors["layered/a"] == pytest.approx(named["layered/a"] / (2 * a0) * np.linalg.norm(spread[-2]))


def test_what_gsas2_cannot_be_given_is_refused(folder: Path) -> None:
    import dataclasses

    base = files.model(folder)
    pawley = dataclasses.replace(base.phases[0], intensities="pawley")
    cases: dict[str, Any] = {
        "restraints": base.copy().restrain("layered/size", 0.2, 0.01),
        "Pawley intensities of layered": Model([pawley], base.instrument, 2),
        "a margin": Model(base.phases, base.instrument, 2, margin=0.5),
        "origin choice 1": Model(
            [Phase("spinel", "F d -3 m:1", GROUPS["cubic"][1], (Site("Ni", "Ni", 0.625, 0.625, 0.625),))],
            base.instrument,
        ),
    }
    for reason, model in cases.items():
        with pytest.raises(ConfigError, match=reason):
            Job(seen(model), model)
    oblique = Model([phase("triclinic")], base.instrument).fix("triclinic/b")
    with pytest.raises(ConfigError, match="all or none"):
        Job(seen(oblique), oblique)


def test_weights_gsas2_does_not_have_are_refused(folder: Path) -> None:
    model = files.model(folder)
    with pytest.raises(ConfigError, match="has no weights 'calculated'"):
        Gsas2().fit(seen(model), model, Options(weights="calculated"))


def test_files_hold_patterns_and_instrument(folder: Path, tmp_path: Path) -> None:
    import dataclasses

    model = files.model(folder)
    corrected = dataclasses.replace(seen(model), polarization_corrected=True)
    Job(corrected, model).write(tmp_path)
    instrument = Instrument.from_instprm(tmp_path / "instrument.instprm")
    # a pattern without polarisation has the factor (1 - P) cos² 2θ + P = 1
    assert (instrument.polarization, instrument.U) == (1.0, 30.0)
    with np.load(tmp_path / "patterns.npz") as arrays:
        assert arrays["intensity"].shape == (2, 100)


def test_histograms_have_names_of_their_own(folder: Path) -> None:
    import dataclasses

    model = files.model(folder)
    twice = dataclasses.replace(seen(model), names=("raw/x.xye", "other/x.xye"))
    assert Job(twice, model).names == ["x_0", "x_1"]


def test_curves_come_back_where_they_were(folder: Path) -> None:
    model = files.model(folder)
    observed = observations(files.patterns(folder, 1), model)
    job = Job(observed, model)
    kept = np.arange(len(observed.two_theta)) % 7 != 0  # the others were not measured
    curve = job.on_axis(observed.two_theta[kept], observed.two_theta[kept] * 2)
    np.testing.assert_allclose(curve[kept], observed.two_theta[kept] * 2)
    assert np.isnan(curve[~kept]).all()
