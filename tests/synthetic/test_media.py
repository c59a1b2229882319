from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from mien.data.manifest import read_manifest
from mien.errors import DataError
from mien.schema import EMOTIONS
from mien.synthetic.gallery import gallery
from mien.synthetic.labels import draw_labels
from mien.synthetic.media import (
    FPS,
    NOISE,
    draw_signals,
    make_media,
    plan_media,
    render_clip,
    spoken_words,
    write_plan,
    write_script,
)
from mien.synthetic.words import as_sentences

pytest.importorskip("espeakng_loader")
SMALL = {"clips": 5, "seed": 3, "test_clips": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "made"
    make_media(folder, **SMALL)
    return folder


def test_the_corpus_is_read_as_the_challenges_folder(corpus):
    manifest = read_manifest(corpus)
    assert [(clip.id, clip.split) for clip in manifest.clips] == [
        *((f"0000{number}", "train") for number in range(3)),
        *((f"0000{number}", "valid") for number in range(3, 5)),
        ("00005", "test"),
    ]
    assert manifest.targets == EMOTIONS
    assert manifest.clips[5].labels is None
    assert all(clip.path.is_file() and clip.participant for clip in manifest.clips)


def test_each_film_has_the_length_of_its_speech_and_a_picture_for_every_25th_of_a_second(corpus):
    for clip in plan_media(corpus, **SMALL).clips:
        script = write_script(clip)
        with av.open(str(clip.path)) as video:
            seconds = [float(stream.duration * stream.time_base) for stream in video.streams]
            assert sum(1 for _ in video.decode(video=0)) == len(script.actions)
        assert 2 < seconds[0] < 15
        assert seconds == pytest.approx([len(script.waveform) / 22_050] * 2, abs=0.1)


def test_the_same_settings_give_the_same_bytes_in_any_order(corpus, tmp_path):
    plan = plan_media(tmp_path, **SMALL)
    write_plan(plan, tmp_path)
    for name in ("signals.parquet", "train_split.csv", "valid_split.csv", "participants.csv", "test_answers.csv"):
        assert (tmp_path / name).read_bytes() == (corpus / name).read_bytes()
    for clip in plan.clips[::-1][:2]:  # filmed last before, first now
        render_clip(clip)
        assert clip.path.read_bytes() == (corpus / clip.path.relative_to(tmp_path)).read_bytes()


def test_an_interrupted_corpus_is_continued_and_another_is_not_mixed_in(corpus):
    plan = plan_media(corpus, **SMALL)
    assert plan.missing() == []
    lost = plan.clips[2].path
    kept = plan.clips[1].path.stat().st_mtime_ns
    lost.unlink()
    make_media(corpus, **SMALL)
    assert lost.is_file()
    assert plan.clips[1].path.stat().st_mtime_ns == kept
    with pytest.raises(DataError, match="holds another corpus"):
        make_media(corpus, **{**SMALL, "seed": 4})


def test_the_signals_file_tells_what_was_planted_and_said(corpus):
    table = pq.read_table(corpus / "signals.parquet").to_pydict()
    labels = draw_labels(**SMALL)
    assert table["id"] == list(labels.ids)
    assert table["intensity/Joy"] == labels.intensities[:, 5].tolist()
    assert table["audio/Joy"] == draw_signals(labels, SMALL["seed"])["audio"][:, 5].tolist()
    for clip in plan_media(corpus, **SMALL).clips:
        assert table["words"][clip.number] == spoken_words(clip) == as_sentences(write_script(clip).clauses)


def test_signals_tell_of_the_labels_in_proportion_to_their_noise():
    labels = draw_labels(4000)
    signals = draw_signals(labels, 0)
    agreement = {
        name: np.mean([np.corrcoef(values[:, e], labels.shares[:, e])[0, 1] for e in range(6)])
        for name, values in signals.items()
    }
    assert sorted(agreement, key=agreement.get) == sorted(NOISE, key=NOISE.get, reverse=True)
    assert 0.4 < min(agreement.values()) < max(agreement.values()) < 0.7
    everything = np.mean(list(signals.values()), 0)
    together = np.mean([np.corrcoef(everything[:, e], labels.shares[:, e])[0, 1] for e in range(6)])
    assert together > max(agreement.values()) + 0.03  # the noises are independent, so fusion gains


def test_a_participant_keeps_face_voice_and_room_from_clip_to_clip():
    clips = plan_media(Path("nowhere"), clips=60).clips
    one, two = (write_script(clip) for clip in clips[:2])
    other = write_script(clips[-1])
    assert clips[0].participant == clips[1].participant != clips[-1].participant
    assert one.person == two.person != other.person
    assert one.voice.variant == two.voice.variant
    assert one.clauses != two.clauses


def test_the_clips_of_a_participant_are_filmed_one_after_another():
    people = [clip.participant for clip in plan_media(Path(), clips=90).clips]
    assert people == sorted(people)
    assert len(set(people)) > 5


def test_the_gallery_is_one_picture_of_eight_moments_of_four_clips(corpus, tmp_path):
    gallery(corpus, tmp_path / "gallery.png")
    image = cv2.imread(str(tmp_path / "gallery.png"))
    rows = len({clip.participant for clip in plan_media(corpus, **SMALL).clips})
    assert image.shape == (200 * min(4, rows), 1600, 3)


def test_pictures_come_25_times_a_second():
    script = write_script(plan_media(Path(), clips=2).clips[0])
    assert len(script.actions) == round(len(script.waveform) / 22_050 * FPS)
