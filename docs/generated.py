"""Generated pages of the site: the reference, and the Markdown pages of the repository's root.

    commands.md   every command: usage, arguments, options, example          from the command line
    settings.md   every setting: default, allowed values, meaning            from the JSON Schema of ``mien.Settings``
    python.md     every public name, with its docstring                      from ``mien.__all__``, by mkdocstrings

A MkDocs hook (``mkdocs.yml``). The pages are neither written to ``docs/`` nor committed, so they are never out of date.
Links that lead out of ``docs/`` are rewritten to the site's page, or to plain text if it has none.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import mien
from mien.cli import app
from mien.config import Settings
from mien.scores.exports import FORMATS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
TOP_PAGES = {
    "start.md" if path.stem == "README" else f"{path.stem.lower()}.md": path for path in sorted(ROOT.glob("*.md"))
}
"""Pages of the repository's root, by their name on the site."""

MODULES = {"metrics": "mien.metrics", "errors": "mien.errors"}
"""Modules that are documented completely, in addition to the public names."""

_LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation, with folders expanded to their pages."""
    nav = config.nav
    assert isinstance(nav, list)
    named = {page for _, pages in map(_section, nav) for page in pages}
    config.nav = [{title: _expanded(pages, named)} for title, pages in map(_section, nav)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    made = {
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/python.md": python_page(),
        **{name: path.read_text(encoding="utf-8") for name, path in TOP_PAGES.items()},
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Rewrite links that lead out of ``docs/``."""
    name = page.file.src_uri
    source = TOP_PAGES.get(name, DOCS / name)
    return _LINK.sub(lambda link: _rewritten(link, source, name), markdown)


def commands_page() -> str:
    """Every command with its ``--help``."""
    codes = "[exit codes](../how-to/exit-codes.md)"
    lines = ["# Commands", "", f"The output of `mien COMMAND --help`. See also {codes}.", ""]
    for name, text in commands():
        lines += [f"## mien {name}", "", "```text", text.rstrip(), "```", ""]
    return "\n".join(lines)


def commands() -> Iterator[tuple[str, str]]:
    """Full name and help of every command, including those of groups."""

    def below(name: str, command: Any) -> Iterator[tuple[str, str]]:
        for inner, one in getattr(command, "commands", {}).items():
            yield from below(f"{name} {inner}".strip(), one)
        if not hasattr(command, "commands"):
            command.rich_markup_mode = None
            yield name, command.get_help(command.context_class(command, info_name=f"mien {name}", terminal_width=100))

    return below("", typer.main.get_command(app))


def settings_page() -> str:
    """Every setting of every section."""
    schema = Settings.model_json_schema()
    lines = ["# Settings", "", "Set in a YAML file (`--config`) or with `--set NAME=VALUE`. "
             "`mien settings` prints all of them with their values.", "", "## Top level", ""]  # fmt: skip
    rows = list(settings())
    lines += _setting_table(row for row in rows if "." not in row[0])
    for name, described in _sections(schema, ""):
        inside = [row for row in rows if row[0].rpartition(".")[0] == name]
        lines += [f"## {name}", "", _plain(described), "", *_setting_table(inside)]
    return "\n".join(lines)


def settings() -> Iterator[tuple[str, str, str, str]]:
    """Name, default, allowed values, and meaning of every setting."""
    schema = Settings.model_json_schema()

    def below(
        prefix: str, section: Mapping[str, Any], default: Mapping[str, Any]
    ) -> Iterator[tuple[str, str, str, str]]:
        for name, what in section["properties"].items():
            value = default.get(name)
            if "$ref" in what:
                yield from below(f"{prefix}{name}.", _definition(schema, what), value)
            else:
                yield f"{prefix}{name}", json.dumps(value), _allowed(what), _plain(what.get("description"))

    return below("", schema, Settings().model_dump(mode="json"))


