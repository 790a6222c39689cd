from __future__ import annotations

from pathlib import Path

from benchmarks import precision_clocks, precision_features, precision_rixs, precision_xas, precision_xrd


def test_quantities_have_names_of_their_own() -> None:
    modules = (precision_xrd, precision_xas, precision_clocks, precision_rixs, precision_features)
    names = [name for module in modules for name in module.QUANTITIES]
    assert len(names) == len(set(names))


def test_files_of_adress_say_their_numbers(data_dir: Path) -> None:
    image, events, flux = precision_features.adress(data_dir)
    assert image.value == image.limit
    assert events.value.startswith("4140, 100, 67.79, ")
    assert "cannot be told from zero" in flux.value
