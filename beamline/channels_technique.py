"""How ``beamtime.toml`` and the command know channels; nothing heavy is loaded here."""

from __future__ import annotations

from beamline.techniques import Technique

TECHNIQUE = Technique(
    name="channels",
    title="operando channels",
    measurement="beamline.channels_config:ChannelSource",
    recipe="beamline.channels_config:recipe",
    template="beamline.channels_config:TEMPLATE",
    figures={"channels": "beamline.channels_figures:overview"},
    demo="beamline.channels_demo:run",
    compare="beamline.channels_demo:compare",
)
