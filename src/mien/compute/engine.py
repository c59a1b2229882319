"""Inference engines for frozen backbones: PyTorch, or OpenVINO on a CPU, which is about twice as fast.

    run = compile_backbone(make, folder, compute, free=({2: 200},))  # axis 2 of the only input varies between clips
    states = run(mel)                                                # tensors in, float32 tensor out

OpenVINO needs a graph, so a backbone is traced once. The graph is kept in the cache, and so is what is compiled from
it, which is loaded in a quarter of the time and with less memory:

    cache_folder()/openvino/<key>/model.xml, model.bin      key: weights, versions, fixed sizes, int8 or not
    cache_folder()/openvino/<key>/<key>.blob                key: arithmetic, processor and what it can do

int8: weights are quantized per output channel when the graph is stored, activations dynamically in groups of 128.
Static (calibrated) quantization would be a third faster, but features would then depend on the calibration data.
"""

import importlib.metadata
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien.compute.device import Compute
from mien.errors import OutputError
from mien.storage.cached import cached_folder, raise_unless_read_only, write_cached
from mien.storage.files import cache_folder, key_of, sha256_of

ModuleFactory = Callable[[Compute], torch.nn.Module]
Run = Callable[..., torch.Tensor]

VERSION = 2
"""Raised when the same weights give another graph."""

Free = Sequence[Mapping[int, int]]
"""Per input, its dynamic axes, each with a size to trace the module with."""

ACTIVATION_GROUP = 128

SHAPES_PREPARED = 40
"""Kernels cached per input size. With OpenVINO's default (5,000), memory grows by a megabyte with every new length of
audio; with this bound nothing gets slower."""


