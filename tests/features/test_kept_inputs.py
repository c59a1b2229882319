"""Kept inputs: another backbone decodes nothing, and its features are those of the video. Bad files do no harm."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.compute.device import resolve_compute
from mien.config import ComputeSettings, Settings, read_settings
from mien.data.manifest import read_manifest
from mien.errors import Damaged, OutputError, SettingsError, StoreError
from mien.features import kept_inputs
from mien.features.extract import prune
from mien.features.input_size import estimate
from mien.features.kept_inputs import KINDS, KeptInputs, joined
from mien.features.keys import INPUT_SETTINGS, INPUT_WEIGHTS, Keys
from mien.features.packed_crops import PackedCrops, pack_crops
from mien.features.shards import transcript_to_json
from mien.features.store import Store
from mien.media.decoder import DecoderClient
from mien.modalities import MODALITIES
from mien.modalities.base import Absent, Modality
from mien.schema import SAMPLE_RATE, Clip, Faces, Manifest, Media
from mien.storage.mapped import write_mapped
from mien.weights import Weights
from tests.features.test_extract import audio_clip, bytes_of
from tests.media.clips import SHARED
from tests.modalities.clips import media
from tests.test_cli import mien as command
from tests.workers import decoders


def settings(*more: str) -> Settings:
    return read_settings(overrides=["weights=tiny", "compute.engine=torch", "compute.precision=float32", *more])


VOICES = "modalities=[text, audio]"
OTHER = "compute.precision=bfloat16"
"""Gives other features of the same inputs, as another backbone does."""


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a decoder was started")

    monkeypatch.setattr(DecoderClient, "start", refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two audio clips with known words."""
    root = tmp_path_factory.mktemp("clips")
    (root / "text").mkdir()
    for name, pitch in (("a", 1.0), ("süß c", 2.0)):
        audio_clip(root / f"{name}.mkv", 0.6, pitch)
        (root / "text" / f"{name}.txt").write_text(f"so proud of {name} 🎉")
    return root


