"""A backbone is trained with the model: what changes, what does not, and what of it travels."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import mien
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.errors import DataError, MienError, ModelError, SettingsError, WeightsError
from mien.evaluation.evaluate import evaluate, score_split
from mien.features.extract import extract
from mien.features.store import Store
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared, pretrained
from mien.modalities.blocks import UpperBlocks
from mien.modalities.encoder import Steps
from mien.model.adaptation import TrainableBackbone, averaged_steps, check_gradients
from mien.model.inputs import PackedSteps, averaged
from mien.model.model_folder import load_bundle
from mien.model.network import Multimodal, Unimodal, variants
from mien.sandbox import network_guard
from mien.storage.checksums import read_tensors, write_tensors
from mien.training import train
from mien.training.adapt import start_at_means
from mien.training.encoder_start import center
from mien.weights import resolve
from mien.weights.adapted import resolve_adapted
from tests.features.test_extract import audio_clip
from tests.modalities.clips import CPU, media
from tests.weights.own import MODELS, ROLES, make_own

FILE = "text.adapted.safetensors"
WORDS = "so happy sad love great oh no yes what this that you he she we they".split()
METHODS = ("top_k", "lora", "full")
QUICK = [
    *("weights=tiny", "modalities=[text]", "seeds=[0, 1]", "compute.precision=float32", "compute.engine=torch"),
    *("stage1.epochs=6", "stage2.epochs=6", "stage1.embedding=8", "stage2.hidden=8", "stage1.lr=1e-2"),
    *("stage2.lr=1e-2", "adapt.epochs=2", "adapt.lr=1e-3", "adapt.top_k=1"),
]


def settings(*more: str) -> Settings:
    return read_settings(overrides=[*QUICK, *more])


def sentence(draw: np.random.Generator) -> str:
    return " ".join(draw.choice(WORDS, draw.integers(2, 12)))


def words_table(path: Path, ratings: Sequence[float], texts: Sequence[str], trained: int) -> Path:
    rows = [
        f"c{n},{text},{'train' if n < trained else 'valid'},{rating:.4f}"
        for n, (text, rating) in enumerate(zip(texts, ratings, strict=True))
    ]
    path.write_text("\n".join(["id,transcript,split,Joy", *rows, "silent,,valid,0.5", ""]))
    return path


class Words:
    """Eighty sentences, rated by the share of one word, and a sentence of nothing."""

    def __init__(self, root: Path, *more: str) -> None:
        draw = np.random.default_rng(0)
        self.texts = [sentence(draw) for _ in range(80)]
        ratings = [min(1.0, 3 * text.split().count("love") / len(text.split())) for text in self.texts]
        self.root, self.table = root, words_table(root / "words.csv", ratings, self.texts, 50)
        self.manifest = read_manifest(self.table, targets=["Joy"])
        list(extract(self.manifest, root / "store", settings("backbone.text=frozen", *more)))
        self.store = Store(root / "store")

    def train(self, name: str, *more: str) -> Path:
        train(self.manifest, self.store, settings(*more), self.root / name)
        return self.root / name


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return Words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def full(words: Words) -> Path:
    return words.train("full", "backbone.text=full")


def epochs(run: Path) -> list[dict[str, object]]:
    lines = (run / "adapted" / "text" / "epochs.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("method", METHODS)
def test_at_rate_zero_the_features_are_those_of_the_pretrained_backbone(words: Words, method: str) -> None:
    run = words.train(f"still {method}", f"backbone.text={method}", "adapt.lr=1e-12", "adapt.lora_lr=1e-12")
    made = Store(run / "features")
    for clip in words.manifest.clips:
        np.testing.assert_allclose(made.array(clip.id, "text"), words.store.array(clip.id, "text"), atol=1e-3)
    assert made.provenance("text").split(" ")[0].startswith(f"tiny-text-{method}@")


def test_a_center_is_that_of_the_features_from_the_trained_backbone(words: Words) -> None:
    run = words.train("centered", "backbone.text=top_k", "adapt.lr=3e-3", "stage1.centered=[text]")
    found, trained = load_bundle(run).module, [clip.id for clip in words.manifest.clips if clip.split == "train"]
    assert isinstance(found, Multimodal)
    made, before = (
        center(PackedSteps(torch.from_numpy(values), torch.arange(50), torch.ones(50, dtype=torch.long))).float()
        for values in (store.gather("text", trained).values[:] for store in (Store(run / "features"), words.store))
    )
    assert (made - before).abs().max() > 1e-3
    for one in found.encoder("text").center:  # type: ignore[union-attr]
        torch.testing.assert_close(one, made, atol=1e-5, rtol=0)


def test_top_k_of_all_blocks_is_full_step_for_step(words: Words, full: Path) -> None:
    top = words.train("top", "backbone.text=top_k", "adapt.top_k=2")
    assert epochs(top) == epochs(full)
    one, other = (read_tensors(run / "adapted" / "text" / FILE)[0] for run in (top, full))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_killed_training_continues_to_the_same_bits(words: Words, full: Path) -> None:
    run, seen = words.root / "killed", []

    def stop(name: str, epoch: object) -> None:
        seen.append(name)
        raise KeyboardInterrupt

    slow = settings("backbone.text=full")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
            patch.setattr("mien.training.state.TrainingJob.checkpoint_seconds", 0.0)
            train(words.manifest, words.store, slow, run, on_epoch=stop)
    assert set(seen) == {"adapt text"}  # each time after an epoch of the backbone
    train(words.manifest, words.store, slow, run)
    one, other = (read_tensors(made / "adapted" / "text" / FILE)[0] for made in (run, full))
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    scored = [score_split(load_bundle(one), words.manifest, words.store, "valid").scores for one in (run, full)]
    assert np.array_equal(*scored)


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    backbone = shutil.copytree(resolve("tiny")["text"].path, tmp_path / "backbone")
    config = json.loads((backbone / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # else each process has its own draws
    (backbone / "config.json").write_text(json.dumps(config))
    words = Words(tmp_path, f"weights.text={backbone}")
    same = ["backbone.text=full", "adapt.dropout=0", "adapt.batch_size=16", "compute.device=cpu"]
    one, two = words.train("one process", *same), words.root / "two processes"
    sets = [word for setting in (*QUICK, *same) for word in ("--set", setting)]
    command = ["train", words.table, "--targets", "Joy", "--features", words.store.root, "--out", two, *sets]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mien.cli"]
    done = subprocess.run([sys.executable, *launcher, *command], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained in") == 1  # the second process says nothing
    changed, as_one = (read_tensors(run / "adapted" / "text" / FILE)[0] for run in (two, one))
    for name, weights in as_one.items():
        np.testing.assert_allclose(changed[name], weights, atol=2e-4, err_msg=name)  # steps are of 1e-3
    still = words.train("no process", *same, "adapt.lr=1e-12") / "adapted" / "text" / FILE
    moved = [np.abs(changed[name] - weights).max() for name, weights in read_tensors(still)[0].items()]
    assert max(moved) > 4e-3
    r = [json.loads((run / "results.json").read_text())["r"]["ensemble"][0][0] for run in (one, two)]
    assert r[1] == pytest.approx(r[0], abs=0.02)


LAUNCHED = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def test_a_second_process_without_a_backbone_to_train_ends_at_once(words: Words) -> None:
    sets = [word for setting in (*QUICK, "backbone.text=frozen") for word in ("--set", setting)]
    command = ["-m", "mien.cli", "train", words.table, "--targets", "Joy", "--features", words.store.root]
    out = words.root / "nothing to share"
    done = subprocess.run([sys.executable, *command, "--out", out, *sets], env={**os.environ, **LAUNCHED},
                          capture_output=True, text=True, timeout=100)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # the notes are the first process's
    assert not out.exists()


@pytest.mark.skipif(bool(network_guard()), reason=f"the network cannot be denied here: {network_guard()}")
@pytest.mark.parametrize(("command", "allowed"), [("schema", False), ("train", True)])
def test_of_launched_commands_only_training_keeps_the_network(command: str, allowed: bool) -> None:
    program = f"""if True:
        import socket, sys
        from mien.cli.commands import run
        sys.argv = ["mien", {command!r}, "--help"]
        run()
        socket.socket()
    """
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, **LAUNCHED}, capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert (done.returncode == 0) is allowed, done.stderr
    assert ("PermissionError" in done.stderr) is not allowed


def test_a_few_clips_can_be_learnt_by_heart(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    texts = [sentence(draw) for _ in range(16)]
    table = words_table(tmp_path / "few.csv", draw.random(16), texts, 16)
    table.write_text(table.read_text().replace("silent,", "silent,oh no") + "".join(
        f"v{n},{text},valid,{n / 16}\n" for n, text in enumerate(texts)
    ))  # fmt: skip
    manifest = read_manifest(table, targets=["Joy"])
    plain = settings("backbone.text=frozen")
    list(extract(manifest, tmp_path / "store", plain))
    more = ["backbone.text=full", "adapt.epochs=24", "adapt.dropout=0", "adapt.lr=5e-3", "adapt.head_rate=1"]
    more += ["adapt.patience=0", "adapt.weight_decay=0", "adapt.loss.ccc=0", "adapt.loss.mse=1"]
    train(manifest, Store(tmp_path / "store"), settings(*more), tmp_path / "run")
    last = json.loads((tmp_path / "run" / "adapted" / "text" / "epochs.jsonl").read_text().splitlines()[-1])
    assert last["loss"][0] < 0.01  # mean squared error; 1/12 is the variance of the ratings


def test_rare_votes_are_learnt_by_their_cross_entropy(tmp_path: Path) -> None:
    """One text in twenty says the word, four times; the head starts from the log odds of that."""
    draw = np.random.default_rng(3)
    votes = np.arange(240) % 20 == 0
    texts = [
        " ".join([*draw.choice([w for w in WORDS if w != "love"], 5), *["love"] * 4 * int(vote)]) for vote in votes
    ]
    manifest = read_manifest(words_table(tmp_path / "votes.csv", votes.astype(float), texts, 180), targets=["Joy"])
    list(extract(manifest, tmp_path / "store", settings("backbone.text=frozen")))
    more = [
        "backbone.text=full",
        "adapt.objective=cross_entropy",
        "adapt.lr=1e-3",
        "adapt.epochs=5",
        "adapt.dropout=0",
        "adapt.patience=0",
    ]
    made = train(manifest, Store(tmp_path / "store"), settings(*more), tmp_path / "run")
    first, *_, last = map(json.loads, (tmp_path / "run" / "adapted" / "text" / "epochs.jsonl").read_text().splitlines())
    unknowing = -(0.05 * np.log(0.05) + 0.95 * np.log(0.95))  # .199
    assert last["loss"][0] < first["loss"][0] < unknowing + 0.1, (
        first["loss"],
        last["loss"],
        made.mean_r,
    )  # .69 without
    assert made.mean_r["text"] > 0.8


def test_log_odds_are_of_ratings_from_0_to_1_and_not_for_a_joint_training(words: Words) -> None:
    objective = ("backbone.text=full", "adapt.objective=cross_entropy")
    with pytest.raises(SettingsError, match=r"^adapt.objective: the head of a joint training is kept"):
        words.train("joint odds", *objective, "stage2.adaptation=joint", "seeds=[0]")
    model = Unimodal("text", 8, 2, settings().stage1, variants(settings(), settings().adapt)[:1])
    with pytest.raises(DataError, match="not all from 0 to 1"):
        start_at_means(model, torch.tensor([[0.5, 1.5]]))
    start_at_means(model, torch.tensor([[0.25, float("nan")], [0.75, float("nan")]]))
    assert model.head.linear.bias.ravel().tolist() == [0.0, 0.0]


def test_what_only_a_block_can_give_is_found_by_training_the_block(tmp_path: Path) -> None:
    """This backbone ends in a constant and a hundred-thousandth of what it knows: its features hardly differ."""
    folder = make_own(tmp_path / "weights", "bert")
    with torch.no_grad():
        model = pretrained("AutoModel", folder, CPU)
        last = model.encoder.layer[1].output.LayerNorm
        last.weight.fill_(1e-5)
        last.bias.copy_(torch.linspace(-1, 1, len(last.bias)))
        model.save_pretrained(folder)
    draw = np.random.default_rng(2)
    texts = [sentence(draw) for _ in range(300)]
    ratings = [float(text.split()[0] in WORDS[:8]) for text in texts]
    manifest = read_manifest(words_table(tmp_path / "words.csv", ratings, texts, 200), targets=["Joy"])
    own = f"weights.text={folder}"
    list(extract(manifest, tmp_path / "store", settings("backbone.text=frozen", own)))
    store, r = Store(tmp_path / "store"), {}
    for use in ("frozen", "top_k"):
        more = (f"backbone.text={use}", "adapt.epochs=25", "adapt.lr=5e-3", "adapt.head_rate=2", "adapt.patience=0")
        try:
            r[use] = train(manifest, store, settings(own, *more), tmp_path / use).mean_r["text"]
        except MienError as error:
            assert "no validation r is defined" in str(error)  # every score is the same
            r[use] = 0.0
    assert abs(r["frozen"]) < 0.2 < 0.5 < r["top_k"]


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_every_trained_map_of_every_architecture_has_a_gradient(architecture: str, method: str, tmp_path: Path) -> None:
    backbone, states = trainable(make_own(tmp_path, architecture), MODALITIES[ROLES[architecture]])
    if method == "lora":
        backbone.add_low_rank(settings().adapt, seed=0)
    for group in backbone.groups("x", method, settings().adapt):
        for parameter in group.parameters:
            parameter.requires_grad_()
    steps = backbone(states)
    check_gradients(backbone, (steps.values * torch.arange(steps.values.shape[-1])).sin().sum())
    assert len(backbone.changes()) >= 2 * len(list(backbone.linear_maps()))


def test_an_addition_is_the_same_to_who_calls_the_map_and_who_reads_its_weight() -> None:
    backbone = UpperBlocks(pretrained("AutoModel", resolve("tiny")["text"].path, CPU), 0)
    made = TrainableBackbone(backbone, lambda states, _: states, 100)
    before = {name: linear.weight.detach().clone() for name, linear in made.linear_maps()}
    made.add_low_rank(settings().adapt, seed=0)
    for name, linear in made.linear_maps():
        torch.testing.assert_close(linear.weight, before[name])  # nothing is added at first
        torch.nn.init.normal_(linear.up)
        x = torch.randn(3, linear.in_features)
        torch.testing.assert_close(
            linear(x), torch.nn.functional.linear(x, linear.weight, linear.bias), atol=1e-4, rtol=1e-4
        )
        linear(x).sum().backward()
        assert linear.original.grad is None and linear.up.grad is not None and linear.down.grad is not None


def test_a_map_that_attention_bypasses_is_an_error_and_not_silently_left(tmp_path: Path) -> None:
    """As additions to the output of a layer would be in WavLM's attention, which reads the weights of its layers."""
    backbone, states = trainable(make_own(tmp_path, "wavlm"), MODALITIES["audio"])
    attention = backbone.upper.blocks[0].attention
    attention.unused = torch.nn.Linear(4, 4)
    for group in backbone.groups("audio", "full", settings().adapt):
        for parameter in group.parameters:
            parameter.requires_grad_()
    with pytest.raises(MienError, match=r"^1 of 15 trained linear maps .* \(first encoder.layers.0.attention.unused\)"):
        check_gradients(backbone, backbone(states).values.sin().sum())


