"""The page of a choice: which way to take, what it costs and buys, and what that rests on, in one HTML file.

It needs no network and no script. Whatever comes out of a data set (names, classes, sentences) is escaped and made
visible where it is written. The same choice gives the same bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape as as_text
from typing import TYPE_CHECKING

from rtlab.choice import Candidate, Choice, Trial, points
from rtlab.reporting.choice_measures import brief, costed, measured, metric, scored, scores_by_size
from rtlab.reporting.markup import (
    LINE,
    Block,
    Column,
    Span,
    Table,
    Text,
    as_html,
    escape,
    pairs_table,
    scrolling,
    written,
)
from rtlab.reporting.page import figure, page, static
from rtlab.reporting.wording import NONE, difference, duration, listed, plural, significant
from rtlab.values import Json, one_line, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 200  # of a table; the choice as JSON holds all


def choice_page(choice: Choice) -> str:
    """The page of a choice as one HTML file."""
    sections = [
        ("answer", "Answer", _answer(choice)),
        ("cost", "What it costs", _cost(choice)),
        ("curves", "What more sentences buy", _curves(choice)),
        ("ways", "Ways", _ways(choice)),
        ("left-out", "Left out", _left_out(choice)),
        ("undecided", "Undecided", _undecided(choice)),
        ("data", "Data", _list(choice.warnings)),
        ("mistakes", "Surest mistakes", _mistakes(choice)),
        ("suspects", "Labels that are probably wrong", _suspects(choice)),
        ("facts", "Facts", _facts(choice)),
    ]
    made = {name: _section(name, title, content) for name, title, content in sections if content}
    links = " ".join(f'<a href="#{name}">{title}</a>' for name, title, content in sections if content)
    figures = [made.pop(name) for name in ("cost", "curves") if name in made]
    answer = made.pop("answer")
    beside = [f'<div class="figures">\n{"".join(figures)}</div>\n'] if figures else []
    body = (
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f"<header>\n<h1>Which way to take</h1>\n{_about(choice)}\n"
        f'<nav aria-label="Sections">{links}</nav>\n</header>\n'
        f'<main id="content">\n{"".join([answer, *beside, *made.values()])}</main>\n'
    )
    title = f"rtlab choose: {one_line(choice.dataset)}"
    return page(body, title=title, style=static("choice.css"), images=bool(figures))


def _section(name: str, title: str, content: str) -> str:
    head = f'<section id="{name}" aria-labelledby="{name}-title">\n<h2 id="{name}-title">{escape(title)}</h2>'
    return f"{head}\n{content}\n</section>\n"


def _table(title: str, columns: Sequence[Column], rows: Iterable[tuple[Text, ...]], *, caption: str = "") -> str:
    """A table; nothing, and so no section, where it has no rows."""
    table = Table(caption=caption, columns=tuple(columns), rows=tuple(rows))
    block = Block(name="", title=title, tables=(table,))
    return as_html(block, most=MOST_ROWS, rest="in the choice as JSON") if table.rows else ""


def _list(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(one_line(text))}</li>\n" for text in texts)
    return f"<ul>\n{items}</ul>" if items else ""


def _paragraph(text: Text, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f"<p{style}>{written(text, 'html')}</p>"


def _strong(name: str) -> Span:
    return Span(brief(name), "strong")


# The answer


def _about(choice: Choice) -> str:
    compared = sum(one.validation is not None for one in choice.candidates)
    rest = f"; {compared} of {plural(len(choice.candidates), 'way')} compared in {duration(choice.seconds)}."
    size = f"; {len(choice.classes)} classes; {plural(choice.sentences.get('train', 0), 'training sentence')}; "
    encoder = ["encoder ", _strong(choice.encoder)] if choice.encoder is not None else ["words alone"]
    return _paragraph([_strong(choice.dataset), size, *encoder, rest])


def _answer(choice: Choice) -> str:
    way = choice.way
    parts = []
    if choice.interrupted:
        parts.append(_paragraph("This was ended early: it is the best answer so far.", "early"))
    parts += [_paragraph(["Take ", _strong(way.name), *_bought(choice, way)], "lead"), _command(way)]
    if choice.saved_to is not None:
        size = "" if choice.size is None else f" ({choice.size / 1e6:,.1f} MB)"
        parts.append(_paragraph(["Its model is saved in the folder ", _strong(choice.saved_to), f"{size}."]))
    if (cheaper := choice.candidate(choice.cheaper)) is not None:
        parts.append(_paragraph(["The best of the cheaper ways is ", _strong(cheaper.name), *_beside(choice, cheaper)]))
    if (better := choice.candidate(choice.better)) is not None:
        parts.append(_paragraph(["What was best on validation is ", _strong(better.name), *_beside(choice, better)]))
    return "\n".join([*parts, *_sure(choice)])


def _bought(choice: Choice, way: Candidate) -> list[str]:
    """What it scores and costs, as the rest of a sentence."""
    if way.test is not None:
        said = f": test {metric(choice)} {scored(way.test)}"
    elif way.validation is not None:
        said = f": {measured(choice, way)} {scored(way.validation)}"
    else:
        said = ", which has no score"
    cost = [] if way.seconds is None else [f", after {duration(way.seconds)} of training"]
    use = [] if way.seconds_per_1000 is None else [f"; 1,000 sentences take {duration(way.seconds_per_1000)} to label"]
    return [said, *cost, *use, "."]


def _beside(choice: Choice, other: Candidate) -> list[str]:
    """What another way scores and costs, beside what is recommended: on test, if both were tried there."""
    if other.test is not None and choice.way.test is not None:
        said = [f": test {metric(choice)} {scored(other.test)} against {scored(choice.way.test)}"]
    else:
        mine = choice.way.validation
        said = [f": {measured(choice, other)} {scored(other.validation)}"]
        said += [f" against {scored(mine)}"] if mine is not None else []
    if other.seconds is not None:
        said.append(f", after {duration(other.seconds)} of training")
        if choice.way.seconds is not None:
            said.append(f" instead of {duration(choice.way.seconds)}")
    return [*said, "."]


def _sure(choice: Choice) -> list[str]:
    if not choice.undecided:
        return [_paragraph("Nothing that was compared is left undecided.")]
    return [
        _paragraph(
            [
                *("Undecided: ", _strong(one.name)),
                f" may be the better choice: its {measured(choice)} differs by {difference(one.difference)}. ",
                f"What would tell: {one_line(one.tells).rstrip('.')}.",
            ]
        )
        for one in choice.undecided
    ]


def _command(one: Candidate) -> str:
    return f"<pre><code>{as_text(visible(one.command))}</code></pre>"


# Figures


def _cost(choice: Choice) -> str:
    shown = [one for one in choice.candidates if costed(one)]
    if not shown:
        return ""
    from rtlab.reporting.choice_plots import cost  # here, not above: drawing takes a second to load

    said = [f"{brief(one.name)} {scored(one.validation)} in {significant(one.seconds or 0)} s" for one in shown]
    notes = "The ring marks what is recommended; numbers are those of the table below; bars are 95 % intervals."
    untimed = [brief(one.name) for one in choice.candidates if one.validation is not None and one.seconds is None]
    if untimed:
        notes += f" Not drawn, since its training time is not known: {listed(untimed)}."
    return _drawn(cost, choice, f"against training time: {'; '.join(said)}.", notes)


def _curves(choice: Choice) -> str:
    shown = [one for one in choice.candidates if len(scores_by_size(one)) > 1]
    if not shown:
        return ""
    from rtlab.reporting.choice_plots import curves

    names = listed(brief(one.name) for one in shown)
    notes = "A line for each way that was tried on several numbers of sentences; the recommended one's is thick. "
    notes += "Dots are the seeds, where there are several."
    return _drawn(curves, choice, f"against training sentences: {names}.", notes)


def _drawn(draw: Callable[[Choice], "Figure | None"], choice: Choice, text: str, notes: str) -> str:
    from rtlab.reporting.drawing import styled, svg

    with styled():
        made = draw(choice)
    assert made is not None
    text = f"{measured(choice)} {text}"
    return f"{figure(svg(made, title=text), text=text)}\n{_paragraph(notes, 'note')}"


# Tables


def _ways(choice: Choice) -> str:
    scores = (measured(choice), f"test {metric(choice)}")
    more = ("training (s)", "1,000 sentences (s)", "trained parameters", "trials")
    ways = _table(
        "Ways",
        (Column("#"), *_columns("way", "status", numbers=(*scores, *more)), *_columns("why it ended so")),
        ((str(number), *_row(choice, one)) for number, one in enumerate(choice.candidates, 1)),
        caption=f"All that was considered, the cheapest first; {measured(choice)} is what was chosen by. In brackets "
        "95 % intervals, over sentences, and over seeds where there are several.",
    )
    trials = _table(
        "All trials",
        (*_columns("way", numbers=("sentences", "epochs", "seed", measured(choice), "seconds")), *_columns("run")),
        ((brief(one.name), *_trial(trial)) for one in choice.candidates for trial in one.trials),
    )
    commands = "\n".join(_paragraph([_strong(one.name)]) + _command(one) for one in choice.candidates)
    folded = [_folded("All trials", trials)] if trials else []
    return "\n".join([ways, *folded, _folded("Command lines that repeat them", commands)])


def _columns(*texts: str, numbers: Sequence[str] = ()) -> tuple[Column, ...]:
    return (*(Column(title, number=False) for title in texts), *map(Column, numbers))


def _row(choice: Choice, one: Candidate) -> tuple[Text, ...]:
    recommended = one.name == choice.recommended
    return (
        [_strong(one.name), " (recommended)"] if recommended else brief(one.name),
        one.status,
        _on_two_lines(scored(one.validation)),
        _on_two_lines(scored(one.test)),
        NONE if one.seconds is None else significant(one.seconds),
        NONE if one.seconds_per_1000 is None else significant(one.seconds_per_1000),
        NONE if one.parameters is None else f"{one.parameters:,}",
        str(len(one.trials)),
        one_line(one.why),
    )


def _trial(trial: Trial) -> tuple[str, ...]:
    epochs = NONE if trial.epochs is None else str(trial.epochs)
    score = f"{trial.validation:.4f}"
    return f"{trial.sentences:,}", epochs, str(trial.seed), score, significant(trial.seconds), trial.run


def _on_two_lines(score: str) -> Text:
    """A score above its interval: a table of them is no wider than it has to be."""
    value, between, interval = score.partition(" [")
    return [value, LINE, f"[{interval}"] if between else value


def _folded(title: str, content: str) -> str:
    return f"<details>\n<summary>{escape(title)}</summary>\n{content}\n</details>"


def _left_out(choice: Choice) -> str:
    rows = ((brief(one.name), one.status, one_line(one.why)) for one in choice.left_out)
    return _table("Left out", _columns("way", "status", "why"), rows)


def _undecided(choice: Choice) -> str:
    numbers = ("difference", "validation sentences", "minutes of more seeds")
    rows = (
        (
            *(brief(one.name), one_line(one.tells), _on_two_lines(difference(one.difference))),
            NONE if one.sentences is None else f"{one.sentences:,}",
            NONE if one.minutes is None else significant(one.minutes),
        )
        for one in choice.undecided
    )
    caption = f"Ways that may be the better choice: their {measured(choice)} minus that of what is recommended, with "
    columns = _columns("way", "what would tell", numbers=numbers)
    return _table("Undecided", columns, rows, caption=f"{caption}its 95 % interval.")


def _mistakes(choice: Choice) -> str:
    rows = (_labelled(one.text, one.label, one.predicted, one.probability) for one in choice.mistakes)
    caption = "Sentences of test that the recommended way labels wrongly, the surest first."
    columns = _columns("sentence", "labelled as", "predicted", numbers=("probability",))
    return _table("Surest mistakes", columns, rows, caption=caption)


def _suspects(choice: Choice) -> str:
    rows = (_labelled(one.text, one.label, one.probably, one.probability) for one in choice.suspects)
    caption = "Training sentences whose labels are probably wrong, by models that were trained without them."
    columns = _columns("sentence", "labelled as", "probably", numbers=("probability",))
    return _table("Labels that are probably wrong", columns, rows, caption=caption)


def _labelled(text: str, label: str, other: str, probability: float) -> tuple[str, ...]:
    return one_line(text), brief(label), brief(other), f"{probability:.3f}"


def _facts(choice: Choice) -> str:
    facts: dict[str, Json] = {
        "data set": one_line(choice.dataset),
        f"classes ({len(choice.classes)})": listed(map(brief, choice.classes)),
        "sentences": ", ".join(f"{one_line(split)} {count:,}" for split, count in choice.sentences.items()),
        "encoder": None if choice.encoder is None else one_line(choice.encoder),
        "metric": metric(choice),
        "margin": points(choice.margin),
        "time allowed": duration(choice.budget_s),
        "time taken": duration(choice.seconds),
        "validation": "the split as it is" if choice.folds == 1 else f"{choice.folds} folds, pooled",
    }
    return scrolling(pairs_table(facts, caption="What was compared, and on what"), title="Facts")
