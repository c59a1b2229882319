"""Matplotlib's SVG for a page: small, deterministic, and coloured by the page's theme.

Matplotlib draws with placeholder colours, which are then replaced by the page's CSS variables (``ink``, ``series-1``):
one SVG serves the light and the dark theme. Text stays text; metadata, unused ids and surplus decimals are removed.
"""

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mien.errors import DependencyMissing

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
except ImportError as error:
    raise DependencyMissing("reports need matplotlib; pip install 'mien[report]' brings it") from error

SERIES = tuple(f"series-{n}" for n in range(1, 9))
TOKENS = ("ink", "soft", "grid", "axis", "accent", "better", "worse", "open", "surface", *SERIES)
"""Colours of the page, by name; ``report.css`` gives them their values in light and in dark."""

_SENTINEL = {name: f"#0a{n:02x}0b" for n, name in enumerate(TOKENS)}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mien",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _SENTINEL["axis"],
    "axes.linewidth": 0.8,
    "axes.labelcolor": _SENTINEL["soft"],
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": _SENTINEL["ink"],
    "axes.titlepad": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _SENTINEL["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": _SENTINEL["axis"],
    "ytick.color": _SENTINEL["axis"],
    "xtick.labelcolor": _SENTINEL["soft"],
    "ytick.labelcolor": _SENTINEL["soft"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": _SENTINEL["ink"],
    "text.parse_math": False,  # names of clips may contain $
}


def paint(name: str) -> str:
    """The placeholder colour of one of ``TOKENS``."""
    return _SENTINEL[name]


def series(place: int) -> str:
    """The name of the colour of the ``place``-th series, from 0."""
    return SERIES[place % len(SERIES)]


class Sheet:
    """A panel: ``axes`` to draw on, then ``svg``."""

    def __init__(self, width: int, height: int, rows: int = 1, **grid: Any) -> None:
        self.figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        self.figure.patch.set_visible(False)
        FigureCanvasSVG(self.figure)
        made = self.figure.subplots(rows, 1, squeeze=False, **grid)
        self.all: list[Axes] = [row[0] for row in made]
        for axes in self.all:
            axes.patch.set_visible(False)
        self.axes = self.all[0]
        self.svg = ""


@contextmanager
def sheet(width: int, height: int, rows: int = 1, **grid: Any) -> Iterator[Sheet]:
    """An empty panel of this size in units (about CSS pixels); ``svg`` is set at the end of the block."""
    with mpl.rc_context(_STYLE):
        made = Sheet(width, height, rows, **grid)
        yield made
        file = io.StringIO()
        made.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    made.svg = _for_page(file.getvalue())


def _for_page(text: str) -> str:
    """One ``svg`` element, coloured by CSS variables."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<style type="text/css">.*?</style>', "", text, flags=re.DOTALL)
    head = r'<svg viewBox="\1" style="--w: \2" aria-hidden="true" focusable="false">'
    text = re.sub(r'<svg [^>]*?viewBox="(0 0 ([^" ]+) [^"]+)"[^>]*>', head, text, count=1)
    for name, colour in _SENTINEL.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"-?\d+\.\d{2,}", _shorter, tag[0]), text)
    text = re.sub(r"font: ?([^;\"]*?)([\d.]+)px [^;\"]*", r"font-size: \2px", text)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    return _unshared(re.sub(r"\s*\n\s*", "\n", text).replace("xlink:href", "href"), used).strip()


def _shorter(number: re.Match[str]) -> str:
    """A number with two decimals."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _unshared(text: str, used: set[str]) -> str:
    """The same with ids that are unique on the page: they end in a checksum of the SVG."""
    if not used:
        return text
    own = f"{zlib.crc32(text.encode()):x}"
    for name in used:
        text = re.sub(rf'(id="|href="#|url\(#){re.escape(name)}(?=["\)])', rf"\g<1>{name[:6]}-{own}", text)
    return text
