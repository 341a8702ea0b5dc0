"""What the README says is there, is there."""

import ast
import re
from pathlib import Path

import lab_records
import pytest

from rtlab.cli import Verb
from rtlab.reporting.markup import as_markdown
from rtlab.reporting.tables import KNOWN, replace_block, tables
from rtlab.reporting.tables import README as HERE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HIDDEN = {"__init__.py", "__main__.py"}


def listed_files():
    """Paths in the file tree, from its indentation."""
    tree = re.search(r"```\n(rtlab/\n.*?)```", CONTRIBUTING, re.DOTALL).group(1)
    folders = []
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name]
        if not name.endswith("/"):
            yield "".join(folders)


def test_the_tree_lists_every_module_and_no_other():
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "rtlab").rglob("*.py") if path.name not in HIDDEN}
    assert set(listed_files()) == there


def test_the_readme_is_short_and_lists_every_package():
    assert len(README.splitlines()) <= 150
    there = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "rtlab").rglob("__init__.py")}
    assert set(re.findall(r"^(rtlab/\w*/?)\s", README, re.MULTILINE)) == there


def test_the_readme_stays_short_when_the_study_of_the_evidence_is_there():
    text = README
    for block in tables(lab_records.evidence()):
        text = replace_block(text, block.name, as_markdown(block)) if block.name in HERE else text
    assert len(text.splitlines()) <= 150


def test_the_readme_holds_a_choice_and_two_tables_and_the_results_all_others():
    results = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    for text, names in ((README, {*HERE, "choice"}), (results, {*KNOWN} - {*HERE, "choice"})):
        assert set(re.findall(r"^<!-- rtlab:([\w-]+) -->$", text, re.MULTILINE)) == names
    assert "results/figures/headline.svg" in README


def test_the_table_lists_every_verb_and_no_other():
    verbs = {verb.__name__.lower() for verb in Verb.__args__}
    assert set(re.findall(r"^\| `rtlab (\w+)` \|", README, re.MULTILINE)) == verbs


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("source", python_blocks())
def test_the_library_example_parses_and_names_what_is_there(source):
    import rtlab

    names = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rtlab"
    }
    assert names
    assert names <= set(rtlab.__all__)


def test_tox_runs_what_the_readme_says():
    environments = set(re.findall(r"^\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text(), re.MULTILINE))
    assert set(re.findall(r"tox -e (\w+)", README)) <= environments
