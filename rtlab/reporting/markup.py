"""Tables as values, and how they are written: markdown, a terminal's text, HTML.

Whatever comes out of a record (names, errors, versions) passes `clean` and the escape of its form here, so there is
no other way into a file or onto a screen.
"""

import html
import json
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from tabulate import tabulate

from rtlab.reporting.wording import plural
from rtlab.values import Json, visible
from rtlab.values import clean as clean  # what all of reporting takes from here

Form = Literal["markdown", "text", "html"]
WIDTH = 120
PAIR = ("what", "value")  # titles of a table of facts


class Span(NamedTuple):
    """A part of a text that stands out, or a line's end."""

    text: str
    kind: Literal["strong", "em", "line"]


Text: TypeAlias = "str | Sequence[str | Span]"
LINE = Span("", "line")
_SPANS: Mapping[Form, Mapping[str, str]] = {
    "markdown": {"strong": "**{}**", "em": "*{}*", "line": "<br>"},
    "text": {"strong": "{}", "em": "{}", "line": "; "},
    "html": {"strong": "<strong>{}</strong>", "em": "<em>{}</em>", "line": "<br>"},
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with what stands above and below it; without rows it is these alone.

    Attributes:
        caption: Where its numbers come from.
        titles: Of its columns.
        texts: Which of them hold texts; numbers are aligned to the right.
        rows: A cell for each column.
        notes: What else a reader has to know.
    """

    caption: Text = ""
    titles: tuple[str, ...] = ()
    texts: Collection[str] = ()
    rows: tuple[tuple[Text, ...], ...] = ()
    notes: tuple[Text, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Block:
    """What stands under one heading, or between one pair of a file's markers.

    Attributes:
        name: The markers' name.
        title: The heading.
        tables: One for each place.
        nothing: What is said where there is none.
        picture: What stands above the tables in markdown, under the heading, and neither without tables: a file's place
            beside the results' README.md, and what it shows.
        listing: Lines of a terminal, which stand above the tables as they are.
    """

    name: str = ""
    title: str
    tables: tuple[Table, ...] = ()
    nothing: str = ""
    picture: tuple[str, str] | None = None
    listing: tuple[Text, ...] = ()


def escape(value: object) -> str:
    """Any value as the text of an HTML element, or of a quoted attribute."""
    return html.escape(clean(value))


def written(text: Text, form: Form) -> str:
    """A text in one of the three forms."""
    if isinstance(text, str):
        return _as(text, form)
    return "".join(
        _SPANS[form][part.kind].format(_as(part.text, form)) if isinstance(part, Span) else _as(part, form)
        for part in text
    )


def _as(text: str, form: Form) -> str:
    # Blanks at the ends of a part separate it from the next one.
    kept = f"{' ' * text.startswith(' ')}{clean(text)}{' ' * (text.endswith(' ') and bool(text.strip()))}"
    if form == "html":
        return html.escape(kept)
    if form == "markdown":  # no cell ends in it, no element, link or emphasis begins
        return re.sub(r"([|*`\\~]|\](?=[(\[:]))", r"\\\1", kept).replace("<", "&lt;")
    return kept


def wrapped(text: str) -> str:
    """A paragraph in lines that fit a terminal; to markdown it is the same paragraph."""
    return textwrap.fill(text, width=WIDTH, break_long_words=False, break_on_hyphens=False)


def as_markdown(block: Block) -> str:
    """A block as markdown; tables are aligned, so they read well as they are."""
    above = ""
    if block.tables and block.picture is not None:
        path, text = block.picture
        above = f"## {block.title}\n\n![{text}]({path})\n\n"
    return above + _plain(block, "markdown")


def as_text(blocks: Iterable[Block], *notes: str) -> str:
    """The blocks that have something to show, under their headings, for a terminal."""
    shown = [f"## {block.title}\n\n{_plain(block, 'text')}" for block in blocks if block.tables or block.listing]
    return "\n\n".join([*shown, *map(wrapped, notes)]) if shown else "No records yet."


def _plain(block: Block, form: Form) -> str:
    lines = [written(line, "text") for line in block.listing]
    if lines and form == "markdown":
        lines = ["```", *(line.replace("```", "'''") for line in lines), "```"]
    parts = ["\n".join(lines)] if lines else []
    for table in block.tables:
        parts += [wrapped(written(table.caption, form))] if table.caption else []
        parts += [_pipes(table, form)] if table.rows else []
        parts += [wrapped(written(note, form)) for note in table.notes]
    return "\n\n".join(parts) or wrapped(block.nothing)


def _pipes(table: Table, form: Form) -> str:
    lines = [[*table.titles], *([written(c, form) for c in row] for row in table.rows)]
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    # A table of long texts, as that of the claims, is not filled up with blanks.
    widths = [width if max(widths) <= WIDTH else 1 for width in widths]
    signs = [(">", "", ":") if title not in table.texts else ("<", ":", "") for title in table.titles]
    lines.insert(1, [f"{left}{'-' * max(2, w - 1)}{right}" for (_, left, right), w in zip(signs, widths, strict=True)])
    formats = [f"{{:{side}{width}}}" for (side, _, _), width in zip(signs, widths, strict=True)]
    return "\n".join(f"| {' | '.join(f.format(c) for f, c in zip(formats, line, strict=True))} |" for line in lines)


def simple(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of texts for a terminal, in which columns of numbers are aligned to the right."""
    columns = list(zip(*(row.values() for row in rows), strict=True))
    sides = [
        "right" if all(re.fullmatch(r"[\d,.]+", cell) for cell in cells) and number else "left"
        for number, cells in enumerate(columns)
    ]
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True, colalign=sides)


