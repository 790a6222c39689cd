"""Constants of the photoelectron: k² = ETOK (E - E0), with k in 1/angstrom and energies in eV."""

from __future__ import annotations

# 2 mₑ / ħ² in 1/(eV angstrom²), CODATA 2018
ETOK = 0.26246842396479836
