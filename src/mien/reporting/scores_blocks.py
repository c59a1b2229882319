"""Sections about scored clips: score distribution, contributions, missing modalities, notes on files, provenance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mien.reporting import charts
from mien.reporting.blocks import Column, Facts, Figure, Key, Section, Table
from mien.reporting.player import Player
from mien.scores.document import ClipNote, ScoresDocument
from mien.scores.provenance import training_data
from mien.wording import by_kind, kind_of


@dataclass(frozen=True)
class AttributionBars:
    """Mean absolute contribution of each modality to each score, as small bars; ``most`` is the longest."""

    kind: ClassVar[str] = "contributions"
    caption: str
    modalities: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]
    most: float


@dataclass(frozen=True)
class Collapsible:
    """A table that is collapsed at first."""

    kind: ClassVar[str] = "collapsible"
    summary: str
    table: Table


def distributions(scored: ScoresDocument, keys: Sequence[Key]) -> list[Section]:
    """A histogram of the scores of each emotion."""
    known = {name: [v for clip in scored.clips if (v := clip.scores.get(name)) is not None] for name in scored.targets}
    known = {name: values for name, values in known.items() if len(values) > 1}
    if not known:
        return []
    pooled = [value for values in known.values() for value in values]
    span = (min(0.0, *pooled), max(pooled))
    columns = [Column("emotion"), Column("clips", ","), *(Column(name, ".3f") for name in _STATISTICS)]
    rows = [(name, len(values), *(float(of(values)) for of in _STATISTICS.values())) for name, values in known.items()]
    bins = min(20, max(5, round(np.sqrt(len(pooled) / len(known)) * 2)))
    panels = [charts.histogram(known[key.name], key.name, ("score", "clips"), key.colour, bins, span)
              for key in keys if key.name in known]  # fmt: skip
    highest = max(known, key=lambda name: float(np.mean(known[name])))
    figure = Figure(
        "distributions", "Score distribution", "Number of clips by score; all panels have the same score axis.",
        f"The highest mean is that of {highest}, {np.mean(known[highest]):.3f}.", panels,
        Table("spread-numbers", "Scores by emotion", columns, rows),
    )  # fmt: skip
    return [Section("spread", "Score distribution", "", [figure])]


_STATISTICS: dict[str, Any] = {"mean": np.mean, "standard deviation": lambda values: np.std(values, ddof=1),
                           "lowest": np.min, "median": np.median, "highest": np.max}  # fmt: skip


def contributions(scored: ScoresDocument, players: Sequence[Player], at_most: int) -> list[Section]:
    """Mean absolute Shapley values; tables by clip have ``at_most`` clips."""
    explained = [player for player in players if player.shapley]
    if not explained:
        return []
    modalities, targets = scored.model.modalities, scored.targets
    rows = [(name, [_mean_size(explained, each, at) for each in modalities]) for at, name in enumerate(targets)]
    most = max((amount for _, amounts in rows for amount in amounts if amount is not None), default=0.0) or 1.0
    caption = f"Mean absolute Shapley value by modality, over those of {len(explained):,} clips that have it"
    columns = [Column("clip"), Column("modality"), *(Column(name, "+.3f") for name in targets)]
    shown = explained[:at_most]
    bound = "" if len(shown) == len(explained) else f" of the first {at_most} clips"
    tables = [
        Table(key, f"{title}{bound}", columns, [(player.clip, modality, *values)
                                         for player in shown for modality, values in getattr(player, field).items()])
        for key, title, field in (("shapley", "Shapley values", "shapley"),
                                  ("left-out", "Leave-one-out: score minus the score without the modality", "left_out"))
    ]  # fmt: skip
    lead = (
        "Shapley values: a modality's mean contribution to a score over all orders of adding modalities. The player "
        "shows them for each clip, with their signs."
    )
    folded = [Collapsible(f"{table.caption}, by clip", table) for table in tables]
    return [Section("why", "Modality contributions", lead, [AttributionBars(caption, modalities, rows, most), *folded])]


def _mean_size(players: Sequence[Player], modality: str, target: int) -> float | None:
    values = [player.shapley[modality][target] for player in players if modality in player.shapley]
    sizes = [abs(value) for value in values if value is not None]
    return float(np.mean(sizes)) if sizes else None


def missing(scored: ScoresDocument) -> list[Section]:
    """Missing modalities by reason and by clip, and clips that failed."""
    done = [clip for clip in scored.clips if clip.error is None]
    counts: dict[tuple[str, str], tuple[int, str]] = {}
    for clip in done:
        for name, reason in clip.absent.items():
            kind = (name, kind_of(reason))
            count, first = counts.get(kind, (0, f"{clip.clip}: {reason}"))
            counts[kind] = (count + 1, first)
    rows = [(name, reason, count, count / len(done), first) for (name, reason), (count, first) in counts.items()]
    rows.sort(key=lambda row: (scored.model.modalities.index(row[0]), -row[2]))
    columns = [Column("modality"), Column("reason"), Column("clips", ","), Column("share", ".0%"), Column("first")]
    each = [(clip.clip, name, reason) for clip in done for name, reason in clip.absent.items()]
    reasons = Table(
        "reasons", "Missing modalities by clip", [Column("clip"), Column("modality"), Column("reason")], each
    )
    failed = [(clip.clip, clip.error) for clip in scored.clips if clip.error is not None]
    blocks: list[object] = [Table("absent", "Missing modalities by reason", columns, rows)] if rows else []
    if rows and len(scored.clips) > 1:
        blocks.append(Collapsible("Missing modalities by clip", reasons))
    if failed and len(scored.clips) > 1:
        blocks.append(Table("failed", "Clips that failed", [Column("clip"), Column("reason")], failed))
    return [Section("missing", "Missing modalities", "", blocks)] if blocks else []


def clipped_notes(scored: ScoresDocument) -> list[str]:
    """How many scores were clipped to the rating scale."""
    notes = []
    for parts, of in ((scored.clips, "scores"), ([w for clip in scored.clips for w in clip.windows], "window scores")):
        count, total = sum(len(part.clipped) for part in parts), sum(len(part.scores) for part in parts)
        if count and scored.provenance:
            low, high = scored.provenance.scale
            scale = f"the rating scale [{low:g}, {high:g}]"
            notes.append(f"{count:,} of {total:,} {of} were outside {scale} and were clipped to it.")
    return notes


def file_notes(scored: ScoresDocument) -> list[Section]:
    """Notes on files, people and words of clips, by kind with their number, and by clip."""
    each = [(clip.clip, note) for clip in scored.clips for note in clip.notes]
    if not each:
        return []
    rows = [(kind.text, len(kind.clips), kind.clips[0]) for kind in by_kind(each)]
    counted = Table("notes", "Notes, by kind", [Column("note"), Column("clips", ","), Column("first")], rows)
    by_clip = Table("notes-by-clip", "Notes, by clip", [Column("clip"), Column("note")], each)
    folded = [Collapsible(by_clip.caption, by_clip)] if len(scored.clips) > 1 else []
    return [Section("files", "Notes on the clips", "", [counted, *folded])]


def provenance(scored: ScoresDocument) -> Section:
    """Model, training data, version, date, windows."""
    made, model = scored.provenance, scored.model
    unknown = "unknown (scored by an earlier version)"
    if made is None:
        windows = scale = unknown
    else:
        windows = f"{made.windows.seconds:g} s every {made.windows.hop:g} s" if made.windows else "none"
        scale = f"{made.scale[0]:g} to {made.scale[1]:g}" + (", scores not clipped to it (--raw)" if made.raw else "")
    facts = [
        ("mien", made.mien if made else unknown),
        ("model", f"{model.name} (weights: {model.weights})"),
        ("SHA-256 of the model", model.sha256 or "unknown"),
        ("trained on", training_data(model).removeprefix("trained on ") or "unknown"),
        ("scored", made.created if made else unknown),
        ("windows", windows),
        ("rating scale", scale),
    ]
    return Section("provenance", "Provenance", "", [Facts(facts)])


def is_incomplete(clip: ClipNote) -> bool:
    """Whether a scored clip lacks a modality."""
    return clip.error is None and bool(clip.absent)