def formats_table() -> str:
    """Every export format, from ``FORMATS``; ``docs/tables.md`` holds this table, and a test compares them."""
    rows = (
        (f"`{name}`", export.written_to, export.about, ", ".join(f"`{column}`" for column in export.columns))
        for name, export in FORMATS.items()
    )
    return "\n".join(_table(("`--format`", "written to", "description", "columns"), rows))


def python_page() -> str:
    """Every public name, then the modules of ``MODULES``."""
    lines = ["# Python", "", "The public names of `import mien`; [the library](../library.md) is an overview.", ""]
    lines += [line for name in mien.__all__ for line in (f"::: mien.{name}", "")]
    for module in MODULES.values():
        lines += [f"::: {module}", "    options: {show_root_full_path: true}", ""]
    return "\n".join(lines)


def _section(entry: Mapping[str, Any]) -> tuple[str, list[str]]:
    ((title, pages),) = entry.items()
    return title, [pages] if isinstance(pages, str) else list(pages)


def _expanded(pages: Sequence[str], named: set[str]) -> str | list[str]:
    """A page as it is; a folder as its pages; ``/`` as the top-level pages that are not listed elsewhere."""
    found: list[str] = []
    for page in pages:
        if page == "/":
            found += sorted({path.name for path in DOCS.glob("*.md")} | set(TOP_PAGES) - named)
        elif page.endswith("/"):
            found += sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / page).glob("*.md"))
        else:
            found.append(page)
    found = [page for page in found if page in pages or page not in named]
    return found[0] if len(found) == 1 and not pages[0].endswith("/") else found


def _rewritten(link: re.Match[str], source: Path, name: str) -> str:
    text, target, anchor = link[1], link[2], link[3] or ""
    path = (source.parent / target).resolve()
    pages = {path: name for name, path in TOP_PAGES.items()}
    if path in pages:
        uri = pages[path]
    elif path.is_relative_to(DOCS) and not path.is_dir():
        uri = path.relative_to(DOCS).as_posix()
    else:
        return text if path.exists() else link[0]
    return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(name) or '.')}{anchor})"


def _sections(
    schema: Mapping[str, Any], prefix: str, inside: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, str]]:
    for name, what in (inside or schema)["properties"].items():
        if "$ref" in what:
            section = _definition(schema, what)
            yield f"{prefix}{name}", section.get("description", "")
            yield from _sections(schema, f"{prefix}{name}.", section)


def _definition(schema: Mapping[str, Any], what: Mapping[str, Any]) -> Mapping[str, Any]:
    return schema["$defs"][what["$ref"].rpartition("/")[2]]


_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
_TYPES = {
    "number": "a number",
    "integer": "a whole number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "null": "none",
}


def _allowed(what: Mapping[str, Any]) -> str:
    for union in ("anyOf", "oneOf"):
        if union in what:
            return " or ".join(_allowed(one) for one in what[union])
    if "$ref" in what:
        return "a section"
    if "const" in what:
        return f"`{what['const']}`"
    if "enum" in what:
        return ", ".join(f"`{value}`" for value in what["enum"])
    kind = f"{_TYPES[what['type']]}" + (f" of {_TYPES[what['items']['type']]}s" if "items" in what else "")
    kind = kind.replace("of a ", "of ").replace("of texts", "of names")
    bounds = [words.format(f"{what[name]:g}") for name, words in _BOUNDS.items() if name in what]
    return ", ".join([kind, *bounds])


def _setting_table(rows: Iterator[tuple[str, str, str, str]] | Sequence[tuple[str, str, str, str]]) -> list[str]:
    return _table(("setting", "default", "allowed", "meaning"), ((f"`{n}`", f"`{d}`", a, m) for n, d, a, m in rows))


def _plain(text: str | None) -> str:
    """A docstring as a line of Markdown."""
    return " ".join((text or "").replace("``", "`").split())


def _table(header: Sequence[str], rows: Any) -> list[str]:
    lines = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *(f"| {' | '.join(row)} |" for row in lines), ""]
