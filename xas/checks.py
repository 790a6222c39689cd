"""Whether the libraries absorption stands on work here, for ``redoxlight doctor``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from beamline.doctor import Finding
from xas._larch import calling_larch

_NIO = """\
data_NiO
_cell_length_a 4.177
_cell_length_b 4.177
_cell_length_c 4.177
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Ni Ni 0 0 0
O O 0.5 0.5 0.5
"""


def feff() -> Finding:
    """Import larch and let FEFF calculate the first shell of NiO: six O at a/2."""
    with calling_larch():
        import larch

    from xas.scattering import feff as calculate

    with tempfile.TemporaryDirectory() as folder:
        cif = Path(folder, "NiO.cif")
        cif.write_text(_NIO)
        first = calculate(cif, "Ni", radius=3.0).paths[0]
    if (first.atoms, first.degeneracy) != (("O",), 6.0) or abs(first.reff - 4.177 / 2) > 1e-3:
        text = f"finds {first.degeneracy:g} {first.atoms} at {first.reff} angstrom around Ni in NiO"
        return Finding("FEFF", "broken", text, "pip install --force-reinstall xraylarch")
    return Finding("FEFF", "ok", f"runs (larch {larch.__version__})")
