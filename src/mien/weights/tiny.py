"""Random weights of the real architectures, so that tests run every line of a backbone in milliseconds.

Results with them are meaningless and must be marked (``Weights.random``). The same seed gives the same bytes under one
version of transformers. torch and transformers are imported inside the functions, so that importing the table is quick.

    make_text   → BertModel and a WordPiece tokeniser of letters and common words
    make_audio  → Whisper encoder-decoder, 80 mel bands, 1500 positions (30 s), as the real ones
    make_vision → Dinov2Model, patch 14, position grid 37 x 37, as the real ones
"""

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.compute.loading import transformers
from mien.weights.convert import DINOV2_PREPROCESSOR, WHISPER_PREPROCESSOR

WIDTH = 32
"""Feature width of every tiny backbone."""

_SEED = 0
_WORDS = (
    "the a and i you he she it we they is are was not so very happy sad love great oh no yes what this that".split()
)


def make_text(_: Path, out: Path) -> None:
    """Fill ``out`` with a random sentence encoder: mean pooling, 128 tokens at most."""
    sizes = {
        "vocab_size": _write_tokenizer(out),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": 128,
    }
    _save_random("BertModel", "BertConfig", sizes, out)
    _write(out / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True})


def make_audio(_: Path, out: Path) -> None:
    """Fill ``out`` with a random Whisper: encoder of two layers, decoder of one, 64 tokens."""
    sizes = {
        "vocab_size": 64,
        "d_model": WIDTH,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 2 * WIDTH,
        "decoder_ffn_dim": 2 * WIDTH,
        "max_target_positions": 32,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "decoder_start_token_id": 1,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
    }
    _save_random("WhisperForConditionalGeneration", "WhisperConfig", sizes, out)
    _write(out / "preprocessor_config.json", WHISPER_PREPROCESSOR)


def make_vision(_: Path, out: Path) -> None:
    """Fill ``out`` with a random Dinov2Model of two layers."""
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
             "image_size": 518, "patch_size": 14}  # fmt: skip
    _save_random("Dinov2Model", "Dinov2Config", sizes, out)
    _write(out / "preprocessor_config.json", DINOV2_PREPROCESSOR)


def _save_random(model: str, config: str, sizes: Mapping[str, Any], out: Path) -> None:
    """Build and save a model under the seed, leaving the caller's random state unchanged."""
    import torch  # noqa: PLC0415

    with transformers() as library:
        bar = library.utils.logging.is_progress_bar_enabled()
        library.utils.logging.disable_progress_bar()
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                getattr(library, model)(getattr(library, config)(**sizes)).save_pretrained(out)
        finally:
            if bar:
                library.utils.logging.enable_progress_bar()


def _write_tokenizer(out: Path) -> int:
    """A WordPiece tokeniser that can spell any ASCII word; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors  # noqa: PLC0415

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = string.ascii_lowercase + string.digits
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *string.punctuation, *_WORDS])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    _write(out / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 128, **names})
    return len(vocabulary)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
