"""Web pages in one file: nothing is loaded from anywhere, so they can be mailed and archived.

A content security policy inside each page forbids every request; the browser enforces it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def asset(name: str) -> str:
    """Text of a file that lies beside this module."""
    return (files("behaviorzoo.pages") / name).read_text(encoding="utf-8")


def render(
    title: str,
    body: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> str:
    """Put a page together.

    Args:
        title: Title of the window, plain text.
        body: HTML of the body.
        styles: Names of style sheets beside this module.
        scripts: Names of scripts beside this module, run after the body is there.
        data: Values for the scripts, as JSON in the element ``page-data``.

    Returns:
        The HTML document.
    """
    style = "\n".join(asset(name) for name in styles)
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        # An empty icon: browsers ask for /favicon.ico otherwise.
        '<link rel="icon" href="data:,">',
        f"<style>\n{style}</style>",
        "</head>",
        f"<body>\n{body}",
    ]
    if data is not None:
        parts.append(f'<script type="application/json" id="page-data">{_json(data)}</script>')
    parts += [f"<script>\n{asset(name)}</script>" for name in scripts]
    return "\n".join([*parts, "</body>", "</html>", ""])


def _json(data: Mapping[str, Any]) -> str:
    # A name from a file must not be able to end the script element.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