def as_html(block: Block, *, most: int, rest: str = "in the results' README.md") -> str:
    """A block as HTML, without its heading.

    Args:
        block: What to write.
        most: Rows that are shown of each table; what is left out is said.
        rest: Where that is.
    """
    lines = "\n".join(html.escape(written(line, "text")) for line in block.listing)
    parts = [f"<pre>{lines}</pre>"] if lines else []
    for table in block.tables:
        left_out = len(table.rows) - most
        notes = [f"{plural(left_out, 'more row')} {rest}."] if left_out > 0 else []
        if table.rows:
            parts.append(_table(table, most, block.title))
        elif table.caption:
            parts.append(f"<p>{written(table.caption, 'html')}</p>")
        parts += [f"<p>{written(note, 'html')}</p>" for note in (*notes, *table.notes)]
    return "\n".join(parts) or f"<p>{escape(block.nothing)}</p>"


def _table(table: Table, most: int, title: str) -> str:
    """A table in a region of its own, which scrolls sideways and can be scrolled by keyboard."""
    kinds = [' class="number"' if title not in table.texts else "" for title in table.titles]

    def row(cells: Iterable[str], tag: str, more: str = "") -> str:
        made = (f"<{tag}{more}{kind}>{cell}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(made)}</tr>\n"

    head = row(map(escape, table.titles), "th", ' scope="col"')
    body = "".join(row((written(cell, "html") for cell in cells), "td") for cells in table.rows[:most])
    caption = f"<caption><span>{written(table.caption, 'html')}</span></caption>\n" if table.caption else ""
    inside = f"<table>\n{caption}<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f'<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0">\n{inside}\n</div>'


def embedded_json(value: Json) -> str:
    """JSON for a `<script type="application/json">`: no `<` is left in it, so no text in it can end the element.

    The script shows its texts as they are, so they are made `visible` here.
    """
    text = json.dumps(_seen(value), allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _seen(value: Json) -> Json:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(name): _seen(part) for name, part in value.items()}
    return [_seen(part) for part in value] if isinstance(value, list | tuple) else value
