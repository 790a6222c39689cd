"""Layered oxides LiMO2 (R -3 m): where the metal is, and whether the oxygen goes with it.

Two origins are in use: Li on 3a (0, 0, 0), metal on 3b (0, 0, 1/2), oxygen at z about 0.2415; or metal on 3a,
Li on 3b, oxygen at about 0.2585. Both describe one structure. Mixed up, with Li and metal exchanged relative
to the oxygen, the metal would sit in the thicker of the two layers of octahedra, which no layered oxide of
this family has, and I(003)/I(104) would be 0.71 instead of 1.10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beamline.errors import ConfigError
from xrd.phases import Floats, Phase, Site, orbit, space_group

METALS = frozenset("Sc Ti V Cr Mn Fe Co Ni Cu Zn Al Mg Zr Nb Mo Ru Ir".split())  # noqa: SIM905
ALKALI = frozenset(("Li", "Na", "K"))
_ANIONS = frozenset(("O", "S", "Se"))


@dataclass(frozen=True)
class Layers:
    """The layers of a layered oxide.

    Attributes
    ----------
    metal, alkali
        Labels of the sites in the metal layer and in the alkali layer.
    metal_z
        z of the metal layer, 0 or 1/2.
    anion
        Label of the anion.
    metal_slab, alkali_slab
        Distance between the anion planes around the layers, in units of c.
    """

    metal: tuple[str, ...]
    alkali: tuple[str, ...]
    metal_z: float
    anion: str
    metal_slab: float
    alkali_slab: float


def layers(phase: Phase) -> Layers | None:
    """Return the layers of a phase, or None where it is no layered oxide on hexagonal axes."""
    if space_group(phase.space_group).number != 166 or phase.lattice != "hexagonal":
        return None
    cations: dict[float, list[Site]] = {0.0: [], 0.5: []}
    anions = []
    for site in phase.sites:
        x, y, z = (value % 1.0 for value in (site.x, site.y, site.z))
        if site.element in _ANIONS:
            anions.append(site)
        elif max(min(x, 1 - x), min(y, 1 - y)) < 1e-3:
            for plane in cations:
                if min(abs(z - plane), 1 - abs(z - plane)) < 1e-3:
                    cations[plane].append(site)
    metal = {
        plane: sum(s.occupancy for s in sites if s.element in METALS) for plane, sites in cations.items()
    }
    if len(anions) != 1 or not all(cations.values()) or max(metal.values()) < 0.5:
        return None
    at = max(metal, key=lambda plane: metal[plane])
    planes = np.sort(orbit(phase.space_group, (anions[0].x, anions[0].y, anions[0].z))[:, 2])
    slabs = {plane: 2 * _nearest(planes, plane) for plane in cations}
    other = 0.5 - at
    labels = {plane: tuple(s.label for s in sites) for plane, sites in cations.items()}
    return Layers(labels[at], labels[other], at, anions[0].label, slabs[at], slabs[other])


def check_origin(phase: Phase) -> None:
    """Refuse a layered oxide whose metal sits in the layer of the alkali.

    Raises
    ------
    ConfigError
        It does; the remedy says what to exchange.
    """
    found = layers(phase)
    if found is None or found.metal_slab < found.alkali_slab + 0.005:
        return
    anion = next(site for site in phase.sites if site.label == found.anion)
    raise ConfigError(
        f"phase {phase.name!r}",
        f"mixes two origins: with {found.anion} at z = {anion.z:g} the metal sits in the thicker layer, that "
        "of the alkali",
        f"exchange alkali and metal, or put {found.anion} at z = {0.5 - anion.z % 1.0:.4f}",
    )


def _nearest(planes: Floats, z: float) -> float:
    """Return the distance from a cation layer to the next anion plane, all its translates looked at."""
    levels = [(z + shift) % 1.0 for shift in (0.0, 1 / 3, 2 / 3)]
    apart = [abs((level - plane + 0.5) % 1.0 - 0.5) for level in levels for plane in planes]
    return float(min(apart))
