"""RAVDESS: 24 actors speak and sing two sentences; the labels are the acted emotions, which the file names say.

Source of the names: Livingstone and Russo 2018, "File naming convention": modality, vocal channel, emotion, intensity,
statement, repetition, actor, each of two digits.
"""

import re
from pathlib import Path

from mien.data.corpora.corpus import Corpus, Options, media_notes, one_hot
from mien.errors import DataError
from mien.schema import Clip, Manifest
from mien.wording import plural

EMOTIONS = ("Neutral", "Calm", "Happy", "Sad", "Angry", "Fearful", "Disgust", "Surprised")
STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
MODALITIES = {"both": "01", "face": "02", "voice": "03"}
_NAME = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])\.(mp4|wav)")


def read_ravdess(folder: Path, options: Options) -> Manifest:
    """The spoken clips of one channel below a folder; sung ones and other files are counted.

    Raises:
        DataError: no file has such a name, or none of the channel.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".mp4", ".wav"))
    named = [(path, match) for path in files if (match := _NAME.fullmatch(path.name))]
    if not named:
        raise DataError(f"{folder}: no files named as in RAVDESS (01-01-06-01-02-01-12.mp4) below it")
    spoken = [(path, match) for path, match in named if match[2] == "01"]
    chosen = [(path, match) for path, match in spoken if match[1] == MODALITIES[options.channel]]
    if not chosen:
        others = [name for name, code in MODALITIES.items() if any(match[1] == code for _, match in spoken)]
        raise DataError(
            f"{folder}: no file of spoken clips begins with {MODALITIES[options.channel]} (channel {options.channel})"
            + (f"; use --channel {others[0]}" if others else "")
        )
    clips = tuple(
        Clip(
            path.stem,
            path,
            participant=match[7],
            group="Male" if int(match[7]) % 2 else "Female",
            transcript=None if options.channel == "face" else STATEMENTS[int(match[5]) - 1],
            labels=one_hot(EMOTIONS, [EMOTIONS[int(match[3]) - 1]]),
        )
        for path, match in chosen
    )
    left = (
        (len(named) - len(spoken), "sung clip", "sung clips"),
        (len(spoken) - len(chosen), "spoken clip of another channel", "spoken clips of another channel"),
        (len(files) - len(named), "file with another name", "files with another name"),
    )
    notes = [f"{folder}: {plural(count, one, many)} left out" for count, one, many in left if count]
    return Manifest(folder, EMOTIONS, clips, (*notes, *media_notes(folder, clips, "unpack the archives again")))


RAVDESS = Corpus(
    name="ravdess",
    title="RAVDESS, Ryerson Audio-Visual Database of Emotional Speech and Song",
    items="1,440 spoken clips of about four seconds, as film, film without sound, and sound",
    people="24 professional actors (12 female, 12 male), North American accent",
    targets="Neutral, Calm, Happy, Sad, Angry, Fearful, Disgust, Surprised: 1 for the acted emotion, else 0",
    is_not="ratings: a label is what the actor was asked to act, not what raters saw; nor spontaneous emotion",
    licence="CC BY-NC-SA 4.0 (no commercial use)",
    citation="Livingstone and Russo 2018, PLoS ONE 13(5):e0196391, doi:10.1371/journal.pone.0196391",
    get="https://zenodo.org/records/1188976 (Video_Speech_Actor_01.zip to _24.zip)",
    read=read_ravdess,
    has_channels=True,
)
