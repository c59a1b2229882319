"""The page about scores as data: what it counts, bounds and links, from documents made by hand."""

import math
import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from mien.config import MediaSettings
from mien.errors import DataError
from mien.media.browser_support import why_unplayable
from mien.media.decode import MediaReader
from mien.reporting import videos as videos_module
from mien.reporting.blocks import Facts, Figure, Notice, Page, Table
from mien.reporting.player import FINEST, player_of, scale_of, weights_of
from mien.reporting.scores import MAX_PLAYER_CLIPS, PlayerBlock, page, player_clips
from mien.reporting.scores_blocks import AttributionBars, Collapsible
from mien.reporting.sparklines import MAX_CLIPS, Sparklines, height, spark_of
from mien.reporting.videos import Videos, candidates, find_videos, link
from mien.schema import Faces, Prediction, Window, Word
from mien.scores.document import (
    AttentionNote,
    ClipNote,
    ProvenanceNote,
    TrainingDataNote,
    WindowingNote,
    document,
)
from tests.media.clips import make_clip
from tests.scores.scored import FAILED, MODEL, PLAIN, SAID, TARGETS, WINDOWED, scored

NONE = Videos()


def test_overlapping_windows_speak_up_to_the_middle_of_the_overlap() -> None:
    """Windows of 0-4, 1-5 and 2-6 s: borders in the middle of 1-4 and of 2-5."""
    player = player_of(scored().clips[0], scored())
    assert [(part.start, part.end) for part in player.parts] == [(0, 4), (1, 5), (2, 6)]
    assert [(part.since, part.until) for part in player.parts] == [(0, 2.5), (2.5, 3.5), (3.5, 6)]
    assert [part.scores for part in player.parts] == [(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)]
    assert player.parts[0].lower == (0.0, None)


def test_strips_say_when_a_modality_was_there_and_how_much_it_counted() -> None:
    """The windows had only audio; its two steps have the weights 0.25 and 0.75, a second apart."""
    text, audio = player_of(scored().clips[0], scored()).strips
    assert (text.there, text.weights) == ((), ())
    assert audio.there == ((0, 2.5), (2.5, 3.5), (3.5, 6))
    assert [(w.since, w.until, w.share) for w in audio.weights] == [(0, 0.5, 0.3333), (0.5, 1.5, 1.0)]


def test_a_clip_without_windows_is_one_level_stretch_with_its_reasons() -> None:
    player = player_of(scored().clips[1], scored())
    assert not player.windowed and player.start == 10.0
    assert [(part.since, part.until, part.scores) for part in player.parts] == [(0, 2.5, (0.75, 0.125))]
    assert [(strip.modality, strip.reason) for strip in player.strips] == [("text", "nothing is said"), ("audio", "")]


def test_many_steps_of_attention_are_merged_and_keep_their_proportions() -> None:
    steps = 5 * FINEST
    weights = [1 / steps] * (steps - 5) + [3 / steps] * 5
    note = AttentionNote(seconds=[step / 50 for step in range(steps)], weights=weights)
    merged = weights_of(note, steps / 50)
    assert len(merged) == FINEST
    assert [merged[0].share, merged[-1].share] == [pytest.approx(1 / 3, abs=1e-4), 1.0]


def test_the_scale_holds_zero_every_score_and_some_room() -> None:
    """Scores of the windows go from 0.1 to 0.9: a tenth of 0.9 is added above; nothing is below 0."""
    players = [player_of(clip, scored()) for clip in scored().clips[:2]]
    assert scale_of(players) == (0.0, pytest.approx(0.99))
    below = Prediction("c", {"Joy": -0.5, "Empathic Pain": 0.5}, present=("audio",), seconds=1.0)
    assert scale_of([player_of(scored(below).clips[0], scored(below))]) == (pytest.approx(-0.6), pytest.approx(0.6))


