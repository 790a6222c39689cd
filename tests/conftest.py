"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the shared measurements; without it the test skips, or fails where data are required."""
    folder = os.environ.get("REDOXLIGHT_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = "REDOXLIGHT_DATA does not name the folder of shared measurements"
    if os.environ.get("REDOXLIGHT_REQUIRE_DATA"):
        pytest.fail(reason)
    pytest.skip(reason)
