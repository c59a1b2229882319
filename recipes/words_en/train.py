"""Trains ``words-en``: low-rank additions to MiniLM, then encoders with heads, on three corpora of rated texts.

    python recipes/words_en/train.py DATA --out OUT            OUT/words-en is the model, OUT/report.json its figures
    python recipes/words_en/train.py DATA --out OUT --seed 1   another one, to see how far seeds differ

DATA has a folder for each corpus (``corpora.SOURCES``); ``mien data NAME`` says where each is to be had. Nothing is
downloaded. One seed takes 36 minutes of one core with bfloat16 instructions.

The additions are trained on all 28 labels of GoEmotions, five of BRIGHTER and two of Empathic Reactions at once, each
text with the labels that its corpus has, under a head that is left behind; then five encoders with heads on what the
backbone makes of the texts, for the scores alone (``SCORES``), as ``mien train`` trains them.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from corpora import SCORES, SOURCES, Part, Texts, read_texts
from report import figures
from spoken import spoken

from mien.compute.device import Compute
from mien.config import Settings, read_settings, with_weights
from mien.data.splits import Split
from mien.evaluation.validation import results_record
from mien.features.extract import extract
from mien.features.store import Packed, Store
from mien.metrics import pearson
from mien.modalities.base import Prepared, Training, pretrained
from mien.modalities.blocks import UpperBlocks
from mien.modalities.text import TEXT
from mien.model.adaptation import Adapted, TrainableBackbone
from mien.model.bundle import Bundle
from mien.model.calibration import fit as fit_maps
from mien.model.conformal import calibrate
from mien.model.inputs import ClipDataset, load_dataset
from mien.model.model_folder import save_bundle
from mien.model.network import Unimodal, variants
from mien.schema import Clip, Manifest, Transcript
from mien.training.adapt import start_at_means
from mien.training.fit import fit
from mien.training.run_folder import provenance
from mien.training.state import TrainingJob
from mien.weights import Weights, resolve_backbones
from mien.weights.adapted import resolve_reference, save_adapted
from mien.weights.own import own_backbones

SETTINGS = (
    "modalities=[text]",
    "backbone.text=lora",
    "adapt.objective=cross_entropy",
    "adapt.lora_rank=16",
    "adapt.lora_alpha=32",
    "adapt.lora_lr=1e-3",
    "adapt.layer_decay=1.0",
    "adapt.batch_size=64",
    "adapt.dropout=0.1",
    "adapt.epochs=2",
)
ENCODERS = 5
"""Encoders with their heads above the one backbone; scores are their mean."""
BANNER = (
    "trained on words alone: written comments and essays, rated by readers or their writers; it has seen no speech and "
    "no face, and Empathic Pain is the writers' own empathy and distress"
)
DATA_TERMS = (
    "Trained on GoEmotions (Demszky et al. 2020, Apache-2.0), BRIGHTER, English track B (Muhammad et al. 2025, CC BY "
    "4.0) and Empathic Reactions (Buechel et al. 2018, CC BY 4.0); attributions in mien's NOTICE. It holds no text of "
    "them."
)
ALL_TOKENS = 1 << 30


@dataclass(frozen=True)
class Encoded:
    """The frozen part of a text backbone, and what it was told to encode in one way."""

    weights: Weights
    training: Training

    def dataset(self, texts: Sequence[str], labels: npt.NDArray[np.float32]) -> ClipDataset:
        """Texts as the states that enter the first block."""
        enter = self.training.enter(self.weights.path, Compute(torch.device("cpu"), torch.float32), 0)
        empty = np.zeros(0, np.float32)
        parts = list(enter([Prepared(Transcript(text or ".", "given"), empty) for text in texts]))
        offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
        packed = {"text": Packed(np.concatenate(parts), offsets)}
        return load_dataset(packed, labels, {"text": parts[0].shape[1]}, ALL_TOKENS, torch.bfloat16)

    def sentences(self, texts: Sequence[str]) -> ClipDataset:
        """Texts as the sentence vectors that ``mien extract`` makes of them, unrated."""
        cpu = Compute(torch.device("cpu"), torch.float32)
        blocks = UpperBlocks(pretrained("AutoModel", self.weights.path, cpu), 0)
        module = TrainableBackbone(blocks, self.training.pool(self.weights.path), 1)
        states = self.dataset(texts, np.full((len(texts), len(SCORES)), np.nan, np.float32))
        states.precision = torch.float32
        found = np.empty((len(texts), blocks.config.hidden_size), np.float16)
        with torch.inference_mode():
            for index in states.by_length():
                found[index.numpy()] = module(states.batch(index)["text"]).values[:, 0].numpy()
        packed = {"text": Packed(found, np.arange(len(texts) + 1))}
        return load_dataset(packed, states.labels, {"text": found.shape[1]}, 1)


def main() -> None:
    """Train one seed, and write the model and its figures."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("data", type=Path, help="a folder with a folder for each corpus")
    given.add_argument("--out", type=Path, required=True)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--any-bytes", action="store_true", help="also train on other files than the shipped model")
    given.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = given.parse_args()
    torch.set_num_threads(1)  # sums in another order would grow into other weights
    seeds = [options.seed + 10 * n for n in range(ENCODERS)]
    settings = read_settings(overrides=[*SETTINGS, f"seeds={seeds}", *options.overrides])
    make(read_texts(options.data, check=not options.any_bytes), settings, options.out)


