"""What diffraction contributes to the common ground; nothing heavy is loaded here."""

from __future__ import annotations

from beamline.techniques import Technique

TECHNIQUE = Technique(
    name="xrd",
    title="high-energy diffraction",
    measurement="xrd.measurement:XrdMeasurement",
    recipe="xrd.measurement:recipe",
    template="xrd.measurement:TEMPLATE",
    figures={
        "xrd.patterns": "xrd.figures:overview",
        "xrd.cakes": "xrd.frame_figures:cake",
        "xrd.series": "xrd.refinement_figures:overview",
        "calibration.sectors": "calibration.figures:sectors",
    },
    commands={
        "integrate": "xrd.cli:integrate",
        "mask": "xrd.cli:find_mask",
        "refine": "xrd.refine_cli:refine",
        "calibrate geometry": "calibration.cli:geometry",
        "calibrate instrument": "calibration.cli:instrument",
        "calibrate gain": "calibration.cli:gain",
    },
    demo="xrd.demo:run",
    compare="xrd.demo:compare",
    checks={"pyFAI": "xrd.checks:pyfai", "GSAS-II": "xrd.checks:gsas"},
    full_checks={"GSAS-II": "xrd.checks:gsas_runs"},
)
