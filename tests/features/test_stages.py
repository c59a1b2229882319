"""Two stages: some workers decode, others run the backbones. Nothing else changes, and a clip waits for its turn."""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import mien
from mien.compute.device import Compute, choose_backbone_workers
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.features.jobs import ClipJob, ClipOutcome
from mien.features.load_inputs import InputPlan
from mien.features.spans import Windows
from mien.features.stages import outcomes, preparing
from mien.features.store import Store
from mien.features.worker import Extraction, plan
from mien.media.decoder import DecoderClient
from mien.modalities import MODALITIES
from mien.scale import Cluster, Pool
from mien.schema import Clip, Feature
from mien.weights import Weights
from tests.features.test_extract import audio_clip, bytes_of
from tests.media.clips import SHARED
from tests.workers import kill_workers

GOOD = 5


def settings(*more: str) -> Settings:
    """With one thread, as the last bits of a feature depend on it."""
    made = ["weights=tiny", "modalities=[text, audio]", "compute.engine=torch", "compute.precision=float32"]
    return read_settings(overrides=[*made, "compute.threads=1", *more])


TWO_STAGES = settings("compute.backbone_workers=1")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five audio clips, two of them equal, and three files that cannot be read."""
    root = tmp_path_factory.mktemp("clips")
    (root / "text").mkdir()
    for number in range(GOOD):
        audio_clip(root / f"{number}.mkv", 0.6, 1.0 + max(1, number) / 7)
        (root / "text" / f"{number}.txt").write_text(f"so proud of {number}")
    (root / "empty.mp4").touch()
    (root / "page.mp4").write_text("<html>not a video</html>")
    (root / "cut.mp4").write_bytes((root / "1.mkv").read_bytes()[:300])
    return root


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their store, made in one stage, with kept inputs."""
    store = tmp_path_factory.mktemp("whole")
    mien.extract(clips, store, settings(), progress=False, keep_inputs=True)
    return store


def contents(store: Path, but: str) -> dict[str, bytes]:
    return {name: content for name, content in bytes_of(store).items() if not name.startswith(but)}


def outcome_of(extraction: Extraction, job: ClipJob) -> ClipOutcome:
    """What a worker makes of a clip."""
    with closing(extraction()) as extractor:
        return extractor(job)


def bytes_in(outcome: ClipOutcome) -> list[tuple[Feature, bytes, bytes]]:
    """The features of an outcome, and the bytes of their arrays."""
    return [
        (replace(one, values=None, seconds=None), np.array(one.values).tobytes(), np.array(one.seconds).tobytes())
        for one in outcome.made.features
        if one.status == "present"
    ]


