"""Backbones of the set ``paper`` on a GPU, in bfloat16, with random weights: clips per second, and the fraction of the
GPU's speed at matrix products. Not part of ``make bench``; it needs CUDA.

    python bench/gpu.py                        # prints Markdown
    python bench/gpu.py --device cpu --tiny    # a dry run
"""

import argparse
import time
from collections.abc import Callable

import torch
from section import table
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model, Wav2Vec2Config, Wav2Vec2Model

SECONDS, CROPS, TOKENS = 12, 48, 32
"""A clip: its length, its frames at 4 fps, and its tokens."""

TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16, "intermediate_size": 4096}


def models(tiny: bool) -> dict[str, torch.nn.Module]:
    options = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    small = TINY if tiny else {}
    return {
        "text": BertModel(BertConfig(**small)),
        "audio": Wav2Vec2Model(Wav2Vec2Config(**(TINY | {"intermediate_size": 128} if tiny else LARGE), **options)),
        "vision": Dinov2Model(Dinov2Config(image_size=518, patch_size=14, **small)),
    }


def inputs(clips: int, device: torch.device) -> dict[str, torch.Tensor]:
    return {
        "text": torch.randint(1000, 20_000, (clips, TOKENS), device=device),
        "audio": torch.randn(clips, SECONDS * 16_000, device=device, dtype=torch.bfloat16),
        "vision": torch.randn(clips * CROPS, 3, 224, 224, device=device, dtype=torch.bfloat16),
    }


def plain(model: torch.nn.Module) -> torch.nn.Module:
    """The model with weight normalisation folded into its frozen weights."""
    for module in model.modules():
        if is_parametrized(module):
            remove_parametrizations(module, "weight")
    return model


def seconds(call: Callable[[], object], device: torch.device, times: int) -> float:
    """The minimum over several synchronised calls."""
    taken = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def peak(device: torch.device, size: int) -> float:
    """FLOP/s of one large matrix product in bfloat16."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device, 10)


def work(model: torch.nn.Module, tensor: torch.Tensor) -> int:
    """FLOP of one call, counted by PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - slow to import

    with FlopCounterMode(display=False) as counter:
        model(tensor)
    return counter.get_total_flops()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--clips", type=int, default=16, help="clips in a batch")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("CUDA is not available; --device cpu --tiny is a dry run")
    device, clips = torch.device(args.device), 1 if args.tiny else args.clips
    fastest = peak(device, 256 if args.tiny else 8192)
    rows, whole = [], 0.0
    for name, model in models(args.tiny).items():
        model = plain(model).eval().to(device, torch.bfloat16)
        batch = inputs(clips, device)[name]
        taken = seconds(lambda model=model, batch=batch: model(batch), device, 1 if args.tiny else 10)
        speed = work(model, batch) / taken
        whole += taken
        rows.append((name, f"{clips / taken:.1f}", f"{speed / 1e12:.3g}", f"{100 * speed / fastest:.0f} %"))
    rows.append(("all three", f"{clips / whole:.1f}", "", ""))
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{where}, matrix products {fastest / 1e12:.3g} TFLOP/s, {clips} clips of {SECONDS} s per batch\n")
    print(table(("backbone", "clips/s", "TFLOP/s", "of the peak"), rows))


if __name__ == "__main__":
    main()
