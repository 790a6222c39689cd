"""High-energy diffraction: from detector frames to patterns, cells and phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "Integrator": "xrd.integration:Integrator",
        "integrate": "xrd.integration:integrate",
        "cake": "xrd.cakes:cake",
        "sector": "xrd.cakes:sector",
        "find_mask": "xrd.masking:find_mask",
        "find_spots": "xrd.masking:find_spots",
        "group": "xrd.groups:group",
        "read_mask": "xrd.masks:read_mask",
        "stream": "xrd.streaming:stream",
        "sensor_absorption": "xrd.sensor:sensor_absorption",
        "simulate": "xrd.simulate",
        "figures": "xrd.figures",
        "frame_figures": "xrd.frame_figures",
    },
)

if TYPE_CHECKING:
    from xrd import figures as figures
    from xrd import frame_figures as frame_figures
    from xrd import simulate as simulate
    from xrd.cakes import cake as cake
    from xrd.cakes import sector as sector
    from xrd.groups import group as group
    from xrd.integration import Integrator as Integrator
    from xrd.integration import integrate as integrate
    from xrd.masking import find_mask as find_mask
    from xrd.masking import find_spots as find_spots
    from xrd.masks import read_mask as read_mask
    from xrd.sensor import sensor_absorption as sensor_absorption
    from xrd.streaming import stream as stream
