"""Whether the libraries diffraction stands on work here, for ``redoxlight doctor``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from beamline.doctor import Finding
from beamline.errors import ConfigError, FitError
from xrd import gsas2_installation as gsas2


def pyfai() -> Finding:
    """Integrate a small frame of one value: every bin must have it."""
    import numpy as np
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    integrator = AzimuthalIntegrator(dist=0.1, poni1=0.002, poni2=0.002, pixel1=1e-4, pixel2=1e-4)
    result = integrator.integrate1d(
        np.full((40, 40), 7.0), 10, unit="2th_deg", method=("no", "histogram", "cython"),
        correctSolidAngle=False,
    )  # fmt: skip
    if not np.allclose(result.intensity, 7.0):
        return Finding("pyFAI", "broken", "integrates a flat frame wrongly", "pip install -U pyFAI")
    return Finding("pyFAI", "ok", "integrates")


def gsas() -> Finding:
    """Look for GSAS-II, which only refinements with engine gsas2 need."""
    try:
        found = gsas2.find()
    except ConfigError as error:
        return Finding("GSAS-II", "broken", f"{error.subject} {error.problem}", error.remedy)
    if found is None:
        return Finding("GSAS-II", "missing", "is not installed; our own refinements do without it")
    return Finding("GSAS-II", "ok", f"is in {found.folder or found.python}")


def gsas_runs() -> Finding:
    """Start GSAS-II in its process, where its compiled parts have to be there."""
    found = gsas()
    installation = gsas2.find() if found.state == "ok" else None
    if installation is None:
        return found
    with tempfile.TemporaryDirectory(prefix="redoxlight-gsas2-") as folder:
        try:
            number = gsas2.version(installation, Path(folder))
        except FitError as error:
            return Finding("GSAS-II", "broken", error.problem, error.remedy)
    return Finding("GSAS-II", "ok", f"starts, version {number}")