def test_curves_of_small_multiples_break_where_there_is_no_score() -> None:
    lost = dict.fromkeys(TARGETS, math.nan)
    windows = (Window(0, 1, {"Joy": 0.5, "Empathic Pain": 0.0}), Window(1, 2, lost), Window(2, 4, {"Joy": 1.0}))
    made = scored(Prediction("a", {"Joy": 0.5}, present=("audio",), seconds=4.0, windows=windows))
    spark = spark_of(player_of(made.clips[0], made), None, TARGETS, (0.0, 1.0))
    assert spark.outlines == ("M0.0 50L12.5 50L25.0 50M50.0 0L75.0 0L100.0 0", "M0.0 100L12.5 100L25.0 100")
    assert spark.summary == "4.0 s, highest: Joy 0.50"


def test_a_clip_without_windows_is_bars_in_a_small_multiple() -> None:
    """Two targets: each has half of the width, its bar 70 % of that, from 0 up or down."""
    made = scored(Prediction("a", {"Joy": 0.5, "Empathic Pain": -0.5}, present=("audio",), seconds=1.0))
    spark = spark_of(player_of(made.clips[0], made), 0, TARGETS, (-1.0, 1.0))
    assert spark.bars and spark.outlines == ("M7.5 50V25h35.0V50Z", "M57.5 50V75h35.0V50Z")
    assert height(0.0, (-1.0, 1.0)) == 50.0


def blocks(made: object, kind: type) -> list:
    return [block for block in made.blocks if isinstance(block, kind)]  # type: ignore[attr-defined]


def table(made: object, name: str) -> Table:
    tables = [*blocks(made, Table), *(folded.table for folded in blocks(made, Collapsible))]
    return next(each for each in tables if each.id == name)


def test_the_page_of_a_folder_has_every_clip_and_every_reason() -> None:
    made = page(scored(), NONE)
    assert made.title == "3 clips in videos"
    assert [row[0] for row in table(made, "scores").rows] == ["anna/01", "02", "bad"]
    assert [row[3] for row in table(made, "scores").rows] == ["all", "audio", "not scored"]
    assert table(made, "absent").rows == [("text", "nothing is said", 1, 0.5, "02: nothing is said")]
    assert table(made, "reasons").rows == [("02", "text", "nothing is said")]
    assert table(made, "failed").rows == [("bad", "bad.mp4: not a video")]
    joy, pain = table(made, "intervals").rows[0][1:]
    assert (joy.text, joy.value, pain) == ("0.25 to 0.75", 0.25, None)  # type: ignore[union-attr]


def test_reasons_that_differ_in_their_numbers_are_counted_together() -> None:
    gone = [Prediction(f"{n}", {"Joy": 0.1}, present=("audio",), absent={"text": f"no speech in {n}.5 s"}, seconds=1.0)
            for n in (3, 14)]  # fmt: skip
    assert table(page(scored(*gone), NONE), "absent").rows == [
        ("text", "no speech in … s", 2, 1.0, "3: no speech in 3.5 s")
    ]


def test_contributions_are_averaged_by_size_over_the_clips_that_have_them() -> None:
    (movers,) = blocks(page(scored(), NONE), AttributionBars)
    assert movers.rows == [("Joy", [0.3, 0.1]), ("Empathic Pain", [0.0, 0.05])]
    assert table(page(scored(), NONE), "left-out").rows[0] == ("anna/01", "text", 0.35, 0.0)


def test_distributions_leave_out_what_could_not_be_scored() -> None:
    figure = next(figure for figure in blocks(page(scored(), NONE), Figure) if figure.id == "distributions")
    assert figure.table.rows[0] == ("Joy", 2, 0.625, pytest.approx(0.1768, abs=1e-4), 0.5, 0.625, 0.75)


def test_one_clip_has_no_section_that_compares_clips() -> None:
    made = page(scored(WINDOWED), NONE)
    assert (made.title, [section.id for section in made.sections]) == (
        "anna/01",
        ["player", "clips", "provenance", "reading"],
    )
    assert blocks(made, Figure)[0].table.rows == [("Joy", 0.5, 0.25, 0.75), ("Empathic Pain", 0.25, None, None)]


def test_a_clip_that_failed_alone_says_why() -> None:
    made = page(scored(FAILED), NONE)
    assert [notice.text for notice in blocks(made, Notice)] == ["Not scored: bad.mp4: not a video"]
    assert not blocks(made, PlayerBlock)