@pytest.fixture(scope="module")
def kept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of these clips with kept inputs."""
    out = tmp_path_factory.mktemp("kept")
    done = mien.extract(folder, out, settings(VOICES), progress=False, keep_inputs=True)
    assert (done.made, done.kept_files, done.failed) == (2, 4, [])
    assert done.kept_bytes == done.kept_new_bytes == sum(p.stat().st_size for p in out.rglob("inputs/*/*/*"))
    return out


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return Path(shutil.copytree(kept, tmp_path / "store"))


# -- what is kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", MODALITIES.values(), ids=MODALITIES)
def test_what_a_backbone_reads_is_kept_exactly(modality: Modality, tmp_path: Path) -> None:
    whole = replace(media(seconds=1.0, crops=20), face_count=Faces(2, 0.25), notes=("late audio",))
    noise = np.random.default_rng(1).integers(0, 256, (20, 24, 24, 3), np.uint8)
    assert whole.faces is not None
    whole = replace(whole, faces=replace(whole.faces, crops=noise))
    inputs = KeptInputs(tmp_path)
    inputs.write(whole, modality.sense, "ab" * 16)
    part = inputs.find(Clip("a"), modality.sense, "ab" * 16)
    assert part is not None and (part.seconds, part.notes) == (1.0, ("late audio",))
    mine, theirs = modality.prepare(part), modality.prepare(whole)
    assert not isinstance(mine, Absent) and not isinstance(theirs, Absent)
    assert np.array_equal(mine.seconds, theirs.seconds) and mine.remark == theirs.remark
    if modality.sense == "text":
        assert transcript_to_json(mine.inputs) == transcript_to_json(theirs.inputs)
    else:
        assert mine.inputs[0:20].dtype == theirs.inputs[0:20].dtype
        assert np.array_equal(mine.inputs[0:16], theirs.inputs[0:16])
    if modality.sense in ("vision", "motion"):
        assert part.face_count == Faces(2, 0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_why_a_clip_lacks_something_is_kept(kind: str, tmp_path: Path) -> None:
    inputs, reason = KeptInputs(tmp_path), f"no {kind} in the file"
    inputs.write(Media(Clip("a"), 2.5, absent={kind: reason, "other": "?"}), kind, "cd" * 16)  # type: ignore[arg-type]
    part = inputs.find(Clip("b"), kind, "cd" * 16)  # type: ignore[arg-type]
    assert part is not None and part.clip.id == "b"
    assert (part.absent, part.waveform, part.transcript, part.faces) == ({kind: reason}, None, None, None)


def test_parts_of_a_clip_are_joined_to_what_was_decoded(tmp_path: Path) -> None:
    whole, inputs = media(crops=3), KeptInputs(tmp_path)
    for kind in KINDS:
        inputs.write(whole, kind, "ef" * 16)
    again = joined(whole.clip, [part for kind in KINDS if (part := inputs.find(whole.clip, kind, "ef" * 16))])
    assert again.faces is not None and whole.faces is not None and whole.waveform is not None
    assert (again.seconds, transcript_to_json(again.transcript)) == (
        whole.seconds,
        transcript_to_json(whole.transcript),
    )
    assert np.array_equal(again.waveform, whole.waveform)  # type: ignore[arg-type]
    for name in ("crop_seconds", "vision_frames", "motion", "motion_seconds", "motion_frames", "boxes"):
        assert np.array_equal(getattr(again.faces, name), getattr(whole.faces, name)), name


def test_a_waveform_of_16_bits_takes_2_bytes_a_sample_and_any_other_4(tmp_path: Path) -> None:
    exact = np.arange(-SAMPLE_RATE // 2, SAMPLE_RATE // 2, dtype=np.float32) / 32_768  # one second
    inputs, sizes = KeptInputs(tmp_path), []
    for key, waveform in (("0" * 32, exact), ("1" * 32, exact + np.float32(1e-6)), ("2" * 32, exact * 9)):
        sizes.append(inputs.write(Media(Clip("a"), 1.0, waveform), "audio", key))
        found = inputs.find(Clip("a"), "audio", key)
        assert found is not None and np.array_equal(found.waveform, waveform)  # type: ignore[arg-type]
    heads = [size - SAMPLE_RATE * width for size, width in zip(sizes, (2, 4, 4), strict=True)]
    assert all(0 < head < 1_000 for head in heads)


@pytest.mark.parametrize(("count", "side"), [(0, 1), (1, 1), (33, 7), (2, 224)])
def test_packed_crops_are_read_in_any_order(count: int, side: int) -> None:
    crops = np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)
    packed = PackedCrops(*pack_crops(crops), side, "a file")
    assert len(packed) == count and np.array_equal(packed[0:count], crops)
    order = np.random.default_rng(0).permutation(count)
    assert np.array_equal(packed.take(order), crops[order])
    assert packed[count:].shape == (0, side, side, 3)


def test_smooth_crops_take_a_third_of_their_pixels() -> None:
    """A face is smooth: neighbours differ by little."""
    rows, columns = np.mgrid[0:224, 0:224]
    smooth = (rows + columns)[..., None] // (2, 3, 4) + np.random.default_rng(0).integers(0, 4, (224, 224, 3))
    packed, _ = pack_crops(smooth[None].astype(np.uint8))
    assert packed.size < smooth.size / 2


# -- extraction ---------------------------------------------------------------------------------------------------


def test_inputs_depend_on_what_their_modalities_depend_on() -> None:
    for modality in MODALITIES.values():
        assert set(INPUT_SETTINGS[modality.sense]) <= set(modality.settings)
        assert set(INPUT_WEIGHTS[modality.sense]) == set(modality.front_roles)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same store", "another store"])
def test_another_backbone_decodes_nothing(folder: Path, kept: Path, tmp_path: Path, elsewhere: bool) -> None:
    out = tmp_path / "new" if elsewhere else Path(shutil.copytree(kept, tmp_path / "store"))
    done = mien.extract(
        folder, out, settings(VOICES, OTHER), progress=False, inputs=kept if elsewhere else None
    )  # fmt: skip
    assert (done.made, done.kept_files, done.kept_new_bytes, done.failed) == (2, 4, 0, [])
    assert decoders() == []
    assert (out / "inputs").exists() == (not elsewhere)


def test_features_of_kept_inputs_are_those_of_the_video(folder: Path, kept: Path, tmp_path: Path) -> None:
    for name, options in (("direct", {}), ("kept", {"inputs": kept})):
        mien.extract(folder, tmp_path / name, settings(VOICES, OTHER), progress=False, **options)  # type: ignore[arg-type]
    assert bytes_of(tmp_path / "direct") == bytes_of(tmp_path / "kept")
    assert not (tmp_path / "direct" / "inputs").exists()
    both = [bytes_of(tmp_path / "direct" / "shards"), bytes_of(kept / "shards")]
    assert both[0].keys() == both[1].keys() and both[0] != both[1]


@pytest.mark.weights
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real clips are not beside the repository")
def test_features_of_kept_faces_are_those_of_the_video(
    tmp_path: Path, small_weights: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real face, with another backbone, in workers: nothing is decoded, and no detector is loaded."""
    for name in ("quiet_face.mp4", "five_frames.mp4"):
        shutil.copy(SHARED / name, tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "five_frames.txt").write_text("so proud")
    seen = "modalities=[audio, vision, motion]"
    mien.extract(tmp_path, tmp_path / "first", settings(seen), progress=False, keep_inputs=True)
    mien.extract(tmp_path, tmp_path / "direct", settings(seen, OTHER), progress=False)
    monkeypatch.setattr("mien.media.load_media.FaceFinder", None)
    monkeypatch.setattr(DecoderClient, "start", None)
    done = mien.extract(tmp_path, tmp_path / "first", settings(seen, OTHER), progress=False)
    assert (done.made, done.failed, done.kept_files) == (2, [], 6)
    direct, again = Store(tmp_path / "direct"), Store(tmp_path / "first")
    for clip in ("quiet_face", "five_frames"):
        for name in ("audio", "vision", "motion"):
            one, other = direct.row(clip, name), again.row(clip, name)
            assert one is not None and other is not None
            assert (one.status, one.reason, one.key, one.crc) == (other.status, other.reason, other.key, other.crc)
            assert np.array_equal(direct.array(clip, name), again.array(clip, name))
    assert again.row("quiet_face", "vision").steps == 10  # type: ignore[union-attr]


