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
        "link_mixing": "xrd.site_links:link_mixing",
        "link_tetrahedral": "xrd.site_links:link_tetrahedral",
        "read_mask": "xrd.masks:read_mask",
        "refine": "xrd.refinement:refine",
        "refine_series": "xrd.refinement:refine_series",
        "simulate": "xrd.simulate",
        "figures": "xrd.figures",
    },
)

if TYPE_CHECKING:
    from calibration.instrument import Instrument as Instrument
    from xrd import figures as figures
    from xrd import simulate as simulate
    from xrd.integration import Integrator as Integrator
    from xrd.integration import integrate as integrate
    from xrd.masks import read_mask as read_mask
    from xrd.models import Background as Background
    from xrd.models import Hump as Hump
    from xrd.models import Model as Model
    from xrd.phases import Phase as Phase
    from xrd.phases import Site as Site
    from xrd.refinement import calculate as calculate
    from xrd.refinement import refine as refine
    from xrd.refinement import refine_series as refine_series
    from xrd.site_links import link_mixing as link_mixing
    from xrd.site_links import link_tetrahedral as link_tetrahedral
