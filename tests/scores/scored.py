"""A scored document for the tests of what it is handed on as: windows that overlap, words, a clip that failed."""

import math
from pathlib import Path

from mien.schema import Attention, Attribution, Prediction, Transcript, Window, Word
from mien.scores.document import ModelNote, ScoresDocument, document

TARGETS = ("Joy", "Empathic Pain")
MODEL = ModelNote(name="first", weights="tiny", modalities=["text", "audio"], interval_level=0.9, random_weights=False)


def window(start: float, joy: float) -> Window:
    return Window(start, start + 4, {"Joy": joy, "Empathic Pain": 1 - joy}, {"Joy": (joy - 0.1, joy + 0.1)}, ("audio",))


SAID = Transcript(
    'she said "yes" & left',
    "asr",
    (Word(" she", 0.2, 0.5, 0.9), Word("said", 0.5, 0.8, 0.8), Word('"yes"', 0.75, 1.2, 0.7), Word("&", 2.0, 2.0, 0.5),
     Word("left", 4.5, 5.0, 0.6)),
)  # fmt: skip
WINDOWED = Prediction(
    "anna/01", {"Joy": 0.5, "Empathic Pain": 0.25}, {"Joy": (0.25, 0.75), "Empathic Pain": (-math.inf, math.inf)},
    ("text", "audio"), path=Path("videos/anna 01.mp4"), participant="Anna", seconds=6.0, transcript=SAID,
    windows=(window(0, 0.1), window(1, 0.2), window(2, 0.3)),
    why=Attribution(
        {"Joy": 0.1, "Empathic Pain": 0.2},
        {"text": {"Joy": 0.3, "Empathic Pain": 0.0}, "audio": {"Joy": 0.1, "Empathic Pain": 0.05}},
        {"text": {"Joy": 0.35, "Empathic Pain": 0.0}, "audio": {"Joy": 0.15, "Empathic Pain": 0.05}},
        {"audio": Attention((0.0, 1.0), (0.25, 0.75))},
    ),
)  # fmt: skip
PLAIN = Prediction(
    "02", {"Joy": 0.75, "Empathic Pain": 0.125}, present=("audio",), absent={"text": "nothing is said"},
    path=Path("videos/02.wav"), seconds=2.5, start=10.0,
)  # fmt: skip
FAILED = Prediction(
    "bad", dict.fromkeys(TARGETS, math.nan), absent={"text": "unread"}, error="bad.mp4: not a video",
    path=Path("videos/bad.mp4"),
)  # fmt: skip


def scored(*predictions: Prediction) -> ScoresDocument:
    """A document of these, or of one clip of each sort."""
    return document(predictions or (WINDOWED, PLAIN, FAILED), TARGETS, MODEL)