def trainable(folder: Path, modality: mien.modalities.base.Modality) -> tuple[TrainableBackbone, Steps]:
    """All blocks of a backbone, and what enters them of two clips of different length."""
    assert modality.training is not None
    clips = [
        one for one in (modality.prepare(media(s, crops=int(2 * s))) for s in (1.5, 1.0)) if isinstance(one, Prepared)
    ]
    made = [torch.from_numpy(one).float() for one in modality.training.enter(folder, CPU, 0)(clips)]
    tokens = made[0].shape[1] if made[0].ndim == 3 else 0
    flat = [one.flatten(0, 1) if tokens else one for one in made]
    states = torch.nn.utils.rnn.pad_sequence(flat, batch_first=True)
    mask = torch.arange(states.shape[1]) < torch.tensor([len(one) for one in flat])[:, None]
    upper = UpperBlocks(pretrained("AutoModel", folder, CPU), 0)
    return TrainableBackbone(upper, modality.training.pool(folder), 100, tokens), Steps(states, mask)


@pytest.mark.parametrize(("method", "engine"), [*((one, "torch") for one in METHODS), ("lora", "openvino")])
def test_a_model_travels_with_its_backbone(words: Words, tmp_path: Path, method: str, engine: str) -> None:
    run = words.root / f"whole {method} {engine}"
    words.train(run.name, f"backbone.text={method}", "adapt.epochs=1", f"compute.engine={engine}")
    known = score_split(load_bundle(run), words.manifest, words.store, "valid")
    moved = tmp_path / "model"
    shutil.copytree(run / "model", moved)
    bundle = load_bundle(moved)
    config = json.loads((moved / "config.json").read_text())
    assert config["settings"]["weights"]["text"] == config["backbones"]["text"]["reference"] == FILE
    assert bundle.random_weights
    with mien.load(moved) as model:
        table = model.predict(words.table, raw=True).to_pylist()
    scores = {row["clip"]: row["Joy"] for row in table}
    for clip, score in zip(known.clips, known.scores.mean(0)[:, 0], strict=True):
        if clip.id != "silent":
            assert scores[clip.id] == pytest.approx(score, abs=2e-3)
    assert scores["silent"] is None or np.isnan(scores["silent"])


