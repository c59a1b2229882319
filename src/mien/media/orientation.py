"""Applies the orientation that a phone or camera stores beside the pixels.

Videos have a display matrix, images an EXIF orientation, which libav converts to the same matrix.
"""

import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

LAST_KIND = 40
"""Larger than any kind of side data (EXIF among them) in libav."""


def display_matrix(frame: VideoFrame) -> list[int] | None:
    """The matrix ``[a b u; c d v; …]`` that rotates and mirrors a frame; ``None`` without one."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails on side data of a kind that it does not know
        matrix = _in_known_kinds(frame).side_data.get("DISPLAYMATRIX")
    return None if matrix is None else np.frombuffer(matrix, np.int32).tolist()


def turned(rgb: npt.NDArray[np.uint8], matrix: list[int]) -> npt.NDArray[np.uint8]:
    """A frame rotated by quarter turns and mirrored as its display matrix, (x, y) → (ax + cy, bx + dy), states."""
    a, b, _, c, d = matrix[:5]
    if abs(b) > abs(a):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    rgb = rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(rgb)


def _in_known_kinds(frame: VideoFrame) -> VideoFrame:
    """The frame without side data of kinds that PyAV does not know."""
    graph = Graph()
    graph.threads = 1
    unknown = range(max(kind.value for kind in Type) + 1, LAST_KIND)
    chain = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        *(graph.add("sidedata", f"mode=delete:type={kind}") for kind in unknown),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*chain).configure()
    graph.push(frame)
    known = graph.pull()
    assert isinstance(known, VideoFrame)
    return known
