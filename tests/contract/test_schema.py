from __future__ import annotations

import json
from pathlib import Path

from beamline import cli, config

SCHEMA = Path(__file__).parents[2] / "docs/beamtime.schema.json"


def test_the_schema_in_the_docs_is_current() -> None:
    current = json.dumps(config.schema(), indent=2, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text() == current, "redoxlight check --schema > docs/beamtime.schema.json"


def test_every_key_says_what_it_is_for() -> None:
    for name, table in config.schema()["$defs"].items():
        for key, field in table.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"


def test_the_template_of_the_installed_techniques_is_right(tmp_path: Path) -> None:
    path = tmp_path / "beamtime.toml"
    assert cli.main(["init", str(path)]) == 0
    problems: list[str] = []
    list(config._measurements(tmp_path, config._parse(path), problems))
    # Nothing but the files it cannot know is missing.
    assert all("which is missing" in problem for problem in problems), problems
