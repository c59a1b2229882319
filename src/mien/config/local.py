"""Settings that are limits of this machine, and do not come with a model or a store."""

from collections.abc import Iterable, Mapping

from mien.config.reading import Override, check_name, parse_override, read_settings
from mien.config.settings import Settings
from mien.errors import SettingsError

LOCAL_COMPUTE = ("device", "threads", "backbone_workers", "clip_seconds", "decoder_gigabytes", "memory_gigabytes")
LOCAL_MEDIA = ("longest_seconds", "largest_megapixels")
"""Settings that limit the use of this machine and do not change results."""

LOCAL_WEIGHTS = ("text", "audio", "vision")
"""Roles of backbones of one's own, which may lie elsewhere on this machine."""


def with_local_limits(settings: Settings, local: Settings | None = None) -> Settings:
    """Settings that came with a model or a store, with the limits of this machine.

    Args:
        settings: from a model or a store.
        local: the limits of this machine; by default those of ``Settings()``.

    >>> theirs = read_settings(overrides=["media.longest_seconds=1e6", "media.vision_fps=2"])
    >>> ours = with_local_limits(theirs)
    >>> ours.media.longest_seconds, ours.media.vision_fps
    (7200.0, 2.0)
    """
    local = local or Settings()
    compute = {name: getattr(local.compute, name) for name in LOCAL_COMPUTE}
    media = {name: getattr(local.media, name) for name in LOCAL_MEDIA}
    return settings.model_copy(
        update={
            "compute": settings.compute.model_copy(update=compute),
            "media": settings.media.model_copy(update=media),
        }
    )


def with_local_weights(settings: Settings, local: Settings | None) -> Settings:
    """Settings of a model, with the places of backbones of one's own on this machine where they are given."""
    return with_weights(settings, local.backbones.references if local else {})


def with_weights(settings: Settings, references: Mapping[str, str]) -> Settings:
    """Settings with some backbones of one's own, by role.

    >>> str(with_weights(Settings(), {"text": "my-bert"}).weights)
    'small, text: my-bert'
    """
    if not references:
        return settings
    return settings.model_copy(update={"weights": settings.backbones.model_copy(update=references)})


def read_local(overrides: Iterable[str | Override]) -> Settings:
    """The limits of this machine, from ``name=value`` overrides of ``LOCAL_COMPUTE`` and ``LOCAL_MEDIA``,
    and the places of backbones of one's own (``weights.text`` …).

    Raises:
        SettingsError: an override is of another setting or of none, or its value is not allowed.

    >>> read_local(["compute.threads=2"]).compute.threads
    2
    """
    own = [f"compute.{name}" for name in LOCAL_COMPUTE] + [f"media.{name}" for name in LOCAL_MEDIA]
    own += [f"weights.{role}" for role in LOCAL_WEIGHTS]
    given = [parse_override(override) if isinstance(override, str) else override for override in overrides]
    for override in given:
        check_name(override)
        if override.name not in own:
            raise SettingsError(
                f"{override.label}: comes with the model; settings of this machine are {', '.join(own)}"
            )
    return read_settings(overrides=given)
