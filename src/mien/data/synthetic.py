"""Which clips are of the stand-in corpus, by the file that ``mien synth`` leaves in its folder."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mien.errors import DataError
from mien.schema import Clip
from mien.storage.files import read_json

MARKER = "corpus.json"


def count_synthetic(clips: Iterable[Clip]) -> int:
    """Number of clips whose files lie in a stand-in corpus: in its folder, ``raw/`` or ``test_data/raw/``."""
    folders = Counter(clip.path.parent for clip in clips if clip.path)
    return sum(count for folder, count in folders.items() if any(map(_is_corpus, (folder, *folder.parents[:2]))))


def _is_corpus(folder: Path) -> bool:
    try:
        found = read_json(folder / MARKER, 1_000_000)
    except DataError:  # missing, or not of ours
        return False
    return isinstance(found, dict) and {"version", "clips", "seed"} <= found.keys()
