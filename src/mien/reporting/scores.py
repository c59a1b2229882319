"""The page about scored clips: one film with its player, or a folder of them with a player to choose from.

What is shown of many clips is bounded, and the page says where: the player and what moved the scores are there for the
first ``MAX_PLAYER_CLIPS`` clips, small multiples for the first ``sparklines.SHOWN``. Tables and distributions have all.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mien.reporting import charts
from mien.reporting.blocks import Column, Facts, Figure, Key, Notice, Page, Prose, Section, Table, TableCell
from mien.reporting.drawing import series
from mien.reporting.player import Player, plain, player_of, scale_of
from mien.reporting.sparklines import SHOWN, Sparklines, height, spark_of
from mien.reporting.videos import Films
from mien.reporting.wording import listed, plural
from mien.scores.document import ClipNote, ScoresDocument
from mien.storage.documents import or_nan

MAX_PLAYER_CLIPS = 200
"""Clips in the player, at most."""

HOW_TO_READ = (
    "A score is the model's estimate of how strongly raters would say that the emotion shows, on the scale of the "
    "ratings that it was trained on. It is no statement on what the person feels.",
    "A clip is scored from whatever of text, audio, vision and motion it has; what was missing is named with its "
    "reason, and intervals are wider the less there was.",
    "Intervals were calibrated on whole clips: for windows they are a guide and not a promise.",
    "Compare conditions over many people, not single clips: mien summarize does.",
)


@dataclass(frozen=True)
class PlayerBlock:
    """The player, with the clips that it shows.

    Attributes:
        targets: names of the scores, with the page's colour of each.
        modalities: of the model.
        players: the clips, in order.
        films: their films.
        scale: ends of the axis of scores.
        legend: how to read the curves.
        explained: whether it is known of any clip what moved its scores.
    """

    kind: ClassVar[str] = "player"
    targets: Sequence[Key]
    modalities: Sequence[str]
    players: Sequence[Player]
    films: Films
    scale: tuple[float, float]
    legend: str
    explained: bool

    @property
    def data(self) -> dict[str, Any]:
        """What the script reads."""
        films = [{"id": f.id, "name": f.name, "media": f.media, "link": f.link} for f in self.films.films]
        clips = [plain(player) | {"film": self.films.of.get(player.clip), "dark": self.films.says(player.clip)}
                 for player in self.players]  # fmt: skip
        return {"targets": [key.name for key in self.targets], "scale": self.scale, "films": films, "clips": clips}


@dataclass(frozen=True)
class AttributionBars:
    """How much each modality moved each score, as small bars; ``most`` is the longest of them."""

    kind: ClassVar[str] = "movers"
    caption: str
    modalities: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]
    most: float


@dataclass(frozen=True)
class Collapsible:
    """A table that is shown when it is asked for."""

    kind: ClassVar[str] = "folded"
    summary: str
    table: Table


def played(scored: ScoresDocument) -> list[ClipNote]:
    """The clips whose films the page shows."""
    return [clip for clip in scored.clips if clip.error is None][:MAX_PLAYER_CLIPS]


def page(scored: ScoresDocument, films: Films, title: str = "") -> Page:
    """The page about scored clips.

    Args:
        scored: the scores.
        films: of the clips that are ``played``.
        title: of the page; the clip's name, or how many there are, by default.

    Raises:
        DataError: windows are not in order of time, or lie within each other.
    """
    players = [player_of(clip, scored) for clip in scored.clips if clip.error is None]
    alone = len(scored.clips) == 1
    keys = [Key(name, series(place)) for place, name in enumerate(scored.targets)]
    scale = scale_of(players)
    sections = [
        *_stage(scored, keys, players, films, scale),
        _one_clip(scored) if alone else _all_clips(scored),
        *([] if alone else [*_distributions(scored, keys), *_sparks(keys, players, scale), *_moved(scored, players)]),
        *_missing(scored),
        Section("reading", "How to read this", "", [Prose(points=HOW_TO_READ)]),
    ]
    return Page(title or _title(scored), "scores", _about(scored), sections, _head(scored, films))


def _title(scored: ScoresDocument) -> str:
    if len(scored.clips) == 1:
        return scored.clips[0].clip
    folders = {Path(clip.path).parent.name for clip in scored.clips if clip.path}
    where = f" in {folders.pop()}" if len(folders) == 1 and folders != {""} else ""
    return f"{plural(len(scored.clips), 'clip')}{where}"


def _about(scored: ScoresDocument) -> list[str]:
    model, level = scored.model, scored.model.interval_level
    kept = f" Intervals are meant to hold {level:.0%} of ratings." if level else " The model states no intervals."
    return [f"Scored by the model {model.name} (weights: {model.weights}) from {listed(model.modalities)}.{kept}"]


def _head(scored: ScoresDocument, films: Films) -> list[object]:
    clips = scored.clips
    failed, gaps = sum(clip.error is not None for clip in clips), sum(_gappy(clip) for clip in clips)
    seconds = sum(clip.seconds or 0.0 for clip in clips)
    facts = [
        ("clips scored", f"{len(clips) - failed:,}"),
        ("could not be scored", f"{failed:,}"),
        ("lack a modality", f"{gaps:,}"),
        ("of film", f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"),
    ]
    warning = "The model was made with random weights: its scores mean nothing."
    return [
        *([Facts(facts, big=True)] if len(clips) > 1 else []),
        *([Notice(warning, "warning")] if scored.model.random_weights else []),
        *(Notice(f"{text}:", command=command) for text, command in films.notes),
    ]


def _stage(
    scored: ScoresDocument, keys: Sequence[Key], players: Sequence[Player], films: Films, scale: tuple[float, float]
) -> list[Section]:
    shown = players[:MAX_PLAYER_CLIPS]
    if not shown:
        return []
    band = "Bands are the intervals, cut where they leave the picture. " if scored.model.interval_level else ""
    legend = (
        f"All curves are drawn from {scale[0]:.2f} to {scale[1]:.2f}; the thin line is 0, the dotted one the score of "
        f"the whole clip. {band}Below: where each modality was there (pale), and how much each moment counted (dark), "
        "where that is known."
    ).replace("-", "−")
    explained = any(player.shapley for player in shown)
    lead = (
        ""
        if len(players) <= MAX_PLAYER_CLIPS
        else f"The first {MAX_PLAYER_CLIPS} of {len(players):,} clips; the table has all of them."
    )
    stage = PlayerBlock(keys, scored.model.modalities, shown, films, scale, legend, explained)
    return [Section("player", "Over time", lead, [stage])]


def _one_clip(scored: ScoresDocument) -> Section:
    clip = scored.clips[0]
    if clip.error is not None:
        return Section("clips", "Scores", "", [Notice(f"Not scored: {clip.error}", "warning")])
    columns = [Column("emotion"), Column("score", ".3f"), Column("lower", ".3f"), Column("upper", ".3f")]
    rows = [(name, clip.scores.get(name), clip.lower.get(name), clip.upper.get(name)) for name in scored.targets]
    bars = [charts.Bar(name, or_nan(score), or_nan(low), or_nan(high)) for name, score, low, high in rows]
    strongest = max(((score, name) for name, score, *_ in rows if score is not None), default=(0.0, "nothing"))
    figure = Figure(
        "scores", "The clip as a whole", "Bars are scores, thin lines their intervals.",
        f"The strongest is {strongest[1]} with {strongest[0]:.3f}.", [charts.bars(bars, "score")],
        Table("scores-table", "Scores of the clip", columns, rows),
    )  # fmt: skip
    return Section("clips", "Scores", "", [figure])


def _all_clips(scored: ScoresDocument) -> Section:
    emotions = [Column(name, ".2f") for name in scored.targets]
    columns = [Column("clip"), *emotions, Column("scored from"), Column("seconds", ".1f")]
    rows = [
        (clip.clip, *map(clip.scores.get, scored.targets), _from(clip, scored), clip.seconds) for clip in scored.clips
    ]
    ends = [(clip.clip, *(_interval(clip, name) for name in scored.targets)) for clip in scored.clips]
    intervals = Table("intervals", "Intervals, sorted by their lower ends", [Column("clip"), *emotions], ends)
    folded = [Collapsible("Intervals of every clip", intervals)] if scored.model.interval_level else []
    return Section("clips", "Clips", "", [Table("scores", "Every clip", columns, rows), *folded])


def _from(clip: ClipNote, scored: ScoresDocument) -> str:
    if clip.error is not None:
        return "not scored"
    return "everything" if clip.present == scored.model.modalities else ", ".join(clip.present)


def _interval(clip: ClipNote, target: str) -> TableCell | None:
    low, high = clip.lower.get(target), clip.upper.get(target)
    return None if low is None or high is None else TableCell(f"{low:.2f} to {high:.2f}".replace("-", "−"), low)


def _distributions(scored: ScoresDocument, keys: Sequence[Key]) -> list[Section]:
    known = {name: [v for clip in scored.clips if (v := clip.scores.get(name)) is not None] for name in scored.targets}
    known = {name: values for name, values in known.items() if len(values) > 1}
    if not known:
        return []
    everything = [value for values in known.values() for value in values]
    span = (min(0.0, *everything), max(everything))
    columns = [Column("emotion"), Column("clips", ","), *(Column(name, ".3f") for name in _SPREAD)]
    rows = [(name, len(values), *(float(of(values)) for of in _SPREAD.values())) for name, values in known.items()]
    bins = min(20, max(5, round(np.sqrt(len(everything) / len(known)) * 2)))
    panels = [charts.histogram(known[key.name], key.name, ("score", "clips"), key.colour, bins, span)
              for key in keys if key.name in known]  # fmt: skip
    highest = max(known, key=lambda name: float(np.mean(known[name])))
    figure = Figure(
        "distributions", "How the scores are spread", "Each panel counts clips by their score, all on one axis.",
        f"On average the highest is {highest} with {np.mean(known[highest]):.3f}.", panels,
        Table("spread-numbers", "Scores by emotion", columns, rows),
    )  # fmt: skip
    return [Section("spread", "Emotions", "", [figure])]


_SPREAD: dict[str, Any] = {"mean": np.mean, "standard deviation": lambda values: np.std(values, ddof=1),
                           "lowest": np.min, "median": np.median, "highest": np.max}  # fmt: skip


def _sparks(keys: Sequence[Key], players: Sequence[Player], scale: tuple[float, float]) -> list[Section]:
    shown = players[:SHOWN]
    if not shown:
        return []
    names = [key.name for key in keys]
    sparks = [spark_of(player, place, names, scale) for place, player in enumerate(shown)]
    lead = f"All from {scale[0]:.2f} to {scale[1]:.2f}; the thin line is 0. ".replace("-", "−")
    lead += "" if len(shown) == len(players) else f"The first {SHOWN} of {len(players):,} clips. "
    lead += "A name leads to the player."
    return [Section("curves", "At a glance", lead, [Sparklines(keys, sparks, height(0.0, scale))])]


def _moved(scored: ScoresDocument, players: Sequence[Player]) -> list[Section]:
    told = [player for player in players if player.shapley]
    if not told:
        return []
    modalities, targets = scored.model.modalities, scored.targets
    rows = [(name, [_mean_size(told, each, at) for each in modalities]) for at, name in enumerate(targets)]
    most = max((amount for _, amounts in rows for amount in amounts if amount is not None), default=0.0) or 1.0
    caption = f"Mean size of what each modality moved, over {len(told):,} clips, each clip that has it"
    columns = [Column("clip"), Column("modality"), *(Column(name, "+.3f") for name in targets)]
    shown = told[:MAX_PLAYER_CLIPS]
    bound = "" if len(shown) == len(told) else f" of the first {MAX_PLAYER_CLIPS} clips"
    tables = [
        Table(key, f"{title}{bound}", columns, [(player.clip, modality, *values)
                                         for player in shown for modality, values in getattr(player, field).items()])
        for key, title, field in (("shapley", "Shapley values", "shapley"),
                                  ("left-out", "Scores minus those without the modality", "left_out"))
    ]  # fmt: skip
    lead = (
        "Shapley values: what a modality adds to a score, the mean over all orders in which modalities could come. The "
        "player shows them for each clip, with their signs."
    )
    folded = [Collapsible(f"{table.caption}, by clip", table) for table in tables]
    return [Section("why", "What moved the scores", lead, [AttributionBars(caption, modalities, rows, most), *folded])]


def _mean_size(players: Sequence[Player], modality: str, target: int) -> float | None:
    moved = [player.shapley[modality][target] for player in players if modality in player.shapley]
    sizes = [abs(value) for value in moved if value is not None]
    return float(np.mean(sizes)) if sizes else None


def _missing(scored: ScoresDocument) -> list[Section]:
    done = [clip for clip in scored.clips if clip.error is None]
    counts: dict[tuple[str, str], tuple[int, str]] = {}
    for clip in done:
        for name, reason in clip.absent.items():
            kind = (name, _kind(reason))
            count, first = counts.get(kind, (0, f"{clip.clip}: {reason}"))
            counts[kind] = (count + 1, first)
    rows = [(name, reason, count, count / len(done), first) for (name, reason), (count, first) in counts.items()]
    rows.sort(key=lambda row: (scored.model.modalities.index(row[0]), -row[2]))
    columns = [Column("modality"), Column("reason"), Column("clips", ","), Column("share", ".0%"), Column("first")]
    each = [(clip.clip, name, reason) for clip in done for name, reason in clip.absent.items()]
    reasons = Table("reasons", "What was absent, by clip", [Column("clip"), Column("modality"), Column("reason")], each)
    failed = [(clip.clip, clip.error) for clip in scored.clips if clip.error is not None]
    blocks: list[object] = [Table("absent", "What was absent, by reason", columns, rows)] if rows else []
    if rows and len(scored.clips) > 1:
        blocks.append(Collapsible("What was absent, by clip", reasons))
    if failed and len(scored.clips) > 1:
        blocks.append(Table("failed", "Clips that could not be scored", [Column("clip"), Column("reason")], failed))
    return [Section("missing", "What was missing", "", blocks)] if blocks else []


def _gappy(clip: ClipNote) -> bool:
    return clip.error is None and bool(clip.absent)


def _kind(reason: str) -> str:
    """A reason without its numbers, so that equal reasons can be counted.

    >>> _kind("no face in 28 of 30 frames")
    'no face in … of … frames'
    """
    return re.sub(r"\d+(\.\d+)?", "…", reason)