def test_inputs_of_a_finished_store_are_kept_later(folder: Path, tmp_path: Path) -> None:
    mien.extract(folder, tmp_path, settings(VOICES), progress=False)
    before = bytes_of(tmp_path / "shards")
    done = mien.extract(folder, tmp_path, settings(VOICES), progress=False, keep_inputs=True)
    assert (done.made, done.reused, done.kept_files) == (0, 2, 4) and done.kept_new_bytes
    assert bytes_of(tmp_path / "shards") == before
    again = mien.extract(folder, tmp_path, settings(VOICES), progress=False, keep_inputs=True)
    assert (again.kept_files, again.kept_new_bytes) == (4, 0)


def test_a_dataset_reads_by_clip_and_kind(kept: Path) -> None:
    inputs = KeptInputs(kept)
    audio, text = inputs.read("süß c", "audio"), inputs.read("süß c", "text")
    assert audio is not None and audio.waveform is not None and audio.waveform.shape == (round(0.6 * SAMPLE_RATE),)
    assert text is not None and text.transcript is not None and text.transcript.text == "so proud of süß c 🎉"
    assert inputs.read("süß c", "vision") is None and inputs.read("nobody", "text") is None


def test_another_setting_or_content_is_decoded_again(folder: Path, store: Path, tmp_path: Path) -> None:
    clips = Path(shutil.copytree(folder, tmp_path / "clips"))
    shutil.copy(clips / "a.mkv", clips / "süß c.mkv")
    done = mien.extract(clips, store, settings(VOICES), progress=False, keep_inputs=True)
    assert done.made == 1 and done.kept_new_bytes == 0  # its content is known from the other clip
    part = replace(read_manifest(folder).clips[0], start=0.1, end=0.4)
    done = mien.extract(
        Manifest(folder, (), (part,)), store, settings(VOICES), progress=False, keep_inputs=True
    )  # fmt: skip
    audio = KeptInputs(store).read("a", "audio")
    assert done.kept_new_bytes and audio is not None and audio.seconds == pytest.approx(0.3)


def test_words_alone_are_kept_without_a_decoder(tmp_path: Path, no_decoder: None) -> None:
    (tmp_path / "words.csv").write_text("id,transcript\n1,so proud\n2,\n")
    done = mien.extract(tmp_path / "words.csv", tmp_path / "s", settings("modalities=[text]"), progress=False,
                        keep_inputs=True)  # fmt: skip
    assert (done.made, done.kept_files) == (2, 2)
    assert KeptInputs(tmp_path / "s").read("1", "text").transcript.text == "so proud"  # type: ignore[union-attr]


