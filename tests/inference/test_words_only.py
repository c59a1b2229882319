"""Clips without a video: a table of words, or of sound files, is extracted, trained on, evaluated and scored."""

import csv
import json
import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.config import Settings, read_settings
from mien.data.manifest import clips_of, read_manifest
from mien.errors import DataError
from mien.features.store import Store
from mien.inference.partial import PartialScores
from mien.media import decoder, load_media
from mien.reporting.scores import page
from mien.reporting.videos import find_videos
from mien.scores.exports import write_scores
from tests.features.test_extract import audio_clip

GOEMOTIONS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "goemotions" / "train.tsv"
LONG = "so proud of all of you " * 217 + "!" * 9
"""5,000 characters."""
QUICK = ["weights=tiny", "seeds=[0]", "stage1.epochs=2", "stage2.epochs=2", "compute.engine=torch"]


def settings(*more: str) -> Settings:
    return read_settings(overrides=[*QUICK, *more])


def sentences(count: int) -> list[str]:
    """Real posts where they are there, else made ones; with emoji, accents of two characters, and formulas."""
    dirt = ["I'm sooo happy 🎉🎉 today", unicodedata.normalize("NFD", "süß, é una gioia"), "=1+1 is what he said", LONG]
    if GOEMOTIONS.is_file():
        with GOEMOTIONS.open(encoding="utf-8", newline="") as file:
            found = [row[0] for row, _ in zip(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), range(count),
                                              strict=False)]  # fmt: skip
    else:
        words, draw = "so proud of you and what we did today it hurts".split(), random.Random(0)
        found = [" ".join(draw.choices(words, k=draw.randint(2, 40))) for _ in range(count)]
    return [*dirt, *found[len(dirt) : -1], ""]


