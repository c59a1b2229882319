"""Public corpora become tables: the real ones where their tables are beside the repository, made ones otherwise."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.config import Settings, SplitSettings
from mien.data.clip_table import write_clips
from mien.data.corpora import CORPORA, read_corpus
from mien.data.corpora.crema_d import SENTENCES
from mien.data.manifest import read_manifest
from mien.data.splits import split_clips
from mien.errors import DataError, MediaError, SettingsError
from mien.media.container import open_container
from tests.media.clips import make_clip, tone

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 161392\n"
VOTES = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'


def real(name: str) -> Path:
    if not (REAL / name).is_dir():
        pytest.skip(f"the tables of {name} are not beside the repository")
    return REAL / name


def crema_d(folder: Path, actors: int = 10, films: bool = True) -> Path:
    """A clone of CREMA-D as far as the reader looks: tables of one sentence per actor and emotion; made films."""
    if films:
        (folder / "VideoFlash").mkdir(parents=True)
    rows, people, number = [], ['"ActorID","Age","Sex","Race","Ethnicity"'], 0
    for actor in range(1001, 1001 + actors):
        people.append(f'{actor},30,"{"Male" if actor % 2 else "Female"}","Unknown","Not Hispanic"')
        for place, emotion in enumerate(("HAP", "NEU")):
            number += 1
            name = f"{actor}_{list(SENTENCES)[actor % 12]}_{emotion}_XX"
            happy = (7 if emotion == "HAP" else 1) + actor % 3
            for channel in "123":
                rows.append(f'"{channel}{number:05d}",0,0,0,{happy},{10 - happy},0,"{name}",10,0.7,"H"')
            if films:
                make_clip(folder / "VideoFlash" / f"{name}.flv", seconds=0.5, fps=8, size=(64, 48), container="flv",
                          codec="flv1", sound="mp3", wave=lambda t, p=place: tone((1 + p) * t))  # fmt: skip
    (folder / "processedResults").mkdir(parents=True)
    (folder / "processedResults" / "tabulatedVotes.csv").write_text(VOTES + "\n".join(rows) + "\n")
    (folder / "VideoDemographics.csv").write_text("\n".join(people) + "\n")
    return folder


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, f"{words}\n{done.output}\n{done.exception!r}"
    return done.output


def test_crema_ds_real_tables_are_7442_clips_in_each_channel_with_shares_of_votes() -> None:
    folder = real("crema_d")
    by_channel = {channel: read_corpus("crema-d", folder, channel=channel) for channel in ("both", "face", "voice")}
    for manifest in by_channel.values():
        labels = np.array([clip.labels for clip in manifest.clips])
        assert labels.shape == (7442, 6)
        assert np.allclose(labels.sum(1), 1)
        assert len({clip.participant for clip in manifest.clips}) == 91
        assert "7,442 of 7,442 files not there" in manifest.notes[-1]
    first = {channel: manifest.clips[1] for channel, manifest in by_channel.items()}
    assert {clip.id for clip in first.values()} == {"1001_IEO_HAP_LO"}
    happy = {channel: clip.labels[3] for channel, clip in first.items() if clip.labels}
    assert happy == {"voice": 3 / 9, "face": 9 / 10, "both": 8 / 9}  # of tabulatedVotes.csv, read by eye
    assert (first["face"].transcript, first["voice"].transcript) == (None, "It's eleven o'clock")


def test_a_split_of_crema_d_by_actor_is_disjoint() -> None:
    split = split_clips(read_corpus("crema-d", real("crema_d")), SplitSettings(kind="ratio"))
    assert (split.shared, split.notes) == ((), ())
    assert split.participants is not None and sum(split.participants) == 91
    assert len(split.train) + len(split.valid) == 7442


def test_goemotions_has_all_28_labels_and_dev_is_valid(tmp_path: Path) -> None:
    manifest = read_corpus("goemotions", real("goemotions"))
    labels = np.array([clip.labels for clip in manifest.clips])
    assert labels.shape == (43_410 + 5_426, 28)
    assert sum(clip.split == "valid" for clip in manifest.clips) == 5_426
    assert set(np.unique(labels)) == {0, 1}
    assert manifest.clips[0].labels is not None and manifest.clips[0].labels[27] == 1  # "27" in the first line
    few = read_corpus("goemotions", real("goemotions"), targets=["Joy", "amusement"])
    assert few.targets == ("Joy", "Amusement")
    write_clips(few, tmp_path / "joy.csv")
    again = read_manifest(tmp_path / "joy.csv", targets=["Joy", "Amusement"])
    assert [clip.labels for clip in again.clips] == [clip.labels for clip in few.clips]
    assert [clip.id for clip in again.clips] == [clip.id for clip in few.clips]


def test_intensities_of_brighter_and_empathic_reactions_are_scaled_as_said() -> None:
    brighter = read_corpus("brighter", real("brighter"))
    assert [sum(clip.split == side for clip in brighter.clips) for side in ("train", "valid")] == [2763, 115]
    assert {label for clip in brighter.clips for label in clip.labels or ()} == {0, 1 / 3, 2 / 3, 1}
    essays = read_corpus("empathic-reactions", real("empathic_reactions"))
    labels = np.array([clip.labels for clip in essays.clips])
    assert labels.shape == (1860, 2) and labels.min() == 0 and labels.max() == 1
    assert essays.clips[0].labels == pytest.approx(((5.667 - 1) / 6, (4.375 - 1) / 6))
    split = split_clips(essays, SplitSettings(kind="ratio"))
    assert split.shared == () and sum(split.participants or ()) == 417  # articles


def test_crema_d_from_films_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the tutorial, on made films named alike, with random weights."""
    monkeypatch.chdir(tmp_path)
    crema_d(tmp_path / "CREMA-D")
    assert "20 clips, rated for Anger" in run("data", "crema-d", "CREMA-D", "--out", "crema-d.csv")
    quick = ["--set", "modalities=[text,audio]", "--set", "compute.engine=torch", "-q"]
    run("extract", "crema-d.csv", "--weights", "tiny", "--workers", 0, "--out", "features", *quick)
    fit = ["--set", "split.kind=ratio", "--set", "seeds=[0]", "--set", "stage1.epochs=2", "--set", "stage2.epochs=2"]
    run("train", "crema-d.csv", "--features", "features", *fit, *quick, "--set", "weights=tiny", "--out", "run")
    sides = json.loads((tmp_path / "run" / "split.json").read_text())
    actors = [{name[:4] for name in sides[f"{side}_clips"]} for side in ("train", "valid")]
    assert all(actors) and not actors[0] & actors[1]
    study = Path(__file__).resolve().parents[2] / "studies" / "crema_d.yaml"
    assert "4 cells" in run("study", study, "crema-d.csv", "--features", "features", "--out", "study", "--plan")
    run("report", "run", "--out", "report.html")
    assert "Happy" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_pointer_of_git_lfs_is_recognised_in_the_table_and_when_it_is_decoded(tmp_path: Path) -> None:
    folder = crema_d(tmp_path / "CREMA-D", actors=2, films=False)
    (folder / "VideoFlash").mkdir()
    names = [clip.path for clip in read_corpus("crema-d", folder).clips if clip.path]
    for path in names[:3]:
        path.write_text(POINTER)
    missing, pointers = read_corpus("crema-d", folder).notes[-2:]
    assert "1 of 4 files not there" in missing
    assert "3 of 4 files are pointers of Git LFS, not media (first: 1001_" in pointers
    assert "git lfs pull --include 'VideoFlash/*'" in pointers
    with pytest.raises(MediaError, match="a pointer of Git LFS, not the file itself; run `git lfs pull`"):
        open_container(names[0], Settings().media)


