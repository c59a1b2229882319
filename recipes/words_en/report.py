"""What ``words-en`` is worth on texts that it never saw: by target, by kind of text, written and as spoken.

python recipes/words_en/report.py OUT/0 OUT/1 OUT/2     tables over seeds, from the report.json of each
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from corpora import SCORES, Texts
from sklearn.metrics import roc_auc_score
from spoken import spoken

from mien.evaluation.evaluate import coverage_by_level
from mien.metrics import bootstrap_pearson, interval, pearson
from mien.model.bundle import Bundle

Scorer = Callable[[Sequence[str]], npt.NDArray[np.float32]]

NEGATION = re.compile(r"\b(not|no|never|nothing|nobody|without|\w+n['’]?t)\b", re.IGNORECASE)
FIRST_PERSON = re.compile(r"\b(i|me|my|mine|we|us|our|i['’]m|i['’]ve|im|ive)\b", re.IGNORECASE)
KINDS: Mapping[str, Callable[[str], bool]] = {
    "up to 8 words": lambda text: len(text.split()) <= 8,
    "9 to 16 words": lambda text: 8 < len(text.split()) <= 16,
    "more than 16 words": lambda text: len(text.split()) > 16,
    "with a negation": lambda text: bool(NEGATION.search(text)),
    "without a negation": lambda text: not NEGATION.search(text),
    "in the first person": lambda text: bool(FIRST_PERSON.search(text)),
    "not in the first person": lambda text: not FIRST_PERSON.search(text),
}


def figures(texts: Texts, score: Scorer, bundle: Bundle) -> dict[str, Any]:
    """All figures of a model, on the texts of the report.

    Args:
        texts: of all parts.
        score: texts → scores ``(N, E)``.
        bundle: the model, for its intervals.
    """
    places = texts.places("report")
    written = [texts.clips[place].transcript or "" for place in places]
    people = [clip.participant or clip.id for clip in (texts.clips[place] for place in places)]
    scores = {"written": score(written), "as spoken": score([spoken(text) for text in written])}
    rows, kinds = [], []
    for e, (target, columns) in enumerate(SCORES.items()):
        for column in columns:
            y = texts.labels[places, texts.targets.index(column)]
            known = ~np.isnan(y)
            rows.append(_row(target, column, scores, e, y, known, people))
            kinds += [
                {"rating": column, "kind": kind, "texts": int(here.sum()), "r": _r(scores["written"][here, e], y[here])}
                for kind, belongs in KINDS.items()
                for here in [known & np.array([belongs(text) for text in written])]
            ]
    return {"targets": rows, "kinds": kinds, "coverage": _coverage(texts, places, scores["written"], bundle)}


def _row(
    target: str,
    column: str,
    scores: Mapping[str, npt.NDArray[np.float32]],
    e: int,
    y: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    people: Sequence[str],
) -> dict[str, Any]:
    p, rated, who = scores["written"][known, e], y[known], [one for one, k in zip(people, known, strict=True) if k]
    drawn = bootstrap_pearson(p[:, None], rated[:, None], who, 2000)
    ends = interval(_r(p, rated), drawn[:, 0], len(set(who)))
    is_binary = set(np.unique(rated)) <= {0.0, 1.0}
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    return {
        "score": target, "rating": column, "texts": int(known.sum()), "groups": len(set(who)),
        "r": [ends.value, ends.low, ends.high],
        "r as spoken": _r(scores["as spoken"][known, e], rated),
        "auc": float(roc_auc_score(rated > 0.5, p)) if is_binary else None,
        "mean score": float(p.mean()), "mean rating": float(rated.mean()),
        "calibration error": float(np.mean([abs(p[b].mean() - rated[b].mean()) for b in bins])),
        "highest tenth": [float(p[bins[-1]].mean()), float(rated[bins[-1]].mean())],
    }  # fmt: skip


def _coverage(
    texts: Texts, places: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], bundle: Bundle
) -> list[dict[str, Any]]:
    made = []
    low, high = map(bundle.bounded, bundle.intervals(scores, np.ones((len(scores), 1), bool)))
    for e, (target, columns) in enumerate(SCORES.items()):
        y = texts.labels[places][:, [texts.targets.index(column) for column in columns]]
        known = ~np.isnan(y).all(1)
        rated = np.nanmean(y[known], 1)
        ends = np.stack([low[known, e], high[known, e]])[..., None]
        levels = coverage_by_level(bundle.bounded(scores)[known, e, None], rated[:, None], ends, (0.0, 1.0))
        inside = (rated >= ends[0, :, 0]) & (rated <= ends[1, :, 0])
        made.append({"score": target, "texts": int(known.sum()), "found": float(inside.mean()),
                     "levels": [vars(level) for level in levels if level.rated]})  # fmt: skip
    return made


def _r(scores: npt.NDArray[np.float32], rated: npt.NDArray[np.float32]) -> float:
    return float(pearson(scores[:, None], rated[:, None])[0]) if len(rated) > 1 else float("nan")


def main() -> None:
    """Print tables over seeds, in Markdown."""
    reports = [json.loads((Path(folder) / "report.json").read_text(encoding="utf-8")) for folder in sys.argv[1:]]
    print(f"Mean over {len(reports)} seeds, and their standard deviation; the interval is that of the first seed.\n")
    print("| score | rating | texts | r | 95 % interval | r as spoken | AUC | mean score, rating | highest tenth |")
    print("|---|---|---|---|---|---|---|---|---|")
    for rows in zip(*(report["targets"] for report in reports), strict=True):
        first, r = rows[0], np.array([row["r"][0] for row in rows])
        spread = f"{r.std(ddof=1):.3f}" if len(r) > 1 else "–"
        spoken_r = np.mean([row["r as spoken"] for row in rows])
        auc = "–" if first["auc"] is None else f"{np.mean([row['auc'] for row in rows]):.3f}"
        top = np.mean([row["highest tenth"] for row in rows], 0)
        means = np.mean([[row["mean score"], row["mean rating"]] for row in rows], 0)
        cells = [
            first["score"], first["rating"], f"{first['texts']:,}", f"{r.mean():.3f} ± {spread}",
            f"[{first['r'][1]:.3f}, {first['r'][2]:.3f}]", f"{spoken_r:.3f}", auc,
            f"{means[0]:.3f}, {means[1]:.3f}", f"{top[0]:.3f}, {top[1]:.3f}",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    every = [row for report in reports for row in report["kinds"]]
    kinds = list(dict.fromkeys(row["kind"] for row in every))
    print(f"\n| rating | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for rating in dict.fromkeys(row["rating"] for row in every):
        cells = []
        for kind in kinds:
            found = [row for row in every if (row["rating"], row["kind"]) == (rating, kind)]
            cells.append(f"{np.mean([row['r'] for row in found]):.2f} ({found[0]['texts']:,})")
        print(f"| {rating} | {' | '.join(cells)} |")
    print("\n| score | of the | from | to | ratings | covered | mean width |\n|---|---|---|---|---|---|---|")
    for row in reports[0]["coverage"]:
        for level in row["levels"]:
            print(f"| {row['score']} | {level['of']} | {level['low']:.1f} | {level['high']:.1f} | {level['rated']:,} "
                  f"| {level['found']:.1%} | {level['width']:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()
