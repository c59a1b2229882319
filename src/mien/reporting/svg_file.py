"""A figure of a page as an SVG file of its own: panels side by side, legend and caption below, in the light theme."""

import re
import textwrap
from html import escape

from mien.reporting.blocks import Figure, Key
from mien.reporting.render import TEMPLATES

GAP, LINE, MARGIN = 14, 15, 10
"""Units between panels, of a line of text, and around the figure."""
LETTER = 5.4
"""Mean width of a letter of the caption, units."""


def as_file(figure: Figure) -> str:
    """The text of an SVG file.

    Raises:
        ValueError: the figure has no panels.
    """
    if not figure.panels:
        raise ValueError("a figure without panels")
    sizes = [_size(panel) for panel in figure.panels]
    width = max(sum(w for w, _ in sizes) + GAP * (len(sizes) - 1), 360.0)
    parts, left = [], 0.0
    for panel, (w, h) in zip(figure.panels, sizes, strict=True):
        head = f'<svg x="{left:g}" y="0" width="{w:g}" height="{h:g}" overflow="visible" viewBox="0 0 {w:g} {h:g}">'
        parts.append(re.sub(r"<svg [^>]*>", head, panel, count=1))
        left += w + GAP
    top = max(h for _, h in sizes) + LINE
    for key in figure.legend:
        parts.append(_entry(key, top))
        top += LINE
    for line in textwrap.wrap(figure.caption, int(width / LETTER)):
        parts.append(_text(line, 0, top))
        top += LINE
    full, tall = width + 2 * MARGIN, top + MARGIN
    head = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{full:g}" height="{tall:g}" '
        f'viewBox="{-MARGIN} {-MARGIN} {full:g} {tall:g}" font-family="DejaVu Sans, Arial, sans-serif" '
        'stroke-linejoin="round">'
    )
    ground = f'<rect x="{-MARGIN}" y="{-MARGIN}" width="{full:g}" height="{tall:g}" fill="var(--surface)"/>'
    return _coloured("\n".join([head, f"<title>{escape(figure.alt)}</title>", ground, *parts, "</svg>", ""]))


def _size(panel: str) -> tuple[float, float]:
    found = re.match(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"', panel)
    assert found, "a panel of charts begins with its size"
    return float(found[1]), float(found[2])


def _entry(key: Key, top: float) -> str:
    dash = f' stroke-dasharray="{key.dash}"' if key.dash else ""
    line = (
        f'<line x1="0" y1="{top - 3:g}" x2="24" y2="{top - 3:g}" stroke="var(--{key.colour})" stroke-width="3"{dash}/>'
    )
    return line + _text(key.name, 32, top)


def _text(text: str, left: float, top: float) -> str:
    return f'<text x="{left:g}" y="{top:g}" font-size="9.5" fill="var(--soft)">{escape(text)}</text>'


def _coloured(text: str) -> str:
    """The variables of the page replaced by the colours of its light theme, which ``report.css`` defines first."""
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    light = css[: css.index('[data-theme="dark"]')]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", light))
    return re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], text)
