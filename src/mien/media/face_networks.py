"""Loads MediaPipe's face networks from their bundle and runs them with LiteRT.

The bundle (``face_landmarker_v2.task``) is a ZIP archive of three networks and a file of geometry. What is done with
their outputs is in ``short_range.py`` (detector), ``face_mesh.py`` (landmarks, blendshapes) and ``face_geometry.py``.
"""

import contextlib
import os
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import DependencyMissing, WeightsError, WeightsMissing
from mien.media.face_geometry import ModelHead

DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError)
"""Raised where an archive or a file in it is damaged."""

Values = npt.NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class FaceNetworks:
    """The contents of the bundle.

    Attributes:
        detector: ``(1, 128, 128, 3)`` in [-1, 1] → ``(1, 896, 16)`` boxes and points, ``(1, 896, 1)`` logits.
        landmarks: ``(1, 256, 256, 3)`` in [0, 1] → ``(1, 1, 1, 1434)`` landmarks, ``(1, 1, 1, 1)`` logit of presence.
        blendshapes: ``(1, 146, 2)`` landmarks in pixels → ``(52,)`` in [0, 1].
        head: the model head that head pose is measured against.
    """

    detector: "Network"
    landmarks: "Network"
    blendshapes: "Network"
    head: ModelHead


class Network:
    """A TensorFlow Lite network with one input; not for several threads at once.

    Args:
        interpreter: LiteRT's, with the network.
        entry, outputs: the shapes that the input and the first outputs must have.

    Raises:
        ValueError, RuntimeError: they have others, or the network is damaged.
    """

    def __init__(self, interpreter: Any, entry: Shape, outputs: Sequence[Shape]) -> None:
        interpreter.allocate_tensors()
        given, made = interpreter.get_input_details(), interpreter.get_output_details()[: len(outputs)]
        shapes = [tuple(tensor["shape"]) for tensor in (*given, *made)]
        if shapes != [entry, *outputs]:
            raise ValueError(f"tensors of shapes {shapes}, expected {[entry, *outputs]}")
        self._interpreter = interpreter
        self._entry, self._outputs = given[0]["index"], [tensor["index"] for tensor in made]

    def __call__(self, values: Values) -> list[Values]:
        """The outputs for one input."""
        self._interpreter.set_tensor(self._entry, values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def open_networks(file: Path, threads: int = 1) -> FaceNetworks:
    """The networks of a bundle.

    Args:
        file: ``face_landmarker_v2.task``.
        threads: processor threads of the landmark network; the others are too small for more than one.

    Raises:
        DependencyMissing: ai-edge-litert is not installed.
        WeightsMissing: the file does not exist.
        WeightsError: it is not such a bundle, or damaged.
    """
    if not file.is_file():
        raise WeightsMissing(f"{file}: no such file; bring the weights with: mien weights fetch small")
    interpreter = _interpreter_type()
    try:
        with zipfile.ZipFile(file) as bundle, _quiet_stderr():
            detector, landmarks, blendshapes = (
                interpreter(model_content=bundle.read(f"{name}.tflite"), num_threads=count)
                for name, count in (("face_detector", 1), ("face_landmarks_detector", threads), ("face_blendshapes", 1))
            )
            return FaceNetworks(
                Network(detector, (1, 128, 128, 3), [(1, 896, 16), (1, 896, 1)]),
                Network(landmarks, (1, 256, 256, 3), [(1, 1, 1, 1434), (1, 1, 1, 1)]),
                Network(blendshapes, (1, 146, 2), [(52,)]),
                ModelHead.parse(bundle.read("geometry_pipeline_metadata_landmarks.binarypb")),
            )
    except (*DAMAGE, KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{file}: not a face landmarker; check it with: mien weights verify") from error


def _interpreter_type() -> Any:
    """LiteRT's class of interpreters."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(
            f"faces need ai-edge-litert, which did not load ({error}); pip install 'mien[faces]'"
        ) from error
    return Interpreter


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Discard what native code writes to file descriptor 2: no setting turns off LiteRT's line about its delegate.

    Errors are still raised as exceptions. Output of other threads is lost too, so use this briefly.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