def test_evaluate_reads_the_features_of_the_run_and_says_how_to_make_others(words: Words, full: Path) -> None:
    result = evaluate(load_bundle(full), words.manifest, words.store, "valid", resamples=100)
    assert len(result.targets) == 1
    more = words.root / "more.csv"
    more.write_text(words.table.read_text() + "new,so happy,valid,0.5\n")
    manifest = read_manifest(more, targets=["Joy"])
    list(extract(manifest, words.root / "more store", settings("backbone.text=frozen")))
    store = Store(words.root / "more store")
    with pytest.raises(DataError, match=r"no text of 1 of \d+ clips, first new; .* --set weights.text="):
        evaluate(load_bundle(full), manifest, store, "valid", resamples=100)
    place = str(full / "model" / FILE)
    list(extract(manifest, words.root / "adapted store", settings("backbone.text=frozen", f"weights.text={place}")))
    made = evaluate(load_bundle(full), manifest, Store(words.root / "adapted store"), "valid", resamples=100)
    assert made.clips == result.clips + 1


def test_damaged_and_foreign_changes_are_refused(words: Words, full: Path, tmp_path: Path) -> None:
    tensors, head = read_tensors(full / "adapted" / "text" / FILE)
    name = next(iter(tensors))
    cases = {
        "not finite": ({**tensors, name: tensors[name] * np.nan}, head, "numbers that are not finite"),
        "other name": ({"x.weight": tensors[name]}, head, "'x.weight' is no tensor of its backbone"),
        "other shape": ({name: tensors[name][..., :3]}, head, "is no tensor of its backbone"),
        "half an addition": ({f"{name}.up": np.ones((2, 2), np.float32)}, head, "do not fit"),
        "other base": (tensors, {**head, "base_sha256": "0" * 64}, "with the hash 000000000000"),
        "unknown base": (tensors, {**head, "base": "../../etc"}, "not a backbone that mien knows"),
        "newer": (tensors, {**head, "version": 2}, "not an adapted backbone"),
    }
    for case, (changed, changed_head, reason) in cases.items():
        write_tensors(tmp_path / case / FILE, changed, changed_head)
        with pytest.raises(WeightsError, match=reason):
            resolve_adapted("text", tmp_path / case / FILE)
    with pytest.raises(WeightsError, match="adapts a text backbone"):
        resolve_adapted("audio", full / "adapted" / "text" / FILE)
    broken = tmp_path / "model"
    shutil.copytree(full / "model", broken)
    data = bytearray((broken / FILE).read_bytes())
    data[-1] ^= 1
    (broken / FILE).write_bytes(data)
    with pytest.raises(ModelError, match=FILE):
        load_bundle(broken)


