"""The page of scored clips: one clip with its player, or many with a player to choose from.

The player and the modality contributions of single clips are limited to the first ``MAX_PLAYER_CLIPS`` clips,
sparklines to the first ``sparklines.MAX_CLIPS``, as the page notes. Tables and distributions have all clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mien.reporting import charts
from mien.reporting.blocks import Column, Facts, Figure, Key, Notice, Page, Prose, Section, Table, TableCell
from mien.reporting.drawing import series
from mien.reporting.player import Player, plain, player_of, scale_of
from mien.reporting.scores_blocks import (
    Collapsible,
    clipped_notes,
    contributions,
    distributions,
    file_notes,
    is_incomplete,
    missing,
    provenance,
)
from mien.reporting.sparklines import MAX_CLIPS, Sparklines, height, spark_of
from mien.reporting.videos import Videos
from mien.reporting.wording import listed
from mien.scores.document import ClipNote, ScoresDocument
from mien.storage.documents import or_nan
from mien.wording import plural

MAX_PLAYER_CLIPS = 200
"""Clips in the player, at most."""

HOW_TO_READ = (
    "A score estimates how strongly raters would say that the emotion shows, on the scale of the ratings that the "
    "model was trained on. It does not state what the person feels.",
    "A clip is scored from its available modalities; missing ones are listed with the reason, and intervals are wider "
    "without them.",
    "Intervals were calibrated on whole clips; for windows their coverage is not guaranteed.",
    "To compare conditions, use many people, not single clips: see mien summarize.",
)


@dataclass(frozen=True)
class PlayerBlock:
    """The player and its clips.

    Attributes:
        targets: names of the scores, each with its colour.
        modalities: of the model.
        players: the clips, in order.
        videos: their videos.
        scale: limits of the score axis.
        legend: how to read the curves.
        explained: whether any clip has modality contributions.
    """

    kind: ClassVar[str] = "player"
    targets: Sequence[Key]
    modalities: Sequence[str]
    players: Sequence[Player]
    videos: Videos
    scale: tuple[float, float]
    legend: str
    explained: bool

    @property
    def data(self) -> dict[str, Any]:
        """The data of the script."""
        videos = [{"id": v.id, "name": v.name, "media": v.media, "link": v.link} for v in self.videos.videos]
        of, why = self.videos.of, self.videos.why_none
        clips = [plain(one) | {"video": of.get(one.clip), "without": why(one.clip)} for one in self.players]
        return {"targets": [key.name for key in self.targets], "scale": self.scale, "videos": videos, "clips": clips}


def player_clips(scored: ScoresDocument) -> list[ClipNote]:
    """The clips of the player."""
    return [clip for clip in scored.clips if clip.error is None][:MAX_PLAYER_CLIPS]


def page(scored: ScoresDocument, videos: Videos, title: str = "", *, charts: bool = True) -> Page:
    """The page of scored clips.

    Args:
        scored: the scores.
        videos: of the ``player_clips``.
        title: of the page; by default the clip's name or the number of clips.
        charts: also draw what needs matplotlib or styles of its own; without, tables, player and sparklines are left.

    Raises:
        DataError: windows are not in order of time, or nested.
    """
    players = [player_of(clip, scored) for clip in scored.clips if clip.error is None]
    single = len(scored.clips) == 1
    keys = [Key(name, series(place)) for place, name in enumerate(scored.targets)]
    scale = scale_of(players)
    sections = [
        *_player(scored, keys, players, videos, scale),
        _one_clip(scored) if single and charts else _all_clips(scored),
        *([] if single else _compared(scored, keys, players, scale, charts)),
        *missing(scored),
        *file_notes(scored),
        provenance(scored),
        Section("reading", "How to read this", "", [Prose(points=HOW_TO_READ)]),
    ]
    return Page(title or _title(scored), "scores", _about(scored), sections, _head(scored, videos))


def _compared(
    scored: ScoresDocument, keys: Sequence[Key], players: Sequence[Player], scale: tuple[float, float], charts: bool
) -> list[Section]:
    return [
        *(distributions(scored, keys) if charts else []),
        *_sparklines(keys, players, scale),
        *(contributions(scored, players, MAX_PLAYER_CLIPS) if charts else []),
    ]


def _title(scored: ScoresDocument) -> str:
    if len(scored.clips) == 1:
        return scored.clips[0].clip
    folders = {Path(clip.path).parent.name for clip in scored.clips if clip.path}
    where = f" in {folders.pop()}" if len(folders) == 1 and folders != {""} else ""
    return f"{plural(len(scored.clips), 'clip')}{where}"


def _about(scored: ScoresDocument) -> list[str]:
    model, level = scored.model, scored.model.interval_level
    kept = (
        f" Prediction intervals: target coverage {level:.0%}." if level else " The model has no prediction intervals."
    )
    return [f"Scored by the model {model.name} (weights: {model.weights}) from {listed(model.modalities)}.{kept}"]


def _head(scored: ScoresDocument, videos: Videos) -> list[object]:
    clips = scored.clips
    failed, gaps = sum(clip.error is not None for clip in clips), sum(is_incomplete(clip) for clip in clips)
    seconds = sum(clip.seconds or 0.0 for clip in clips)
    facts = [
        ("clips scored", f"{len(clips) - failed:,}"),
        ("failed", f"{failed:,}"),
        ("clips with a missing modality", f"{gaps:,}"),
        ("clips with notes", f"{sum(bool(clip.notes) for clip in clips):,}"),
        ("clips with several faces", f"{sum(_several(clip) for clip in clips):,}"),
        ("duration", f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"),
    ]
    warning = "The model has random weights: its scores mean nothing."
    return [
        *([Facts(facts, big=True)] if len(clips) > 1 else []),
        *([Notice(warning, "warning")] if scored.model.random_weights else []),
        *([Notice(f"The model was {scored.model.banner}.", "warning")] if scored.model.banner else []),
        *map(Notice, clipped_notes(scored)),
        *(Notice(f"{text}:", command=command) for text, command in videos.notes),
    ]


def _player(
    scored: ScoresDocument, keys: Sequence[Key], players: Sequence[Player], videos: Videos, scale: tuple[float, float]
) -> list[Section]:
    shown = players[:MAX_PLAYER_CLIPS]
    if not shown:
        return []
    band = "Bands are the intervals, cut at the edge of the chart. " if scored.model.interval_level else ""
    legend = (
        f"All curves are drawn from {scale[0]:.2f} to {scale[1]:.2f}; the thin line is 0, the dotted one the score of "
        f"the whole clip. {band}Below: where each modality is available (pale), and the attention of the model over "
        "time (dark), where that is known."
    ).replace("-", "−")
    explained = any(player.shapley for player in shown)
    lead = (
        ""
        if len(players) <= MAX_PLAYER_CLIPS
        else f"The first {MAX_PLAYER_CLIPS} of {len(players):,} clips; the table has all of them."
    )
    block = PlayerBlock(keys, scored.model.modalities, shown, videos, scale, legend, explained)
    return [Section("player", "Scores over time", lead, [block])]


def _one_clip(scored: ScoresDocument) -> Section:
    clip = scored.clips[0]
    if clip.error is not None:
        return Section("clips", "Scores", "", [Notice(f"Not scored: {clip.error}", "warning")])
    columns = [Column("emotion"), Column("score", ".3f"), Column("lower", ".3f"), Column("upper", ".3f")]
    rows = [(name, clip.scores.get(name), clip.lower.get(name), clip.upper.get(name)) for name in scored.targets]
    bars = [charts.Bar(name, or_nan(score), or_nan(low), or_nan(high)) for name, score, low, high in rows]
    strongest = max(((score, name) for name, score, *_ in rows if score is not None), default=(0.0, "undefined"))
    figure = Figure(
        "scores", "Scores of the whole clip", "Bars are scores, thin lines their intervals.",
        f"The highest is {strongest[1]} with {strongest[0]:z.3f}.", [charts.bars(bars, "score")],
        Table("scores-table", "Scores of the clip", columns, rows),
    )  # fmt: skip
    return Section("clips", "Scores", "", [figure])


def _all_clips(scored: ScoresDocument) -> Section:
    emotions = [Column(name, ".2f") for name in scored.targets]
    searched = any(clip.faces is not None for clip in scored.clips)
    faces = [Column("faces", ",", "the most in one frame"),
             Column("several faces, s", ".1f", "for how long more than one was in view")]  # fmt: skip
    columns = [Column("clip"), *emotions, Column("modalities"), *(faces if searched else []), Column("seconds", ".1f")]
    rows = [
        (clip.clip, *map(clip.scores.get, scored.targets), _from(clip, scored),
         *(_faces(clip) if searched else ()), clip.seconds)
        for clip in scored.clips
    ]  # fmt: skip
    ends = [(clip.clip, *(_interval(clip, name) for name in scored.targets)) for clip in scored.clips]
    intervals = Table(
        "intervals", "Prediction intervals, sorted by their lower ends", [Column("clip"), *emotions], ends
    )
    folded = [Collapsible("Prediction intervals of every clip", intervals)] if scored.model.interval_level else []
    return Section("clips", "Clips", "", [Table("scores", "All clips", columns, rows), *folded])


def _from(clip: ClipNote, scored: ScoresDocument) -> str:
    if clip.error is not None:
        return "not scored"
    return "all" if clip.present == scored.model.modalities else ", ".join(clip.present)


def _several(clip: ClipNote) -> bool:
    return clip.faces is not None and clip.faces.most > 1


def _faces(clip: ClipNote) -> tuple[int | None, float | None]:
    return (None, None) if clip.faces is None else (clip.faces.most, clip.faces.several_seconds)


def _interval(clip: ClipNote, target: str) -> TableCell | None:
    low, high = clip.lower.get(target), clip.upper.get(target)
    return None if low is None or high is None else TableCell(f"{low:z.2f} to {high:z.2f}".replace("-", "−"), low)


def _sparklines(keys: Sequence[Key], players: Sequence[Player], scale: tuple[float, float]) -> list[Section]:
    shown = players[:MAX_CLIPS]
    if not shown:
        return []
    names = [key.name for key in keys]
    sparks = [spark_of(player, place, names, scale) for place, player in enumerate(shown)]
    lead = f"All from {scale[0]:.2f} to {scale[1]:.2f}; the thin line is 0. ".replace("-", "−")
    lead += "" if len(shown) == len(players) else f"The first {MAX_CLIPS} of {len(players):,} clips. "
    lead += "Select a name to show the clip in the player."
    return [Section("curves", "Overview of the curves", lead, [Sparklines(keys, sparks, height(0.0, scale))])]