def test_a_store_without_kept_inputs_names_the_command(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no kept inputs; make them with: mien extract DATA --out .*--keep-inputs"):
        mien.extract(folder, tmp_path / "out", settings(VOICES), progress=False, inputs=tmp_path)
    with pytest.raises(SettingsError, match="leave out --keep-inputs"):
        mien.extract(folder, tmp_path / "out", settings(VOICES), progress=False, inputs=tmp_path, keep_inputs=True)


def test_a_full_disk_stops_the_extraction_and_what_was_finished_stays(folder: Path, tmp_path: Path) -> None:
    mien.extract(folder, tmp_path, settings(VOICES), progress=False)
    (tmp_path / "inputs").touch()  # no room for a folder
    with pytest.raises(OutputError, match=r"inputs/.*: cannot be written \(.*what was finished stays"):
        mien.extract(folder, tmp_path, settings(VOICES), progress=False, keep_inputs=True)
    (tmp_path / "inputs").unlink()
    done = mien.extract(folder, tmp_path, settings(VOICES), progress=False, keep_inputs=True)
    assert (done.reused, done.kept_files, done.failed) == (2, 4, [])


def test_the_command_says_the_size_before_and_after_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("id,transcript\n1,so proud\n2,it hurts\n")
    own = ("--out", tmp_path / "s", "--weights", "tiny", "--modalities", "text", "--quiet", "--workers", "0")
    done = command("extract", tmp_path / "words.csv", *own, "--keep-inputs", "--prune-inputs")
    assert done.returncode == 0, done.stderr
    assert "note: kept inputs: about 1 kB per clip, 2 kB in all; " in done.stderr
    assert re.search(r"kept inputs: \d{3,4} B in 2 files, \d{3,4} B of it new", done.stdout)
    assert f"{tmp_path / 's'}: 0 kept inputs removed (0 B)" in done.stdout


def test_inputs_of_clips_that_are_gone_can_be_removed(store: Path) -> None:
    stray = store / "inputs" / "notes.txt"
    stray.write_text("mine")
    gone = KeptInputs(store).index()["a"]
    count, size = prune(store, ["süß c"])
    assert count == 2 and size > 0.6 * SAMPLE_RATE * 2
    assert stray.exists() and KeptInputs(store).read("süß c", "audio") is not None
    assert KeptInputs(store).read("a", "audio") is None
    assert not any(KeptInputs(store).path(kind, key).exists() for kind, key in gone.items())
    assert prune(store, ["süß c"]) == (0, 0)


# -- size ---------------------------------------------------------------------------------------------------------


def test_the_size_is_said_before_and_after(tmp_path: Path) -> None:
    clips = (
        Clip("a", Path("a.mp4"), start=1.0, end=13.0),  # 12 s: 48 crops, 120 rows of motion, 192,000 samples
        Clip("b", Path("b.mp4")),
        Clip("c", transcript="so proud"),
    )
    size = estimate(Manifest(tmp_path, (), clips), read_settings(), tmp_path / "not" / "yet")
    seconds = 4 * 52_000 + 10 * 59 * 4 + 4 * 16_000
    assert (size.clips, size.unknown, size.assumed) == (3, 1, 12.0)
    assert size.total == pytest.approx(2 * 12 * seconds + 12 * 1_000)
    assert str(size).startswith("kept inputs: about 2.2 MB per clip, 6.6 MB in all (audio 64 kB/s, ")
    assert "1 clip of unknown length, taken as 12 s each" in str(size)
    assert str(replace(size, total=1e15)).endswith("; this does not fit")


# -- damage -------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def huge(path: Path) -> None:
    """A header that claims 8 TB."""
    head = {"waveform": {"dtype": "F32", "shape": [1 << 41], "data_offsets": [0, 1 << 43]}}
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 100)


def link(path: Path) -> None:
    target = path.rename(path.parents[4] / "moved")
    path.symlink_to(target)


def other_kind(path: Path) -> None:
    """A whole file, of another kind of input."""
    shutil.copy(next(path.parents[2].glob("text/*/*")), path)


def foreign(path: Path) -> None:
    write_mapped(path, {"waveform": np.zeros((3, 3), np.float64)}, {"format": "mien-input"})


@pytest.mark.parametrize("damage", [flip, truncate, empty, huge, link, other_kind, foreign])
def test_a_damaged_file_is_refused_in_one_line(damage: Callable[[Path], None], store: Path) -> None:
    inputs = KeptInputs(store)
    path = inputs.path("audio", inputs.index()["a"]["audio"])
    damage(path)
    with pytest.raises(Damaged) as refused:
        inputs.read("a", "audio")
    line = str(refused.value)
    assert line.startswith(f"{path}: ") and len(line) < 500 and "\n" not in line


@pytest.mark.parametrize("keep", [False, True], ids=["read", "keep"])
def test_a_clip_with_a_damaged_input_is_decoded_again(
    keep: bool, folder: Path, kept: Path, store: Path, tmp_path: Path
) -> None:
    inputs = KeptInputs(store)
    path = inputs.path("audio", inputs.index()["a"]["audio"])
    whole = path.read_bytes()
    flip(path)
    options = {"keep_inputs": True} if keep else {"inputs": store}
    out = store if keep else tmp_path / "out"
    more = OTHER if keep else "compute.precision=float32"
    done = mien.extract(folder, out, settings(VOICES, more), progress=False, **options)  # type: ignore[arg-type]
    assert (done.made, done.failed) == (2, [])
    ((count, line),) = done.remarks.values()
    assert count == 1 and line.startswith("a: a kept input was damaged, so the clip was read again: ")
    assert (path.read_bytes() == whole) == keep  # replaced, or left as it is in a store that is only read
    if not keep:
        assert np.array_equal(Store(out).array("a", "audio"), Store(kept).array("a", "audio"))