def started() -> list[psutil.Process]:
    """The workers that are alive."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


# -- the same store ------------------------------------------------------------------------------------------------


def test_two_stages_make_the_store_of_one_and_leave_no_inputs(clips: Path, whole: Path, tmp_path: Path) -> None:
    expected = mien.extract(clips, tmp_path / "one", settings(), progress=False)
    done = mien.extract(clips, tmp_path / "two", TWO_STAGES, workers=1, progress=False)
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one") == contents(whole, but="inputs/")
    assert (done.made, done.kept_files, sorted(done.failed)) == (GOOD, 0, sorted(expected.failed))
    assert set(done.seconds) == {"media", "text", "audio"}


def test_inputs_are_kept_as_in_one_stage(clips: Path, whole: Path, tmp_path: Path) -> None:
    done = mien.extract(clips, tmp_path, TWO_STAGES, workers=1, progress=False, keep_inputs=True)
    index = "inputs/index.json"
    assert contents(tmp_path, but=index) == contents(whole, but=index)
    assert json.loads((tmp_path / index).read_text()) == json.loads((whole / index).read_text())
    assert done.kept_files == 2 * GOOD
    assert done.kept_new_bytes == sum(path.stat().st_size for path in tmp_path.glob("inputs/*/*/*"))


def test_a_clip_with_all_its_features_is_final_in_the_first_stage(clips: Path, tmp_path: Path) -> None:
    both, clip = plan(settings()), Clip("1", clips / "1.mkv", transcript="so proud")
    made = outcome_of(both, ClipJob(clip)).made.features
    job = ClipJob(clip, {f.modality: (f.key, f.status, f.reason, f.origin) for f in made})
    outcome = outcome_of(replace(both, inputs=InputPlan(tmp_path, keep=True, temporary=True), prepares=True), job)
    assert (outcome.prepared, outcome.reused, outcome.made.features) == (False, ("text", "audio"), ())
    assert not any(tmp_path.iterdir())


@pytest.mark.weights
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real clips are not beside the repository")
@pytest.mark.parametrize("name", ["quiet_face.mp4", "five_frames.mp4"])
def test_a_prepared_clip_is_decoded_by_nobody_else(
    name: str, tmp_path: Path, small_weights: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filmed face, with all modalities; the features are those of a worker that does both."""
    both = plan(settings(f"modalities=[{','.join(MODALITIES)}]"), windows=Windows(1.0, 0.5))
    job = ClipJob(Clip("a", SHARED / name, transcript="so proud"))
    expected = outcome_of(both, job)
    split = replace(both, inputs=InputPlan(tmp_path, keep=True, temporary=True))
    prepared = outcome_of(replace(split, prepares=True), job)
    assert prepared.prepared and not prepared.made.features and any(tmp_path.iterdir())
    monkeypatch.setattr(DecoderClient, "start", None)
    monkeypatch.setattr("mien.media.load_media.FaceFinder", None)
    made = outcome_of(split, job)
    assert [f.status for f in made.made.features] == [f.status for f in expected.made.features]
    assert bytes_in(made) == bytes_in(expected)
    assert (made.made.notes, made.made.seconds, made.faces) == (
        expected.made.notes, expected.made.seconds, expected.faces,
    )  # fmt: skip
    assert [(one.start, one.until) for one in made.window_spans] == [(o.start, o.until) for o in expected.window_spans]
    assert made.window_spans
    assert not any(tmp_path.iterdir())


def test_damaged_inputs_on_their_way_are_decoded_again(clips: Path, tmp_path: Path) -> None:
    split = replace(plan(settings()), inputs=InputPlan(tmp_path, keep=True, temporary=True))
    job = ClipJob(Clip("1", clips / "1.mkv", transcript="so proud"))
    outcome_of(replace(split, prepares=True), job)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    made = outcome_of(split, job)
    assert bytes_in(made) == bytes_in(outcome_of(plan(settings()), job))
    assert "was damaged, so the clip was read again" in made.remarks[0]
    assert not any(tmp_path.iterdir())


# -- faults, and the length of the way ------------------------------------------------------------------------------


@pytest.mark.soak
def test_workers_that_die_in_both_stages_cost_no_more_than_their_clips(
    clips: Path, whole: Path, tmp_path: Path
) -> None:
    manifest, seen = read_manifest(clips), Counter[str]()
    for outcome in extract(manifest, tmp_path, TWO_STAGES, workers=2):
        seen[outcome.clip.id] += 1
        if seen.total() == 2:
            assert kill_workers() == 3
    assert set(seen.values()) == {1} and len(seen) == len(manifest.clips)
    mien.extract(manifest, tmp_path, TWO_STAGES, workers=2, progress=False)
    made, expected = (
        {name: (row.status, row.key, row.crc) for name, row in Store(store).rows.items()} for store in (tmp_path, whole)
    )
    assert made == expected
    assert not list(tmp_path.glob(".inputs.*"))


@dataclass(frozen=True)
class Slow:
    """Backbones that take a third of a second for each clip; an outcome says how many clips wait for them."""

    extraction: Extraction

    def __call__(self) -> Callable[[ClipJob], ClipOutcome]:
        extractor, on_the_way = self.extraction(), self.extraction.inputs
        assert on_the_way is not None

        def slowly(job: ClipJob) -> ClipOutcome:
            time.sleep(0.3)
            return replace(extractor(job), remarks=(str(len(list(on_the_way.store.iterdir()))),))

        return slowly


