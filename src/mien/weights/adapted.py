"""Adapted backbones: a pretrained backbone and what training changed in it, in one file.

    <name>.safetensors             changed tensors, or factors of additions; which backbone they belong to, and its hash
    cache_folder()/adapted/<key>/  the whole backbone as the folder of a Hugging Face model; made once, when first used

So an adapted backbone is a backbone of one's own like any other, for extraction, scoring and every engine, and a model
folder holds no more than the changes. The trade-off: the pretrained backbone must be in the cache, and the whole one
takes its size on the disk again.

The file records the clips that it was trained on (``data/source_clips.py``): features of these have seen their ratings.
A backbone that was trained further, and then further still, is one file, too: both changes of the pretrained one.

The file may come from a stranger: names and shapes must be those of the backbone, and every number finite.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from mien.compute.loading import transformers
from mien.config import WeightsSettings
from mien.data.source_clips import SourceClips
from mien.errors import Damaged, WeightsError, WeightsMissing
from mien.starters import starter
from mien.storage.cached import cached_folder
from mien.storage.checksums import read_tensors, write_tensors
from mien.storage.files import cache_folder, key_of, sha256_of
from mien.weights.architecture import read_architecture
from mien.weights.cache import Weights, check, fetch_command, weights_of
from mien.weights.fetch import fetch
from mien.weights.own import READ_SUFFIXES, check_backbone, pooling_of, resolve_own
from mien.weights.table import ENTRIES

SUFFIX = ".safetensors"
FORMAT = "mien-adapted-backbone"
VERSION = 1
DOWN, UP = ".down", ".up"
"""Ends of the names of the two factors of an addition to a weight."""

MOST_KEYS = 200_000
"""Hashes in the records of clips: 38 bytes each, of the 10 MB that the header of a file may have."""

Changes = Mapping[str, npt.NDArray[np.float32]]


class Adaptation(BaseModel):
    """What an adapted backbone is made of.

    Attributes:
        role: ``text``, ``audio`` or ``vision``.
        method: how it was trained: ``top_k``, ``lora`` or ``full``.
        base: the pretrained backbone: an entry of the table, a folder, or ``owner/name@commit``.
        base_sha256: its hash; another one is refused.
        own: whether ``base`` is a backbone of one's own.
        clips: by training, the first one first, a record of the clips; ``None`` where there is none, as in older files
            and beyond ``MOST_KEYS``.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    format: Literal["mien-adapted-backbone"] = FORMAT
    version: Literal[1] = VERSION
    role: Literal["text", "audio", "vision"]
    method: str
    base: str
    base_sha256: str
    own: bool
    clips: list[dict[str, Any] | None] = [None]


def save_adapted(
    file: Path, role: str, method: str, base: Weights, changes: Changes, clips: SourceClips | None = None
) -> None:
    """Write what training changed in a backbone.

    Args:
        file: with the suffix ``.safetensors``; its folder is created if needed.
        role: of the backbone.
        method: how it was trained.
        base: the pretrained backbone, or an adapted one, of which the changes are then kept as well.
        changes: tensors by the names of the transformers model; of a weight with an addition, its two factors.
        clips: that it was trained on; left out if there are more than ``MOST_KEYS`` with those of before.

    Raises:
        OutputError: it cannot be written.
        WeightsError: the file of the adapted one is damaged.
    """
    if is_adapted(base):
        earlier, head = _read(_file_of(role, base))
        changes, known = _together(earlier, changes), training_clips(role, base)
        head = head.model_copy(update={"method": method})
    else:
        reference, known = base.source.partition(":")[2] if base.is_own else base.name, ()
        head = Adaptation.model_validate(
            {"role": role, "method": method, "base": reference, "base_sha256": base.sha256, "own": base.is_own}
        )
    if sum(one.size for one in (*known, clips) if one) > MOST_KEYS:
        clips = None
    records = [one and one.record() for one in (*known, clips)]
    values = head.model_dump(exclude={"clips"}) | ({"clips": records} if any(records) else {})
    write_tensors(file, dict(changes), values)


def _together(earlier: Changes, later: Changes) -> dict[str, npt.NDArray[np.float32]]:
    """The changes of two trainings as one: later tensors replace earlier ones, and additions add up."""
    made = dict(earlier)
    for name in dict.fromkeys(name.removesuffix(DOWN).removesuffix(UP) for name in later):
        up, down = name + UP, name + DOWN
        if name in later:
            made = {other: tensor for other, tensor in made.items() if other not in (up, down)} | {name: later[name]}
        elif name in earlier:
            made[name] = (earlier[name] + later[up] @ later[down]).astype(np.float32)
        elif up in earlier:
            made[up] = np.concatenate([earlier[up], later[up]], 1)
            made[down] = np.concatenate([earlier[down], later[down]], 0)
        else:
            made |= {up: later[up], down: later[down]}
    return made


def resolve_reference(role: str, reference: str) -> Weights:
    """The backbone that a setting ``weights.<role>`` names: a starter's, adapted, or as it is published.

    Raises:
        WeightsMissing: there is no such folder or file, or the pretrained backbone is not in the cache.
        WeightsError: it cannot be loaded safely, is for another role, or its pretrained backbone has other bytes.
    """
    if (folder := starter(reference)) is not None:
        file = folder / f"{role}.adapted{SUFFIX}"
        if not file.is_file():
            raise WeightsError(f"weights.{role}: {reference}: has no {role} backbone")
        return replace(resolve_adapted(role, file), source=f"starter:{reference}")
    file = Path(reference).expanduser()
    is_adapted = file.suffix == SUFFIX and not file.is_dir()
    return resolve_adapted(role, file) if is_adapted else resolve_own(role, reference)


