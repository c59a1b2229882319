"""What a worker is given and what it returns, a clip at a time."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mien.errors import escape_control
from mien.features.kept_inputs import KeptFile
from mien.features.windows import WindowSpan
from mien.schema import Clip, ClipFeatures, Faces, Feature


@dataclass(frozen=True)
class ClipJob:
    """A clip with key, status, reason and origin of each of its stored features."""

    clip: Clip
    known: Mapping[str, tuple[str, str, str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipOutcome:
    """The result of one clip.

    Attributes:
        made: the features computed now; none when all were stored already.
        reused: the modalities whose features were stored already.
        seconds_taken: time by stage.
        failure: why the clip could not be read; ``None`` when it could.
        window_spans: its windows, when they were requested and its length is known.
        recompute_reason: why stored features were computed again; empty when none were.
        faces: the number of faces in view, when the video was searched for faces.
        kept: its kept inputs, as far as they were needed.
        remarks: notes on the extraction that do not belong to the clip.
        stored: whether the features were written by the worker; ``made`` has no arrays then.
        prepared: whether its inputs are ready for a backbone worker, and nothing is made of them yet.
    """

    clip: Clip
    made: ClipFeatures
    reused: tuple[str, ...] = ()
    seconds_taken: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    window_spans: tuple[WindowSpan, ...] = ()
    recompute_reason: str = ""
    faces: Faces | None = None
    kept: tuple[KeptFile, ...] = ()
    remarks: tuple[str, ...] = ()
    stored: bool = False
    prepared: bool = False


def is_known(job: ClipJob, feature: str, key: str) -> bool:
    """Whether a feature is stored under this key and did not fail."""
    known = job.known.get(feature)
    return known is not None and known[0] == key and known[1] != "failed"


def failed(job: ClipJob, features: Iterable[str], reason: str) -> ClipOutcome:
    """The outcome of a clip that could not be read: every requested feature failed, with the same reason."""
    reason = escape_control(" ".join(reason.split()))
    failed = tuple(Feature(name, "", "", status="failed", reason=reason) for name in features)
    return ClipOutcome(job.clip, ClipFeatures(job.clip.id, math.nan, failed), failure=reason)
