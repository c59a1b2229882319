"""The challenge's own faces and sound: used whatever they were saved as, and no obstacle to scoring ordinary videos."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.errors import SettingsError
from mien.features.store import Store
from mien.schema import EMOTIONS
from mien.weights import Weights
from tests.media.clips import SHARED, make_clip, tone
from tests.test_cli import mien as command

pytestmark = pytest.mark.weights

KINDS = (("mp3", "libmp3lame"), ("wav", "pcm_s16le"), ("flac", "flac"), ("m4a", "aac"), ("ogg", "libopus"))
CLIPS = 10


def settings(source: str) -> Settings:
    return read_settings(
        overrides=[
            "weights=tiny", "modalities=[text, audio, vision]", "seeds=[0, 1]", "stage1.epochs=2", "stage2.epochs=2",
            "compute.precision=float32", "compute.engine=torch",
            f"faces.source={source}", f"speech.source={source}",
        ]
    )  # fmt: skip


def photo() -> Image.Image:
    """An image of 200 kB as a JPEG, like photographs."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (360, 480, 3), np.uint8))


def video(path: Path) -> Path:
    """Half a second of video with audio and without a person."""
    return make_clip(path, seconds=0.5, sound_rate=48_000, wave=lambda t: tone(3 * t))


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten rated videos with transcripts, large face images, and audio in every kind of file."""
    root = tmp_path_factory.mktemp("challenge")
    for folder in ("raw", "text", "audio", "face_images"):
        (root / folder).mkdir()
    source = video(root / "source.mp4")
    photo().save(root / "photo.jpg", quality=95)
    assert (root / "photo.jpg").stat().st_size > 150_000
    tables = {name: [",".join(["Filename", *EMOTIONS])] for name in ("train", "valid")}
    for number in range(CLIPS):
        name, (ending, codec) = f"{number:05d}", KINDS[number % len(KINDS)]
        shutil.copy(source, root / "raw" / f"{name}.mp4")
        (root / "text" / f"{name}.txt").write_text("so proud " * (number + 1))
        make_clip(
            root / "audio" / f"{name}.{ending}", codec=None, seconds=0.5, sound=codec, sound_rate=48_000,
            wave=lambda t, number=number: tone((1 + number / 8) * t),
        )  # fmt: skip
        (root / "face_images" / name).mkdir()
        for image in (1, 2):
            shutil.copy(root / "photo.jpg", root / "face_images" / name / f"{image}.jpg")
        rating = ",".join(str(number / CLIPS) for _ in EMOTIONS)
        tables["valid" if number % 3 == 0 else "train"].append(f"{name},{rating}")
    for name, rows in tables.items():
        (root / f"{name}_split.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def store(
    challenge: Path, tmp_path_factory: pytest.TempPathFactory, small_weights: dict[str, Weights]
) -> Path:  # tiny has the detectors of small
    out = tmp_path_factory.mktemp("store")
    tally = mien.extract(challenge, out, settings("provided"), progress=False)
    assert (tally.made, tally.failed) == (CLIPS, [])
    return out


@pytest.fixture(scope="module")
def run(challenge: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    mien.train(challenge, store, out, settings("provided"), progress=False)
    return out


@pytest.fixture
def ordinary(tmp_path: Path) -> Path:
    """A folder of two videos and nothing else."""
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        video(tmp_path / "videos" / f"{name}.mp4")
    return tmp_path / "videos"


def test_large_pictures_and_every_kind_of_sound_are_there_for_every_clip(store: Path) -> None:
    read = Store(store)
    for number in range(CLIPS):
        vision, audio = (read.row(f"{number:05d}", name) for name in ("vision", "audio"))
        assert vision is not None and (vision.status, vision.steps, vision.reason) == ("present", 2, "")
        assert audio is not None and audio.status == "present"
        assert audio.steps == pytest.approx(25, abs=4)  # half a second, and what a codec adds to it


def test_auto_takes_what_is_provided_and_knows_it_again(challenge: Path, store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    tally = mien.extract(challenge, tmp_path / "store", settings("auto"), progress=False)
    assert (tally.made, tally.reused) == (0, CLIPS)


def test_auto_takes_the_video_where_nothing_is_provided_and_knows_it_again(ordinary: Path, tmp_path: Path) -> None:
    made = mien.extract(ordinary, tmp_path / "store", settings("video"), progress=False)
    again = mien.extract(ordinary, tmp_path / "store", settings("auto"), progress=False)
    assert (made.made, again.made, again.reused) == (2, 0, 2)
    other = mien.extract(ordinary, tmp_path / "store", settings("provided"), progress=False)
    assert other.made == 2  # nothing is provided, and that is a different answer


def test_a_model_of_provided_faces_and_sound_scores_ordinary_videos_and_says_so(run: Path, ordinary: Path) -> None:
    model, manifest = mien.load(run), read_manifest(ordinary)
    made = model.predictions(manifest)
    assert [one.present for one in made] == [("audio",), ("audio",)]
    assert all(math.isfinite(value) for one in made for value in one.scores.values())
    assert all("no face in" in one.absent["vision"] for one in made)  # the detector ran
    assert model.source_notes(manifest.clips, made) == [
        "2 clips scored from the audio of the video, as none is provided; the model was trained on provided audio "
        "(first: a)"
    ]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real clips are not beside the repository")
def test_faces_found_in_a_video_are_counted_apart(run: Path, tmp_path: Path) -> None:
    shutil.copy(SHARED / "five_frames.mp4", tmp_path)
    model, manifest = mien.load(run), read_manifest(tmp_path)
    made = model.predictions(manifest)
    assert "vision" in made[0].present
    faces, *_ = model.source_notes(manifest.clips, made)
    assert faces.startswith("1 clip scored from faces found in the video, as none are provided; the model was trained")


def test_provided_clips_are_scored_from_what_is_provided_without_a_word(run: Path, challenge: Path) -> None:
    model, manifest = mien.load(run), read_manifest(challenge)
    made = model.predictions(manifest)
    assert all(one.present == ("text", "audio", "vision") for one in made)
    assert model.source_notes(manifest.clips, made) == []


def test_the_source_can_be_chosen(run: Path, challenge: Path, ordinary: Path) -> None:
    model, manifest = mien.load(run), read_manifest(challenge)
    from_video = model.predictions(manifest, faces="video", sound="video")
    assert all(one.present == ("text", "audio") for one in from_video)
    assert model.source_notes(manifest.clips, from_video, faces="video", sound="video") == [
        f"{CLIPS} clips scored from the audio of the video; the model was trained on provided audio (first: 00001)"
    ]
    (first, _) = model.predictions(ordinary, faces="provided", sound="provided")
    assert first.error is not None
    assert "no audio file is provided" in first.error and "no face images are provided" in first.error
    with pytest.raises(SettingsError, match="'video', 'provided' or 'auto', found 'film'"):
        model.predictions(ordinary, faces="film")


def test_the_command_scores_ordinary_videos_and_notes_the_difference_once(run: Path, ordinary: Path) -> None:
    done = command("predict", run, ordinary, "--quiet", "--sound", "auto", "--faces", "provided")
    note = (
        "note: 2 clips scored from the audio of the video, as none is provided; the model was trained on provided audio"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(note) == 1
    assert done.stdout.count("no face images are provided") == 2
