"""Start-up time: ``import mien`` and ``mien --help``."""

import statistics

from section import Section, Table, Target, at_most
from timing import MIEN, process, python

IMPORT = "import time; began = time.perf_counter(); import mien; print(time.perf_counter() - began)"


def measure(quick: bool) -> Section:
    rounds = 3 if quick else 15
    imported, helped, bare = [], [], []
    for _ in range(rounds):
        imported.append(float(python("-c", IMPORT).printed))
        helped.append(process(MIEN, "--help").seconds)
        bare.append(python("-c", "pass").seconds)
    values = {name: statistics.median(v) for name, v in (("import", imported), ("help", helped), ("bare", bare))}
    rows = [
        ("Python itself", f"{values['bare']:.3f}"),
        ("`import mien`, in Python", f"{values['import']:.3f}"),
        ("`mien --help`, from the shell", f"{values['help']:.3f}"),
    ]
    targets: list[Target] = [
        at_most("`import mien`", 0.1, values["import"], "s"),
        at_most("`mien --help`", 0.4, values["help"], "s"),
    ]
    return Section("Start-up", [f"Median of {rounds}.", Table(("what", "seconds"), rows)], targets)
