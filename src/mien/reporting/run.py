"""The page of a run: results with their intervals, largest errors, training curves, settings and data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mien.config import read_settings
from mien.evaluation.results import Evaluation
from mien.inference.provenance import SYNTHETIC
from mien.metrics import mean_defined
from mien.model.encoder_origin import origin_text, origins_in
from mien.model.model_folder import weights_file
from mien.reporting.blocks import Column, Facts, Notice, Page, Prose, Section, Table, TableCell
from mien.reporting.evaluation_blocks import (
    COUNTS,
    agreement,
    coverage,
    groups,
    missing,
    result_figure,
    result_table,
    robustness,
    subsets,
)
from mien.reporting.evaluation_blocks import worst as largest_errors
from mien.reporting.rundata import Run, evaluation_of
from mien.reporting.training_blocks import curves
from mien.reporting.wording import between, listed, number
from mien.storage.files import sha256_of
from mien.wording import plural

OPTIMISM = (
    "The best epoch was chosen, and scores were calibrated, on the run's validation clips, so r and errors on them are "
    "slightly optimistic."
)
INNER = "An inner split of the training clips chose the best epochs and calibrated scores and intervals."
REFIT = (
    "After that, the model was trained again on all rated clips, validation clips included. {which}; no clip of "
    "this data is left to measure the model in use."
)


def page(run: Run, title: str = "", computed: tuple[Evaluation, str] | None = None, split: str | None = None) -> Page:
    """The page of a run.

    Args:
        run: from ``read_run``.
        title: of the page; the run's name by default.
        computed: an evaluation and its data; by default the one in the run, else its own validation predictions.
        split: of the evaluations in the run; by default the latest.

    Raises:
        DataError: the run was not evaluated on that split.
    """
    evaluation, data, whole = (*computed, True) if computed else evaluation_of(run, split)
    settings = run.identity["settings"]
    about = (
        f"Trained on {plural(run.split['train'], 'clip')}, evaluated on {plural(evaluation.clips, 'rated clip')} of "
        f"{data} ({evaluation.split}), from {listed(list(run.modalities))}. Scores are the mean over "
        f"{plural(len(evaluation.seeds), 'model')} that differ in their seed; intervals are 95 %, by resampling "
        f"{evaluation.resampled} 10,000 times."
    )
    sections = [
        Section(
            "result", "Results",
            "Pearson's r over all clips of the split, by emotion; their mean is the challenge's metric.",
            [*result_figure(evaluation), result_table(evaluation), models_table(run), *groups(evaluation)],
        ),
        Section(
            "agreement", "Predicted against rated",
            "Each emotion on the scale of the ratings. On the dashed line, prediction and rating are equal.",
            [*agreement(evaluation), *coverage(evaluation)],
        ),
        Section(
            "modalities", "Modalities",
            "The same model with subsets of its modalities, and each encoder as it was trained alone.",
            subsets(evaluation, run),
        ),
        Section("robustness", "Missing modalities", "", [*robustness(evaluation), *missing(evaluation, whole)]),
        Section(
            "training", "Training curves",
            "Stage 1 trains each encoder alone, stage 2 trains all of them with the fusion head.",
            [*(Notice(note, "warning") for note in run.notes), *curves(run), *layers_table(run)],
        ),
        Section(
            "clips", "Largest errors",
            "Clips with the largest mean absolute error over the emotions: the place to look for faults.",
            [largest_errors(evaluation)],
        ),
        Section("record", "Reproduction", "Settings, data and versions to reproduce the run.", record(run, settings)),
    ]  # fmt: skip
    return Page(
        title or run.folder.resolve().name, "report of a run", [about],
        [section for section in sections if section.blocks], head(run, evaluation, whole),
    )  # fmt: skip


def head(run: Run, evaluation: Evaluation, whole: bool) -> list[Any]:
    """Key figures and notices."""
    known = [target for target in evaluation.targets if np.isfinite(target.r.value)]
    best = max(known, key=lambda target: target.r.value, default=None)
    people = evaluation.table["participant"].to_pylist()
    facts = [
        ("mean Pearson's r", number(evaluation.mean_r.value)),
        ("its 95 % interval", between(evaluation.mean_r, ".2f").text),
        *([(f"best emotion: {best.target}", number(best.r.value))] if best else []),
        (f"clips evaluated, {evaluation.split}", f"{evaluation.clips:,}"),
        ("participants in them", f"{len(set(people)):,}" if all(people) else "unknown"),
        *([("of these, trained on", f"{evaluation.trained_on:,}")] if evaluation.trained_on else []),
    ]
    synthetic = bool(run.provenance.get("data", {}).get("synthetic"))
    banner = [Notice(f"The model was {SYNTHETIC}.", "warning")] if synthetic else _synthetic_encoders(run)
    # What is missing has a table of its own, and the banner says the other.
    notes = [n for n in evaluation.notes if ": missing from" not in n and not n.startswith("trained on synthetic")]
    noted = any("slightly optimistic" in note for note in notes)
    optimism = [OPTIMISM] if evaluation.validated_on and not noted else []
    serious = ("mean nothing", "say nothing about new clips")
    warnings = [Notice(n, "warning" if any(text in n for text in serious) else "note") for n in notes]
    undefined = [f"{t.target}: r is undefined, {t.why_undefined}" for t in evaluation.targets if t.why_undefined]
    return [
        Facts(facts, big=True),
        *banner,
        Prose(points=[_upper(evaluation.basis), *optimism, *_selection(run, whole)]),
        *warnings,
        *map(Notice, undefined),
        *([] if whole else [_not_evaluated(run)]),
    ]


def _synthetic_encoders(run: Run) -> list[Notice]:
    """Encoders that were first trained on synthetic people, of a model of real ones."""
    found = [name for name, origin in origins_in(run.provenance).items() if origin.synthetic]
    return [Notice(f"First trained on synthetic people: the encoder of {listed(found)}.", "warning")] if found else []


def _selection(run: Run, whole: bool) -> list[str]:
    """Which clips chose the epochs, if not the validation clips, and which model the results are of after a refit."""
    which = "These results are of the model in use" if whole else "These results are of the model before that"
    return [*([INNER] if run.inner else []), *([REFIT.format(which=which)] if run.refitted else [])]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _not_evaluated(run: Run) -> Notice:
    return Notice(
        "These are the run's own validation predictions. Subsets of modalities, robustness to missing ones, coverage "
        "of the intervals and the reasons for missing modalities are added by:",
        command=f"mien evaluate {run.folder} DATA --features STORE{' --split test' if run.refitted else ''} && "
        f"mien report {run.folder} --out report.html",
    )


def models_table(run: Run) -> Table:
    """Every model of the run: encoders alone, fused models, and their ensemble."""
    people = run.split["participants"]
    counts = run.split["valid"], people[1] if people else None
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
                *counts,
            )
        )
    columns = [Column("model"), *(Column(target, ".3f") for target in run.targets), Column("mean", ".3f"),
               Column("± seeds", ".4f", "standard deviation of the mean over seeds"), *COUNTS]  # fmt: skip
    before = ", before the refit" if run.refitted else ""
    return Table(
        "models",
        f"Validation r of every model{before}: mean over seeds; ensemble: r of the mean score, on the rating scale",
        columns,
        rows,
        strong=strong,
    )


def layers_table(run: Run) -> list[Table]:
    """The learned weights of layers of the fused model, if it learned any."""
    learned: Mapping[str, Mapping[str, float]] = run.provenance.get("layers", {})
    numbers = sorted({layer for weights in learned.values() for layer in weights}, key=int)
    rows = [(layer, *(weights.get(layer) for weights in learned.values())) for layer in numbers]
    columns = [Column("layer"), *(Column(name, ".3f") for name in learned)]
    title = "Learned weights of the backbones' layers: mean over seeds; 0 is the embedding of the input"
    return [Table("layers", title, columns, rows)] if learned else []


def record(run: Run, settings: Mapping[str, Any]) -> list[Any]:
    """Settings, data, split, versions, keys."""
    split, made = run.split, run.environment
    people = split["participants"]
    shared = len(split["participants_on_both_sides"])
    facts = [
        ("trained", made["created"]),
        ("mien", made["versions"].get("mien", "unknown")),
        ("SHA-256 of the model", sha256_of(weights_file(run.folder))),
        ("data", f"{run.provenance['data']['name']} ({', '.join(run.targets)})"),
        ("split", split["rule"]),
        (
            "clips for training, validation",
            f"{split['train']:,}, {split['valid']:,}; {split['clips_on_both_sides']} on both",
        ),
        ("participants", f"{people[0]:,}, {people[1]:,}; {shared} on both sides" if people else "unknown"),
        *_inner_facts(split.get("inner")),
        ("weights of the backbones", _weights_text(settings["weights"])),
        *(("encoder from another run", origin_text(*one)) for one in origins_in(run.provenance).items()),
        ("scores", _calibration(run)),
        ("prediction intervals", _intervals(run)),
        ("machine", f"{made['machine']}, {made['gpu'] or 'no GPU'}, Python {made['python']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items())),
        ("key of the data", run.identity["data"]),
        ("key of the features", run.identity["features"]),
        ("key of the split", run.provenance["data"]["split_fingerprint"]),
    ]
    notes = [*split["notes"]]
    return [settings_table(settings), *([Prose(points=notes)] if notes else []), Facts(facts)]


def _inner_facts(inner: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if inner is None:
        return []
    people = inner["participants"]
    of = f", {people[0]:,} and {people[1]:,} participants" if people else ", participants unknown"
    return [("inner split", f"{inner['train']:,} clips for training, {inner['valid']:,} to choose epochs{of}: "
             f"{inner['rule']}")]  # fmt: skip


def _weights_text(weights: Any) -> str:
    """The set, and the backbones of one's own."""
    if not isinstance(weights, dict):
        return str(weights)
    own = (f"{role}: {reference}" for role, reference in weights.items() if role != "set" and reference)
    return ", ".join([str(weights.get("set")), *own])


