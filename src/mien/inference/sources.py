"""Sources of faces and audio: provided files or the video itself, and whether the model was trained on that source.

A model trained on provided faces or audio also scores ordinary videos, by default from the video itself. Crops and
audio codecs then differ from those of its training, so a note reports it.
"""

from collections.abc import Iterable, Iterator, Sequence

from mien.config import Settings, with_changes
from mien.media.provided import settled
from mien.modalities import MODALITIES
from mien.schema import Clip, Prediction
from mien.wording import plural

SOURCE_NAMES = {
    "faces": {"provided": "provided faces", "video": "faces found in the video"},
    "speech": {"provided": "provided audio", "video": "the audio of the video"},
}
"""By settings section and source."""

NONE_PROVIDED = {"faces": ", as none are provided", "speech": ", as none is provided"}


def settings_for(trained: Settings, faces: str | None = None, sound: str | None = None) -> Settings:
    """Settings for the preparation of new clips.

    Args:
        trained: settings of the training clips.
        faces: ``video``, ``provided``, or ``auto``: provided faces if a clip has them, else those of the video. By
            default as in training, and ``auto`` if that was ``provided``.
        sound: likewise, for audio.

    Raises:
        SettingsError: unknown source.
    """
    requested = {"faces": faces, "speech": sound}
    default = {name: "auto" if _source(trained, name) == "provided" else _source(trained, name) for name in requested}
    changes = {f"{name}.source": given or default[name] for name, given in requested.items()}
    return with_changes(trained, changes, "scoring")


def source_notes(
    trained: Settings, used: Settings, clips: Iterable[Clip], predictions: Sequence[Prediction]
) -> list[str]:
    """A line for each source that clips were scored from but the model was not trained on, with their number.

    Args:
        trained: settings of the training clips.
        used: settings from ``settings_for``.
        clips: the scored clips.
        predictions: of these clips.
    """
    by_id = {clip.id: clip for clip in clips}
    lines = []
    for section, names in SOURCE_NAMES.items():
        trained_on = _source(trained, section)
        if trained_on == "auto":
            continue
        scored = (by_id[made.clip] for made in predictions if section in _sections(made, by_id[made.clip]))
        other = [clip.id for clip in scored if _source(settled(used, clip), section) != trained_on]
        if other:
            found = "video" if trained_on == "provided" else "provided"
            why = NONE_PROVIDED[section] if (found, _source(used, section)) == ("video", "auto") else ""
            lines.append(
                f"{plural(len(other), 'clip')} scored from {names[found]}{why}; "
                f"the model was trained on {names[trained_on]} (first: {other[0]})"
            )
    return lines


def _sections(made: Prediction, clip: Clip) -> Iterator[str]:
    """Settings sections with a source that the scores of a clip depend on."""
    for name in made.present:
        sense = MODALITIES[name].sense
        if sense == "vision":
            yield "faces"
        if sense == "audio" or (sense == "text" and clip.transcript is None):
            yield "speech"


def _source(settings: Settings, section: str) -> str:
    return getattr(settings, section).source
