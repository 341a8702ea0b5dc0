"""A module imports only from rooms at or above its own level: data flow in one direction."""

import ast
from pathlib import Path

import pytest

import rtlab

PACKAGE = Path(rtlab.__file__).parent
LEVELS = {
    **dict.fromkeys(("values", "settings", "recipe", "methods", "experiment", "metrics", "statistics"), 0),
    **dict.fromkeys(("testbed", "environment", "hub", "writing", "cycles"), 0),
    **dict.fromkeys(("records", "matrix", "studies", "choice", "data", "architectures", "encoders"), 1),
    **dict.fromkeys(("tokens", "batches", "dataset_dict"), 2),
    **dict.fromkeys(("engines", "soundness"), 3),
    **dict.fromkeys(("ending", "over_ranks", "rank_endings", "preparing", "saved_models", "running"), 4),
    **dict.fromkeys(("choosing", "scheduling", "reporting"), 5),
    **dict.fromkeys(("exploring", "probing", "tokenizing", "tracking", "progress"), 5),
    **dict.fromkeys(("cli", "__main__"), 6),
}
ORACLE_NEVER_IMPORTS = {
    *("rtlab.batches", "rtlab.tokens"),
    *(
        f"rtlab.engines.{name}"
        for name in (
            *("attention", "capture", "dropout", "layouts", "native", "operations"),
            *("packing", "planning", "products", "reading", "state", "step", "svm", "vocabulary"),
        )
    ),
}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imports(path):
    """Full names of the rtlab modules that a source imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rtlab":
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] == "rtlab")


def room(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_upwards_only(path):
    level = LEVELS[room(path)]
    below = [name for name in imports(path) if LEVELS[name.split(".")[1]] > level]
    assert not below


def test_the_oracle_shares_no_code_with_what_it_checks():
    found = set(imports(PACKAGE / "engines" / "trainer.py"))
    assert found
    assert not [name for name in found if any(name.startswith(banned) for banned in ORACLE_NEVER_IMPORTS)]


def test_reporting_reads_records_only():
    """Reporting may not reach torch: it imports nothing of ours but records and what these are made of."""
    allowed = {
        "values",
        "settings",
        "recipe",
        "methods",
        "experiment",
        "metrics",
        "statistics",
        "testbed",
        "architectures",
    }
    allowed |= {"records", "choice", "reporting", "writing"}
    allowed |= {"matrix", "studies"}  # what a finding waits for is a part of a study
    for path in (PACKAGE / "reporting").rglob("*.py"):
        assert {name.split(".")[1] for name in imports(path)} <= allowed


def test_every_room_has_a_level():
    assert {room(path) for path in modules()} <= set(LEVELS)