def test_crops_that_cannot_be_unpacked_are_damaged(tmp_path: Path) -> None:
    """Whole files, with checksums, that somebody made to do harm."""
    inputs, whole = KeptInputs(tmp_path), media(crops=3)
    inputs.write(whole, "vision", "aa" * 16)
    path = inputs.path("vision", "aa" * 16)
    from mien.storage.mapped import map_tensors

    arrays, head = map_tensors(path)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    bomb, _ = pack_crops(np.zeros((1, 1024, 1024, 3), np.uint8))  # far more pixels than its side
    attacks = {
        "offsets": {"offsets": arrays["offsets"][::-1].copy()},
        "beyond": {"offsets": arrays["offsets"] + 1},
        "none": {"offsets": np.empty(0, np.int64)},
        "times": {"seconds": arrays["seconds"][:1]},
        "types": {"packed": arrays["packed"].astype(np.int64)},
    }
    for name, change in attacks.items():
        write_mapped(path, {**arrays, **change}, head)
        with pytest.raises(Damaged, match="damaged"):
            inputs.find(Clip("a"), "vision", "aa" * 16)
            pytest.fail(name)
    for packed in (bomb, np.frombuffer(b"no frame of zstd", np.uint8)):
        one = {"packed": packed, "offsets": np.array([0, len(packed)]), "seconds": arrays["seconds"][:1],
               "boxes": arrays["boxes"][:1]}  # fmt: skip
        write_mapped(path, one, head)
        found = inputs.find(Clip("a"), "vision", "aa" * 16)
        assert found is not None and found.faces is not None
        with pytest.raises(Damaged, match="crop 1 of 1 cannot be read"):
            found.faces.crops[0:1]
    write_mapped(path, arrays, {**head, "side": 1 << 40})
    with pytest.raises(Damaged, match="side"):
        inputs.find(Clip("a"), "vision", "aa" * 16)


@pytest.mark.parametrize("key", ["../../../../etc/passwd", "", 7, "AB" * 16])
def test_an_index_that_leads_elsewhere_is_damaged(store: Path, key: object) -> None:
    from mien.storage.checksums import write_checksummed

    write_checksummed(store / "inputs" / kept_inputs.INDEX, {"clips": {"a": {"audio": key}}})
    for use in (lambda: KeptInputs(store).read("a", "audio"), lambda: prune(store, [])):
        with pytest.raises(Damaged, match="not an index of clips"):
            use()
    assert len(list(store.glob("inputs/*/*/*"))) == 4


def as_they_were() -> dict[str, Modality]:
    """The modalities with the versions, and the settings, that they had before inputs could be kept."""
    versions = {"text": 3, "audio": 2, "vision": 2, "motion": 2}
    own_rate = {"vision": ("faces", "media.vision_fps"), "motion": ("faces.full_range", "media.motion_fps")}
    return {
        name: replace(modality, version=versions[name], settings=own_rate.get(name, modality.settings))
        for name, modality in MODALITIES.items()
    }


def test_keys_of_features_are_those_of_older_stores(tmp_path: Path) -> None:
    """Recorded before inputs could be kept: what was made then is reused, unless its modality has a new version."""
    (tmp_path / "a.mp4").write_bytes(b"x")
    compute = resolve_compute(ComputeSettings(device="cpu", precision="float32", engine="torch"))
    part = Clip("a", tmp_path / "a.mp4", start=1.0, end=2.5)
    keys = Keys(part, Settings(), {}, compute, lambda _: "ab" * 32)
    assert [keys.of(modality) for modality in as_they_were().values()] == [
        "b8b1ece5487f6d8ce96aee77b5f3d52f", "4e56117bafee16e3e81e4415baf4cd0a", "6e2b5b0120ba5f5792ca637b570e2f0d",
        "ef7ad77d22a39fef0036d61f36d3ceff",
    ]  # fmt: skip
    given = Keys(Clip("a", tmp_path / "a.mp4", transcript="so proud"), Settings(), {}, compute, lambda _: "ab" * 32)
    assert given.of(MODALITIES["text"]) == "3b77e11e56891fd9508de7c9a505505e"
