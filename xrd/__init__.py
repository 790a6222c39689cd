"""High-energy diffraction: from detector frames to patterns, cells and phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "Integrator": "xrd.integration:Integrator",
        "integrate": "xrd.integration:integrate",
        "read_mask": "xrd.masks:read_mask",
        "simulate": "xrd.simulate",
        "figures": "xrd.figures",
    },
)

if TYPE_CHECKING:
    from xrd import figures as figures
    from xrd import simulate as simulate
    from xrd.integration import Integrator as Integrator
    from xrd.integration import integrate as integrate
    from xrd.masks import read_mask as read_mask
