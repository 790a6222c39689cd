"""The common ground of redoxlight: data model, files, provenance, channels, recipes, command.

It knows no technique; `rixs`, `xrd` and `xas` build on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamline._lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__ = attach(
    __name__,
    {
        "read": "beamline.readers.registry:read",
        "save": "beamline.store:save",
        "join": "beamline.channels:join",
        "Clock": "beamline.clocks:Clock",
        "open": "beamline.store:open_result",
        "process": "beamline.processing:process",
        "replay": "beamline.replaying:replay",
        "validate": "beamline.model:validate",
        "simulate": "beamline.simulate",
    },
)

__all__ = ["Clock", "join", "open", "process", "read", "replay", "save", "validate"]

if TYPE_CHECKING:
    from beamline import simulate as simulate
    from beamline.channels import join as join
    from beamline.clocks import Clock as Clock
    from beamline.model import validate as validate
    from beamline.processing import process as process
    from beamline.readers.registry import read as read
    from beamline.replaying import replay as replay
    from beamline.store import open_result as open  # noqa: A004
    from beamline.store import save as save
