"""What the pages are made of: templates, scripts and styles, and the texts of each language.

HTML comes from ``templates``, its scripts and styles from ``static`` and from the report. Nothing is inline, so the
content security policy allows only what this server serves. Texts are in one file per language,
``static/texts.LANGUAGE.json``, for templates and scripts alike.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from mien.reporting import render

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
    "img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEAD = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LANGUAGES = {"en": "English", "de": "Deutsch"}
LANGUAGE_COOKIE = "language"
SUFFIXES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
}
OF_THE_REPORT = ("report.css", "report.js", "blocks/player.css", "blocks/player.js", "blocks/sparklines.css")


@dataclass(frozen=True)
class Asset:
    """A script, style or text of the pages."""

    content: bytes
    kind: str
    tag: str


@functools.cache
def assets() -> Mapping[str, Asset]:
    """What is served under ``/static``, by name."""
    files = [*(HERE / "static").iterdir(), *(render.TEMPLATES / name for name in OF_THE_REPORT)]
    return {file.name: _asset(file) for file in files if file.suffix in SUFFIXES}


@functools.cache
def texts(language: str) -> Mapping[str, Any]:
    """The texts of a language by key; a pair is singular and plural."""
    return json.loads((HERE / "static" / f"texts.{language}.json").read_text(encoding="utf-8"))


def say(language: str, key: str, **values: object) -> str:
    """A text with its values filled in; ``n`` chooses between singular and plural.

    >>> say("en", "clips", n=1), say("en", "clips", n=3)
    ('1 clip', '3 clips')
    """
    text = texts(language)[key]
    if isinstance(text, list):
        text = text[0 if values.get("n") == 1 else 1]
    return text.format(**values)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page in the language of the request."""
    language = _language(request)
    values |= {"t": functools.partial(say, language), "texts": texts(language), "language": language}
    values |= {"languages": LANGUAGES, "here": request.url.path if request.method == "GET" else "/"}
    made = _templates().get_template(template).render(values)
    return HTMLResponse(made, status, HEAD)


def _language(request: Request) -> str:
    """The language of the cookie, else the first known one of ``Accept-Language``."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    wished = [part.partition(";")[0].strip().lower()[:2] for part in _wishes(request)]
    return next((name for name in (chosen, *wished) if name in LANGUAGES), "en")


def _wishes(request: Request) -> list[str]:
    return request.headers.get("accept-language", "")[:500].split(",")


@functools.cache
def _templates() -> Any:
    return render.environment(HERE / "templates")


def _asset(file: Path) -> Asset:
    content = file.read_bytes()
    return Asset(content, SUFFIXES[file.suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')
