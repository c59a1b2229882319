"""Whether faces and sound of scored clips are the provided ones or the video's own, and whether the model knows those.

A model that was trained on provided faces or sound scores ordinary videos too: from the video itself, unless told
otherwise. Faces cut out and sound compressed in another way are not quite what it learned from, so that is said.
"""

from collections.abc import Iterable, Iterator, Sequence

from mien.config import Settings, with_changes
from mien.media.provided import settled
from mien.modalities import MODALITIES
from mien.schema import Clip, Prediction

WORDS = {
    "faces": {"provided": "provided faces", "video": "faces found in the video"},
    "speech": {"provided": "provided sound", "video": "the sound of the video"},
}
"""By section of the settings and source."""

NONE_PROVIDED = {"faces": ", as none are provided", "speech": ", as none is provided"}


def settings_for(trained: Settings, faces: str | None = None, sound: str | None = None) -> Settings:
    """The settings that new clips are prepared with.

    Args:
        trained: those of the model's own clips.
        faces: ``video``, ``provided``, or ``auto``: provided where a clip has them, else the video's own. By default as
            trained, and ``auto`` where that was ``provided``.
        sound: likewise.

    Raises:
        SettingsError: there is no such source.
    """
    asked = {"faces": faces, "speech": sound}
    usual = {name: "auto" if _source(trained, name) == "provided" else _source(trained, name) for name in asked}
    changes = {f"{name}.source": given or usual[name] for name, given in asked.items()}
    return with_changes(trained, changes, "scoring")


def source_notes(
    trained: Settings, used: Settings, clips: Iterable[Clip], predictions: Sequence[Prediction]
) -> list[str]:
    """A line for each kind of source that clips were scored from and the model was not trained on, with their number.

    Args:
        trained: the settings of the model's own clips.
        used: those from ``settings_for``.
        clips: that were scored.
        predictions: what came of them.
    """
    by_id = {clip.id: clip for clip in clips}
    lines = []
    for section, words in WORDS.items():
        learned = _source(trained, section)
        if learned == "auto":
            continue
        scored = (by_id[made.clip] for made in predictions if section in _sections(made, by_id[made.clip]))
        other = [clip.id for clip in scored if _source(settled(used, clip), section) != learned]
        if other:
            found = "video" if learned == "provided" else "provided"
            why = NONE_PROVIDED[section] if (found, _source(used, section)) == ("video", "auto") else ""
            lines.append(
                f"{len(other)} clips scored from {words[found]}{why}; the model was trained on {words[learned]} "
                f"(first: {other[0]})"
            )
    return lines


def _sections(made: Prediction, clip: Clip) -> Iterator[str]:
    """The sections of the settings whose source the scores of a clip depend on."""
    for name in made.present:
        sense = MODALITIES[name].sense
        if sense == "vision":
            yield "faces"
        if sense == "audio" or (sense == "text" and clip.transcript is None):
            yield "speech"


def _source(settings: Settings, section: str) -> str:
    return getattr(settings, section).source
