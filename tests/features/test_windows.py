"""Windows cover a clip without gaps, and each has exactly the steps and words within its time."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mien.config import read_settings
from mien.errors import SettingsError
from mien.features.jobs import ClipJob
from mien.features.spans import Windows, windows_of
from mien.features.windows import WindowSpan, cut, window_spans
from mien.features.worker import Extractor, plan
from mien.modalities.base import Backbone, Output, Prepared
from mien.modalities.text import cut_transcript
from mien.schema import Clip, ClipFeatures, Feature, Transcript, Word
from tests.media.clips import make_clip, tone

SAID = Transcript(
    "Well, I am so so happy. Really.",
    "made up",
    tuple(
        Word(text, start, start + 0.3, 1.0)
        for text, start in (("Well,", 0.0), ("I", 0.5), ("am", 1.0), ("so", 1.5), ("so", 2.0), ("happy.", 2.5),
                            ("Really.", 3.7))
    ),
)  # fmt: skip
"""The last word ends with the clip of four seconds."""


@pytest.mark.parametrize("length", [0.0, 0.3, 1.0, 3.999, 4.0, 4.001, 9.5, 60.0])
@pytest.mark.parametrize(("seconds", "hop"), [(1.0, 1.0), (4.0, 1.0), (0.7, 0.1), (4.0, 3.0)])
def test_windows_cover_the_clip_from_its_start_to_its_end(length: float, seconds: float, hop: float) -> None:
    spans = Windows(seconds, hop).spans(length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(end == pytest.approx(start + seconds) for start, end in spans[:-1])
    assert all(end < length - 1e-6 for _, end in spans[:-1]), "a window after the first that reaches the end"
    assert spans[-1][1] - spans[-1][0] < seconds + 1e-5
    starts = [start for start, _ in spans]
    assert np.diff(starts) == pytest.approx([hop] * (len(starts) - 1))


def test_a_length_that_is_off_by_rounding_adds_no_window() -> None:
    # 12 s and half a microsecond: (12 - 4) / 1 + 1 = 9 windows
    assert len(Windows(4, 1).spans(12.0000005)) == 9
    assert Windows(0.3, 0.1).spans(0.3 + 0.1 + 0.1)[1] == (0.1, 0.4)


def test_without_a_hop_a_quarter_of_a_window_is_one() -> None:
    assert windows_of(4) == Windows(4, 1)
    assert windows_of(None) is None


@pytest.mark.parametrize(
    ("seconds", "hop", "message"),
    [
        (4, 5, "windows of 4 s every 5 s leave gaps; the hop may be 4 s at most"),
        (0, None, "must be above 0"),
        (-1, 1, "must be above 0"),
        (4, 0, "must be above 0"),
        (math.nan, None, "must be above 0"),
        (math.inf, 1, "must be above 0"),
        (None, 1, "a hop of 1 s without windows"),
    ],
)
def test_invalid_windows_are_refused(seconds: float | None, hop: float | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        windows_of(seconds, hop)


def feature(name: str, seconds: list[float]) -> Feature:
    """A feature with the indices of its steps as values."""
    values = np.arange(len(seconds), dtype=np.float16)[:, None]
    return Feature(name, "k", "p", values, np.array(seconds, np.float32))


def test_steps_belong_to_the_window_from_its_start_until_before_its_end() -> None:
    made = ClipFeatures("a", 1.0, (feature("vision", [0.0, 0.3, 0.6, 0.9, 1.0]), feature("motion", [0.1])))
    parts = [cut(made, span, ["vision", "motion"]).features for span in window_spans(Windows(0.6, 0.3), 1.0)]
    shown = [[None if f.values is None else f.values.ravel().tolist() for f in part] for part in parts]
    # 0-.6, .3-.9, .6-1: the last window ends with the clip and has what comes at its very end
    assert shown == [[[0, 1], [0]], [[1, 2], None], [[2, 3, 4], None]]
    assert parts[1][1].status == "absent"


def test_adjacent_windows_share_out_all_steps() -> None:
    seconds = np.sort(np.random.default_rng(0).uniform(0, 7.3, 500)).tolist()
    made = ClipFeatures("a", 7.3, (feature("audio", seconds),))
    found = [cut(made, span, ["audio"]).features[0].values for span in window_spans(Windows(0.9, 0.9), 7.3)]
    assert np.concatenate([steps for steps in found if steps is not None]).ravel().tolist() == list(range(500))


def test_cutting_does_not_copy() -> None:
    made = ClipFeatures("a", 1.0, (feature("audio", [0.1, 0.2, 0.3]),))
    part = cut(made, WindowSpan(0.15, 0.35, 0.35), ["audio"]).features[0]
    assert part.values is not None
    assert np.shares_memory(part.values, made.features[0].values)


def test_all_words_together_are_the_transcript_itself() -> None:
    assert cut_transcript(SAID, 0, math.inf) == SAID


def test_words_belong_to_the_window_that_holds_their_middle() -> None:
    assert cut_transcript(SAID, 0.1, 1.0).text == "Well, I"  # .15 and .65; "am" is said around 1.15
    assert cut_transcript(SAID, 1.7, 2.7).text == "so happy."  # the first "so" has its middle at 1.65, "happy." at 2.65
    assert cut_transcript(SAID, 2.9, 3.5) == Transcript("", "made up")


def test_every_word_is_in_one_of_the_adjacent_windows() -> None:
    parts = [cut_transcript(SAID, span.start, span.until) for span in window_spans(Windows(0.8, 0.8), 4.0)]
    assert tuple(word for part in parts for word in part.words) == SAID.words
    assert " ".join(part.text for part in parts if part.text) == SAID.text


class Counted:
    """A backbone that counts how often it is called."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.calls = backbone, 0

    def __call__(self, prepared: Prepared) -> Mapping[str, Output]:
        self.calls += 1
        return self.backbone(prepared)


