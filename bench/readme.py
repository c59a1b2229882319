"""Write the README's table of results, between its two markers, from the records of trained runs.

    make demo                                       # demo/run: synthetic videos
    mien synth big --mode features --clips 12660    # the real set's size, with a known ceiling
    mien train big --features big/features --out runs/ten --set 'seeds=[0,1,2,3,4,5,6,7,8,9]'
    python bench/readme.py demo/run --full runs/ten --ceiling big/ceiling.json

Every model folder has its results on the validation clips, with intervals over participants; this script reads them.
Only the last column, the paper's published results on the real data, is a constant.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: written by bench/readme.py -->", "<!-- /results -->"
README = Path(__file__).resolve().parents[1] / "README.md"
PUBLISHED = {"text": ".408", "audio": ".360", "vision": ".154", "motion": ".13", "all four": ".439"}
"""Mean r on the official validation clips: each modality alone (audio: the attention encoder; its BiLSTM has .365), and
run F2 (docs/explanation/paper.md)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="the run of make demo")
    parser.add_argument("--full", type=Path, help="a run on the feature-mode corpus")
    parser.add_argument("--ceiling", type=Path, help="ceiling.json of that corpus")
    args = parser.parse_args()
    if bool(args.full) != bool(args.ceiling):
        parser.error("--full and --ceiling go together")
    text = README.read_text(encoding="utf-8")
    README.write_text(between(text, results(args.videos, args.full, args.ceiling)), encoding="utf-8")


def between(text: str, table: str) -> str:
    """``text`` with the part between the markers replaced.

    >>> between(f"a {BEGIN} old {END} z", "new").split()[-5:]
    ['new', '<!--', '/results', '-->', 'z']
    """
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"README.md needs the two markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def results(videos: Path, full: Path | None, ceiling: Path | None) -> str:
    """The table and the lines below it."""
    columns = [("stand-in videos", _scores(videos))]
    if full and ceiling:
        best = json.loads(ceiling.read_text(encoding="utf-8"))["valid"]
        columns += [("full-size features", _scores(full)), ("ceiling at full size", _ceilings(best))]
    columns.append(("the paper, real data", PUBLISHED))
    lines = [
        _row(["mean r over six emotions", *(name for name, _ in columns)]),
        _row(["---"] * (len(columns) + 1)),
        *(_row([part, *(values.get(part, "") for _, values in columns)]) for part in PUBLISHED),
        "",
        f"Stand-in videos: {_about(videos)}.",
    ]
    return "\n".join([*lines, f"Full-size features: {_about(full)}."] if full else lines)


def _scores(run: Path) -> dict[str, str]:
    """r of each modality alone and of all together, with the 95 % interval over participants."""
    found = {part.parent.name: _record(part)["results"] for part in sorted(run.glob("stage1/*/model"))}
    found["all four"] = _record(run / "model")["results"]
    return {name: _ends(results["scores"][-1]["r"]) for name, results in found.items()}


def _about(run: Path) -> str:
    record = _record(run / "model")
    models = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))["models"]
    people = record["data"]["participants"] or ("?", "?")
    sides = zip(("train", "valid"), ("training", "validation"), people, strict=True)
    parts = [f"{record['data'][split]:,} {name} clips of {count} people" for split, name, count in sides]
    return f"{', '.join(parts)}, {len(models)} seeds"


def _ceilings(best: dict[str, Any]) -> dict[str, str]:
    names = {part: part for part in PUBLISHED} | {"all four": max(best, key=len)}
    return {part: _short(best[name]["mean"]["r"]) for part, name in names.items()}


def _record(model: Path) -> dict[str, Any]:
    return json.loads((model / "provenance.json").read_text(encoding="utf-8"))


def _ends(ends: Sequence[float | None]) -> str:
    value, low, high = (_short(number) for number in ends)
    return f"{value} [{low}, {high}]"


def _short(number: float | None) -> str:
    return "undefined" if number is None else f"{number:.3f}".replace("0.", ".", 1)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
