"""Measure everything, or the sections named, and write bench.md.

    python bench/run.py                     every section that has no result yet, then bench.md
    python bench/run.py decode store        these again, whatever there is
    python bench/run.py --again             all of them again
    python bench/run.py --quick             all, smaller, to the screen: to see that they run, not what they measure
    python bench/run.py --only-render       bench.md from the results that there are

A section is a file beside this one with ``measure(quick) -> Section``. Each runs in a process of its own and leaves its
result in bench/results/, so an interrupted run goes on with the next section. A section that fails says so; the others
go on, and the exit code is 1.
"""

import argparse
import importlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from section import HERE, Section, load, machine, markdown, save, table

SECTIONS = ("startup", "decode", "backbones", "precision", "recogniser", "extraction", "scaling", "store", "training")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--only-render", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    unknown = set(asked.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    results = HERE / "results" / "quick" if asked.quick else HERE / "results"
    if asked.here:
        _measure(asked.sections[0], asked.quick, results)
        return 0
    failed = [] if asked.only_render else _run(asked, results)
    sections = [load(results / f"{name}.json") for name in SECTIONS if (results / f"{name}.json").exists()]
    page = render(sections, asked.quick)
    if asked.quick:
        print(page)
    else:
        (HERE.parent / "bench.md").write_text(page, encoding="utf-8")
    for complaint in failed:
        print(complaint, file=sys.stderr)
    return bool(failed)


def _run(asked: argparse.Namespace, results: Path) -> list[str]:
    failed = []
    for name in asked.sections or SECTIONS:
        if (results / f"{name}.json").exists() and not (asked.sections or asked.again or asked.quick):
            print(f"{name}: measured before; `python bench/run.py {name}` measures it again", file=sys.stderr)
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        command = [sys.executable, str(Path(__file__)), name, "--here", *["--quick"] * asked.quick]
        if code := subprocess.run(command, check=False).returncode:
            failed.append(f"{name}: failed with exit code {code}, see above")
    return failed


def _measure(name: str, quick: bool, results: Path) -> None:
    before, begin = machine(), time.perf_counter()
    section: Section = importlib.import_module(name).measure(quick)
    save(replace(section, machine=before, seconds=time.perf_counter() - begin), results / f"{name}.json")


def render(sections: list[Section], quick: bool) -> str:
    targets = [target for section in sections for target in section.targets]
    rows = [(t.what, t.aim, t.measured, "met" if t.met else f"**not met**: {t.limit}") for t in targets]
    head = [
        "# How fast it is",
        "",
        "Made by `make bench` (`bench/run.py`); nothing here is typed by hand. Ratios are of ways that took turns in",
        "one run on one machine, medians over the rounds; absolute times are of that machine alone.",
        "*A quick run: it shows that everything runs, and its numbers mean little.*" if quick else "",
        "",
        f"{sum(t.met for t in targets)} of {len(targets)} targets are met.",
        "",
        table(("target", "aim", "measured", ""), rows),
        "",
    ]
    return "\n".join([*head, *(markdown(section) for section in sections)])


if __name__ == "__main__":
    sys.exit(main())
