"""The page on licences lists every installed package that is not permissively licensed."""

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import av._core
from packaging.requirements import Requirement

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "explanation" / "software-licences.md").read_text("utf-8")
PERMISSIVE = re.compile(
    r"Apache|MIT|BSD|ISC|PSF|Python Software Foundation|HPND|CNRI|Zlib|CC0|BSL|Unlicense|LLVM", re.IGNORECASE
)
DEMANDING = re.compile(r"GPL|General Public|MPL|Mozilla|EPL|EUPL|CDDL|Proprietary|NVIDIA|Commercial", re.IGNORECASE)


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def installed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    """A distribution and its installed dependencies."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    try:
        required = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield name
    for requirement in map(Requirement, required):
        ways = [{"extra": extra} for extra in extras or {""}]
        if requirement.marker is None or any(requirement.marker.evaluate(way) for way in ways):
            yield from installed(name_of(requirement.name), frozenset(requirement.extras), seen)


def licence_of(name: str) -> str:
    about = importlib.metadata.metadata(name)
    classes = [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    return about.get("License-Expression") or " ".join(classes) or (about.get("License") or "")[:200]


def test_every_installed_package_is_permissive_or_listed_on_the_page() -> None:
    names = sorted(set(installed("mien", frozenset({"all"}), set())))
    assert len(names) > 40
    licences = {name: licence_of(name) for name in names}
    unnamed = {
        name: licence
        for name, licence in licences.items()
        if (not PERMISSIVE.search(licence) or DEMANDING.search(licence)) and f"`{name}`" not in PAGE
    }
    assert unnamed == {}


def test_the_wheel_contains_the_ffmpeg_described_on_the_page() -> None:
    built = av._core.library_meta["libavcodec"]
    assert built["license"] == "LGPL version 3 or later"
    assert all(f"--enable-{name}" in built["configuration"] for name in ("libx264", "libx265", "gnutls"))