def test_what_is_bounded_says_so() -> None:
    many = [Prediction(f"{n:04d}", {"Joy": 0.1, "Empathic Pain": 0.2}, present=("text", "audio"), seconds=1.0)
            for n in range(MAX_PLAYER_CLIPS + 1)]  # fmt: skip
    made = page(scored(*many), NONE)
    (stage,), (sparks,) = blocks(made, PlayerBlock), blocks(made, Sparklines)
    assert (len(stage.players), len(sparks.sparks), len(player_clips(scored(*many)))) == (
        MAX_PLAYER_CLIPS,
        MAX_CLIPS,
        MAX_PLAYER_CLIPS,
    )
    leads = {section.id: section.lead for section in made.sections}
    assert leads["player"].startswith(f"The first {MAX_PLAYER_CLIPS} of {MAX_PLAYER_CLIPS + 1} clips")
    assert f"The first {MAX_CLIPS} of {MAX_PLAYER_CLIPS + 1} clips" in leads["curves"]
    assert len(table(made, "scores").rows) == MAX_PLAYER_CLIPS + 1


def note(name: str, path: Path | str | None) -> ClipNote:
    made = Prediction(name, {"Joy": 0.1}, present=("audio",), path=None if path is None else Path(path), seconds=1.0)
    return scored(made).clips[0]


def test_videos_are_linked_by_the_way_from_the_page_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    video = make_clip(tmp_path / "raw" / "a b#1?é.mp4", seconds=0.2)
    clips, html = [note("a", video), note("again", video)], tmp_path / "pages" / "r.html"
    found = find_videos(clips, html, tmp_path / "s.json")
    assert [(video.link, video.media) for video in found.videos] == [("../raw/a%20b%231%3F%C3%A9.mp4", "video/mp4")]
    assert found.of == {"a": "video-0", "again": "video-0"}
    assert link(Path("/a/b:c.mp4"), Path("/a/r.html")) == "b%3Ac.mp4"


def test_videos_are_looked_for_as_they_were_named_from_here_and_from_the_scores(tmp_path: Path) -> None:
    assert candidates(note("a", "raw/a.mp4"), Path("/data/scores.json"), None) == [
        Path("raw/a.mp4"), Path("/data/raw/a.mp4")
    ]  # fmt: skip
    assert candidates(note("a", None), Path("scores.json"), Path("videos")) == []