def test_a_few_clips_wait_for_slow_backbones_and_those_go_when_it_is_left(clips: Path, tmp_path: Path) -> None:
    """Two clips of each worker in the first stage, one that is handed over, two of the backbone worker less its own."""
    jobs = iter([ClipJob(Clip(str(number), clips / "1.mkv", transcript="so proud")) for number in range(40)])
    running = outcomes(plan(TWO_STAGES), jobs, 1, Slow, tmp_path)
    waiting = [int(outcome.remarks[0]) for _, (_, outcome) in zip(range(6), running, strict=False)]
    assert 2 <= max(waiting) <= 4  # the backbones are what takes long
    assert len(list(tmp_path.glob(".inputs.*"))) == 1 and len(started()) == 2
    running.close()  # type: ignore[attr-defined]
    assert not any(tmp_path.iterdir()) and not started()
    assert len(list(jobs)) > 20


@dataclass(frozen=True)
class Raises:
    """Backbones that raise what no clip explains."""

    extraction: Extraction

    def __call__(self) -> Callable[[ClipJob], ClipOutcome]:
        return self._raise

    def _raise(self, job: ClipJob) -> ClipOutcome:
        raise ArithmeticError(job.clip.id)


@pytest.mark.soak
def test_an_error_of_the_backbones_ends_both_stages(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError):
        list(outcomes(plan(TWO_STAGES), [ClipJob(Clip("1", clips / "1.mkv"))], 1, Raises, tmp_path))
    assert not any(tmp_path.iterdir()) and not started()


# -- where there are two stages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "workers", "on_cpu", "on_gpu"),
    [
        ("null", 0, 0, 0),  # without workers there are none of either kind
        ("3", 0, 0, 0),
        ("null", 1, 0, 0),
        ("null", 16, 0, 1),
        ("0", 16, 0, 0),
        ("3", 16, 3, 3),
        ("null", Cluster("here", cores=2), 0, Cluster("here", cores=2, workers=0)),
        ("null", Cluster("here", 7, cores=2, gpus=1), 0, Cluster("here", 0, cores=0, gpus=1)),
        ("3", Cluster("here", 7, cores=2), Cluster("here", 3, cores=2), Cluster("here", 3, cores=2)),
    ],
)
def test_backbones_have_workers_of_their_own_beside_a_gpu_or_where_that_is_set(
    wanted: str, workers: Pool, on_cpu: Pool, on_gpu: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = read_settings(overrides=[f"compute.backbone_workers={wanted}"]).compute
    assert choose_backbone_workers(compute, workers) == on_cpu
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_backbone_workers(compute, workers) == on_gpu
    assert choose_backbone_workers(compute.model_copy(update={"device": "cpu"}), workers) == on_cpu


def test_the_first_stage_needs_no_gpu_and_has_the_keys_of_one(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of a clip whose features a GPU made in bfloat16 is found by a worker without one."""
    gpu = plan(read_settings(overrides=["weights=tiny", "modalities=[text, audio]", "compute.precision=bfloat16",
                                        "compute.engine=torch"]))  # fmt: skip
    clip = Clip("1", clips / "1.mkv", transcript="so proud")
    made = outcome_of(gpu, ClipJob(clip)).made.features
    on_gpu = Compute(torch.device("cuda"), torch.bfloat16)
    monkeypatch.setattr("mien.features.stages.resolve_compute", lambda _: on_gpu)
    automatic = plan(read_settings(overrides=["weights=tiny", "modalities=[text, audio]"]))
    first = preparing(replace(automatic, inputs=InputPlan(tmp_path, keep=True, temporary=True)))
    job = ClipJob(clip, {f.modality: (f.key, f.status, f.reason, f.origin) for f in made})
    assert outcome_of(first, job).reused == ("text", "audio")
