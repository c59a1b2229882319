"""Opens the file of a clip; what is in it is for the decoder process."""

from pathlib import Path
from typing import BinaryIO

from mien.errors import MediaError
from mien.storage.files import open_regular


def open_file(path: Path) -> BinaryIO:
    """Open a video, audio or image file; its content is not checked.

    Raises:
        MediaError: it is missing, a folder, not a regular file, or not readable.
    """
    try:
        return open_regular(path)
    except FileNotFoundError as error:
        raise MediaError(f"{path.name}: no such file in {path.parent}") from error
    except IsADirectoryError as error:
        raise MediaError(f"{path.name}: a folder, expected a video or audio file") from error
    except OSError as error:
        raise MediaError(f"{path.name}: cannot be read ({error.strerror or error})") from error