def table(path: Path, count: int) -> Path:
    """As Excel saves it in half of Europe: semicolons, a byte order mark, empty columns, decimal commas."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(["id", "transcript", "split", "participant", "group", "Joy", "", ""])
        for number, text in enumerate(sentences(count)):
            name = unicodedata.normalize("NFD", f"pöst {number}")
            split = ("train", "train", "valid")[number % 3]
            joy = f"{min(1.0, len(text) / 200):.3f}".replace(".", ",")
            writer.writerow([name, text, split, f"p{number % 20}", "ab"[number % 2], joy, "", ""])
    return path


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No decoder process, face detector or recogniser can be started."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("started for words alone")

    monkeypatch.setattr(decoder.DecoderClient, "start", refuse)
    monkeypatch.setattr(load_media, "FaceFinder", refuse)
    monkeypatch.setattr(load_media, "Transcriber", refuse)


@pytest.mark.usefixtures("nothing_starts")
def test_a_table_of_words_is_extracted_trained_on_evaluated_and_scored(tmp_path: Path) -> None:
    data, count = table(tmp_path / "words.csv", 120), 120
    manifest = read_manifest(data)
    assert len(manifest.clips) == count and manifest.targets == ("Joy",)
    assert all(clip.path is None for clip in manifest.clips)
    assert any("120 clips without a video or audio file (first: p" in note for note in manifest.notes)
    done = mien.extract(manifest, tmp_path / "store", settings(), progress=False)
    assert (done.made, done.failed) == (count, [])
    reasons = {name: first.partition(": ")[2] for (name, _), (_, first) in done.absent.items()}
    assert reasons == {
        "text": "the provided transcript is empty",
        "audio": "no audio: the clip has no file",
        "vision": "no video: the clip has no file",
        "motion": "no video: the clip has no file",
    }
    assert list(done.remarks.values()) == [(1, f"{manifest.clips[3].id}: transcript cut to 128 tokens")]
    again = mien.extract(manifest, tmp_path / "store", settings(), progress=False)
    assert (again.made, again.reused) == (0, count)

    mien.train(manifest, tmp_path / "store", tmp_path / "run", settings(), progress=False)
    result = mien.evaluate(tmp_path / "run", manifest, tmp_path / "store")
    assert result.clips == count // 3

    with mien.load(tmp_path / "run") as model:
        kept = PartialScores(tmp_path / "scores.json")
        made = model.predictions(data, kept=kept)
        assert [one.clip for one in made] == [clip.id for clip in manifest.clips]
        assert [one.error is None for one in made] == [True] * (count - 1) + [False]
        assert made[-1].error == (
            f"{made[-1].clip}: nothing to score (text: the provided transcript is empty)"
        )  # the model reads text only: no training clip has anything else
        resumed = model.predictions(data, kept=PartialScores(tmp_path / "scores.json"))
        assert [one.scores for one in resumed[:-1]] == [one.scores for one in made[:-1]]
        scored = model.document(made)
    assert write_scores(scored, tmp_path / "elan", "eaf")[1] == (
        f"{count - 1} clips without video or audio, so without times for an annotation file (first: {made[0].clip})"
    )
    assert not list(tmp_path.glob("elan/*.eaf"))
    write_scores(scored, tmp_path / "hume.json", "hume")
    predictions = json.loads((tmp_path / "hume.json").read_text())[0]["results"]["predictions"]
    assert predictions[0]["file_type"] == "text"
    videos = find_videos(scored.clips, tmp_path / "report.html", tmp_path / "scores.json")
    assert (videos.notes, videos.why_none(made[0].clip)) == ([], "The clip has no file, only words.")
    assert page(scored, videos).sections


def test_the_same_words_in_two_clips_are_no_sign_that_a_model_has_seen_them(tmp_path: Path) -> None:
    from mien.features.source_files import contents_of

    (tmp_path / "words.csv").write_text("id,transcript,Joy\na,thank you,0.5\nb,thank you,0.1\n")
    mien.extract(tmp_path / "words.csv", tmp_path / "store", settings(), progress=False)
    assert contents_of(Store(tmp_path / "store"), ["a", "b"]) == [set(), set()]


def test_features_of_words_do_not_depend_on_a_video_beside_them(tmp_path: Path) -> None:
    """A store that was made of videos with given transcripts is reused for their words alone."""
    audio_clip(tmp_path / "a.mkv", 0.5)
    (tmp_path / "with.csv").write_text("id,path,transcript\na,a.mkv,so proud\n")
    (tmp_path / "without.csv").write_text("id,transcript\na,so proud\n")
    only = settings("modalities=[text]")
    mien.extract(tmp_path / "with.csv", tmp_path / "store", only, progress=False)
    done = mien.extract(tmp_path / "without.csv", tmp_path / "store", only, progress=False)
    assert (done.made, done.reused) == (0, 1)


def test_a_column_of_sound_files_is_a_data_set_like_a_folder_of_them(tmp_path: Path) -> None:
    for name, pitch in (("a", 1.0), ("b", 1.5)):
        audio_clip(tmp_path / f"{name}.wav", 0.6, pitch)
    (tmp_path / "sounds.tsv").write_text("id\tsound\ttranscript\na\ta.wav\tso proud\nb\tb.wav\tit hurts\n")
    manifest = read_manifest(tmp_path / "sounds.tsv")
    assert manifest.notes[-1].endswith("2 clips without a path; the sound is used as the file (first: a)")
    done = mien.extract(manifest, tmp_path / "store", settings(), progress=False)
    assert (done.made, done.failed) == (2, [])
    assert {name for name, _ in done.absent} == {"vision", "motion"}
    mien.extract(tmp_path, tmp_path / "folder", settings("modalities=[audio]"), progress=False)
    for name in ("a", "b"):
        mine, theirs = (Store(tmp_path / store).array(name, "audio") for store in ("store", "folder"))
        assert mine.shape == (30, mine.shape[1]) and np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,words\na,so proud\n", "words.csv:1: no column 'path' \\(or 'transcript', for words without a video"),
        ("id,transcript\n,so proud\n", "words.csv:2: column 'id' is empty; a clip without a path needs an id"),
        ("transcript\nso proud\n", "words.csv:2: column 'id' is empty"),
        ("id,path,transcript\na,a.mp4,\nb,,\n", "words.csv:3: column 'path' is empty, and the row has no transcript"),
        ("id,transcript\na,so\na,proud\n", "words.csv:3: id 'a' occurs twice"),
    ],
)
def test_what_is_wrong_with_a_table_of_words_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "words.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "words.csv")


def test_rows_with_and_without_a_video_stand_in_one_table(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("id,path,transcript\na,a.mp4,\nb,,so proud\nc,NA,it hurts\n")
    a, b, c = read_manifest(tmp_path / "clips.csv").clips
    assert (a.path, a.transcript) == (tmp_path / "a.mp4", None)
    assert [(clip.path, clip.transcript) for clip in (b, c)] == [(None, "so proud"), (None, "it hurts")]


def test_a_table_of_words_as_r_saves_it(tmp_path: Path) -> None:
    """Row numbers without a name, NA, and line ends and quotes within a text."""
    (tmp_path / "words.csv").write_text(
        '"","id","transcript","participant","Joy"\n"1","a","so ""proud""\nof you","p1",0.5\n"2","b",NA,NA,NA\n'
    )
    manifest = read_manifest(tmp_path / "words.csv")
    a, b = manifest.clips
    assert manifest.targets == ("Joy",) and (a.labels, b.labels) == ((0.5,), None)
    assert (a.transcript, b.transcript) == ('so "proud"\nof you', "")
    assert (a.participant, b.participant) == ("p1", None)


def test_two_tables_with_the_same_ids_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("id,transcript\n1,so proud\n")
    both = clips_of([tmp_path / "one.csv", tmp_path / "two.csv", tmp_path / "one.csv"])
    assert [clip.id for clip in both.clips] == [f"{tmp_path}/one.csv:1", f"{tmp_path}/two.csv:1"]
    assert both.notes[-1] == "1 clip named twice, counted once"