def test_in_another_folder_as_much_of_the_path_counts_as_fits_and_other_endings_do(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    make_clip(tmp_path / "anna" / "1.mp4", seconds=0.2)
    make_clip(tmp_path / "1.mp4", seconds=0.2)
    found = find_videos([note("a", "/gone/../anna/1.avi")], tmp_path / "r.html", tmp_path / "s.json", folder=tmp_path)
    assert [video.link for video in found.videos] == ["anna/1.mp4"]


def test_videos_that_are_missing_or_cannot_be_played_are_counted_and_said(tmp_path: Path) -> None:
    old = make_clip(tmp_path / "it's.mp4", seconds=0.2, codec="mpeg4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    clips = [note("old", old), note("bad", tmp_path / "bad.mp4"), note("gone", tmp_path / "gone.mp4")]
    found = find_videos(clips, tmp_path / "r.html", tmp_path / "s.json")
    assert not found.videos and found.missing == ("gone",)
    (gone, _), (unplayable, way) = found.notes
    assert gone.startswith("1 clip without video: file not found") and "first: gone" in gone
    assert unplayable.startswith("2 clips with a video that browsers do not play (MPEG-4 part 2 video: 1; not a video")
    assert way == "mien report SCORES.json --convert FOLDER"
    assert found.why_none("old") == "Browsers do not play it's.mp4 (MPEG-4 part 2 video)."
    assert [n.text for n in blocks(page(scored(WINDOWED), found), Notice)] == [f"{gone}:", f"{unplayable}:"]


def test_videos_too_large_to_be_put_inside_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_clip(tmp_path / "a.mp4", seconds=0.2)
    monkeypatch.setattr(videos_module, "LARGEST", video.stat().st_size - 1)
    with pytest.raises(DataError, match="without --embed"):
        find_videos([note("a", video)], tmp_path / "r.html", tmp_path / "s.json", embed=True)


def test_a_video_that_is_not_in_the_named_folder_is_shown_from_its_own_place(tmp_path: Path) -> None:
    """Only one of two was converted into the folder: the other still plays from where it was scored."""
    (tmp_path / "converted").mkdir()
    old = make_clip(tmp_path / "a.avi", seconds=0.2, codec="mpeg4", sound="mp3")
    make_clip(tmp_path / "converted" / "a.mp4", seconds=0.2)
    fine = make_clip(tmp_path / "b.mp4", seconds=0.2)
    clips = [note("a", old), note("b", fine), note("broken", tmp_path / "c.mp4")]
    (tmp_path / "c.mp4").write_bytes(b"no video")
    found = find_videos(clips, tmp_path / "r.html", tmp_path / "s.json", folder=tmp_path / "converted")
    assert {clip: next(v.link for v in found.videos if v.id == id) for clip, id in found.of.items()} == {
        "a": "converted/a.mp4", "b": "b.mp4"
    }  # fmt: skip
    assert list(found.unplayable) == ["broken"] and found.unplayable["broken"][1].startswith("not a video")


def test_videos_are_converted_once_each_and_the_reason_is_given_where_that_fails(tmp_path: Path) -> None:
    """An MPEG-4 video of odd height in AVI, cut into two clips, its audio alone, and a file that is no video."""
    old = make_clip(tmp_path / "a.avi", seconds=1.2, size=(161, 121), codec="mjpeg", pix_fmt="yuvj444p", sound="mp3")
    tone = make_clip(tmp_path / "b.mka", seconds=1.0, codec=None, sound="flac")
    (tmp_path / "c.mp4").write_bytes(b"no video")
    clips = [note("one", old), note("two", old), note("tone", tone), note("broken", tmp_path / "c.mp4")]
    into = tmp_path / "converted"

    def find() -> Videos:
        return find_videos(clips, tmp_path / "r.html", tmp_path / "s.json", convert_into=into)

    found = find()
    assert found.of == {"one": "video-0", "two": "video-0", "tone": "video-1"}
    assert [video.media for video in found.videos] == ["video/mp4", "audio/mp4"]
    assert list(found.unplayable) == ["broken"] and found.unplayable["broken"][1].startswith("not a video")
    first, second = (into / video.name for video in found.videos)
    assert why_unplayable(first) is None and why_unplayable(second) is None
    times, loudness = [], []
    for file in (old, first):
        with MediaReader(file, MediaSettings(), rates={"all": 1000}) as reader:
            times.append([frame.seconds for frame in reader.frames()])
            waveform = reader.audio()
        assert waveform is not None
        loudness.append(np.sqrt(np.mean(waveform[4000:16000] ** 2)))
    assert len(times[0]) == 30 and times[1] == pytest.approx(times[0], abs=0.001)
    assert loudness[1] == pytest.approx(loudness[0], rel=0.03) and loudness[0] > 0.05
    made = first.stat().st_mtime_ns
    assert find() == found and first.stat().st_mtime_ns == made
    os.utime(old, ns=(made + 10**9, made + 10**9))  # replaced since
    find()
    assert first.stat().st_mtime_ns > made


def facts_of(made: Page, section: str) -> dict[str, str]:
    (facts,) = next(one for one in made.sections if one.id == section).blocks
    assert isinstance(facts, Facts)
    return dict(facts.facts)


def test_the_page_names_model_training_data_version_date_and_windows() -> None:
    model = MODEL.model_copy(update={
        "sha256": "9f" * 32, "trained_on": TrainingDataNote(name="ratings.csv", clips=320, synthetic=False),
    })  # fmt: skip
    how = ProvenanceNote(mien="0.1.0", created="2026-11-28T18:00:00+00:00", windows=WindowingNote(seconds=4, hop=1),
                         scale=(0.0, 1.0), raw=True)  # fmt: skip
    facts = facts_of(page(document([WINDOWED], TARGETS, model, how), NONE), "provenance")
    assert facts == {
        "mien": "0.1.0", "model": "first (weights: tiny)", "SHA-256 of the model": "9f" * 32,
        "trained on": "ratings.csv (320 clips)", "scored": "2026-11-28T18:00:00+00:00", "windows": "4 s every 1 s",
        "rating scale": "0 to 1, scores not clipped to it (--raw)",
    }  # fmt: skip


def test_a_document_without_provenance_is_said_to_be_of_an_earlier_version() -> None:
    facts = facts_of(page(scored(), NONE), "provenance")
    assert facts["mien"] == facts["scored"] == facts["windows"] == "unknown (scored by an earlier version)"


def test_a_model_of_synthetic_people_has_its_banner_on_the_page() -> None:
    banner = "trained on synthetic people: for trying out"
    made = page(document([WINDOWED], TARGETS, MODEL.model_copy(update={"banner": banner})), NONE)
    (notice,) = blocks(made, Notice)
    assert (notice.text, notice.level) == ("The model was trained on synthetic people: for trying out.", "warning")
    assert not blocks(page(scored(WINDOWED), NONE), Notice)


def test_notes_on_files_are_counted_by_kind_and_listed_by_clip() -> None:
    """Three files that end early, at different times, one of them also damaged."""
    gone = (
        "cut short: ends at 1.5 s, but its header states 9.0 s",
        "cut short: ends at 2.5 s, but its header states 8 s",
    )
    clips = [replace(PLAIN, clip=str(n), notes=(note,)) for n, note in enumerate((*gone, gone[0]))]
    clips[2] = replace(clips[2], notes=(gone[0], "damaged: reading stopped at 1.5 s"))
    made = page(scored(*clips, WINDOWED), NONE)
    assert table(made, "notes").rows == [
        ("cut short: ends at … s, but its header states … s", 3, "0"), ("damaged: reading stopped at 1.5 s", 1, "2")
    ]  # fmt: skip
    assert [row[0] for row in table(made, "notes-by-clip").rows] == ["0", "1", "2", "2"]
    assert dict(made.head[0].facts)["clips with notes"] == "3"  # type: ignore[attr-defined]
    assert "files" not in [section.id for section in page(scored(), NONE).sections]


def test_scores_that_were_clipped_are_counted_and_so_are_those_of_windows() -> None:
    cut = replace(
        WINDOWED, clipped=("Joy",), windows=(replace(WINDOWED.windows[0], clipped=TARGETS), *WINDOWED.windows[1:])
    )
    how = ProvenanceNote(mien="0.1.0", created="2026", scale=(0.0, 1.0))
    notices = [block.text for block in blocks(page(document([cut, PLAIN], TARGETS, MODEL, how), NONE), Notice)]
    assert notices == [
        "1 of 4 scores were outside the rating scale [0, 1] and were clipped to it.",
        "2 of 6 window scores were outside the rating scale [0, 1] and were clipped to it.",
    ]


def test_words_of_low_probability_are_doubtful() -> None:
    words = player_of(scored().clips[0], scored()).words
    assert {word.text: word.doubtful for word in words} == {"she": False, "said": False, '"yes"': False, "&": False,
                                                            "left": False}  # fmt: skip
    low = replace(WINDOWED, transcript=replace(SAID, words=(Word("she", 0.2, 0.5, 0.49), Word("said", 0.5, 0.8, 0.5))))
    assert [word.doubtful for word in player_of(scored(low).clips[0], scored(low)).words] == [True, False]


def test_the_number_of_faces_and_for_how_long_there_were_several_are_in_the_table() -> None:
    two = replace(PLAIN, clip="two", faces=Faces(2, 1.24))
    made = page(scored(two, replace(PLAIN, clip="one", faces=Faces(1, 0.0)), replace(PLAIN, clip="audio")), NONE)
    scores = table(made, "scores")
    place = [column.name for column in scores.columns].index("faces")
    assert [row[place : place + 2] for row in scores.rows] == [(2, 1.24), (1, 0.0), (None, None)]
    assert dict(made.head[0].facts)["clips with several faces"] == "1"  # type: ignore[attr-defined]


def test_headers_of_foreign_files_are_read_in_the_decoder_process_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [note("a", make_clip(tmp_path / "a.mp4", seconds=0.2))]
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("opened in this process"))
    assert find_videos(clips, tmp_path / "r.html", tmp_path / "s.json").of == {"a": "video-0"}
