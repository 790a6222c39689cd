"""The table of one source of channels."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import beamline
from beamline.channels_config import ChannelSource


def test_options_are_those_stated_and_the_beamtimes_zone() -> None:
    source = ChannelSource.model_validate({"file": "cell.mpt", "reference": "Li/Li+"})
    assert source.options("America/Chicago") == {"timezone": "America/Chicago", "reference": "Li/Li+"}


def test_an_own_zone_goes_first() -> None:
    source = ChannelSource(file="cell.mpt", timezone="UTC", in_situ="no", units={"I": "mA"})
    assert source.options("America/Chicago") == {"timezone": "UTC", "in_situ": "no", "units": {"I": "mA"}}


def test_its_clock_is_a_clock() -> None:
    source = ChannelSource.model_validate({"file": "c", "clock": {"offset": "95.2s", "offset_error": 0.1}})
    assert source.to_clock() == beamline.Clock("95.2s", offset_error=0.1)


@pytest.mark.parametrize(
    "table", [{}, {"file": ""}, {"file": "c", "zone": "UTC"}, {"file": "c", "in_situ": "maybe"}]
)
def test_wrong_tables_are_refused(table: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ChannelSource.model_validate(table)