class Sounds:
    """Twelve tones of three lengths, rated at random."""

    def __init__(self, root: Path) -> None:
        draw, rows = np.random.default_rng(0), ["id,sound,split,Joy"]
        for n in range(12):
            audio_clip(root / f"{n}.mkv", 0.5 + 0.25 * (n % 3), 1 + n / 12)
            rows.append(f"c{n},{n}.mkv,{'train' if n < 8 else 'valid'},{draw.random():.3f}")
        (root / "sounds.csv").write_text("\n".join(rows) + "\n")
        self.manifest = read_manifest(root / "sounds.csv", targets=["Joy"])


@pytest.mark.parametrize("method", ["top_k", "lora"])
def test_sound_is_trained_from_kept_inputs(tmp_path: Path, method: str) -> None:
    sounds = Sounds(tmp_path)
    more = ["modalities=[audio]", f"backbone.audio={method}", "adapt.epochs=1"]
    list(extract(sounds.manifest, tmp_path / "bare", settings(*more)))
    with pytest.raises(DataError, match=r"no kept audio inputs of 8 of 8 clips, first c0, .* --keep-inputs"):
        train(sounds.manifest, Store(tmp_path / "bare"), settings(*more), tmp_path / "none")
    list(extract(sounds.manifest, tmp_path / "store", settings(*more), keep_inputs=True))
    train(sounds.manifest, Store(tmp_path / "store"), settings(*more), tmp_path / "run")
    before, after = Store(tmp_path / "store"), Store(tmp_path / "run" / "features")
    for clip in sounds.manifest.clips:
        one, other = before.array(clip.id, "audio"), after.array(clip.id, "audio")
        assert one.shape == other.shape and not np.array_equal(one, other)


