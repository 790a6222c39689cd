"""What mRIXS contributes to the common ground; nothing heavy is loaded here."""

from __future__ import annotations

from beamline.techniques import Technique

TECHNIQUE = Technique(
    name="rixs",
    title="mRIXS",
    measurement="rixs.measurement:RixsMeasurement",
    recipe="rixs.measurement:recipe",
    template="rixs.measurement:TEMPLATE",
    figures={
        "rixs.map": "rixs.figures:overview",
        "rixs.loss_map": "rixs.figures:loss_view",
        "rixs.cut": "rixs.figures:cut",
        "rixs.feature": "rixs.figures:feature",
        "rixs.comparison": "rixs.states:comparison",
    },
    gallery="rixs.states:gallery",
    commands={
        "rixs": "rixs.cli:rixs",
        "window": "rixs.cli:window",
        "rixs-loss": "rixs.cli:loss",
        "rixs-compare": "rixs.cli_states:rixs_compare",
        "calibrate excitation": "calibration.cli:excitation",
        "calibrate emission": "rixs.cli:calibrate_emission",
    },
    demo="rixs.demo:run",
    compare="rixs.demo:compare",
)
