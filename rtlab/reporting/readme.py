"""The generated parts of a README: what stands between a pair of markers, and nothing else."""

from collections.abc import Mapping
from pathlib import Path

from rtlab.records import write_whole


def replace_block(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers `<!-- rtlab:NAME -->` and `<!-- /rtlab:NAME -->` replaced.

    Raises:
        ValueError: If there is not exactly one such pair, in this order.
    """
    begin, end = f"<!-- rtlab:{name} -->", f"<!-- /rtlab:{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(
            f"the file must hold one {begin} and one {end} behind it; add the pair where the table belongs"
        )
    before, rest = text.split(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"


def update_readme(path: Path, blocks: Mapping[str, str], *, check: bool) -> bool:
    """Rebuild generated blocks of a README, all or none of them.

    Args:
        path: The file.
        blocks: The name of each pair of markers, and what belongs between them.
        check: Whether to leave the file as it is.

    Returns:
        Whether the file was stale.

    Raises:
        ValueError: If the file is missing, or lacks a pair of markers; it is not changed.
    """
    try:
        old = new = path.read_text(encoding="utf-8")
        for name, block in blocks.items():
            new = replace_block(new, name, block)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be updated: {error}") from error
    if new != old and not check:
        write_whole(path, new)
    return new != old
