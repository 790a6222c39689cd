"""The forward model: its derivatives, and what it is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from calibration.instrument import Instrument
from tests.xrd.refinable import LAYERED, SPINEL, SYSTEMS, axis, calculator, phase_of
from xrd.broadening import stephens_matrix, stephens_terms
from xrd.models import Background, Hump, Model
from xrd.phases import Phase
from xrd.reflections import families

# Wide enough that no reflection ends within the pattern: ends of tails are steps, which have no derivative.
WIDE = Instrument(0.1173, U=300.0, V=-40.0, W=250.0, X=2.0, Y=40.0, Z=1.0, SHL=0.02, axial="exact")
LAB = Instrument(
    *(1.5406, 1.5444, 0.5, 0.02, 0.7, 0.0, 400.0, -60.0, 900.0, 20.0, 30.0, 2.0, 0.03, "bragg-brentano"),
    axial="exact",
)

Build = Callable[[], Model]


def _layered(**changes: object) -> Phase:
    return dataclasses.replace(LAYERED, scale=10.0, **changes)


def _everything() -> Model:
    model = Model([_layered()], WIDE, background=4)
    model.free("zero", "displacement", "absorption", "profile", "layered/*")
    return model.start({"zero": 0.01, "displacement_x": 300.0, "displacement_y": -200.0, "absorption": 0.6})


def _mixture() -> Model:
    spinel = dataclasses.replace(SPINEL, scale=0.5, size_mixing=0.3, strain_mixing=0.6)
    model = Model(
        [_layered(), spinel], WIDE, Background(3, (50.0, -5.0, 2.0), (Hump(4.0, 5e4, 8000.0, 40.0),))
    )
    model.free("background", "spinel/coordinates", "spinel/uiso", "spinel/occupancies")
    return model.tie("spinel/strain", "layered/strain", 2.0, 100.0)


def _uniaxial() -> Model:
    phase = _layered(
        size_model="uniaxial", strain_model="uniaxial", size_axial=0.05, strain_axial=3000.0, march=0.7
    )
    return Model([phase], WIDE, background=2).free("layered/march")


def _generalised(system: str) -> Build:
    return lambda: Model([phase_of(system, strain_model="generalised")], WIDE, background=2)


def _harmonics() -> Model:
    return Model([_layered(harmonics=4)], WIDE, background=2).start(
        {"layered/C2.0": 0.3, "layered/C4.0": -0.2, "layered/C4.1": 0.1}
    )


def _laboratory() -> Model:
    model = Model([phase_of("orthorhombic", scale=1e-3)], LAB, background=3)
    model.free("zero", "displacement", "profile", "orthorhombic/*")
    return model.start({"displacement": 80.0, "transparency": 0.01})


BUILDS: dict[str, Build] = {
    "everything": _everything,
    "mixture": _mixture,
    "uniaxial": _uniaxial,
    "harmonics": _harmonics,
    "laboratory": _laboratory,
    **{f"generalised {system}": _generalised(system) for system in SYSTEMS},
}


@pytest.mark.parametrize("name", BUILDS)
def test_derivatives_are_those_of_the_pattern(name: str) -> None:
    model = BUILDS[name]()
    two_theta = axis(20.0, 60.0, 400) if name == "laboratory" else axis(1.5, 9.0, 300)
    forward = calculator(model, two_theta)
    start = model.free_values()
    _, jacobian = forward.pattern(start)
    for i, variable in enumerate(model.variables):
        step = _strain_step(model, variable) or _step(variable, start[i])
        beside = []
        for factor in (-2, -1, 1, 2):
            moved = start.copy()
            moved[i] += factor * step
            beside.append(forward.pattern(moved)[0])
        # five-point rule: its own error is of fourth order
        numeric = (beside[0] - 8 * beside[1] + 8 * beside[2] - beside[3]) / (12 * step)
        scale = np.abs(numeric).max()
        assert scale > 0, variable
        assert np.abs(jacobian[i] - numeric).max() < 1e-6 * scale, variable


def _strain_step(model: Model, variable: str) -> float:
    """A step that changes the strain of no reflection by more than a thousandth; 0 of other variables."""
    name, _, key = variable.partition("/")
    if not (key.startswith("S") and key[1:].isdigit()):
        return 0.0
    phase = next(phase for phase in model.phases if phase.name == name)
    names = stephens_terms(phase.space_group)
    forms = stephens_matrix(phase.space_group, families(phase, 0.7).hkl)
    sums = forms @ [model.parameters[f"{name}/{term}"].value for term in names]
    return float(1e-3 / np.abs(forms[:, names.index(key)] / sums).max())


def _step(variable: str, value: float) -> float:
    key = variable.rpartition("/")[2]
    sizes = {"zero": 1e-4, "alpha": 4e-3, "beta": 4e-3, "gamma": 4e-3, "SHL": 1e-4}
    if key in ("a", "b", "c"):
        return 5e-5 * value
    if "." in key and key[-1] in "xyz":
        return 1e-4
    return sizes.get(key, 4e-3 * max(abs(value), 0.1))