def _intervals(run: Run) -> str:
    made = run.provenance.get("intervals")
    return (
        f"{made['level']:.0%}, calibrated on {plural(made['clips'], 'clip')} ({made['calibrated_on']})"
        if made
        else "none"
    )


def _calibration(run: Run) -> str:
    """How outputs became scores: by which maps, fitted on what."""
    made = run.provenance.get("calibration")
    if not made:
        return "outputs of the model as they are"
    slopes = sorted(made["slopes"].values())
    kept = f"; {made['kept']} of {made['maps']} maps could not be fitted to the emotion itself" if made["kept"] else ""
    return (
        f"expected ratings: least squares on {plural(made['clips'], 'clip')} ({made['calibrated_on']}), slopes "
        f"{slopes[0]:.2f} to {slopes[-1]:.2f}{kept}"
    )


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Settings that differ from the defaults."""
    changed = _changed(settings, read_settings().model_dump(mode="json"))
    rows = [(name, _text(value), _text(default)) for name, value, default in changed]
    columns = [Column("setting"), Column("in this run"), Column("default")]
    count = "No setting differs from the defaults" if not rows else "Settings that differ from the defaults"
    return Table("settings", count, columns, rows or [("all", TableCell("default"), "–")])


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, dict):
            found += _changed(value, default, f"{prefix}{name}.")
        elif value != default:
            found.append((f"{prefix}{name}", value, default))
    return found


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)
