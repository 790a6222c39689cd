"""High-energy diffraction: from detector frames to patterns, cells and phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "Background": "xrd.models:Background",
        "Hump": "xrd.models:Hump",
        "Instrument": "calibration.instrument:Instrument",
        "Integrator": "xrd.integration:Integrator",
        "Model": "xrd.models:Model",
        "Phase": "xrd.phases:Phase",
        "Site": "xrd.phases:Site",
        "calculate": "xrd.refinement:calculate",
        "integrate": "xrd.integration:integrate",
        "cake": "xrd.cakes:cake",
        "sector": "xrd.cakes:sector",
        "find_mask": "xrd.masking:find_mask",
        "find_spots": "xrd.masking:find_spots",
        "group": "xrd.groups:group",
        "link_mixing": "xrd.site_links:link_mixing",
        "link_tetrahedral": "xrd.site_links:link_tetrahedral",
        "read_mask": "xrd.masks:read_mask",
        "stream": "xrd.streaming:stream",
        "refine": "xrd.refinement:refine",
        "refine_series": "xrd.refinement:refine_series",
        "sensor_absorption": "xrd.sensor:sensor_absorption",
        "simulate": "xrd.simulate",
        "figures": "xrd.figures",
        "frame_figures": "xrd.frame_figures",
    },
)

if TYPE_CHECKING:
    from calibration.instrument import Instrument as Instrument
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
    from xrd.models import Background as Background
    from xrd.models import Hump as Hump
    from xrd.models import Model as Model
    from xrd.phases import Phase as Phase
    from xrd.phases import Site as Site
    from xrd.refinement import calculate as calculate
    from xrd.refinement import refine as refine
    from xrd.refinement import refine_series as refine_series
    from xrd.sensor import sensor_absorption as sensor_absorption
    from xrd.site_links import link_mixing as link_mixing
    from xrd.site_links import link_tetrahedral as link_tetrahedral
    from xrd.streaming import stream as stream