def make(texts: Texts, settings: Settings, out: Path) -> None:
    """Train the additions, unless ``out`` has them; then the rest; write ``out/words-en`` and ``out/report.json``."""
    base = resolve_backbones(settings.backbones, ["text"])["text"]
    out.mkdir(parents=True, exist_ok=True)
    file = out / "text.adapted.safetensors"
    if not file.exists():
        changes = train_backbone(texts, settings, encoded_by(base), out).changes()
        save_adapted(file, "text", "lora", base, {name: tensor.numpy() for name, tensor in changes.items()})
    adapted = encoded_by(resolve_reference("text", str(file)))
    module = train_encoders(texts, settings, adapted)
    bundle = bundle_of(module, with_weights(settings, {"text": str(file)}), file, texts, adapted, out)
    save_bundle(bundle, out / "words-en")

    def score(lines: Sequence[str]) -> npt.NDArray[np.float32]:
        return bundle.bounded(bundle.score_each(adapted.sentences(lines)).mean(0))

    record = json.dumps(figures(texts, score, bundle), indent=1)
    (out / "report.json").write_text(record + "\n", encoding="utf-8")


def encoded_by(weights: Weights) -> Encoded:
    """Texts as a backbone reads them."""
    assert TEXT.training is not None
    return Encoded(weights, TEXT.training)


def train_backbone(texts: Texts, settings: Settings, encoded: Encoded, out: Path) -> TrainableBackbone:
    """Train the additions; the epoch is chosen by the mean r of all labels on the calibration texts."""
    fitted = [place for place in texts.places("fit") for _ in range(SOURCES[texts.sources[place]].copies)]
    training = encoded.dataset(in_two_styles(texts, fitted), texts.labels[fitted])
    chosen = texts.places("calibrate").tolist()
    choosing = encoded.dataset(in_two_styles(texts, chosen), texts.labels[chosen])
    print(f"{len(fitted):,} texts of {len(texts.places('fit')):,} train, {len(chosen):,} calibrate", flush=True)
    blocks = UpperBlocks(pretrained("AutoModel", encoded.weights.path, Compute(torch.device("cpu"), torch.float32)), 0)
    pool = encoded.training.pool(encoded.weights.path)
    backbone = TrainableBackbone(blocks, pool, settings.stage1.longest_steps)
    backbone.add_low_rank(settings.adapt, settings.seeds[0])
    models = variants(settings, settings.adapt)[:1]
    width = training.modalities["text"].values.shape[1]
    module = Unimodal("text", width, len(texts.targets), settings.stage1, models)
    start_at_means(module, training.labels)
    whole = Adapted({"text": backbone}, module)
    groups = whole.groups({"text": "lora"}, settings.adapt, module.groups())
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_()
    job = TrainingJob(
        "words-en", whole, groups, models, training, choosing, settings.adapt, settings.adapt.epochs,
        precision=torch.bfloat16, log_odds=True, checkpoint=out / "checkpoint.safetensors",
    )  # fmt: skip
    for epoch in fit(job):
        r = ", ".join(f"{name} {value:.3f}" for name, value in zip(texts.targets, epoch.r[0], strict=True)
                      if any(name in parts for parts in SCORES.values()))  # fmt: skip
        print(f"epoch {epoch.number}, {epoch.seconds:.0f} s: loss {epoch.loss[0]:.4f}; {r}", flush=True)
    return backbone


def train_encoders(texts: Texts, settings: Settings, adapted: Encoded) -> Unimodal:
    """Train encoders and heads on the sentence vectors of the trained backbone, for the scores alone."""
    training, choosing = (_for_scores(texts, part, adapted) for part in ("fit", "calibrate"))
    models = variants(settings, settings.stage1)
    module = Unimodal("text", training.modalities["text"].values.shape[1], len(SCORES), settings.stage1, models)
    stage = settings.stage1
    job = TrainingJob("words-en", module, module.groups(), models, training, choosing, stage, stage.epochs)
    for epoch in fit(job):
        if epoch.best.any():
            r = ", ".join(f"{name} {value:.3f}" for name, value in zip(SCORES, np.nanmean(epoch.r, 0), strict=True))
            print(f"encoders, epoch {epoch.number}: {r}", flush=True)
    return module.requires_grad_(False)


