"""One self-contained HTML file with figures, tables and text.

Figures are inline SVG whose ink follows the light or dark theme of the reader.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from behaviorzoo import __version__, pages
from behaviorzoo.files import atomic_path
from behaviorzoo.palette import INK, MUTED, RULE
from behaviorzoo.plots.style import STYLE

# Inks of our figures -> colours of the page's theme.
_THEME = {INK: "currentColor", MUTED: "var(--muted)", RULE: "var(--rule)"}
_DPI = 180
_PIXELS_PER_INCH = 114


@dataclass
class _Section:
    title: str
    parts: list[str] = field(default_factory=list)


class Report:
    """Collects sections and writes the page.

    Args:
        title: Heading of the page.
        subtitle: One or two sentences below it.

    Example:
        >>> report = Report("Rats, first run")
        >>> report.section("Training")
        >>> report.add_text("20 epochs.")
        >>> "20 epochs." in report.html()
        True
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._tiles: list[str] = []
        self._sections: list[_Section] = []
        self._n_figures = 0

    def add_tile(self, name: str, value: str, note: str = "") -> None:
        """Add a number to the summary at the top: its name, the value, a short note."""
        lines = [("name", name), ("value", value), ("note", note)]
        inner = "".join(f'<div class="{kind}">{escape(text)}</div>' for kind, text in lines if text)
        self._tiles.append(f'<div class="tile">{inner}</div>')

    def section(self, title: str) -> None:
        """Start a section; what is added next belongs to it."""
        self._sections.append(_Section(title))

    def add_heading(self, text: str) -> None:
        """Add a heading within the section."""
        self.add_html(f"<h3>{escape(text)}</h3>")

    def add_text(self, text: str, kind: str = "") -> None:
        """Add a paragraph. ``kind`` is empty, ``"note"`` or ``"absent"`` (what was left out)."""
        css = f' class="{escape(kind)}"' if kind else ""
        self.add_html(f"<p{css}>{escape(text)}</p>")

    def add_html(self, html: str) -> None:
        """Add HTML as it is. The caller has escaped whatever came from files."""
        if not self._sections:
            self._sections.append(_Section(""))
        self._sections[-1].parts.append(html)

    def add_figure(self, figure: Figure, alt: str, caption: str = "") -> None:
        """Add a figure.

        Args:
            figure: A matplotlib figure.
            alt: What it shows, for readers who cannot see it.
            caption: Text below it.
        """
        self._n_figures += 1
        svg = _inline_svg(figure, f"figure{self._n_figures}")
        # One scale for all figures, so that their letters have one size.
        width = f"{figure.get_figwidth() * _PIXELS_PER_INCH:.0f}px"
        self.add_html(
            f'<figure><div class="picture" role="img" aria-label="{escape(alt)}" '
            f'style="max-width:{width}">{svg}</div>{_caption(caption)}</figure>'
        )

    def add_picture(self, png: bytes, alt: str, caption: str = "") -> None:
        """Add a picture of pixels (PNG); arguments as :meth:`add_figure`."""
        data = base64.b64encode(png).decode("ascii")
        image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        self.add_html(f"<figure>{image}{_caption(caption)}</figure>")

    def add_table(
        self,
        table: pd.DataFrame,
        caption: str = "",
        *,
        formats: Mapping[str, Callable[[float], str]] | None = None,
        collapsed: str = "",
    ) -> None:
        """Add a table; its index is left out.

        Args:
            table: The table.
            caption: Text above it.
            formats: Column -> how to write its numbers; default: three decimals.
            collapsed: With a text the table is folded away behind it.
        """
        html = table_html(table, caption, formats or {})
        self.add_html(_folded(collapsed, html) if collapsed else html)

    def add_code(self, text: str, *, collapsed: str = "") -> None:
        """Add text in type of fixed width, folded away behind ``collapsed`` if given."""
        html = f"<pre>{escape(text.rstrip())}</pre>"
        self.add_html(_folded(collapsed, html) if collapsed else html)

    def html(self) -> str:
        """The page."""
        links, content = [], []
        for number, section in enumerate(self._sections, start=1):
            title = escape(section.title)
            links += [f'<a href="#section-{number}">{title}</a>'] * bool(title)
            heading = f"<h2>{title}</h2>\n" * bool(title)
            parts = "\n".join(section.parts)
            content.append(f'<section id="section-{number}">\n{heading}{parts}\n</section>')
        body = [
            '<div class="page">',
            f'<header class="top"><h1>{escape(self.title)}</h1>',
            f"<p>{escape(self.subtitle)}</p></header>",
            f'<div class="tiles">{"".join(self._tiles)}</div>',
            f'<nav class="contents" aria-label="Sections">{"".join(links)}</nav>',
            "<main>",
            *content,
            "</main>",
            f"<footer>Behavior Zoo {__version__}. "
            "This page is complete in itself: it loads nothing.</footer>",
            "</div>",
        ]
        return pages.render(self.title, "\n".join(body), styles=["base.css", "report.css"])

    def write(self, path: str | Path) -> Path:
        """Write the page; it appears under its name only when it is whole.

        Raises:
            UserError: The file cannot be written.
        """
        path = Path(path)
        with atomic_path(path) as temporary:
            temporary.write_text(self.html(), encoding="utf-8")
        return path


def table_html(
    table: pd.DataFrame, caption: str, formats: Mapping[str, Callable[[float], str]]
) -> str:
    """A table as HTML; numbers to the right, missing values as a hyphen."""
    numeric = {str(name): pd.api.types.is_numeric_dtype(table[name]) for name in table}
    css = {name: ' class="number"' * is_number for name, is_number in numeric.items()}
    head = "".join(f'<th scope="col"{css[name]}>{escape(name)}</th>' for name in css)
    rows = []
    for values in table.itertuples(index=False):
        cells = (
            f"<td{css[name]}>{escape(_cell(value, formats.get(name)))}</td>"
            for name, value in zip(css, values, strict=True)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="table"><table>{above}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(value: object, write: Callable[[float], str] | None) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "-"
    if write is not None:
        return write(value)  # pyright: ignore[reportArgumentType]
    if isinstance(value, (float, np.floating)):
        return f"{value:.3f}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _folded(summary: str, html: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


def _inline_svg(figure: Figure, salt: str) -> str:
    """The figure as an SVG element: theme colours, and ids that are unique within the page."""
    buffer = io.StringIO()
    # The salt makes the ids of clip paths and markers the same in every run and different in
    # every figure: two figures with equal ids would borrow each other's shapes.
    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": salt}
    with rc_context(style):
        figure.savefig(
            buffer, format="svg", transparent=True, dpi=_DPI, metadata={"Date": None},
            bbox_inches="tight", pad_inches=0.02,
        )  # fmt: skip
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", svg)
    svg = re.sub(r'(<image[^>]*?) id="[^"]*"', r"\1", svg)
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    svg = re.sub(r"data:image/png;base64,([^\"]*)", _smaller_picture, svg)
    for ink, colour in _THEME.items():
        svg = svg.replace(ink, colour)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1).strip()


def _smaller_picture(match: re.Match[str]) -> str:
    """Write the picture with a palette: dots in a dozen colours need no 32 bits per pixel."""
    picture = Image.open(io.BytesIO(base64.b64decode(match.group(1)))).convert("RGBA")
    buffer = io.BytesIO()
    picture.quantize(256, method=Image.Quantize.FASTOCTREE).save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