def test_ravdess_is_read_from_its_file_names(tmp_path: Path) -> None:
    for name in ("Actor_12/01-01-06-01-02-01-12.mp4", "Actor_11/01-01-03-02-01-02-11.mp4",
                 "Actor_12/02-01-06-01-02-01-12.mp4", "Actor_12/01-02-06-01-02-01-12.mp4",
                 "Audio/03-01-06-01-02-01-12.wav", "Actor_12/holiday.mp4"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    manifest = read_corpus("ravdess", tmp_path)
    eleven, twelve = manifest.clips
    assert (twelve.participant, twelve.group, twelve.transcript) == ("12", "Female", "Dogs are sitting by the door")
    assert twelve.labels == (0, 0, 0, 0, 0, 1, 0, 0) and eleven.labels == (0, 0, 1, 0, 0, 0, 0, 0)
    assert [note.partition(": ")[2] for note in manifest.notes] == [
        "1 sung clip left out", "2 spoken clips of another channel left out", "1 file with another name left out",
    ]  # fmt: skip
    assert [clip.id for clip in read_corpus("ravdess", tmp_path, channel="voice").clips] == ["03-01-06-01-02-01-12"]
    (tmp_path / "Audio").rename(tmp_path.parent / "only-audio")
    with pytest.raises(DataError, match=r"begins with 01 .channel both.; use --channel voice"):
        read_corpus("ravdess", tmp_path.parent / "only-audio")


def test_meld_is_read_with_its_films_and_speakers(tmp_path: Path) -> None:
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    for name in ("train", "dev"):
        (tmp_path / f"{name}_sent_emo.csv").write_text(
            head + '1,"Oh, my God\x92s cat!",Ross,surprise,positive,0,3,8,21,"00:16:16,059","00:16:21,731"\n',
            encoding="utf-8",
        )
    train, valid = read_corpus("meld", tmp_path).clips
    assert train.path == tmp_path / "train_splits" / "dia0_utt3.mp4"
    assert valid.path == tmp_path / "dev_splits_complete" / "dia0_utt3.mp4"
    assert (train.split, valid.split, train.participant) == ("train", "valid", "Ross")
    assert train.labels == (0, 0, 0, 0, 0, 0, 1) and train.id != valid.id


def test_json_lines_of_any_corpus_become_a_table(tmp_path: Path) -> None:
    lines = ['{"id": "ü 1", "text": "so proud\\nof you", "joy": 80, "split": "train", "participant": 7}', "",
             '{"text": "=1+1", "labels": {"joy": 0, "pride": 100}}',
             '{"path": "films/7.mp4", "joy": null}']  # fmt: skip
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert "3 clips, rated for joy, pride" in run(
        "data", "jsonl", tmp_path / "mine.jsonl", "--label-scale", 100, "--out", tmp_path / "sub" / "mine.csv"
    )
    one, two, three = read_manifest(tmp_path / "sub" / "mine.csv").clips
    assert (one.id, one.transcript, one.participant) == ("ü 1", "so proud\nof you", "7")
    assert one.labels is not None and one.labels[0] == 0.8 and np.isnan(one.labels[1])
    assert (two.id, two.transcript, two.labels) == ("mine-3", "=1+1", (0, 1))
    assert three.path is not None and three.path.resolve() == tmp_path / "films" / "7.mp4" and three.labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("so proud\n", r"mine.jsonl:1: not JSON"),
        ("[1]\n", r"mine.jsonl:1: expected an object"),
        ('\n{"joy": 1}\n', r"mine.jsonl:2: expected \"text\" or \"path\""),
        ('{"text": "a", "joy": 3}\n', r"mine.jsonl:1: joy = 3, but labels lie in \[0, 1\]; .* --label-scale"),
        ('{"text": "a", "joy": NaN}\n', r"mine.jsonl:1: joy = nan, but"),
        ('{"text": "a", "labels": ["joy"]}\n', r"mine.jsonl:1: labels = "),
        ('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n', "id '1' occurs twice"),
    ],
)
def test_what_is_wrong_with_a_json_line_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read_corpus("jsonl", tmp_path)


