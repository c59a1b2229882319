"""Errors of data, media, weights, settings and models.

    MienError                  one line: where, what was found, what was expected, what to do
    ├── DataError              a manifest, label or folder is invalid
    │   └── Damaged            a file written by mien fails its checksum
    ├── OutputError            an output cannot be written: disk full, read-only, not allowed
    │   └── Taken              another command has written it in the meantime
    ├── InUse                  another process is writing to the folder; the message names it
    ├── MediaError             a file cannot be decoded as video or audio
    ├── WeightsError           pretrained weights are unavailable
    │   ├── WeightsMissing     not in the cache; the message names the command that fetches them
    │   └── HashMismatch       a file has another hash than expected; both are shown
    ├── StoreError             a feature store is damaged, foreign, or of another version
    ├── ModelError             a model folder is damaged, foreign, newer, or does not fit the features
    ├── DependencyMissing      an optional package is not installed; the message names the extra
    ├── SettingsError          a setting does not exist or has an invalid value
    └── Interrupted            Ctrl-C or SIGTERM; the message names what is kept

The command line prints a ``MienError`` as one line and exits with its ``exit_code``: 1 for a fault of data or of the
run, 2 for wrong use, 130 for an interruption (143 if it was SIGTERM). A caller's mistake in Python is a ``ValueError``;
a bug in mien fails an ``assert``.
"""

import re

LONGEST = 1000
"""Maximum characters of a message: a name in a file may have megabytes; the start and the end are kept."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, changes of text direction, surrogates."""


def escape_control(text: str) -> str:
    r"""Escape characters that are unsafe to print: control sequences, line ends, changes of direction, invalid UTF-8.

    File names can hold any of these.

    >>> escape_control("café \x1b[2J \udcff")
    'café \\x1b[2J \\udcff'
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class MienError(Exception):
    """A fault that the user can fix; its ``str()`` is one line of limited length."""

    exit_code = 1

    def __str__(self) -> str:
        text = escape_control(" ".join(super().__str__().split()))
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} … {text[-290:]}"


class DataError(MienError):
    """A manifest, label or folder is invalid."""


class Damaged(DataError):
    """A file written by mien does not match its checksum."""


class OutputError(MienError):
    """An output cannot be written: disk full, read-only or not permitted; finished outputs are kept."""


class Taken(OutputError):
    """Another command has written to an address in object storage that this one was to write; nothing was changed."""


class InUse(MienError):
    """Another process is writing to the folder."""


class MediaError(MienError):
    """A file cannot be decoded as video or audio."""


class WeightsError(MienError):
    """Pretrained weights are unavailable."""


class WeightsMissing(WeightsError):
    """Weights are not in the cache; the message names the command that fetches them."""


class HashMismatch(WeightsError):
    """A weights file has another hash than expected."""


class StoreError(MienError):
    """A feature store is damaged, foreign, or of another version than this mien reads."""


class ModelError(MienError):
    """A model folder is damaged, foreign, newer than this version of mien, or does not fit the features given."""


class DependencyMissing(MienError):
    """An optional package is not installed; the message names the extra that installs it."""


class SettingsError(MienError):
    """A setting does not exist, or has an invalid value."""

    exit_code = 2


class Interrupted(MienError):
    """Interrupted by Ctrl-C or SIGTERM; the message names what is kept and what the same command will do."""

    exit_code = 130
