from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pyFAI.calibrant import CALIBRANT_FACTORY

from beamline.errors import CalibrationError
from calibration.calibrants import find_calibrant

LAB6 = """\
data_LaB6
_cell_length_a 4.156826
_cell_length_b 4.156826
_cell_length_c 4.156826
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
La La 0 0 0
B B 0.1975 0.5 0.5
"""


def test_the_spacings_of_ceria_are_those_of_its_cell() -> None:
    """Tables of ceria have been wrong here and there: all of them against a / √(h² + k² + l²), SRM 674b."""
    ours = np.array(find_calibrant("CeO2", 0.1173).spacings[:200])
    n = (5.411651 / ours) ** 2
    np.testing.assert_allclose(n, np.round(n), atol=2e-4)
    allowed = {
        h * h + k * k + l * l
        for h in range(30)
        for k in range(30)
        for l in range(30)  # noqa: E741 - Miller's name
        if h % 2 == k % 2 == l % 2 and h + k + l
    }
    assert np.round(n).astype(int).tolist() == sorted(allowed)[:200]


@pytest.mark.parametrize("name", sorted(CALIBRANT_FACTORY.keys()))
def test_every_calibrant_of_pyfai_is_there(name: str) -> None:
    ours = find_calibrant(name.upper(), 0.2)
    assert ours.name == name
    assert len(ours.spacings) > 1
    assert (np.diff(ours.spacings) < 0).all()


def test_a_cif_gives_the_rings_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "LaB6.cif"
    path.write_text(LAB6)
    ours = find_calibrant(path, 0.4)
    table = find_calibrant("LaB6_SRM660c", 0.4)
    assert ours.name == "LaB6"
    # The strong rings are all there; weak ones may be left out, none is added.
    np.testing.assert_allclose(ours.spacings[:8], table.spacings[:8], rtol=1e-5)
    nearest = np.min(np.abs(np.subtract.outer(ours.spacings, table.spacings)), axis=1)
    inside = np.array(ours.spacings) > table.spacings[-1]
    assert (nearest[inside] < 1e-4).all()


def test_angles_follow_bragg() -> None:
    ours = find_calibrant("Si", 0.5)
    for angle, d in zip(ours.two_theta(0.5), ours.spacings, strict=False):
        assert 2 * d * math.sin(angle / 2) == pytest.approx(0.5)
    assert max(ours.two_theta(0.5, math.radians(20))) < math.radians(20)


@pytest.mark.parametrize(
    ("text", "said"), [("", "cannot be read"), ("data_x\n_cell_length_a oops\n", "no cell|cannot be read")]
)
def test_a_cif_without_a_structure_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.cif"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=said):
        find_calibrant(path, 0.4)
    with pytest.raises(CalibrationError, match=r"missing\.cif"):
        find_calibrant(tmp_path / "missing.cif", 0.4)