def test_an_id_of_0_and_empty_labels_are_as_given(tmp_path: Path) -> None:
    """Empty labels are no ratings: the number beside the text is something else."""
    lines = ['{"id": 0, "text": "a", "labels": {"joy": 1}}', '{"id": "b", "text": "b", "age": 1, "labels": {}}',
             '{"id": null, "text": "c", "labels": null, "joy": 0}']  # fmt: skip
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    read = read_corpus("jsonl", tmp_path)
    assert read.targets == ("joy",)
    assert [(clip.id, clip.labels) for clip in read.clips] == [("0", (1.0,)), ("b", None), ("mine-3", (0.0,))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"300001",0,0,0,3,6,0,"1001_IEO_HAP_LO",10,0.6,"N"', "tabulatedVotes.csv:2: 9 votes, but numResponses = 10"),
        ('"300001",0,0,0,3,x,0,"1001_IEO_HAP_LO",10,0.6,"N"', "tabulatedVotes.csv:2: votes are not whole numbers"),
        ('"400001",0,0,0,3,6,0,"1001_IEO_HAP_LO",9,0.6,"N"', "tabulatedVotes.csv:2: row number '400001'"),
        ('"300001",0,0,0,3,6,0,"1001_XYZ_HAP_LO",9,0.6,"N"', "tabulatedVotes.csv:2: fileName = '1001_XYZ_HAP_LO'"),
    ],
)
def test_what_is_wrong_with_votes_is_one_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "tabulatedVotes.csv").write_text(VOTES + row + "\n")
    with pytest.raises(DataError, match=message):
        read_corpus("crema-d", tmp_path)


