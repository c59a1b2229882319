"""Readers of public corpora: the files of a corpus as its authors publish them → a ``Manifest``.

One file per corpus, one entry in the table; ``corpus`` has what they share. Nothing of a corpus is in this package, and
nothing is downloaded.
"""

from collections.abc import Sequence
from pathlib import Path

from mien.data.corpora.brighter import BRIGHTER
from mien.data.corpora.corpus import CHANNELS as CHANNELS
from mien.data.corpora.corpus import Corpus, Options, keep_targets
from mien.data.corpora.crema_d import CREMA_D
from mien.data.corpora.empathic_reactions import EMPATHIC_REACTIONS
from mien.data.corpora.goemotions import GOEMOTIONS
from mien.data.corpora.jsonl import JSONL
from mien.data.corpora.meld import MELD
from mien.data.corpora.ravdess import RAVDESS
from mien.data.rows import check_unique
from mien.errors import DataError, SettingsError
from mien.schema import Manifest

CORPORA = {corpus.name: corpus for corpus in (CREMA_D, RAVDESS, GOEMOTIONS, BRIGHTER, EMPATHIC_REACTIONS, MELD, JSONL)}


def find_corpus(name: str) -> Corpus:
    """A corpus of the table.

    Raises:
        SettingsError: it is not in the table.
    """
    if name not in CORPORA:
        raise SettingsError(f"{name}: no corpus of this name; known are {', '.join(CORPORA)}")
    return CORPORA[name]


def read_corpus(
    name: str,
    folder: Path,
    *,
    channel: str = "both",
    targets: Sequence[str] | None = None,
    label_scale: float = 1.0,
) -> Manifest:
    """The clips of a public corpus.

    Args:
        name: in ``CORPORA``.
        folder: where its files are; for ``jsonl`` also the file.
        channel: what raters were given: ``both``, ``face`` or ``voice``.
        targets: some of its targets; by default all.
        label_scale: the highest possible rating; ``jsonl`` only.

    Raises:
        SettingsError: there is no such corpus or channel, or the corpus has no channels or a scale of its own.
        DataError: its files are not there or not as expected, or a target is not rated.
    """
    corpus = find_corpus(name)
    if channel not in CHANNELS:
        raise SettingsError(f"channel: {channel!r}; expected {', '.join(CHANNELS)}")
    if channel != "both" and not corpus.has_channels:
        raise SettingsError(f"channel: {channel!r}, but {name} was rated in one way only")
    if label_scale != 1 and name != "jsonl":
        raise SettingsError(f"label scale: {label_scale:g}, but {name} has a scale of its own: {corpus.targets}")
    if not folder.exists():
        raise DataError(f"{folder}: no such file or folder; {name}: {corpus.get}")
    manifest = corpus.read(folder, Options(channel, label_scale))
    if not manifest.clips:
        raise DataError(f"{folder}: no clips of {name} in it")
    check_unique((str(manifest.source), clip.id) for clip in manifest.clips)
    return manifest if targets is None else keep_targets(manifest, targets)
