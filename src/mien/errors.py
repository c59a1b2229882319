"""What can go wrong with somebody's data, weights, settings or model.

    MienError                  one line: where, what was found, what was expected, what to do
    ├── DataError              a manifest, label or folder is not what it should be
    │   └── Damaged            a file that mien wrote does not hold what was written
    ├── OutputError            what was made cannot be written: disk full, read-only, not allowed
    ├── InUse                  another process is writing to the folder; the message names it
    ├── MediaError             a file cannot be decoded as video or sound
    ├── WeightsError           pretrained weights cannot be had
    │   ├── WeightsMissing     not in the cache; the message names the command that brings them
    │   └── HashMismatch       the bytes are not the bytes we know; both hashes are shown
    ├── StoreError             a feature store is damaged, foreign, older or newer than us
    ├── ModelError             a model folder is damaged, foreign, newer than us, or does not fit the features
    ├── DependencyMissing      an optional package is not installed; the message names the extra
    ├── SettingsError          a setting does not exist or has a value it cannot have
    └── Interrupted            Ctrl-C; the message says what is kept

The command line prints a ``MienError`` as one line and leaves with its ``exit_code``: 1 for a fault of data or of
the run, 2 for wrong use, 130 for an interruption. A caller's mistake in Python is a
``ValueError``; our own mistake is an ``assert``.
"""

import re

LONGEST = 1000
"""Characters of a message: a stranger's file may hold a name of megabytes; the start and the end are kept."""


_COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, separators of lines, changes of the direction of text, halves of characters."""


def escape_control(text: str) -> str:
    r"""Text that may be written and shown anywhere: what would command a terminal, or is no character, is spelt out.

    Names of files hold such things: line ends, escape sequences, text that runs backwards, bytes that are not UTF-8.

    >>> escape_control("café \x1b[2J \udcff")
    'café \\x1b[2J \\udcff'
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class MienError(Exception):
    """A fault that the person who ran the program can do something about; ``str()`` of it is one line, not too long."""

    exit_code = 1

    def __str__(self) -> str:
        told = escape_control(" ".join(super().__str__().split()))
        return told if len(told) <= LONGEST else f"{told[: LONGEST - 300]} … {told[-290:]}"


class DataError(MienError):
    """A manifest, label or folder is not what it should be."""


class Damaged(DataError):
    """A file that mien wrote does not hold what was written: its checksum does not fit."""


class OutputError(MienError):
    """What was made cannot be written: the disk is full, read-only, or not ours; what was finished before stays."""


class InUse(MienError):
    """Another process is writing to the folder."""


class MediaError(MienError):
    """A file cannot be decoded as video or sound."""


class WeightsError(MienError):
    """Pretrained weights cannot be had."""


class WeightsMissing(WeightsError):
    """Weights are not in the cache; the message names the command that brings them."""


class HashMismatch(WeightsError):
    """The bytes of a weights file are not the bytes we know."""


class StoreError(MienError):
    """A feature store is damaged, foreign, or of another version than this mien reads."""


class ModelError(MienError):
    """A model folder is damaged, foreign, newer than this version of mien, or does not fit the features given."""


class DependencyMissing(MienError):
    """An optional package is not installed; the message names the extra that brings it."""


class SettingsError(MienError):
    """A setting does not exist, or has a value it cannot have."""

    exit_code = 2


class Interrupted(MienError):
    """Somebody pressed Ctrl-C; the message says what is kept and what the same command will do."""

    exit_code = 130