class States(torch.nn.Module):
    """A transformers model's hidden states: waveforms, or token ids and their mask → ``(B, T, F)``.

    With ``layers``, ``(B, T, L', F)``: these layers, and then the last layer unless it is among them.
    """

    def __init__(self, model: torch.nn.Module, layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states; attention everywhere, or where the mask is 1."""
        if not self.layers:
            return self.model(inputs, attention_mask=mask).last_hidden_state
        found = self.model(inputs, attention_mask=mask, output_hidden_states=True)
        return choose_layers([*found.hidden_states[:-1], found.last_hidden_state], self.layers)


def choose_layers(states: Sequence[torch.Tensor], layers: Sequence[int]) -> torch.Tensor:
    """Some of the states of all layers ``(…, F)``, and then the last unless it is among them: ``(…, L', F)``."""
    last = len(states) - 1
    return torch.stack([states[layer] for layer in dict.fromkeys((*layers, last))], -2)


def compile_backbone(
    make: ModuleFactory,
    folder: Path | None,
    compute: Compute,
    free: Free,
    layers: Sequence[int | str] = (),
    example: Sequence[torch.Tensor] = (),
) -> Run:
    """Make a frozen backbone ready to be called with tensors.

    Args:
        make: makes the module, whose ``forward`` takes the inputs in order and gives one tensor.
        folder: the weights that ``make`` reads; their bytes enter the key of the cached graph.
        compute: device, precision and engine.
        free: the dynamic axes, each with a small size (above 1) that the module accepts.
        layers: the layers, or what else, the module gives beside its last; they enter the key of the cached graph.
        example: inputs like those of most clips: their graph is loaded here if it is in the cache, and not with the
            first clip.

    Returns:
        A function of tensors, on any device and of any float type, that gives a float32 tensor.
    """
    if compute.engine == "openvino":
        assert folder is not None, "a backbone needs weights"
        return _Graphs(make, folder, compute, free, layers, example)
    module = make(compute).eval()

    @torch.inference_mode()
    def run(*inputs: torch.Tensor) -> torch.Tensor:
        return module(*(_fit(tensor, compute) for tensor in inputs)).float()

    return run


def _fit(tensor: torch.Tensor, compute: Compute) -> torch.Tensor:
    return tensor.to(compute.device, compute.dtype if tensor.is_floating_point() else None)


class _Graphs:
    """One backbone as OpenVINO graphs, one per combination of fixed sizes, each compiled when it is needed first."""

    def __init__(
        self,
        make: ModuleFactory,
        folder: Path,
        compute: Compute,
        free: Free,
        layers: Sequence[int | str],
        example: Sequence[torch.Tensor],
    ) -> None:
        self._make, self._compute, self._free, self._layers = make, compute, free, list(layers)
        _openvino()  # its import belongs to loading
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        self._weights = key_of([(path.relative_to(folder).as_posix(), sha256_of(path)) for path in files])
        self._requests: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._mapped: list[Any] = []
        if example and self._place(self._shapes(example)).exists():
            self._request(example)

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The module's output, float32 on the CPU."""
        arrays = [_fit(tensor, _PLAIN).numpy() for tensor in inputs]
        return torch.from_numpy(self._request(inputs).infer(arrays, share_inputs=True, share_outputs=False)[0])

    def _shapes(self, inputs: Sequence[torch.Tensor]) -> tuple[tuple[int, ...], ...]:
        """The sizes of inputs, −1 for dynamic ones."""
        return tuple(
            tuple(-1 if axis in free else size for axis, size in enumerate(tensor.shape))
            for tensor, free in zip(inputs, self._free, strict=True)
        )

    def _request(self, inputs: Sequence[torch.Tensor]) -> Any:
        """What runs the graph for inputs of these sizes."""
        shapes = self._shapes(inputs)
        if shapes not in self._requests:
            self._requests[shapes] = self._compile(self._cached(shapes, inputs))
        return self._requests[shapes]

    def _place(self, shapes: Sequence[tuple[int, ...]]) -> Path:
        """The folder of a graph in the cache."""
        versions = [importlib.metadata.version(name) for name in ("openvino", "torch", "transformers")]
        layers = [self._layers] if self._layers else []
        key = key_of(self._weights, VERSION, versions, shapes, self._compute.quantized, *layers)
        return cache_folder() / "openvino" / key

    def _cached(self, shapes: Sequence[tuple[int, ...]], inputs: Sequence[torch.Tensor]) -> Any:
        """The graph's file in the cache; where that cannot be written, the graph itself."""

        def make(folder: Path) -> None:
            _openvino().save_model(self._trace(shapes, inputs), folder / "model.xml", compress_to_fp16=False)

        try:
            return cached_folder(self._place(shapes), make) / "model.xml"
        except OutputError as error:
            raise_unless_read_only(error)
            return self._trace(shapes, inputs)

    def _trace(self, shapes: Sequence[tuple[int, ...]], inputs: Sequence[torch.Tensor]) -> Any:
        """The module as a graph with float32 or 8-bit weights; traced with ones, so that it depends on no clip."""
        example = [
            torch.ones([free.get(axis, size) for axis, size in enumerate(shape)], dtype=_fit(tensor, _PLAIN).dtype)
            for shape, tensor, free in zip(shapes, inputs, self._free, strict=True)
        ]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecation of tracing, and sizes that it may treat as constants
            graph = _openvino().convert_model(self._make(_PLAIN).eval(), example_input=tuple(example))
        graph.reshape(dict(enumerate(shapes)))
        if self._compute.quantized:
            import nncf  # noqa: PLC0415 - only for int8

            graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
        return graph

    def _compile(self, graph: Any) -> Any:
        """A graph, or the file of one, ready to run; compiled, or loaded as it was compiled before."""
        core, kind = (
            _openvino().Core(),
            {
                "INFERENCE_PRECISION_HINT": "bf16" if self._compute.dtype == torch.bfloat16 else "f32",
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": ACTIVATION_GROUP if self._compute.quantized else 0,
            },
        )
        options = kind | {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # or two workers would share one core
            "CPU_RUNTIME_CACHE_CAPACITY": SHAPES_PREPARED,
        }
        if not isinstance(graph, Path):
            return core.compile_model(graph, "CPU", options).create_infer_request()
        processor = [str(core.get_property("CPU", name)) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        file = graph.with_name(f"{key_of(kind, processor)}.blob")
        if file.exists():
            bytes_ = _openvino().Tensor(np.memmap(file, np.uint8, "c"), shared_memory=True)
            self._mapped.append(bytes_)  # weights are used from there
            return core.import_model(bytes_, "CPU", options).create_infer_request()
        compiled = core.compile_model(graph, "CPU", options)
        write_cached(file, compiled.export_model().getbuffer())
        return compiled.create_infer_request()


_PLAIN = Compute(torch.device("cpu"), torch.float32)
"""On which a backbone is traced."""


def _openvino() -> Any:
    """OpenVINO without its telemetry package: nothing leaves this machine."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415 - optional

    return openvino
