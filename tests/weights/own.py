"""Tiny random backbones of every supported architecture, as their authors publish them."""

import json
import shutil
from pathlib import Path

import torch
import transformers

from mien.weights.tiny import WIDTH, make_audio, make_text, make_vision

SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 2 * WIDTH}
SPEECH = SIZES | {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
"""The strides of the convolutions are as published: a step of 20 ms."""

MODELS = {
    "bert": ("BertModel", "BertConfig", SIZES | {"max_position_embeddings": 64}),
    "roberta": ("RobertaModel", "RobertaConfig", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1}),
    "xlm-roberta": ("XLMRobertaModel", "XLMRobertaConfig",
                    SIZES | {"max_position_embeddings": 66, "pad_token_id": 1}),
    "mpnet": ("MPNetModel", "MPNetConfig", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1}),
    "gte": ("GteModel", "GteConfig", SIZES | {"max_position_embeddings": 64}),
    "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config", SPEECH),
    "wav2vec2-large": ("Wav2Vec2Model", "Wav2Vec2Config",
                       SPEECH | {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "hubert": ("HubertModel", "HubertConfig", SPEECH),
    "wavlm": ("WavLMModel", "WavLMConfig", SPEECH),
    "whisper": ("", "", {}),
    "dinov2": ("", "", {}),
    "vit": ("ViTModel", "ViTConfig", SIZES | {"image_size": 64, "patch_size": 16}),
}  # fmt: skip
ROLES = {name: "text" if name in ("bert", "roberta", "xlm-roberta", "mpnet", "gte") else "vision" for name in MODELS}
ROLES |= {name: "audio" for name in MODELS if name.startswith(("wav", "hubert", "whisper"))}


def make_own(root: Path, architecture: str, seed: int = 1, licence: str | None = "apache-2.0") -> Path:
    """A folder with a random backbone, its tokeniser or preprocessor, and a README with its licence."""
    folder, scratch = root / f"my {architecture}", root / "scratch"
    folder.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    role = ROLES[architecture]
    {"text": make_text, "audio": make_audio, "vision": make_vision}[role](scratch, folder)
    model, config, sizes = MODELS[architecture]
    if model:
        (folder / "model.safetensors").unlink()
        if role == "text":
            shutil.rmtree(folder / "1_Pooling")
            vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
            sizes = sizes | {"vocab_size": len(vocabulary)}
            settings = json.loads((folder / "tokenizer_config.json").read_text())
            settings = {name: value for name, value in settings.items() if name != "model_max_length"}
            settings["tokenizer_class"] = "PreTrainedTokenizerFast"
            (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            getattr(transformers, model)(getattr(transformers, config)(**sizes)).save_pretrained(folder)
        if role == "audio":
            transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
        if architecture == "vit":
            made = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
            (folder / "preprocessor_config.json").write_text(json.dumps(made))
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\ntags: [x]\n---\n# A model\n")
    return folder
