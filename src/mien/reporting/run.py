"""A run as a page: how good it is and how sure that is, where it goes wrong, how it was trained, on what."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mien.config import read_settings
from mien.evaluation.results import Evaluation
from mien.metrics import mean_defined
from mien.reporting.blocks import Column, Facts, Notice, Page, Prose, Section, Table, TableCell
from mien.reporting.evaluation_blocks import (
    agreement,
    coverage,
    groups,
    missing,
    result_figure,
    result_table,
    robustness,
    subsets,
)
from mien.reporting.evaluation_blocks import worst as worst_clips
from mien.reporting.rundata import Run, evaluation_of
from mien.reporting.training_blocks import curves
from mien.reporting.wording import listed, number, plural


def page(run: Run, title: str = "", computed: tuple[Evaluation, str] | None = None, split: str | None = None) -> Page:
    """The page of a run.

    Args:
        run: from ``read_run``.
        title: of the page; the run's name by default.
        computed: an evaluation and what it was judged on; by default that in the run, else its own predictions.
        split: of the evaluations in the run; by default the one that was made last.

    Raises:
        DataError: the run was not judged on that split.
    """
    judged, data, whole = (*computed, True) if computed else evaluation_of(run, split)
    settings = run.identity["settings"]
    about = (
        f"Trained on {plural(run.split['train'], 'clip')} and judged on {plural(judged.clips, 'rated clip')} of {data} "
        f"({judged.split}), from {listed(list(run.modalities))}. Scores are the mean over "
        f"{plural(len(judged.seeds), 'model')} that differ in their seed; intervals are 95 %, by resampling "
        f"{judged.resampled} 10,000 times."
    )
    sections = [
        Section(
            "result", "How well it follows the ratings",
            "Pearson's r over all clips of the split at once, by emotion; their plain mean is the challenge's score.",
            [*result_figure(judged), result_table(judged), models_table(run), *groups(judged)],
        ),
        Section(
            "agreement", "Predicted against rated",
            "Each emotion on the scale of the ratings. On the dashed line, a prediction is what raters said.",
            [*agreement(judged), *coverage(judged)],
        ),
        Section(
            "modalities", "What each modality brings",
            "The same model, given only some of its modalities; and each encoder as it was trained alone.",
            subsets(judged, run),
        ),
        Section("robustness", "When something is missing", "", [*robustness(judged), *missing(judged, whole)]),
        Section(
            "training", "How training went",
            "Stage 1 trains each encoder alone, stage 2 all of them under the fusion head.", curves(run),
        ),
        Section(
            "clips", "Clips furthest off",
            "Where prediction and rating differ most, averaged over the emotions: the place to look for faults.",
            [worst_clips(judged)],
        ),
        Section("record", "For the record", "Everything that somebody needs to do it again.", record(run, settings)),
    ]  # fmt: skip
    return Page(
        title or run.folder.resolve().name, "report of a run", [about],
        [section for section in sections if section.blocks], head(run, judged, whole),
    )  # fmt: skip


def head(run: Run, judged: Evaluation, whole: bool) -> list[Any]:
    """What to see at a glance, and what must not be overlooked."""
    known = [target for target in judged.targets if np.isfinite(target.r.value)]
    best = max(known, key=lambda target: target.r.value, default=None)
    people = judged.table["participant"].to_pylist()
    facts = [
        ("mean Pearson's r", number(judged.mean_r.value)),
        ("its 95 % interval", f"{number(judged.mean_r.low, '.2f')} – {number(judged.mean_r.high, '.2f')}"),
        *([(f"best emotion: {best.target}", number(best.r.value))] if best else []),
        (f"clips judged, {judged.split}", f"{judged.clips:,}"),
        ("participants in them", f"{len(set(people)):,}" if all(people) else "unknown"),
    ]
    told = [note for note in judged.notes if ": missing from" not in note]  # those have a table of their own
    warnings = [Notice(note, "warning" if "mean nothing" in note else "note") for note in told]
    undefined = [f"{t.target}: r is undefined, {t.why_undefined}" for t in judged.targets if t.why_undefined]
    return [
        Facts(facts, big=True),
        Prose(points=[_upper(judged.basis)]),
        *warnings,
        *map(Notice, undefined),
        *([] if whole else [_not_evaluated(run)]),
    ]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _not_evaluated(run: Run) -> Notice:
    return Notice(
        "Judged here are the run's own validation predictions. Subsets of modalities, robustness to missing ones, "
        "coverage of the intervals, and why something was missing are added by:",
        command=f"mien evaluate {run.folder} DATA --features STORE && mien report {run.folder} --out report.html",
    )


def models_table(run: Run) -> Table:
    """Every model of the run: each encoder alone, the fused models, and the mean of their scores."""
    rows, strong = [], []
    for name, r in run.r.items():
        means = mean_defined(r)
        spread = float(means.std(ddof=1)) if len(means) > 1 else None
        strong += [len(rows)] if name == "ensemble" else []
        rows.append(
            (
                name if name in ("fused", "ensemble") else f"{name} alone",
                *map(float, r.mean(0)),
                float(means.mean()),
                spread,
            )
        )
    columns = [Column("model"), *(Column(target, ".3f") for target in run.targets), Column("mean", ".3f"),
               Column("± seeds", ".4f", "standard deviation of the mean over seeds")]  # fmt: skip
    return Table(
        "models",
        "Validation r of every model: alone and fused, the mean over seeds; ensemble, r of the mean score",
        columns,
        rows,
        strong=strong,
    )


def record(run: Run, settings: Mapping[str, Any]) -> list[Any]:
    """Settings, data, split, versions, keys."""
    split, made = run.split, run.environment
    people = split["participants"]
    shared = len(split["participants_on_both_sides"])
    facts = [
        ("trained", made["created"]),
        ("data", f"{run.provenance['data']['name']} ({', '.join(run.targets)})"),
        ("split", split["rule"]),
        (
            "clips for training, validation",
            f"{split['train']:,}, {split['valid']:,}; {split['clips_on_both_sides']} on both",
        ),
        ("participants", f"{people[0]:,}, {people[1]:,}; {shared} on both sides" if people else "unknown"),
        ("weights of the backbones", settings["weights"]),
        ("prediction intervals", _intervals(run)),
        ("machine", f"{made['machine']}, {made['gpu'] or 'no GPU'}, Python {made['python']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items())),
        ("key of the data", run.identity["data"]),
        ("key of the features", run.identity["features"]),
        ("key of the split", run.provenance["data"]["split_fingerprint"]),
    ]
    notes = [*split["notes"]]
    return [settings_table(settings), *([Prose(points=notes)] if notes else []), Facts(facts)]


def _intervals(run: Run) -> str:
    made = run.provenance.get("intervals")
    return (
        f"{made['level']:.0%}, calibrated on {plural(made['clips'], 'clip')} ({made['calibrated_on']})"
        if made
        else "none"
    )


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Settings that are not the defaults, with what the default is."""
    changed = _changed(settings, read_settings().model_dump(mode="json"))
    rows = [(name, _said(value), _said(default)) for name, value, default in changed]
    columns = [Column("setting"), Column("in this run"), Column("default")]
    count = "No setting differs from the defaults" if not rows else "Settings that differ from the defaults"
    return Table("settings", count, columns, rows or [("all", TableCell("as by default"), "–")])


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, dict):
            found += _changed(value, default, f"{prefix}{name}.")
        elif value != default:
            found.append((f"{prefix}{name}", value, default))
    return found


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)
