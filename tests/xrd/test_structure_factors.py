"""Structure factors and corrections, against sums written out one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from calibration.instrument import Instrument
from tests.xrd.refinable import LAYERED, SPINEL, SYSTEMS, axis, calculator, phase_of
from xrd import corrections, texture
from xrd.broadening import reciprocal
from xrd.models import Model
from xrd.phases import Phase, metric
from xrd.reflections import equivalents, families
from xrd.structure_factors import anomalous, geometry, scatterers, squared

WAVELENGTH = 0.1173


def _inputs(phase: Phase, hkl: Any) -> tuple[Any, ...]:
    s2 = np.einsum("ni,ij,nj->n", hkl, np.linalg.inv(metric(phase.cell)), hkl) / 4
    cos, sin = geometry(phase, hkl, np.array([(s.x, s.y, s.z) for s in phase.sites]))
    of = scatterers(phase, WAVELENGTH)
    occupancy, uiso = (np.array([getattr(s, name) for s in phase.sites]) for name in ("occupancy", "uiso"))
    return s2, cos, sin, of.element, of.coefficients, of.anomalous, occupancy, uiso


def _squared(phase: Phase, hkl: Any, plain: bool = False) -> np.ndarray[Any, Any]:
    out, by_site = np.zeros((2, len(hkl))), np.zeros((4, len(phase.sites), len(hkl)))
    kernel: Any = squared
    (kernel.py_func if plain else kernel)(*_inputs(phase, hkl), by_site, out)
    return out[0]


def _one_by_one(phase: Phase, hkl: Any) -> Any:
    """|F|² as the sum over every atom of the cell, the mean of Friedel mates."""
    import gemmi

    group = gemmi.find_spacegroup_by_name(phase.space_group)
    values = []
    for indices in hkl:
        d = gemmi.UnitCell(*phase.cell).calculate_d([int(i) for i in indices])
        total = []
        for sign in (1, -1):
            f = 0j
            for site in phase.sites:
                images = {
                    tuple(round(x % 1.0, 5) % 1.0 for x in op.apply_to_xyz([site.x, site.y, site.z]))
                    for op in group.operations()
                }
                factor = gemmi.Element(site.element).it92.calculate_sf(1 / (4 * d * d))
                factor += complex(*anomalous(site.element, WAVELENGTH))
                wave = sum(np.exp(2j * np.pi * sign * np.dot(indices, image)) for image in images)
                f += site.occupancy * factor * np.exp(-8 * np.pi**2 * site.uiso / (4 * d * d)) * wave
            total.append(abs(f) ** 2)
        values.append(np.mean(total))
    return np.array(values)


@pytest.mark.parametrize("phase", [LAYERED, SPINEL, phase_of("monoclinic")], ids=lambda p: p.name)
def test_the_square_is_that_of_all_atoms_of_the_cell(phase: Phase) -> None:
    hkl = families(phase, 1.2).hkl[:15]
    np.testing.assert_allclose(_squared(phase, hkl), _one_by_one(phase, hkl), rtol=1e-6)


def test_equivalents_are_equal_and_forbidden_ones_vanish() -> None:
    for system in SYSTEMS:
        phase = phase_of(system)
        hkl = families(phase, 1.0).hkl[5:6]
        same = _squared(phase, equivalents(phase, hkl)[0].astype(float))
        np.testing.assert_allclose(same, same[0], rtol=1e-9)
    assert _squared(LAYERED, np.array([[0.0, 0.0, 1.0]]))[0] < 1e-12


def test_the_wrong_origin_is_seen_in_003_over_104() -> None:
    hkl = np.array([[0, 0, 3], [1, 0, 4]], dtype=float)
    sites = tuple(dataclasses.replace(s, z=0.2585) if s.element == "O" else s for s in LAYERED.sites)
    right, wrong = (_squared(p, hkl) for p in (LAYERED, dataclasses.replace(LAYERED, sites=sites)))
    theta = np.arcsin(WAVELENGTH * np.sqrt(_inputs(LAYERED, hkl)[0]))
    lorentz = corrections.lorentz(np.degrees(2 * theta))[0] * [2, 6]
    ratio = [float(f[0] * lorentz[0] / (f[1] * lorentz[1])) for f in (right, wrong)]
    assert ratio == pytest.approx([1.10, 0.71], abs=0.01)


def test_compiled_and_plain_sums_agree() -> None:
    hkl = families(SPINEL, 1.5).hkl
    np.testing.assert_allclose(_squared(SPINEL, hkl), _squared(SPINEL, hkl, plain=True), rtol=1e-10)


def test_anomalous_scattering_can_be_given() -> None:
    given = dataclasses.replace(LAYERED, anomalous=(("Ni", -5.0, 2.0),))
    table = scatterers(given, WAVELENGTH)
    kind = table.element[[s.element for s in given.sites].index("Ni")]
    assert table.anomalous[kind].tolist() == [-5.0, 2.0]


def test_polarisation_is_half_and_half_in_the_laboratory() -> None:
    angle = np.array([20.0, 90.0])
    lab = corrections.polarization(angle, Instrument(1.54, polarization=0.5))[0]
    np.testing.assert_allclose(lab, 0.5 * (1 + np.cos(np.radians(angle)) ** 2))
    beam = corrections.polarization(angle, Instrument(0.1, polarization=0.99))[0]
    np.testing.assert_allclose(beam, 0.99 + 0.01 * np.cos(np.radians(angle)) ** 2)


def test_absorption_of_a_thin_cylinder_is_the_mean_path() -> None:
    # The mean chord of a circle is π R / 2 in the sum of both ways 16 R / 3π near the beam.
    value, _, slope = corrections.absorption(np.array([0.5]), 1e-4)
    assert value[0] == pytest.approx(np.exp(-1e-4 * 16 / (3 * np.pi)), rel=1e-6)
    assert slope[0] == pytest.approx(-16 / (3 * np.pi), rel=1e-3)


def test_texture_leaves_the_mean_over_all_directions() -> None:
    # Directions of a cubic crystal, by the reflections on a sphere: the mean of both textures is 1.
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(20000, 1, 3))
    cubic = phase_of("cubic")
    factor = texture.march_dollase(directions, (0, 0, 1), reciprocal(cubic.cell).a, 0.6)[0]
    assert factor.mean() == pytest.approx(1, abs=0.03)
    harmonic = dataclasses.replace(cubic, harmonics=6)
    columns = texture.harmonics(harmonic, directions[:, 0], cubic.cell, np.full(len(directions), 0.7))
    assert np.abs(columns.mean(axis=0)).max() < 0.05
    assert texture.harmonic_terms(harmonic) == ("C4.0", "C6.0")


def test_harmonics_are_the_same_for_equivalents() -> None:
    for system in SYSTEMS:
        phase = dataclasses.replace(phase_of(system), harmonics=4)
        images = equivalents(phase, [[1, 2, 3]])[0].astype(float)
        columns = texture.harmonics(phase, images, phase.cell, np.full(len(images), 0.9))
        np.testing.assert_allclose(columns, np.broadcast_to(columns[0], columns.shape), atol=1e-9)


def test_a_reflection_far_beyond_the_pattern_does_not_count() -> None:
    two_theta = axis(2.0, 6.0, 300)
    forward = calculator(Model([LAYERED], Instrument(WAVELENGTH), 1), two_theta).phases[0]
    values = Model([LAYERED], Instrument(WAVELENGTH), 1).values()
    position = forward.peaks(values, {}).position
    assert 2.0 < position.min() < position.max() < 6.0