class KnownTranscript:
    """A recogniser that returns a fixed transcript."""

    def transcribe(self, _sound: np.ndarray) -> Transcript:
        return SAID


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    file = make_clip(
        tmp_path_factory.mktemp("windows") / "a.mkv", codec=None, seconds=4, sound="pcm_s16le", sound_rate=16000,
        layout="mono", wave=tone,
    )  # fmt: skip
    return Clip("a", file)


def _itself(backbone: Counted) -> Counted:
    return backbone


def extractor(windows: Windows | None) -> tuple[Extractor, dict[str, Counted]]:
    settings = read_settings(overrides=["weights=tiny", "modalities=[text, audio]", "backbone.text=frozen"])
    made = Extractor(plan(settings, windows=windows))
    loaded = made.engines.senses.loaded
    loaded.begin("transcriber", KnownTranscript)
    backbones = {m.name: Counted(made.engines._load(m)) for m in plan(settings).modalities}
    for name, backbone in backbones.items():
        loaded.begin(name, partial(_itself, backbone))
    return made, backbones


def test_no_backbone_runs_again_for_windows(clip: Clip) -> None:
    extract, backbones = extractor(Windows(1, 0.25))
    outcome = extract(ClipJob(clip))
    assert outcome.failure is None
    assert len(outcome.window_spans) == 13  # (4 - 1) / .25 + 1
    assert backbones["audio"].calls == 1
    # the whole text, and no more often than windows have words of their own
    spoken_texts = {cut_transcript(SAID, s.start, s.until).text for s in outcome.window_spans} - {""}
    assert backbones["text"].calls == 1 + len(spoken_texts)


def test_a_window_has_the_text_of_its_words_and_none_without_words(clip: Clip) -> None:
    extract, backbones = extractor(Windows(0.8, 0.4))
    outcome = extract(ClipJob(clip))
    for span in outcome.window_spans:
        part = cut_transcript(SAID, span.start, span.until)
        assert span.text is not None
        if part.text:
            alone = backbones["text"](Prepared(part, np.zeros(0, np.float32)))["text"].values.astype(np.float16)
            assert np.array_equal(span.text.values, alone)  # type: ignore[arg-type]
        else:
            assert (span.text.status, span.text.values) == ("absent", None)
    assert any(span.text is not None and span.text.values is None for span in outcome.window_spans)


def test_a_transcript_without_times_counts_whole_in_every_window(clip: Clip) -> None:
    extract, backbones = extractor(Windows(1, 1))
    outcome = extract(ClipJob(Clip("a", clip.path, transcript="so happy")))
    whole = next(f for f in outcome.made.features if f.modality == "text")
    assert [span.text for span in outcome.window_spans] == [whole] * 4
    assert backbones["text"].calls == 1


def test_there_are_no_windows_unless_requested(clip: Clip) -> None:
    assert extractor(None)[0](ClipJob(clip)).window_spans == ()


def test_text_alone_has_no_length_and_so_no_windows(tmp_path: Path) -> None:
    settings = read_settings(overrides=["weights=tiny", "modalities=[text]", "backbone.text=frozen"])
    (tmp_path / "a.mp4").write_bytes(b"never opened")
    outcome = Extractor(plan(settings, windows=Windows(1, 1)))(
        ClipJob(Clip("a", tmp_path / "a.mp4", transcript="hello"))
    )
    assert outcome.failure is None
    assert outcome.window_spans == ()