def describe_references(weights: WeightsSettings) -> list[str]:
    """A line for each backbone that is named in place of the set's: name, architecture, pooling of a text, licence.

    Raises:
        WeightsMissing, WeightsError: as ``resolve_reference``.
    """
    lines = []
    for role, reference in weights.references.items():
        one = resolve_reference(role, reference)
        kind = read_architecture(one.path)
        pooling = f", {pooling_of(one.path)} pooling" if role == "text" else ""
        lines.append(
            f"{role}: {one.name}, {kind.kind} of {kind.depth} blocks, {kind.width} wide{pooling}; {one.licence}"
        )
    return lines


def resolve_adapted(role: str, file: Path) -> Weights:
    """An adapted backbone, ready to load; see ``resolve_reference``."""
    label = f"weights.{role}: {file}"
    if not file.is_file():
        raise WeightsMissing(
            f"{label}: no such file; if it was moved, give its new place with --set weights.{role}=FILE"
        )
    head = _read(file)[1]
    if head.role != role:
        raise WeightsError(f"{label}: adapts a {head.role} backbone")
    base = _base_of(head, label)
    sha256 = key_of(sha256_of(file), base.sha256)
    name = f"{base.name.partition('@')[0]}-{head.method}@{sha256[:12]}"
    return replace(
        base, name=name, path=_whole(file, base, sha256, role), sha256=sha256, source=f"file:{file.resolve()}"
    )


def is_adapted(weights: Weights) -> bool:
    """Whether weights are an adapted backbone, of a file or of a starter."""
    return weights.source.startswith(("file:", "starter:"))


def training_clips(role: str, weights: Weights) -> tuple[SourceClips | None, ...]:
    """The clips that an adapted backbone was trained on, by training; ``None`` where its file does not record them.

    Raises:
        WeightsError: the file is damaged.
    """
    file = _file_of(role, weights)
    try:
        return tuple(None if one is None else SourceClips.read(one) for one in _read(file)[1].clips)
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file}: damaged (its record of clips); train it again") from error


def _file_of(role: str, weights: Weights) -> Path:
    """The file of an adapted backbone."""
    kind, _, reference = weights.source.partition(":")
    folder = starter(reference) if kind == "starter" else None
    return folder / f"{role}.adapted{SUFFIX}" if folder else Path(reference)


def _read(file: Path) -> tuple[dict[str, npt.NDArray[Any]], Adaptation]:
    """The changes, and what they belong to.

    Raises:
        WeightsError: the file is damaged, or of another format.
    """
    try:
        changes, head = read_tensors(file)
        return changes, Adaptation.model_validate(head)
    except (Damaged, ValidationError) as error:
        reason = str(error) if isinstance(error, Damaged) else f"{file}: not an adapted backbone"
        raise WeightsError(f"{reason}; train it again") from error


def _base_of(head: Adaptation, label: str) -> Weights:
    if head.own:
        base = resolve_own(head.role, head.base)
    elif head.base not in ENTRIES:
        raise WeightsError(f"{label}: adapts {head.base[:100]!r}, which is not a backbone that mien knows")
    else:
        entry = ENTRIES[head.base]
        if entry.kind == "made":
            fetch([entry.name])
        status = check(entry)
        if status.state != "whole":
            raise WeightsMissing(f"{label}: adapts {entry.name}: {status.detail}; run `{fetch_command(entry)}`")
        base = weights_of(entry)
    if base.sha256 != head.base_sha256:
        raise WeightsError(
            f"{label}: adapts {head.base} with the hash {head.base_sha256[:12]}, but that here is {base.sha256[:12]}"
        )
    return base


def _whole(file: Path, base: Weights, sha256: str, role: str) -> Path:
    """The folder of the whole backbone in the cache."""

    def make(folder: Path) -> None:
        _merge(file, base.path, folder)
        check_backbone(role, folder, f"weights.{role}: {file}")

    return cached_folder(cache_folder() / "adapted" / key_of(sha256, VERSION), make)


def _merge(file: Path, base: Path, out: Path) -> None:
    """Write the whole backbone: the pretrained one with the changes."""
    import torch  # noqa: PLC0415 - only here

    changes = _read(file)[0]
    for path in base.rglob("*"):
        if path.is_file() and path.suffix in (*READ_SUFFIXES, ".md") and not path.name.startswith("model.safetensors"):
            (out / path.relative_to(base)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / path.relative_to(base))
    with transformers() as library, torch.no_grad():
        library.utils.logging.disable_progress_bar()
        model = library.AutoModel.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
        known = model.state_dict()
        for name in dict.fromkeys(name.removesuffix(DOWN).removesuffix(UP) for name in changes):
            tensor = torch.from_numpy(_change(name, changes, file))
            if name not in known or (tensor.shape != known[name].shape):
                raise WeightsError(f"{file}: {name[:100]!r} is no tensor of its backbone; train it again")
            known[name].copy_(known[name] + tensor if name not in changes else tensor)
        model.save_pretrained(out)


def _change(name: str, changes: Mapping[str, npt.NDArray[Any]], file: Path) -> npt.NDArray[np.float32]:
    """A changed tensor, or the addition to it."""
    parts = [changes[part] for part in ([name] if name in changes else [name + UP, name + DOWN]) if part in changes]
    if not all(part.dtype == np.float32 and np.isfinite(part).all() for part in parts):
        raise WeightsError(f"{file}: {name[:100]!r} has numbers that are not finite; train it again")
    if len(parts) == 1 and name in changes:
        return parts[0]
    if [part.ndim for part in parts] != [2, 2] or parts[0].shape[1] != parts[1].shape[0]:
        raise WeightsError(f"{file}: the factors of {name[:100]!r} do not fit; train it again")
    return parts[0] @ parts[1]
