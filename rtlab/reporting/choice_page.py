"""The page of a choice: which way to take, what it costs and buys, and what that rests on, in one HTML file.

It needs no network and no script. Whatever comes out of a data set (names, classes, sentences) is escaped and made
visible where it is written. The same choice gives the same bytes.
"""

from collections.abc import Sequence
from html import escape as as_text
from typing import TYPE_CHECKING

from rtlab.choice import Choice, Mistake, Suspect, points
from rtlab.reporting.choice_text import answer, brief, measured, metric, saved, scored, strong
from rtlab.reporting.markup import LINE, PAIR, Block, Table, Text, as_html, written
from rtlab.reporting.page import figure, folded, page, section, static
from rtlab.reporting.wording import NONE, difference, duration, listed, plural, score, significant
from rtlab.values import one_line, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 200  # of a table; the choice as JSON holds all
TEXTS = (
    *("way", "status", "why it ended so", "run", "why", "what would tell"),
    *("sentence", "labelled as", "predicted", "probably", *PAIR),
)


def choice_page(choice: Choice) -> str:
    """The page of a choice as one HTML file."""
    cost, curves = _figures(choice)
    wrong = "Sentences of test that the recommended way labels wrongly, the surest first."
    unsure = "Labels that are probably wrong"
    doubted = "Training sentences whose labels are probably wrong, by models that were trained without them."
    left_out = [(brief(one.name), one.status, one_line(one.why)) for one in choice.left_out]
    sections = [
        ("answer", "Answer", _answer(choice)),
        ("cost", "What it costs", cost),
        ("curves", "What more sentences buy", curves),
        ("ways", "Ways", _ways(choice)),
        ("left-out", "Left out", _table("Left out", ("way", "status", "why"), left_out)),
        ("undecided", "Undecided", _undecided(choice)),
        ("data", "Data", "\n".join(_paragraph(one_line(warning)) for warning in choice.warnings)),
        ("mistakes", "Surest mistakes", _labelled("Surest mistakes", choice.mistakes, "predicted", wrong)),
        ("suspects", unsure, _labelled(unsure, choice.suspects, "probably", doubted)),
        ("facts", "Facts", _facts(choice)),
    ]
    made = {name: section(name, title, content) for name, title, content in sections if content}
    links = " ".join(f'<a href="#{name}">{title}</a>' for name, title, content in sections if content)
    figures = "".join(made.pop(name) for name in ("cost", "curves") if name in made)
    beside = f'<div class="figures">\n{figures}</div>\n' if figures else ""
    body = (
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f"<header>\n<h1>Which way to take</h1>\n{_about(choice)}\n"
        f'<nav aria-label="Sections">{links}</nav>\n</header>\n'
        f'<main id="content">\n{made.pop("answer")}{beside}{"".join(made.values())}</main>\n'
    )
    title = f"rtlab choose: {one_line(choice.dataset)}"
    return page(body, title=title, style=static("choice.css"))


