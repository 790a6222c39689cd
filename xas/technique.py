"""What absorption contributes to the common ground; nothing heavy is loaded here."""

from __future__ import annotations

from beamline.techniques import Technique

TECHNIQUE = Technique(
    name="xas",
    title="X-ray absorption",
    measurement="xas.measurement:XasMeasurement",
    recipe="xas.measurement:recipe",
    template="xas.measurement:TEMPLATE",
    figures={"xas.scans": "xas.figures:scans_overview", "xas.exafs": "xas.figures:exafs_overview"},
    commands={
        "xas": "xas.cli:reduce",
        "fit": "xas.cli:fit",
        "calibrate mono": "calibration.mono_cli:mono",
    },
    full_checks={"FEFF": "xas.checks:feff"},
    demo="xas.demo:run",
    compare="xas.demo:compare",
)
