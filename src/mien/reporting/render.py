"""Renders a page as one self-contained HTML file with its style, script and charts.

The content security policy forbids all requests except for videos beside the page; the script is allowed by its hash.
Templates escape text; only SVG from ``charts`` and the package's own style and script are inserted as they are. A kind
of block may have its own style and script (``blocks/KIND.css``, ``blocks/KIND.js``).
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from mien.errors import DependencyMissing
from mien.reporting.blocks import Column, Page, TableCell, Value
from mien.storage.files import atomic_file

TEMPLATES = Path(__file__).parent / "templates"


def write_page(page: Page, file: Path) -> None:
    """Write a page as HTML.

    Raises:
        DependencyMissing: jinja2 is not installed.
    """
    text = render(page)
    with atomic_file(file) as part:
        part.write_text(text, encoding="utf-8")


def render(page: Page) -> str:
    """A page as HTML.

    Raises:
        DependencyMissing: jinja2 is not installed.
    """
    made = environment()
    kinds = sorted({block.kind for block in page.blocks})  # type: ignore[attr-defined]
    script = _own("js", kinds)
    return made.get_template("page.html").render(
        page=page, style=_own("css", kinds), script=script, policy=policy(script)
    )


def policy(script: str) -> str:
    """The content security policy of a page with this script: no requests except for videos beside it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def environment(*folders: Path) -> Any:
    """The jinja2 environment of templates in these folders, then in those of the reports; it escapes text.

    Raises:
        DependencyMissing: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - optional
        from markupsafe import Markup  # noqa: PLC0415 - optional
    except ImportError as error:
        raise DependencyMissing("reports need jinja2; pip install 'mien[report]' brings it") from error
    made = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"trusted": Markup, "exact": exact, "shown": shown, "tied": tied}
    return made


def exact(value: Value, column: Column) -> str:
    """The value by which a cell is sorted and exported: six digits of a number, else empty.

    >>> r = Column("r", ".2f")
    >>> exact(1 / 3, r), exact(None, r), exact(TableCell("0.5 ± 0.1", 0.5), r)
    ('0.333333', '', '0.5')
    """
    inner = value.value if isinstance(value, TableCell) else value
    if isinstance(inner, str):
        return inner
    if inner is None or inner != inner or column.text(value) == "–":
        return ""
    return f"{inner:.6g}" if isinstance(inner, float) else str(inner)


def shown(value: Value, column: Column) -> str:
    """The text of a cell."""
    return column.text(value)


def tied(text: str) -> str:
    """Keeps numbers and their units on one line."""
    return text.replace(" %", "\u00a0%").replace("± ", "±\u00a0")


def _own(suffix: str, kinds: list[str]) -> str:
    """Style or script of a page with these kinds of blocks."""
    files = [TEMPLATES / f"report.{suffix}", *(TEMPLATES / "blocks" / f"{kind}.{suffix}" for kind in kinds)]
    return "\n".join(file.read_text(encoding="utf-8").strip() for file in files if file.is_file())
