"""A picture file → its pixels, with the same care as a video: a short list of formats, and a limit to its size.

Colours are the stored ones: colour profiles are ignored, and so is transparency (a transparent pixel has the colour
that is stored for it). Sixteen bits per channel become eight.
"""

from pathlib import Path
from typing import BinaryIO, cast

from av.video.frame import VideoFrame

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.container import check_size, open_container, told_as_media_error
from mien.media.crops import Image
from mien.media.orientation import display_matrix, turned

STILL_FORMATS = "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe"
"""One picture each: none that points to other files."""

YCCK = 2
"""What Adobe's marker in a JPEG says where four inks are stored as brightness, two colours and black."""


def read_image(path: Path, settings: MediaSettings, file: BinaryIO | None = None) -> Image:
    """The picture in a file, ``(H, W, 3)`` RGB, upright.

    Args:
        path: the file.
        settings: limits.
        file: the same file, where it is open already; it is closed.

    Raises:
        MediaError: it cannot be read, is no picture of a known format, is cut short or damaged, has colours that
            cannot be told for certain, or is larger than ``settings.largest_megapixels``.
    """
    file, container = open_container(path, settings, STILL_FORMATS, file)
    with file, container:
        if not container.streams.video:
            raise MediaError(f"{path.name}: no picture in it")
        track = container.streams.video[0]
        check_size(path, track, settings)
        track.codec_context.options |= {"err_detect": "explode"}  # or what is missing of a JPEG would be filled up
        with told_as_media_error(path):
            frame = next(container.decode(track), None)
        if frame is None:
            raise MediaError(f"{path.name}: nothing in it could be decoded")
        if container.format.name == "jpeg_pipe":
            _refuse_doubtful_inks(path, file, frame)
        rgb, matrix = cast("Image", frame.to_ndarray(format="rgb24")), display_matrix(frame)
        return rgb if matrix is None else turned(rgb, matrix)


def _refuse_doubtful_inks(path: Path, file: BinaryIO, frame: VideoFrame) -> None:
    """Refuse a JPEG of four inks (CMYK) where libav takes them for others than Adobe's marker says.

    libav goes by the names of the four components, everybody else by the marker.
    """
    inks = len(frame.format.components) == 4
    if inks and frame.format.name.startswith("yuva") != (_adobe_transform(file) == YCCK):
        raise MediaError(f"{path.name}: a CMYK picture whose inks are not told for certain; save it as RGB")


def _adobe_transform(file: BinaryIO) -> int | None:
    """What Adobe's marker in a JPEG says of the colours; ``None`` without that marker.

    Source: ITU-T T.872 (2012), 6.5.3.
    """
    file.seek(2)
    while (head := file.read(4))[:1] == b"\xff" and head[1:2] != b"\xda":  # up to the start of the scan
        segment = file.read(max(0, int.from_bytes(head[2:], "big") - 2))
        if head[1:2] == b"\xee" and segment.startswith(b"Adobe") and len(segment) >= 12:
            return segment[11]
    return None
