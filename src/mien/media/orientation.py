"""Which way up a picture is shown: the orientation that a phone or camera writes beside its pixels, applied to them.

Videos carry a display matrix, pictures an EXIF orientation, of which libav makes the same matrix.
"""

import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

LAST_KIND = 40
"""Beyond the kinds of side data (EXIF among them) that any libav knows."""


def display_matrix(frame: VideoFrame) -> list[int] | None:
    """The matrix ``[a b u; c d v; …]`` by which a picture is to be turned and mirrored; ``None`` for one without."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV has no name for something that libav attached, and then shows nothing at all
        matrix = _in_known_kinds(frame).side_data.get("DISPLAYMATRIX")
    return None if matrix is None else np.frombuffer(matrix, np.int32).tolist()


def turned(rgb: npt.NDArray[np.uint8], matrix: list[int]) -> npt.NDArray[np.uint8]:
    """A picture after its display matrix, which takes (x, y) to (ax + cy, bx + dy), by quarters and mirrors."""
    a, b, _, c, d = matrix[:5]
    if abs(b) > abs(a):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    rgb = rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(rgb)


def _in_known_kinds(frame: VideoFrame) -> VideoFrame:
    """The frame without the side data that PyAV cannot name."""
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
