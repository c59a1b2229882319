"""A picture file → its pixels, with the same care as a video: a short list of formats, and a limit to its size."""

from pathlib import Path
from typing import cast

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.container import check_size, open_container, told_as_media_error
from mien.media.crops import Picture

STILL_FORMATS = "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe"
"""One picture each: none that points to other files."""


def read_still(path: Path, settings: MediaSettings) -> Picture:
    """The picture in a file, ``(H, W, 3)`` RGB.

    Raises:
        MediaError: it cannot be read, is no picture of a known format, or is larger than
            ``settings.largest_megapixels``.
    """
    file, container = open_container(path, settings, STILL_FORMATS)
    with file, container:
        if not container.streams.video:
            raise MediaError(f"{path.name}: no picture in it")
        track = container.streams.video[0]
        check_size(path, track, settings)
        with told_as_media_error(path):
            frame = next(container.decode(track), None)
        if frame is None:
            raise MediaError(f"{path.name}: nothing in it could be decoded")
        return cast("Picture", frame.to_ndarray(format="rgb24"))
