"""The built-in corpus: film-review sentences from a small grammar, so that the lab has data wherever it is installed.

Every sentence is a row of templates, written from the side of a positive review and turned round for a negative one:
GOOD stands for a word of the label's own polarity, BAD for one of the other. One clause decides, plain, negated or
contrasted; concessions speak against it, additions for it; plot, setting and asides say nothing. Both labels share
every template and draw their lengths from one table, so that neither gives the label away.

The trade-off: meaning is a rule here, not a judgement. A model that resolves negation and contrast can be right about
all but the mislabelled sentences, which says little about real reviews. And every word is one piece of BERT's uncased
vocabulary, so that a sentence's length is known while it is written; the price is that rare words are missing.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from random import Random
from typing import TypeVar

T = TypeVar("T")
Words = tuple[str, ...]
Draw = Callable[[], float]

# The share of sentences that are written for the other label.
LABEL_NOISE = 0.04

# Word pieces a sentence, [CLS] and [SEP] included, in rotten_tomatoes' train split under BERT's uncased vocabulary, as
# (share of the sentences below, pieces): interpolated linearly, rounded, and cut off below two words.
_LENGTHS = (
    *((0.0, 3.5), (0.001, 4.6), (0.002, 5.2), (0.005, 5.9), (0.01, 6.8), (0.02, 8.0), (0.05, 10.4), (0.1, 13.0)),
    *((0.2, 17.3), (0.3, 20.5), (0.4, 23.6), (0.5, 26.6), (0.6, 29.5), (0.7, 32.9), (0.8, 37.0), (0.9, 42.5)),
    *((0.95, 47.3), (0.98, 52.7), (0.99, 55.7), (0.995, 58.9), (0.998, 62.2)),
    *((0.999, 63.9), (0.9995, 66.2), (1.0, 78.5)),
)

# A slot and its opposite; the words of the one in a positive review are those of the other in a negative one.
_POLAR = {
    ("GOOD", "BAD"): (
        """good great funny moving clever fresh sharp warm tender witty gripping graceful charming brilliant lovely
        elegant wise lively bold touching smart rich vivid subtle delightful inspired original thrilling exciting
        intriguing fascinating compelling convincing engaging powerful intelligent imaginative sincere genuine
        gentle bright beautiful magnificent superb splendid stunning striking terrific wonderful satisfying
        refreshing memorable playful confident dazzling thoughtful poetic entertaining amusing hilarious
        irresistible remarkable impressive exquisite polished energetic passionate daring precise radiant marvelous
        inspiring""",
        """bad dull flat clumsy stale tired boring shallow bland lazy hollow empty messy slow awkward silly stupid
        pointless predictable dreadful awful terrible horrible weak thin forced fake cheap loud ugly annoying
        irritating confusing ridiculous absurd lame heavy artificial mechanical foolish pathetic poor crude sloppy
        unpleasant uneven frustrating painful ordinary routine generic disappointing worthless unnecessary
        repetitive ragged rigid muddy miserable dire trivial lifeless stiff careless superficial insulting noisy
        strained obvious dated sour vague""",
    ),
    ("TREAT", "MESS"): (
        """triumph delight pleasure treat joy gem treasure success marvel wonder masterpiece winner miracle gift thrill
        feast""",
        """mess bore failure disaster waste disappointment mistake nightmare joke wreck fraud flop catastrophe headache
        burden trap""",
    ),
    ("WIT", "NOISE"): (
        """wit charm warmth energy grace heart imagination insight wisdom passion style intelligence beauty depth
        courage tenderness magic poetry suspense invention honesty compassion elegance excitement""",
        """noise boredom confusion nonsense repetition vanity cruelty chaos mud arrogance stupidity gloom excess fuss
        misery emptiness haste preaching rubbish trash garbage greed irritation hysteria""",
    ),
    ("WORKS", "FAILS"): (
        "works succeeds sings clicks wins convinces flies blossoms rises charms",
        "fails collapses sinks dies struggles crashes fades stalls suffers slips",
    ),
    ("CHARM", "BORE"): (
        "charm delight move reward please thrill impress inspire entertain touch seduce convince satisfy",
        "bore insult tire punish confuse exhaust anger disgust torture puzzle upset worry bother",
    ),
    ("HAPPY", "BORED"): (
        """happy smiling grateful moved satisfied cheered delighted thrilled inspired amused impressed pleased
        enchanted touched""",
        """bored angry tired annoyed disappointed exhausted sad confused cheated insulted frustrated irritated puzzled
        furious""",
    ),
}
_NEUTRAL = {
    "ADV": """quietly deeply simply truly rather quite very oddly really wholly utterly consistently surprisingly often
        thoroughly genuinely fairly pretty strangely unusually decidedly mostly""",
    "FILM": """film movie picture drama comedy thriller romance western sequel remake debut feature documentary musical
        mystery""",
    "PART": """script cast plot acting dialogue ending music story pacing direction humor photography editing writing
        soundtrack climax narration premise opening structure score design staging lighting action""",
    "ROLE": """lawyer teacher soldier thief nurse doctor painter sailor singer widow farmer priest journalist detective
        boxer dancer student waitress butcher pilot banker fisherman professor driver baker mayor judge cook clerk
        guard""",
    "PLACE": """village city harbor town hospital prison hotel school suburb apartment factory desert valley circus
        castle monastery church port forest camp station museum library""",
    "MOOD": "small old quiet distant northern coastal remote crowded sleepy dusty southern foreign abandoned busy tiny",
    "SEASON": "winter summer spring autumn",
    "THING": """letter painting suitcase diary photograph violin ring key map dog car necklace book gun bicycle horse
        radio watch""",
}

# Kinds of templates, in the order that they have in a sentence. Bars part templates; the full stop is added last.
_TEMPLATES = {
    # A sentence of up to _SHORT words is one of these.
    "short": """GOOD | ADV GOOD | never BAD | pure WIT | a GOOD FILM | a GOOD TREAT | anything but BAD | far from BAD
        | GOOD and GOOD | the FILM WORKS | the FILM never FAILS | a ADV GOOD FILM | not in the least BAD
        | not a BAD FILM | GOOD but never BAD | more GOOD than BAD | the PART is GOOD | BAD ? not this FILM
        | GOOD , GOOD and GOOD | a FILM without any NOISE | GOOD from start to finish | the PART is never BAD
        | a TREAT , not a MESS | never less than ADV GOOD | BAD PART , GOOD FILM | not a BAD scene in it
        | GOOD PART and plenty of WIT | a BAD start , a GOOD finish | it is a ADV GOOD FILM
        | the PART is anything but BAD""",
    "plot": """a ROLE and a ROLE meet in a MOOD PLACE . | a ROLE returns to the MOOD PLACE of her youth .
        | it is SEASON in a MOOD PLACE , and a ROLE has a secret . | one SEASON a MOOD PLACE wakes up without its ROLE .
        | the story follows a ROLE who looks for a THING in a MOOD PLACE . | a ROLE hides a THING in a MOOD PLACE .
        | the FILM opens in a MOOD PLACE , where a ROLE is waiting for a ROLE .
        | a ROLE , a ROLE and a ROLE share a MOOD PLACE for one SEASON .
        | the director , once a ROLE , made the FILM in a MOOD PLACE . | somebody has stolen the THING of a ROLE .
        | when a ROLE finds a THING , a ROLE and a ROLE come to the PLACE to claim it .""",
    "frame": """in the end , | to be fair , | from its first scene , | for almost two hours , | seen on a large screen ,
        | like most films of its kind , | as a FILM about a ROLE and a THING , | based on a book about a ROLE ,
        | made in a MOOD PLACE with unknown actors , | written and directed by a former ROLE ,
        | once the ROLE meets the ROLE ,""",
    "concession": """despite its BAD PART , | although the PART is BAD , | for all its NOISE and NOISE ,
        | the PART FAILS , but | despite its ADV BAD PART , | even if the PART is ADV BAD ,
        | while the PART is BAD and the PART BAD , | the PART may be BAD , but
        | yes , the PART is BAD and the PART FAILS , but | some will find the PART BAD , but
        | in spite of the NOISE and the BAD PART , | it could have been a MESS , but | after a BAD first hour ,
        | the PART is never GOOD , but | although the PART is not GOOD ,""",
    "plain": """the FILM as a whole WORKS | the PART is GOOD | the PART is ADV GOOD | the PART feels GOOD and GOOD
        | it is a ADV GOOD FILM | this is a GOOD , GOOD FILM | the FILM is a GOOD TREAT
        | the FILM has WIT , and its PART is GOOD | the PART gives the FILM its WIT
        | the FILM will CHARM almost anyone | you leave the theater HAPPY
        | the actors bring WIT to every scene | almost every scene is GOOD | the PART alone makes this a TREAT
        | the result is a GOOD mixture of WIT and WIT | by the end the whole theater is HAPPY
        | it has been years since a FILM was this GOOD""",
    "turned": """the FILM simply never FAILS | the PART is never BAD | the PART is anything but BAD
        | the FILM is far from BAD | the PART is hardly BAD | there is nothing BAD about the PART
        | nobody will leave the theater BORED | the FILM has no time for NOISE | the FILM will not BORE anyone
        | neither the PART nor the PART is BAD | the FILM never becomes the MESS it could have been
        | what begins as a BAD FILM ends as a GOOD one | what looks BAD at first turns out to be GOOD
        | the PART is too GOOD to be called BAD | the first half is BAD , but the second is GOOD
        | where other films are BAD , this one is GOOD | i expected to be BORED and left the theater HAPPY""",
    "against": """, despite its BAD PART | , even if the PART is BAD | , even when the PART FAILS
        | , in spite of its NOISE | , although its PART is ADV BAD | , no matter how BAD the PART is | , BAD PART or not
        | , though nobody would call the PART GOOD""",
    "for": """, thanks to its GOOD PART | , and the PART is GOOD | , and the PART is never BAD
        | , and the PART WORKS too | , full of WIT and WIT | , with its GOOD PART and its ADV GOOD PART
        | ; the PART is a TREAT | : a GOOD TREAT | , as GOOD as it is GOOD
        | . its PART will CHARM you , and its PART is GOOD | . it is , in a word , GOOD""",
    "aside": """, from start to finish | , at least for one evening | , and it runs for two hours
        | , in two or three scenes | , with or without popcorn | , with a ROLE at its center
        | , all of it filmed in a PLACE | , a MOOD PLACE and all | , with the ROLE played by a former ROLE
        | , as every ROLE in the audience will notice | , and there is a THING in it
        | , somewhere between a FILM and a FILM | , whatever the other critics say
        | ; it was shown in a PLACE this SEASON | ; the ROLE and the THING arrive later
        | ; most of it takes place in a PLACE during one SEASON | ; a ROLE and a THING are all it needs
        | ; i saw it in a MOOD PLACE one SEASON""",
    # Short enough to end any sentence; more than one would be noticed.
    "tag": """, overall | , really | , somehow | , indeed | , throughout | , in fact | , after all | , in short
        | , at last | , all in all | , scene by scene | , minute after minute | , day or night | , on any screen
        | , once or twice""",
}
_ORDER = tuple(_TEMPLATES)
_SHORT = 7

# Clauses and what is added to them, the oftener named the oftener drawn: how far a bag of words gets depends on it.
_CLAUSES = ("plain",) * 5 + ("turned",)
_ADDITIONS = ("plot", "frame", "aside") * 2 + ("for",) * 4 + ("concession", "against", "tag")
_ONCE = {"frame", "concession", "against"}


def generate(size: int, seed: int = 0) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Write a corpus.

    The same on every platform and Python: all choices come from `random.Random.random`, whose numbers Python keeps as
    they are. A larger corpus of the same seed begins with the smaller one.

    Args:
        size: number of sentences, at least 1.
        seed: another one gives other sentences; its sign does not count.

    Returns:
        Distinct sentences, lower case with spaces around punctuation, and their labels (0 negative, 1 positive). Rows
        2k and 2k + 1 differ in label, so any run of rows is balanced to within two, and from row 0 to within one.

    Raises:
        ValueError: `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"size: {size} sentences; 1 or more would do")
    draw = Random(seed).random
    labels: dict[str, int] = {}
    label = 0
    for row in range(size):
        label = 1 - label if row % 2 else int(draw() < 0.5)
        text = _sentence(label, draw)
        while text in labels:
            text = _sentence(label, draw)
        labels[text] = label
    return tuple(labels), tuple(labels.values())


def vocabulary() -> tuple[str, ...]:
    """All words and punctuation marks that `generate` can write, sorted."""
    tokens = {token for kind in _ORDER for template in _templates(kind) for token in template}
    fillings = {word for sides in _slots().values() for words in sides for word in words}
    return tuple(sorted((tokens - _slots().keys()) | fillings | {"an", "."}))


def _sentence(label: int, draw: Draw) -> str:
    side = 1 - label if draw() < LABEL_NOISE else label
    return " ".join(_filled(_outline(_length(draw), draw), side, draw))


def _length(draw: Draw) -> int:
    """Words of a sentence, without the full stop."""
    share = draw()
    above = bisect_right(_LENGTHS, share, key=itemgetter(0))
    (low, least), (high, most) = _LENGTHS[above - 1 : above + 1]
    return int(least + (most - least) * (share - low) / (high - low) + 0.5) - 3  # [CLS], full stop, [SEP]


def _outline(size: int, draw: Draw) -> list[Words]:
    """Templates of `size` words together, in the order of a sentence."""
    if size <= _SHORT:
        return [_pick([template for template in _templates("short") if len(template) == size], draw)]
    parts = [_pick(_fitting(_CLAUSES, size), draw)]
    while left := size - sum(len(template) for _, template in parts):
        kind, template = _pick(_fitting(_ADDITIONS, left), draw)
        said = (kind, template) in parts or (kind in _ONCE and kind in (other for other, _ in parts))
        # Seldom is something said twice; were it never, no template might be left for the rest, and this would not end.
        if not said or draw() < 0.02:
            parts.append((kind, template))
    return [template for _, template in sorted(parts, key=lambda part: _ORDER.index(part[0]))]


def _filled(outline: list[Words], side: int, draw: Draw) -> list[str]:
    """The words and the full stop of a review on one side (0 negative, 1 positive)."""
    slots = _slots()
    words: list[str] = []
    for token in chain(*outline, "."):
        word = _word(slots[token][side], words, draw) if token in slots else token
        if word[0] in "aeiou" and words and words[-1] == "a":
            words[-1] = "an"
        words.append(word)
    return words


def _word(options: Words, used: list[str], draw: Draw) -> str:
    """One of the options; where the sentence has it, another draw."""
    word = _pick(options, draw)
    return _pick(options, draw) if word in used else word


def _pick(options: Sequence[T], draw: Draw) -> T:
    return options[int(draw() * len(options))]


@cache
def _templates(kind: str) -> tuple[Words, ...]:
    return tuple(tuple(template.split()) for template in _TEMPLATES[kind].split("|"))


@cache
def _fitting(kinds: Words, size: int) -> tuple[tuple[str, Words], ...]:
    """Templates, with their kinds, that fill `size` words or, tags apart, leave at least the two that a tag needs."""
    pairs = [(kind, template) for kind in kinds for template in _templates(kind)]
    return tuple(pair for pair in pairs if len(pair[1]) == size or (pair[0] != "tag" and len(pair[1]) <= size - 2))


@cache
def _slots() -> dict[str, tuple[Words, Words]]:
    """Slot to its words in a negative and in a positive review."""
    slots = {slot: (tuple(text.split()),) * 2 for slot, text in _NEUTRAL.items()}
    for (slot, opposite), texts in _POLAR.items():
        positive, negative = (tuple(text.split()) for text in texts)
        slots |= {slot: (negative, positive), opposite: (positive, negative)}
    return slots
