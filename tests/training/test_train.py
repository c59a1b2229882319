"""A whole run learns what is planted, is written down, goes on where it stopped, and can be read back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mien.config import Settings, read_settings
from mien.data.splits import labels_of, split_clips
from mien.errors import DataError, ModelError, SettingsError
from mien.evaluation.comparison import compare
from mien.evaluation.evaluate import evaluate
from mien.features.store import Packed, Store
from mien.metrics import mean_defined, pearson
from mien.model.conformal import calibrate
from mien.model.heads.late import Mean
from mien.model.inputs import predict_all
from mien.model.model_folder import load_bundle, save_bundle
from mien.model.network import Multimodal, Unimodal
from mien.schema import Manifest
from mien.subsets import all_subsets
from mien.training import train
from mien.training.parameters import describe_groups
from mien.training.split_data import SplitData
from tests.training.planted import planted

QUICK = [
    *("seeds=[0,1]", "stage1.embedding=32", "stage1.motion_embedding=16", "stage2.hidden=32", "stage1.epochs=15"),
    *("stage1.motion_epochs=15", "stage2.epochs=15", "stage1.lr=2e-3", "stage2.lr=2e-3", "compute.precision=float32"),
]


class Trained:
    def __init__(self, root: Path) -> None:
        self.manifest, self.store = planted(root / "store", train=240, valid=160)
        self.settings = read_settings(overrides=QUICK)
        self.folder = root / "run"
        self.lines: list[str] = []
        self.summary = train(self.manifest, self.store, self.settings, self.folder, self.lines.append)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


def test_each_modality_learns_and_fusion_beats_the_best_of_them(run: Trained) -> None:
    r = run.summary.mean_r
    # By chance a mean of six r's over 160 clips has deviation 1 / sqrt(160 * 6) = .03; motion is planted weakest.
    assert min(r.values()) > 0.06
    assert r["fused"] > r["text"] == max(r[name] for name in ("text", "audio", "vision", "motion"))


def test_a_run_says_what_it_does(run: Trained) -> None:
    said = "\n".join(run.lines)
    assert "text: missing from" in said
    assert "2 models at once, adaptation encoder" in said
    assert "encoder.motion" in said


def test_parameter_groups_name_their_rate_or_that_they_are_frozen(run: Trained) -> None:
    module = load_bundle(run.folder).module
    frozen = run.settings.stage2.model_copy(update={"adaptation": "frozen"})
    lines = describe_groups(module.groups(frozen), 2e-4)  # type: ignore[call-arg, arg-type]
    assert [line.rsplit("  ", 1)[1] for line in lines] == ["frozen"] * 4 + ["lr 2.0e-04"]


def test_the_run_folder_holds_what_is_needed_to_check_it(run: Trained) -> None:
    split = json.loads((run.folder / "split.json").read_text())
    assert (split["train"], split["valid"], split["clips_on_both_sides"]) == (240, 160, 0)
    assert split["participants_on_both_sides"] == []
    epochs = [json.loads(line) for line in (run.folder / "stage2" / "epochs.jsonl").read_text().splitlines()]
    assert [epoch["number"] for epoch in epochs] == list(range(1, len(epochs) + 1))
    assert json.loads((run.folder / "environment.json").read_text())["versions"]["torch"]
    assert not list(run.folder.rglob("checkpoint.safetensors"))


def test_tensorboard_reads_the_curves_that_are_logged(run: Trained) -> None:
    epochs = [json.loads(line) for line in (run.folder / "stage2" / "epochs.jsonl").read_text().splitlines()]
    read = EventAccumulator(str(run.folder / "tensorboard" / "stage2")).Reload()
    assert set(read.Tags()["scalars"]) == {"r/0", "r/1", "loss/0", "loss/1"}
    curve = [(value.step, value.value) for value in read.Scalars("loss/1")]
    assert [step for step, _ in curve] == [epoch["number"] for epoch in epochs]
    wanted = [np.nan if epoch["loss"][1] is None else epoch["loss"][1] for epoch in epochs]
    np.testing.assert_allclose([value for _, value in curve], wanted, rtol=1e-6)


def test_predictions_suffice_to_compute_r_again(run: Trained) -> None:
    table = pq.read_table(run.folder / "predictions.parquet")
    columns = {kind: np.stack([table[f"{kind} {t}"].to_numpy() for t in run.manifest.targets], -1)
               for kind in ("rated", "fused")}  # fmt: skip
    np.testing.assert_allclose(pearson(columns["fused"], columns["rated"]), run.summary.r["ensemble"][0], atol=1e-6)


def test_a_finished_run_is_not_done_again_and_another_is_refused(run: Trained) -> None:
    again = train(run.manifest, run.store, run.settings, run.folder)
    assert again.seconds < run.summary.seconds / 3
    for name, r in run.summary.r.items():
        np.testing.assert_array_equal(again.r[name], r)
    with pytest.raises(ModelError, match="other settings"):
        train(run.manifest, run.store, run.settings.model_copy(update={"batch_seed": 5}), run.folder)
    with pytest.raises(ModelError, match="other data"):
        train(replace(run.manifest, clips=run.manifest.clips[1:]), run.store, run.settings, run.folder)


def test_a_run_that_stops_between_stages_goes_on_to_the_same_model(run: Trained, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(name: str, epoch: object) -> None:
        if name == "stage1 vision" and epoch.number == 3:  # type: ignore[attr-defined]
            raise Enough

    with pytest.raises(Enough):
        train(run.manifest, run.store, run.settings, tmp_path / "run", on_epoch=stop)
    rest = train(run.manifest, run.store, run.settings, tmp_path / "run")
    for name, r in run.summary.r.items():
        np.testing.assert_array_equal(rest.r[name], r)
    numbers = [
        json.loads(line)["number"] for line in (tmp_path / "run/stage1/vision/epochs.jsonl").read_text().splitlines()
    ]
    assert numbers == sorted(set(numbers))


def packed(run: Trained, ids: list[str]) -> dict[str, Packed]:
    return {name: run.store.gather(name, ids) for name in run.summary.r if name in run.store.modalities}


def test_a_model_read_back_gives_the_same_scores(run: Trained, tmp_path: Path) -> None:
    bundle = load_bundle(run.folder)
    features = packed(run, [clip.id for clip in run.manifest.clips[240:]])
    scores = bundle.score(features)
    save_bundle(bundle, tmp_path / "copy")
    assert np.array_equal(load_bundle(tmp_path / "copy").score(features), scores)
    assert (bundle.targets, bundle.modalities) == (run.manifest.targets, ("text", "audio", "vision", "motion"))
    assert bundle.feature_provenance["audio"] == "planted@1"
    assert not bundle.random_weights
    one = bundle.score({name: run.store.gather(name, [run.manifest.clips[240].id]) for name in bundle.modalities})
    np.testing.assert_allclose(one[0], scores[0], atol=1e-5)  # alone as in company


def test_every_stage1_model_is_a_usable_model(run: Trained) -> None:
    bundle = load_bundle(run.folder / "stage1" / "audio")
    assert bundle.modalities == ("audio",)
    ids = [clip.id for clip in run.manifest.clips[240:]]
    rated = np.array([clip.labels for clip in run.manifest.clips[240:]])
    assert mean_defined(pearson(bundle.score({"audio": run.store.gather("audio", ids)}), rated)) > 0.1


def test_a_missing_modality_is_scored_without(run: Trained) -> None:
    bundle, ids = load_bundle(run.folder), [run.manifest.clips[240].id]
    features = {name: run.store.gather(name, ids) for name in ("text", "audio")}
    gone = {**features, **{name: run.store.gather(name, ["nobody"]) for name in ("vision", "motion")}}
    assert np.array_equal(bundle.score(features), bundle.score(gone))


def test_features_of_another_width_are_refused(run: Trained) -> None:
    with pytest.raises(ModelError, match="audio: features are 3 wide, but the model reads 40"):
        load_bundle(run.folder).score({"audio": Packed(np.zeros((2, 3), np.float16), np.array([0, 2]))})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "not a model"),
        (lambda f: (f / "config.json").write_text('{"format": "other"}'), "not a model of mien"),
        (lambda f: (f / "config.json").write_text('{"format": "mien-model", "version": 99}'), "model version 99"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"short"),
            r"model.safetensors: damaged \(does not match SHA256SUMS\)",
        ),
    ],
)
def test_a_spoiled_model_is_refused_with_a_reason(run: Trained, tmp_path: Path, spoil, message: str) -> None:
    save_bundle(load_bundle(run.folder), tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(ModelError, match=message):
        load_bundle(tmp_path / "model")


def test_evaluation_is_of_all_rated_clips_and_says_what_it_judged(run: Trained) -> None:
    bundle = load_bundle(run.folder)
    result = evaluate(bundle, run.manifest, run.store, "valid", resamples=500)
    assert (result.clips, result.resampled, result.defined) == (160, "participants", 6)
    assert result.mean_r.value == pytest.approx(run.summary.mean_r["ensemble"], abs=1e-6)
    assert result.mean_r.low < result.mean_r.value < result.mean_r.high
    assert len(result.subsets) == 15
    assert result.subsets["text+audio+vision+motion"] == pytest.approx(result.mean_r.value)
    assert result.missing["text"][0] == pytest.approx(result.mean_r.value)
    assert result.missing["text"][-1] == pytest.approx(result.subsets["audio+vision+motion"])
    assert result.table.num_rows == 160
    assert any(note.startswith("text: missing from") for note in result.notes)


def test_intervals_hold_what_they_state_on_clips_that_calibrated_nothing(run: Trained) -> None:
    """Calibrated on one half of the people, judged on the other, many times over."""
    bundle = load_bundle(run.folder)
    clips = run.manifest.clips[240:]
    inputs = bundle.clips(packed(run, [clip.id for clip in clips]), labels_of(clips, 6))
    scores = bundle.score_each(inputs).mean(0)
    present = np.stack([inputs.present(name).numpy() for name in bundle.modalities], -1)
    found = []
    for seed in range(20):
        person = np.arange(160) // 4
        half = np.random.default_rng(seed).permutation(40) < 20
        calibration, held_out = np.flatnonzero(half[person]), np.flatnonzero(~half[person])
        bundle.half_widths = calibrate(bundle, inputs.only(torch.from_numpy(calibration)), 0.9)
        low, high = bundle.intervals(scores[held_out], present[held_out])
        rated = inputs.labels.numpy()[held_out]
        found.append(((rated >= low) & (rated <= high)).mean())
    # 80 clips calibrate: at least .9, at most .9 + 1 / 81 and a little for the wider intervals of subsets
    assert 0.89 < np.mean(found) < 0.93


def test_intervals_are_wider_with_fewer_modalities(run: Trained) -> None:
    bundle = load_bundle(run.folder)
    assert len(bundle.half_widths) == 15
    scores = np.linspace(0, 1, 50, dtype=np.float32)[:, None].repeat(6, 1)

    def widths(subset: tuple[str, ...]) -> np.ndarray:
        low, high = bundle.intervals(scores, np.array([[name in subset for name in bundle.modalities]] * 50))
        return high - low

    found = {subset: widths(subset) for subset in all_subsets(bundle.modalities)}
    for small, half in found.items():
        for large, other in found.items():
            if set(small) < set(large):
                assert (half >= other).all()
    assert found["motion",].mean() > found[bundle.modalities].mean()


def test_comparison_with_itself_finds_nothing_and_with_text_alone_a_gain(run: Trained) -> None:
    fused, text = load_bundle(run.folder), load_bundle(run.folder / "stage1" / "text")
    stores = (run.store, run.store)
    assert compare(fused, fused, run.manifest, stores, resamples=200)["mean"].p == 1.0
    gain = compare(text, fused, run.manifest, stores, resamples=1000)["mean"]
    assert gain.difference.low > 0
    assert gain.p < 0.01


def test_features_made_otherwise_are_refused(run: Trained) -> None:
    bundle = load_bundle(run.folder)
    bundle.feature_provenance = {**bundle.feature_provenance, "audio": "planted@2"}
    with pytest.raises(ModelError, match="audio was made by planted@1, but the model was trained on planted@2"):
        evaluate(bundle, run.manifest, run.store)


@pytest.mark.parametrize(
    "override",
    [
        *("stage2.adaptation=frozen", "stage2.adaptation=joint", "stage2.missing=token", "stage2.schedule=cosine"),
        *("stage2.ema=0.9", "split.kind=kfold", "stage2.loss.pearson=1 stage2.loss.pearson_ramp=3"),
        *("stage2.head=gated", "stage2.head=late", "stage2.head=mean", "stage2.head=auxiliary"),
        "stage2.head=auxiliary stage2.adaptation=frozen",
        *(f"stage2.head={head} stage2.adaptation=joint" for head in ("cross_attention", "recurrent", "temporal")),
        *(f"stage2.head={head} stage2.adaptation=joint stage2.missing=token" for head in ("taemi", "hallmen")),
    ],
)
def test_every_setting_of_stage_2_trains(tmp_path: Path, override: str) -> None:
    manifest, store = planted(tmp_path / "store", train=60, valid=30)
    quick = ["stage1.epochs=2", "stage1.motion_epochs=2", "stage2.epochs=4", "stage2.warmup_epochs=1"]
    summary = train(manifest, store, read_settings(overrides=[*QUICK, *quick, *override.split()]), tmp_path / "run")
    assert np.isfinite(summary.mean_r["fused"])
    evaluation = evaluate(load_bundle(tmp_path / "run"), manifest, store, resamples=100)
    assert len(evaluation.subsets) == 15


def test_a_head_that_reads_steps_has_no_encoders_to_adapt(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", train=20, valid=10)
    with pytest.raises(SettingsError, match=r"recurrent has no encoders below it: set stage2\.adaptation to joint"):
        train(manifest, store, read_settings(overrides=["stage2.head=recurrent"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_mean_of_stage_1_is_where_late_fusion_begins(run: Trained) -> None:
    settings = read_settings(overrides=[*QUICK, "stage2.head=mean", "stage2.adaptation=frozen", "stage2.epochs=1"])
    sides = SplitData(run.store, split_clips(run.manifest, settings.split), 6, settings)
    names = tuple(sides.widths)
    bundles = {name: load_bundle(run.folder / "stage1" / name) for name in names}
    encoders = {name: bundle.module for name, bundle in bundles.items() if isinstance(bundle.module, Unimodal)}
    fused = Multimodal(sides.widths, 6, settings, bundles["text"].models)
    assert isinstance(fused.fusion, Mean)
    fused.fusion.start_from({name: encoder.head for name, encoder in encoders.items()})
    for name in names:
        fused.encoders[name].load_state_dict(encoders[name].encoder.state_dict())
    valid = sides.clips("valid", names)
    whole = np.flatnonzero(np.stack([valid.present(name).numpy() for name in names]).all(0))
    alone = np.mean([predict_all(encoders[name], valid) for name in names], 0)
    np.testing.assert_allclose(predict_all(fused, valid)[:, whole], alone[:, whole], atol=1e-5)


def test_a_modality_that_nobody_has_is_left_out_with_a_note(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", train=60, valid=30)
    manifest = without_motion(manifest, store, tmp_path / "bare")
    quick = ["stage1.epochs=2", "stage2.epochs=2", *["seeds=[0]"]]
    summary = train(manifest, Store(tmp_path / "bare"), read_settings(overrides=[*QUICK, *quick]), tmp_path / "run")
    assert "motion: no training clip has it; left out" in summary.notes
    assert load_bundle(tmp_path / "run").modalities == ("text", "audio", "vision")


def without_motion(manifest: Manifest, store: Store, root: Path) -> Manifest:
    from mien.features.writer import StoreWriter
    from mien.schema import ClipFeatures, Feature

    with StoreWriter(root, [clip.id for clip in manifest.clips]) as writer:
        for clip in manifest.clips:
            kept = tuple(
                Feature(n, "k", "planted@1", np.asarray(store.array(clip.id, n)), store.seconds(clip.id, n))
                for n in ("text", "audio", "vision")
                if len(store.array(clip.id, n))
            )
            writer.add(ClipFeatures(clip.id, 1.0, kept))
    return manifest


def test_a_store_of_other_clips_is_refused(tmp_path: Path) -> None:
    manifest, _ = planted(tmp_path / "store", train=20, valid=10)
    renamed = replace(manifest, clips=tuple(replace(clip, id=f"x{clip.id}") for clip in manifest.clips))
    with pytest.raises(DataError, match="no features of the training clips"):
        train(renamed, Store(tmp_path / "store"), Settings(), tmp_path / "run")
