"""Reads an image file with the same care as a video: a short list of formats, and a limit to its size.

Colours are the stored ones: colour profiles and transparency are ignored (a transparent pixel has its stored colour).
Sixteen bits per channel become eight.
"""

from pathlib import Path
from typing import BinaryIO, cast

from av.video.frame import VideoFrame

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.container import as_media_error, check_size, open_container
from mien.media.crops import Image
from mien.media.orientation import display_matrix, turned

IMAGE_FORMATS = "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe"
"""One image each: none that refers to other files."""

YCCK = 2
"""The value in Adobe's marker of a JPEG with four inks stored as luma, two chroma channels and black."""


def read_image(path: Path, settings: MediaSettings, file: BinaryIO | None = None) -> Image:
    """The image in a file, ``(H, W, 3)`` RGB, upright.

    Args:
        path: the file.
        settings: limits.
        file: the same file, if it is already open; it is closed.

    Raises:
        MediaError: it cannot be read, is not an image of a known format, is truncated or damaged, has ambiguous
            colours, or is larger than ``settings.largest_megapixels``.
    """
    file, container = open_container(path, settings, IMAGE_FORMATS, file)
    with file, container:
        if not container.streams.video:
            raise MediaError(f"{path.name}: no image in it")
        track = container.streams.video[0]
        check_size(path, track, settings)
        track.codec_context.options |= {"err_detect": "explode"}  # otherwise missing parts of a JPEG are filled in
        with as_media_error(path):
            frame = next(container.decode(track), None)
        if frame is None:
            raise MediaError(f"{path.name}: nothing in it could be decoded")
        if container.format.name == "jpeg_pipe":
            _refuse_ambiguous_inks(path, file, frame)
        rgb, matrix = cast("Image", frame.to_ndarray(format="rgb24")), display_matrix(frame)
        return rgb if matrix is None else turned(rgb, matrix)


def _refuse_ambiguous_inks(path: Path, file: BinaryIO, frame: VideoFrame) -> None:
    """Refuse a JPEG of four inks (CMYK) if libav and Adobe's marker disagree about them.

    libav uses the names of the four components, other software the marker.
    """
    inks = len(frame.format.components) == 4
    if inks and frame.format.name.startswith("yuva") != (_adobe_transform(file) == YCCK):
        raise MediaError(f"{path.name}: a CMYK image with ambiguous inks; save it as RGB")


def _adobe_transform(file: BinaryIO) -> int | None:
    """The colour transform in Adobe's marker of a JPEG; ``None`` without that marker.

    Source: ITU-T T.872 (2012), 6.5.3.
    """
    file.seek(2)
    while (head := file.read(4))[:1] == b"\xff" and head[1:2] != b"\xda":  # up to the start of the scan
        segment = file.read(max(0, int.from_bytes(head[2:], "big") - 2))
        if head[1:2] == b"\xee" and segment.startswith(b"Adobe") and len(segment) >= 12:
            return segment[11]
    return None