def _for_scores(texts: Texts, part: Part, adapted: Encoded) -> ClipDataset:
    """The texts of a part in two styles, rated for the scores."""
    side = adapted.sentences(in_two_styles(texts, texts.places(part).tolist()))
    side.labels = torch.from_numpy(rated(texts, texts.places(part)))
    return side


def in_two_styles(texts: Texts, places: Sequence[int]) -> list[str]:
    """Texts as they are written, and every second one as a recogniser would give it."""
    return [
        spoken(written, apostrophes=n % 4 == 0) if n % 2 == 0 else written
        for n, written in enumerate(texts.clips[place].transcript or "" for place in places)
    ]


def rated(texts: Texts, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The rating of each score: the mean of what it is made of, where any is rated."""
    columns = [[texts.targets.index(part) for part in parts] for parts in SCORES.values()]
    found = [texts.labels[places][:, column] for column in columns]
    known = [~np.isnan(one) for one in found]
    sums = [np.where(k, one, 0).sum(1) for k, one in zip(known, found, strict=True)]
    return np.stack([np.where(k.any(1), s / np.maximum(k.sum(1), 1), np.nan)
                     for k, s in zip(known, sums, strict=True)], 1).astype(np.float32)  # fmt: skip


def manifest_of(texts: Texts, parts: Sequence[Part]) -> Manifest:
    """The texts of some parts as clips with the ratings of the scores."""
    places = np.concatenate([texts.places(part) for part in parts])
    clips = [
        replace(texts.clips[place], id=f"{SOURCES[texts.sources[place]].corpus}-{texts.clips[place].id}",
                split=None, labels=None if np.isnan(labels).all() else tuple(labels.tolist()))
        for place, labels in zip(places, rated(texts, places), strict=True)
    ]  # fmt: skip
    return Manifest(Path("GoEmotions, BRIGHTER and Empathic Reactions"), tuple(SCORES), tuple(clips))


def bundle_of(module: Unimodal, settings: Settings, file: Path, texts: Texts, adapted: Encoded, out: Path) -> Bundle:
    """The model with its maps to ratings, its intervals and its provenance."""
    fitted, chosen, kept = (manifest_of(texts, [part]).clips for part in ("fit", "calibrate", "report"))
    every = manifest_of(texts, ["fit", "calibrate", "report"])
    made = _provenance_of_features(chosen, settings, out)
    bundle = Bundle(
        module=module, targets=tuple(SCORES), widths={"text": module.encoder.before.weight.shape[-1]},
        settings=settings, models=variants(settings, settings.stage1), feature_provenance={"text": made},
        random_weights=adapted.weights.random, backbones=own_backbones({"text": adapted.weights}),
        adapted={"text": file},
    )  # fmt: skip
    choosing = _for_scores(texts, "calibrate", adapted)
    outputs = bundle.score_subsets(choosing, [("text",)])
    maps = fit_maps(outputs, choosing.labels.numpy(), bundle.present(choosing), ["text"])
    bundle.calibration = maps.maps
    bundle.half_widths = calibrate(bundle, choosing, settings.interval_level)
    scores = bundle.score_each(adapted.sentences([clip.transcript or "" for clip in kept]))
    labels = rated(texts, texts.places("report"))
    results = results_record(scores, labels, kept, every.targets, {"text": pearson(scores, labels)})
    on = {"clips": len(chosen), "calibrated_on": "inner split"}
    split = Split(
        (*fitted, *chosen), kept, "dev texts of GoEmotions and BRIGHTER, an eighth of the articles", None, (), ()
    )
    inner = Split(fitted, chosen, "a tenth of the training texts", None, (), ())
    bundle.provenance = {
        **provenance(every, split, "not kept", results, inner),
        "intervals": {"level": settings.interval_level, **on},
        "calibration": {**on, **maps.record(bundle.targets)},
        "banner": BANNER,
        "data_terms": DATA_TERMS,
    }
    return bundle


def _provenance_of_features(clips: Sequence[Clip], settings: Settings, out: Path) -> str:
    """How ``mien extract`` names the features that the model reads."""
    some = Manifest(Path("some"), tuple(SCORES), tuple(clips[:4]))
    for outcome in extract(some, out / "features", settings):
        assert outcome.failure is None, outcome.failure
    name, *_, version = Store(out / "features").provenance("text").split(" ")
    return f"{name} any {version}"


if __name__ == "__main__":
    main()
