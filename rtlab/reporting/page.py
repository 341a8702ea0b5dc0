"""A page: one HTML file that opens anywhere and loads nothing when it is viewed.

Its style, and its script where it has one, stand in it, and its Content-Security-Policy lets these alone through, by
their hashes. Its figures are SVG within images, which follow the reader's light or dark theme by themselves.
"""

import base64
import hashlib
from importlib import resources
from string import Template

from rtlab.reporting.markup import escape


def page(body: str, *, title: str, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
        body: Its content as HTML, with everything in it escaped.
        title: What a browser's tab says.
        style: The page's own style sheet, beyond that of every page.
        script: The text of the one script element in the body that may run; empty for none.
    """
    style = static("page.css") + style
    policy = [
        "default-src 'none'",
        *([f"script-src '{_hash(script)}'"] if script else []),
        f"style-src '{_hash(style)}'",
        *(["img-src data:"] if "<img " in body else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    whole = Template(static("page.html")).substitute(
        policy="; ".join(policy), title=escape(title), style=style, body=body
    )
    return whole.encode(errors="replace").decode()  # half a surrogate pair is JSON, but no UTF-8


def static(name: str) -> str:
    """A file that lies beside this module."""
    return resources.files("rtlab.reporting").joinpath(name).read_text(encoding="utf-8")


def figure(svg: str, *, text: str) -> str:
    """A figure as an element of a page; `text` says what it shows."""
    image = base64.b64encode(svg.encode()).decode()
    return f'<img class="figure" alt="{escape(text)}" src="data:image/svg+xml;base64,{image}">'


def section(name: str, title: str, content: str) -> str:
    """A part of a page under its heading, which links lead to by its name."""
    head = f'<section id="{name}" aria-labelledby="{name}-title">\n<h2 id="{name}-title">{escape(title)}</h2>'
    return f"{head}\n{content}\n</section>\n"


def folded(title: str, content: str, *, name: str = "") -> str:
    """What is shown once its title is chosen; links may lead to it by its name."""
    named = f' id="{name}"' if name else ""
    return f"<details{named}>\n<summary>{escape(title)}</summary>\n{content}\n</details>"


def _hash(source: str) -> str:
    """How a Content-Security-Policy names an inline element that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