def test_backbone_encoders_and_fusion_are_trained_at_once_from_the_pretrained_backbone(words: Words) -> None:
    more = ("backbone.text=full", "stage2.adaptation=joint", "seeds=[3]", "adapt.epochs=3")
    run = words.train("joint", *more)
    assert not (run / "stage1").exists()
    assert not list(run.rglob("checkpoint.safetensors"))
    log = [json.loads(line) for line in (run / "adapted" / "joint" / "epochs.jsonl").read_text().splitlines()]
    best = max(log, key=lambda epoch: epoch["mean_r"][0])
    results = json.loads((run / "results.json").read_text())
    assert results["r"]["fused"][0][0] == pytest.approx(best["r"][0][0], abs=5e-3)  # from features in half precision
    assert results["epochs"]["fused"] == [best["number"]]
    scores = score_split(load_bundle(run), words.manifest, words.store, "valid").scores
    shutil.rmtree(run / "model")
    words.train("joint", *more)  # goes on after what is there
    assert np.array_equal(score_split(load_bundle(run), words.manifest, words.store, "valid").scores, scores)
    with pytest.raises(SettingsError, match="trains one model: give one seed"):
        words.train("joint of two", "backbone.text=full", "stage2.adaptation=joint")


@pytest.mark.parametrize("recipe", ["champion", "taemi"])
def test_the_rivals_run_whole_on_tiny_weights(tmp_path: Path, recipe: str) -> None:
    """Fine-tuned words and speech under their fusion, at once, from kept inputs; the cost is said first."""
    rows = ["id,path,transcript,split,Joy,Fear"]
    draw = np.random.default_rng(0)
    for n in range(16):
        audio_clip(tmp_path / f"{n}.mkv", 0.5 + 0.25 * (n % 3), 1 + n / 16)
        rating, other = draw.random(2)
        rows.append(f"c{n},{n}.mkv,{sentence(draw)},{'train' if n < 10 else 'valid'},{rating:.3f},{other:.3f}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    manifest = read_manifest(tmp_path / "clips.csv", targets=["Joy", "Fear"])
    file = Path(__file__).resolve().parents[2] / "recipes" / f"{recipe}.yaml"
    small = ["weights=tiny", "modalities=[text, audio]", "adapt.epochs=1", "stage2.hidden=16", "compute.engine=torch"]
    made = read_settings(file, small)
    list(extract(manifest, tmp_path / "store", made, keep_inputs=True))
    log: list[str] = []
    train(manifest, Store(tmp_path / "store"), made, tmp_path / "run", progress=log.append)
    assert any(line.startswith("cost: ") and "PFLOP an epoch of 20 sequences (text, audio)" in line for line in log)
    bundle = load_bundle(tmp_path / "run")
    assert set(bundle.adapted) == {"text", "audio"}
    with mien.load(tmp_path / "run") as model:
        scores = model.predict(tmp_path / "clips.csv", raw=True).to_pylist()
    known = score_split(bundle, manifest, Store(tmp_path / "store"), "valid")
    for clip, row in zip(known.clips, known.scores.mean(0), strict=True):
        found = next(one for one in scores if one["clip"] == clip.id)
        assert [found["Joy"], found["Fear"]] == pytest.approx(row.tolist(), abs=2e-3)


def test_long_clips_are_averaged_as_when_features_are_read() -> None:
    draw = np.random.default_rng(0)
    clips = [draw.normal(size=(count, 3)).astype(np.float32) for count in (1, 6, 7, 23, 50)]
    states = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
    mask = torch.arange(50) < torch.tensor([[len(clip)] for clip in clips])
    made = averaged_steps(Steps(states, mask), 6)
    for clip, values, here in zip(clips, made.values, made.mask, strict=True):
        expected = clip if len(clip) <= 6 else averaged(clip, 6)
        assert here.tolist() == [True] * len(expected) + [False] * (6 - len(expected))
        np.testing.assert_allclose(values[here].numpy(), expected, atol=1e-5)


def test_blocks_that_are_not_there_are_an_error(words: Words) -> None:
    with pytest.raises(SettingsError, match="no 3 blocks in a backbone of 2"):
        words.train("deep", "backbone.text=top_k", "adapt.top_k=3")
