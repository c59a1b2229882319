"""Counts and reasons of an extraction; whatever is missing, failed or unusual is counted here."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mien.features.jobs import ClipOutcome
from mien.modalities import MODALITIES
from mien.wording import kind_of


@dataclass
class ExtractionSummary:
    """The result of an extraction, updated outcome by outcome.

    Attributes:
        made, reused: clips with new features, and clips whose features were all reused.
        absent: clips by (modality, reason without its numbers), with the first example in full.
        failed: (clip, reason), in order.
        recomputed: by reason, clips whose stored features had to be computed again, with the first.
        remarks: clips by warning, with the first example.
        seconds: time spent, by stage, summed over workers.
        kept_files, kept_bytes, kept_new_bytes: kept inputs of these clips, their size, and how much of it is new.
    """

    made: int = 0
    reused: int = 0
    absent: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    recomputed: dict[str, tuple[int, str]] = field(default_factory=dict)
    remarks: dict[str, tuple[int, str]] = field(default_factory=dict)
    seconds: Counter[str] = field(default_factory=Counter)
    kept_files: int = 0
    kept_bytes: int = 0
    kept_new_bytes: int = 0

    def count(self, outcome: ClipOutcome) -> None:
        """Take one more outcome into account."""
        self.seconds.update(outcome.seconds_taken)
        self.kept_files += len(outcome.kept)
        self.kept_bytes += sum(kept.size for kept in outcome.kept)
        self.kept_new_bytes += sum(kept.size for kept in outcome.kept if kept.new)
        if outcome.recompute_reason:
            _count(self.recomputed, outcome.recompute_reason, outcome.clip.id)
        if outcome.failure is not None:
            self.failed.append((outcome.clip.id, outcome.failure))
            return
        self.made += bool(outcome.made.features)
        self.reused += not outcome.made.features
        for feature in outcome.made.features:
            if feature.status == "absent" and feature.modality in MODALITIES:
                _count(self.absent, (feature.modality, kind_of(feature.reason)), f"{outcome.clip.id}: {feature.reason}")
        for note in (*outcome.made.notes, *outcome.remarks):
            _count(self.remarks, kind_of(note), f"{outcome.clip.id}: {note}")


def _count(counts: dict[Any, tuple[int, str]], kind: Any, example: str) -> None:
    seen, first = counts.get(kind, (0, example))
    counts[kind] = (seen + 1, first)
