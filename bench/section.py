"""A section of the benchmark: data (JSON), rendered as Markdown."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """A target and its measurement; ``limit`` explains a target that is not met."""

    what: str
    aim: str
    measured: str
    met: bool
    limit: str = ""


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """One section: text, tables and plots in order, and its targets."""

    title: str
    parts: Sequence[str | Table]
    targets: Sequence[Target] = ()
    machine: str = ""
    seconds: float = 0.0
    plots: Sequence[str] = field(default_factory=list)


def at_least(what: str, aim: float, measured: float, limit: str = "", unit: str = "×") -> Target:
    return Target(what, f"≥ {aim:g} {unit}", f"{measured:.2f} {unit}", bool(measured >= aim), limit)


def at_most(what: str, aim: float, measured: float, unit: str, limit: str = "") -> Target:
    return Target(what, f"≤ {aim:g} {unit}".rstrip(), f"{measured:.3g} {unit}".rstrip(), bool(measured <= aim), limit)


def machine() -> str:
    """Processor, cores, memory and load at the start of a section."""
    model = next((line for line in _cpuinfo() if line.startswith("model name")), "unknown").partition(":")[2].strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{cores} × {model or platform.processor()}, {memory:.0f} GiB, load {load:.1f} before it began"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def save(section: Section, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(section), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path) -> Section:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found["parts"] = [part if isinstance(part, str) else Table(**part) for part in found["parts"]]
    found["targets"] = [Target(**target) for target in found["targets"]]
    return Section(**found)


def markdown(section: Section) -> str:
    lines = [f"## {section.title}", ""]
    for part in section.parts:
        lines += [part if isinstance(part, str) else table(part.head, part.rows), ""]
    lines += [line for plot in section.plots for line in (f"![{section.title}](bench/plots/{plot})", "")]
    lines += [f"*{section.machine}; took {section.seconds:.0f} s.*", ""]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


def draw(name: str, plot: Callable[[Any], None]) -> str:
    """Draw an SVG of two panels side by side, the same bytes for the same numbers; returns its file name."""
    import matplotlib  # noqa: PLC0415 - only needed for plots

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "mien"
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    plot(axes)
    (HERE / "plots").mkdir(exist_ok=True)
    figure.savefig(HERE / "plots" / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
    return f"{name}.svg"
