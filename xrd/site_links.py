"""Occupancies that are one number: Li/Ni exchange of a layered oxide, the metal on tetrahedra of a spinel.

How much of a phase there is (its scale) and how its metal is spread over its sites are two things. A
spinel-like phase of 3.5 mol% of the metal may have any part of that on tetrahedra; only in an ordered AB2O4
it is a third.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline.errors import ConfigError
from xrd import layered
from xrd.layered import ALKALI, METALS
from xrd.phases import Phase, Site, multiplicity

if TYPE_CHECKING:
    from xrd.models import Model


def link_mixing(model: Model, name: str, metal: str = "Ni") -> str:
    """Make one parameter, ``phase/mixing``, of the metal on the alkali's site and the alkali it pushed out.

    The site of the alkali keeps its total; so does, where the alkali has a site in the metal layer, what goes
    there. Free the parameter or not, as others.

    Raises
    ------
    ConfigError
        The phase is no layered oxide, or has no site for the metal in the alkali layer.
    """
    phase = _phase(model, name)
    found = layered.layers(phase)
    if found is None:
        raise ConfigError(f"phase {name!r}", "is no layered oxide on hexagonal axes", "tie the sites by hand")
    alkali = _site(phase, found.alkali, ALKALI, "alkali in its own layer")
    there = _site(phase, found.alkali, {metal}, f"{metal} in the alkali layer")
    home = _site(phase, found.metal, {metal}, f"{metal} in the metal layer")
    parameter = f"{name}/mixing"
    model.add(parameter, there.occupancy, 0.0, 0.5)
    model.tie(f"{name}/{there.label}.occupancy", parameter)
    model.tie(f"{name}/{alkali.label}.occupancy", parameter, -1.0, alkali.occupancy + there.occupancy)
    model.tie(f"{name}/{home.label}.occupancy", parameter, -1.0, home.occupancy + there.occupancy)
    pushed = [s for s in phase.sites if s.label in found.metal and s.element in ALKALI]
    if pushed:
        offset = pushed[0].occupancy - there.occupancy
        model.tie(f"{name}/{pushed[0].label}.occupancy", parameter, 1.0, offset)
    return parameter


def link_tetrahedral(model: Model, name: str) -> str:
    """Make one parameter, ``phase/tetrahedral``, of the part of a spinel's metal that sits on tetrahedra.

    Every metal of the 16 octahedra takes part in its proportion; it needs a site (of occupancy 0, if nothing
    is there yet) on the 8 tetrahedra.

    Raises
    ------
    ConfigError
        The phase has no such pairs of sites.
    """
    phase = _phase(model, name)
    by_place = {
        (site.element, multiplicity(phase.space_group, (site.x, site.y, site.z))): site
        for site in phase.sites
        if site.element in METALS
    }
    metals = [element for element, places in by_place if places == 16]
    lacking = [element for element in metals if (element, 8) not in by_place]
    if not metals or lacking:
        what = f"no tetrahedral site for {', '.join(lacking)}" if lacking else "no metal on 16 octahedra"
        raise ConfigError(f"phase {name!r}", f"has {what}", "add the site with occupancy 0")
    totals = {e: 8 * by_place[e, 8].occupancy + 16 * by_place[e, 16].occupancy for e in metals}
    on_tetrahedra = sum(8 * by_place[e, 8].occupancy for e in metals)
    parameter = f"{name}/tetrahedral"
    model.add(parameter, on_tetrahedra / sum(totals.values()), 0.0, 1.0)
    for element, total in totals.items():
        model.tie(f"{name}/{by_place[element, 8].label}.occupancy", parameter, total / 8)
        model.tie(f"{name}/{by_place[element, 16].label}.occupancy", parameter, -total / 16, total / 16)
    return parameter


def _phase(model: Model, name: str) -> Phase:
    for phase in model.phases:
        if phase.name == name:
            return phase
    raise ConfigError(f"phase {name!r}", "is not in the model", ", ".join(p.name for p in model.phases))


def _site(phase: Phase, labels: tuple[str, ...], elements: frozenset[str] | set[str], what: str) -> Site:
    for site in phase.sites:
        if site.label in labels and site.element in elements:
            return site
    raise ConfigError(f"phase {phase.name!r}", f"has no site of {what}", "add it with occupancy 0")