def test_wrong_use_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="iemocap: no corpus of this name; known are crema-d, ravdess"):
        read_corpus("iemocap", tmp_path)
    with pytest.raises(SettingsError, match="goemotions was rated in one way only"):
        read_corpus("goemotions", tmp_path, channel="voice")
    with pytest.raises(SettingsError, match="brighter has a scale of its own"):
        read_corpus("brighter", tmp_path, label_scale=3)
    (tmp_path / "train.tsv").write_text("thank you\t15\ta\nno tabs\n")
    with pytest.raises(DataError, match=r"train.tsv:2: 1 columns, expected a text"):
        read_corpus("goemotions", tmp_path)
    (tmp_path / "train.tsv").write_text("thank you\t15,28\ta\n")
    with pytest.raises(DataError, match=r"train.tsv:1: labels '15,28'; expected numbers from 0 to 27"):
        read_corpus("goemotions", tmp_path)
    (tmp_path / "train.tsv").write_text("thank you\t15\ta\n")
    with pytest.raises(DataError, match="no target 'Determination'"):
        read_corpus("goemotions", tmp_path, targets=["Determination"])


def test_every_corpus_is_listed_and_describes_itself() -> None:
    listed = run("data")
    for name, corpus in CORPORA.items():
        assert name in listed
        shown = run("data", name)
        assert corpus.licence in shown and corpus.citation in shown and f"is not     {corpus.is_not}" in shown


def test_no_target_of_any_corpus_is_called_determination() -> None:
    assert not any("determination" in corpus.targets.lower() for corpus in CORPORA.values())


def test_a_table_written_for_a_spreadsheet_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"text": "-- no", "joy": 1}\n{"text": "\'quoted\'", "joy": 0.25}\n')
    manifest = read_corpus("jsonl", tmp_path)
    write_clips(manifest, tmp_path / "mine.csv")
    with (tmp_path / "mine.csv").open() as file:
        assert [row["transcript"] for row in csv.DictReader(file)] == ["'-- no", "'quoted'"]
    assert [clip.transcript for clip in read_manifest(tmp_path / "mine.csv").clips] == ["-- no", "'quoted'"]
