"""Text as HTML: escaping, tables, and the little markdown that our own tables are written in.

Whatever comes out of a record (names, errors, versions) passes `escape` here; there is no other way into the page.
"""

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

NONE = "–"  # a value that is not there


def escape(value: object) -> str:
    """Any value as the text of an element, or of a quoted attribute."""
    return html.escape(str(value))


def embedded_json(value: Any) -> str:
    """JSON for a `<script type="application/json">`: no `<` is left in it, so no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def as_html(markdown: str, *, title: str) -> str:
    """The markdown of our tables as HTML: paragraphs, lists, pipe tables, `code`, *em*, **strong**, <br>; no more.

    Args:
        markdown: Blocks with blank lines between them. A paragraph right before a table becomes its caption.
        title: What the tables show; the name of the regions that they scroll in.
    """
    parts: list[str] = []
    caption: list[str] = []  # the paragraph before, if any
    for lines in (block.splitlines() for block in re.split(r"\n\s*\n", markdown.strip())):
        if lines and lines[0].startswith("|"):
            parts.append(scrolling(_pipe_table(lines, *caption), title=title))
            caption = []
            continue
        parts += [f"<p>{text}</p>" for text in caption]
        caption = []
        if all(line.startswith("- ") for line in lines):
            parts.append("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>")
        else:
            caption = [_inline(" ".join(lines))]
    return "\n".join([*parts, *(f"<p>{text}</p>" for text in caption)])


def scrolling(table: str, *, title: str) -> str:
    """A table in a region of its own, which scrolls sideways and can be scrolled by keyboard."""
    return f'<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0">\n{table}\n</div>'


def pairs_table(pairs: Iterable[tuple[object, object]], *, caption: str) -> str:
    """A table of names and values."""
    rows = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>\n' for k, v in pairs)
    return f"<table>\n<caption><span>{escape(caption)}</span></caption>\n<tbody>\n{rows}</tbody>\n</table>"


def _pipe_table(lines: Sequence[str], caption: str = "") -> str:
    header, align, *rows = (_cells(line) for line in lines)
    classes = [' class="number"' if cell.endswith(":") else "" for cell in align]

    def row(cells: Sequence[str], tag: str) -> str:
        made = (f"<{tag}{kind}>{_inline(cell)}</{tag.split()[0]}>" for cell, kind in zip(cells, classes, strict=True))
        return f"<tr>{''.join(made)}</tr>\n"

    head, body = row(header, 'th scope="col"'), "".join(row(cells, "td") for cells in rows)
    above = f"<caption><span>{caption}</span></caption>\n" if caption else ""
    return f"<table>\n{above}<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table>"


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", inside)]


def _inline(text: str) -> str:
    """Escaped first: the elements put in here, which do nothing but look, are the only markup."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"\*(\w[^*]*)\*", r"<em>\1</em>", text).replace("&lt;br&gt;", "<br>")