def _paragraph(text: Text, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f"<p{style}>{written(text, 'html')}</p>"


def _command(line: str) -> str:
    return f"<pre><code>{as_text(visible(line))}</code></pre>"


def _table(title: str, titles: Sequence[str], rows: Sequence[Sequence[Text]], *, caption: str = "") -> str:
    """A table; nothing, and so no section, where it has no rows."""
    table = Table(caption=caption, titles=tuple(titles), texts=TEXTS, rows=tuple(map(tuple, rows)))
    block = Block(title=title, tables=(table,))
    return as_html(block, most=MOST_ROWS, rest="in the choice as JSON") if rows else ""


def _about(choice: Choice) -> str:
    compared = sum(one.validation is not None for one in choice.candidates)
    rest = f"; {compared} of {plural(len(choice.candidates), 'way')} compared in {duration(choice.seconds)}."
    size = f"; {len(choice.classes)} classes; {plural(choice.sentences.get('train', 0), 'training sentence')}; "
    encoder = ["encoder ", strong(choice.encoder)] if choice.encoder is not None else ["words alone"]
    return _paragraph([strong(choice.dataset), size, *encoder, rest])


def _answer(choice: Choice) -> str:
    first, *lines = answer(choice, len(choice.undecided))
    lines += [saved(choice)] if choice.saved_to is not None else []
    return "\n".join([_paragraph(first, "lead"), _command(choice.way.command), *map(_paragraph, lines)])


def _figures(choice: Choice) -> tuple[str, str]:
    """Scores against training time and against training sentences; nothing where none are known."""
    from rtlab.reporting.choice_plots import cost, costed, curved, curves  # here: drawing takes a second to load
    from rtlab.reporting.drawing import styled, svg

    def drawn(made: "Figure | None", text: str, notes: str) -> str:
        text = f"{measured(choice)} against training {text}."
        return "" if made is None else f"{figure(svg(made, title=text), text=text)}\n{_paragraph(notes, 'note')}"

    scores = [
        f"{brief(o.name)} {scored(o.validation)} in {duration(o.seconds or 0)}" for o, *_ in costed(choice).values()
    ]
    untimed = [brief(one.name) for one in choice.candidates if one.validation is not None and one.seconds is None]
    notes = "The ring marks what is recommended; numbers are those of the table below; bars are 95 % intervals."
    notes += f" Not drawn, since its training time is not known: {listed(untimed)}." if untimed else ""
    names = listed(brief(choice.candidates[number - 1].name) for number in curved(choice))
    more = "A line for each way that was tried on several numbers of sentences; the recommended one's is thick. "
    more += "A band reaches from the lowest to the highest seed."
    with styled():
        return (
            drawn(cost(choice), f"time: {'; '.join(scores)}", notes),
            drawn(curves(choice), f"sentences: {names}", more),
        )


def _ways(choice: Choice) -> str:
    scores = (measured(choice), "estimate", f"test {metric(choice)}")
    costs = ("training (s)", "1,000 sentences (s)", "trained parameters", "trials")
    ways: list[tuple[Text, ...]] = [
        (
            str(number),
            [strong(one.name), " (recommended)"] if one.name == choice.recommended else brief(one.name),
            one.status,
            _on_two_lines(scored(one.validation)),
            NONE if one.estimate is None else score([one.estimate]),
            _on_two_lines(scored(one.test)),
            *(NONE if time is None else significant(time) for time in (one.seconds, one.seconds_per_1000)),
            NONE if one.parameters is None else f"{one.parameters:,}",
            str(len(one.trials)),
            one_line(one.why),
        )
        for number, one in enumerate(choice.candidates, 1)
    ]
    caption = (
        "All that was considered, the cheapest first. What was chosen by is the estimate: what the metric would be on "
        f"many more sentences, by {measured(choice)} and by how probable each label is. In brackets 95 % intervals, "
        "over sentences, and over seeds where there are several."
    )
    table = _table("Ways", ("#", "way", "status", *scores, *costs, "why it ended so"), ways, caption=caption)
    trials = [
        (
            *(brief(one.name), f"{trial.sentences:,}", NONE if trial.epochs is None else str(trial.epochs)),
            *(str(trial.seed), f"{trial.validation:.4f}", significant(trial.seconds), trial.run),
        )
        for one in choice.candidates
        for trial in one.trials
    ]
    titles = ("way", "sentences", "epochs", "seed", measured(choice), "seconds", "run")
    details = [folded("All trials", _table("All trials", titles, trials))] if trials else []
    tried = [one for one in choice.candidates if one.trials]
    commands = "\n".join(_paragraph([strong(one.name)]) + _command(one.command) for one in tried)
    return "\n".join([table, *details, folded("Command lines that repeat them", commands)])


def _on_two_lines(scored: str) -> Text:
    """A score above its interval: a table of them is no wider than it has to be."""
    value, between, interval = scored.partition(" [")
    return [value, LINE, f"[{interval}"] if between else value


def _undecided(choice: Choice) -> str:
    rows = [
        (
            *(brief(one.name), one_line(one.tells), _on_two_lines(difference(one.difference))),
            NONE if one.sentences is None else f"{one.sentences:,}",
            NONE if one.minutes is None else significant(one.minutes),
        )
        for one in choice.undecided
    ]
    titles = ("way", "what would tell", "difference", "validation sentences", "minutes of more seeds")
    caption = f"Ways that may be the better choice: their {measured(choice)} minus that of what is recommended, with "
    return _table("Undecided", titles, rows, caption=f"{caption}its 95 % interval.")


def _labelled(title: str, found: Sequence[Mistake | Suspect], other: str, caption: str) -> str:
    """Sentences with their labels, the `other` ones that models give them, and how sure these are."""
    rows = [
        (one_line(one.text), brief(one.label), brief(getattr(one, other)), f"{one.probability:.3f}") for one in found
    ]
    return _table(title, ("sentence", "labelled as", other, "probability"), rows, caption=caption)


def _facts(choice: Choice) -> str:
    facts = {
        "data set": one_line(choice.dataset),
        f"classes ({len(choice.classes)})": listed(map(brief, choice.classes)),
        "sentences": ", ".join(f"{one_line(split)} {count:,}" for split, count in choice.sentences.items()),
        "encoder": NONE if choice.encoder is None else one_line(choice.encoder),
        "metric": metric(choice),
        "margin": points(choice.margin),
        "time allowed": duration(choice.budget_s),
        "time taken": duration(choice.seconds),
        "validation": "the split as it is" if not choice.folds else f"{choice.folds} folds, pooled",
    }
    return _table("Facts", PAIR, [*facts.items()], caption="What was compared, and on what")
