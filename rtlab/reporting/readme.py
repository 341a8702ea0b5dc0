"""The generated parts of a markdown file: what stands between a pair of markers, and nothing else."""

import re
from collections.abc import Iterable
from pathlib import Path

from rtlab.records import write_whole
from rtlab.reporting.kinds import TABLES
from rtlab.reporting.learning_curves import NAME
from rtlab.reporting.markup import Block, as_markdown, wrapped
from rtlab.reporting.tables import LEGEND, README

KNOWN = ("choice", NAME, "findings", *TABLES, "claims")


def replace_block(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers `<!-- rtlab:NAME -->` and `<!-- /rtlab:NAME -->` replaced.

    Raises:
        ValueError: If there is not exactly one such pair, in this order.
    """
    begin, end = _markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(
            f"the file must hold one {begin} and one {end} behind it; add the pair where the table belongs"
        )
    before, rest = text.split(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"


def skeleton() -> str:
    """What a results folder's README.md begins as: headings and markers, all else is generated."""
    there = {name: kind.title for name, kind in TABLES.items() if name not in README}
    titles = {"findings": "Findings"} | there | {"claims": "Claims"}
    parts = ["\n".join([f"## {title}\n", *_markers(name)]) for name, title in titles.items()]
    headed = "\n".join(_markers(NAME))  # with its heading within
    return "\n\n".join(["# Results", wrapped(LEGEND), headed, *parts]) + "\n"


def update(path: Path, blocks: Iterable[Block], *, check: bool) -> bool:
    """Rebuild what stands between the markers of blocks in a file, all or none, and tell whether it was stale.

    With `check` the file is left as it is.

    Raises:
        ValueError: If the file cannot be read, has no marker, one of nothing that is known, or half a pair.
    """
    by_name = {block.name: block for block in blocks}
    try:
        old = new = path.read_text(encoding="utf-8")
        there = dict.fromkeys(re.findall(r"<!-- /?rtlab:([\w-]+) -->", old))
        if not there:
            raise ValueError(f"it has no marker; add pairs such as {' and '.join(_markers('comparison'))}")
        for name in there:
            if name in by_name:
                new = replace_block(new, name, as_markdown(by_name[name]))
            elif name not in KNOWN:
                raise ValueError(f"it has a marker of {name}; there are {', '.join(KNOWN)}")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be updated: {error}") from error
    if new != old and not check:
        write_whole(path, new)
    return new != old


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- rtlab:{name} -->", f"<!-- /rtlab:{name} -->"
