"""What the backbones read of one clip: from the kept inputs where they are, else decoded.

    inputs = ClipInputs(kept, job.clip, keys, kinds)
    inputs.missing(kinds)               # to be decoded, so that they can be kept
    media = inputs.load(kinds, …)       # starts no decoder where all of them are kept
    inputs.keep(media)

The bytes of a clip are hashed in this process then, not in that of the decoder: nothing of them is interpreted, and the
time limit of the clip holds between two blocks. The trade-off: reading from a file system that hangs is not aborted.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path

from mien.config import Settings
from mien.deadline import Deadline
from mien.errors import MediaError
from mien.features.kept_inputs import KINDS, KeptFile, KeptInputs, joined
from mien.features.keys import Keys
from mien.media.load_media import MediaEngines, load_media
from mien.modalities.base import InputKind
from mien.schema import Clip, Media
from mien.storage.files import key_of, open_regular

_BLOCK = 1 << 20


@dataclass(frozen=True)
class InputPlan:
    """Where kept inputs are, and whether those that are decoded now are kept, too.

    Attributes:
        store: the folder of their store.
        keep: whether inputs that are not there yet are kept, also of clips whose features are all there.
        temporary: inputs are kept for one reader, who discards them, as far as features are to be made of them; those
            of each clip are in a folder of their own, because equal clips would share a file.
    """

    store: Path
    keep: bool
    temporary: bool = False

    def of(self, clip: Clip) -> KeptInputs:
        """The kept inputs among which those of a clip are."""
        return KeptInputs(self.store / key_of(clip.id) if self.temporary else self.store)

    def discard(self, clip: Clip) -> None:
        """Remove the inputs of a clip if they are temporary."""
        if self.temporary:
            shutil.rmtree(self.store / key_of(clip.id), ignore_errors=True)


@dataclass
class ClipInputs:
    """The inputs of one clip.

    Attributes:
        clip, keys, settings: of the clip.
        plan: where inputs are kept; ``None`` decodes everything and keeps nothing.
        trusted: whether kept inputs are read; if not, all are decoded, and those that are kept are replaced.
        files: the kept inputs of this clip, by kind, as far as they were read, written or looked for.
    """

    clip: Clip
    keys: Keys
    settings: Settings
    plan: InputPlan | None = None
    trusted: bool = True
    files: dict[InputKind, KeptFile] = field(default_factory=dict)

    @property
    def kept(self) -> tuple[KeptFile, ...]:
        """The ``files`` that stay."""
        return () if self.plan is None or self.plan.temporary else tuple(self.files.values())

    def unkept(self, kinds: Iterable[InputKind]) -> set[InputKind]:
        """Those of some kinds that are to be kept, and are not yet."""
        if self.plan is None or not self.plan.keep or self.plan.temporary:
            return set()
        return {kind for kind in kinds if not self._found(kind)}

    def load(self, kinds: Set[InputKind], engines: MediaEngines) -> Media:
        """The inputs of these kinds, which are kept if so planned.

        Raises:
            Damaged: a kept input is damaged.
            MediaError: the clip cannot be read.
            OutputError: inputs cannot be written.
        """
        if self.plan is None:
            return load_media(self.clip, kinds, engines, self.settings)
        kept, parts = self.plan.of(self.clip), []
        decoded: set[InputKind] = set()
        for kind in KINDS:
            if kind not in kinds:
                continue
            part = kept.find(self.clip, kind, self.files[kind].key) if self._found(kind) else None
            if part is None:
                decoded.add(kind)
            else:
                parts.append(part)
        if decoded:
            media = load_media(self.clip, decoded, engines, self.settings)
            self.keys.check_unchanged()
            self._keep(kept, media, decoded)
            parts.append(media)
        return parts[0] if len(parts) == 1 else joined(self.clip, parts)

    def _found(self, kind: InputKind) -> bool:
        """Whether an input is kept."""
        assert self.plan is not None
        if kind in self.files:
            return True
        key = self.keys.of_input(kind)
        size = self.plan.of(self.clip).size(kind, key) if self.trusted else None
        if size is not None:
            self.files[kind] = KeptFile(kind, key, size, new=False)
        return size is not None

    def _keep(self, kept: KeptInputs, media: Media, kinds: Iterable[InputKind]) -> None:
        assert self.plan is not None
        if self.plan.keep:
            for kind in kinds:
                key = self.keys.of_input(kind)
                self.files[kind] = KeptFile(kind, key, kept.write(media, kind, key), new=True)


def hasher(seconds: float, name: str) -> Callable[[Path], str]:
    """A function that hashes files in this process, all of them within ``seconds``; SHA-256 in hexadecimal.

    The function raises ``OSError`` when a file cannot be read, and ``MediaError``, with the clip's name, when the time
    is over.
    """
    deadline = Deadline(seconds)

    def sha256(path: Path) -> str:
        digest = hashlib.sha256()
        with open_regular(path) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                if deadline.left() <= 0:
                    raise MediaError(f"{name}: gave up after {seconds:g} s; allow more with compute.clip_seconds")
        return digest.hexdigest()

    return sha256
