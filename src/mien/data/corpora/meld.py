"""MELD: utterances of the series *Friends*, with an emotion by the majority of three raters.

Source of the layout: the corpus' README: ``train_sent_emo.csv`` beside ``train_splits/dia0_utt3.mp4``, and so on.
"""

from pathlib import Path

from mien.data.corpora.corpus import Corpus, Options, media_notes, one_hot
from mien.data.rows import read_table
from mien.errors import DataError
from mien.schema import Clip, Manifest

EMOTIONS = ("Anger", "Disgust", "Fear", "Joy", "Neutral", "Sadness", "Surprise")
SPLITS = {
    "train": ("train_sent_emo.csv", "train_splits"),
    "valid": ("dev_sent_emo.csv", "dev_splits_complete"),
    "test": ("test_sent_emo.csv", "output_repeated_splits_test"),
}
MAIN = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")


def read_meld(folder: Path, options: Options) -> Manifest:  # noqa: ARG001 - as every reader
    """The utterances of the tables that are there, with their films.

    Raises:
        DataError: no table is there, lacks a column, or names an unknown emotion.
    """
    tables = {split: folder / table for split, (table, _) in SPLITS.items() if (folder / table).is_file()}
    if not tables:
        raise DataError(f"{folder}: no train_sent_emo.csv in it; expected the unpacked MELD.Raw")
    clips = [clip for split, file in tables.items() for clip in _read(file, split, folder / SPLITS[split][1])]
    note = f"{folder}: the main characters are in every split; split.kind=ratio keeps each person on one side"
    return Manifest(folder, EMOTIONS, tuple(clips), (note, *media_notes(folder, clips, "unpack its archives here")))


def _read(file: Path, split: str, films: Path) -> list[Clip]:
    table = read_table(file)
    for name in ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"):
        if name not in table.columns:
            raise DataError(f"{file}:1: no column {name!r}; expected a table of MELD")
    clips = []
    for line, row in table.rows:
        emotion = row["Emotion"].capitalize()
        if emotion not in EMOTIONS:
            raise DataError(f"{file}:{line}: Emotion = {row['Emotion']!r}, expected one of {', '.join(EMOTIONS)}")
        name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        group = "main cast" if row["Speaker"] in MAIN else "others"
        clips.append(
            Clip(f"{split}_{name}", films / f"{name}.mp4", split=split, participant=row["Speaker"], group=group,
                 transcript=row["Utterance"], labels=one_hot(EMOTIONS, [emotion]))
        )  # fmt: skip
    return clips


MELD = Corpus(
    name="meld",
    title="MELD, Multimodal EmotionLines Dataset",
    items="13,708 utterances of the television series Friends (9,989 + 1,109 + 2,610)",
    people="six main characters and many others; three raters per utterance",
    targets="Anger, Disgust, Fear, Joy, Neutral, Sadness, Surprise: 1 for the raters' majority, else 0",
    is_not="intensity, or spontaneous: scripted comedy with laughter on the sound track, several people in view",
    licence="GPL-3.0 (tables); the films are excerpts of a television series under its owner's copyright",
    citation="Poria et al. 2019, ACL, doi:10.18653/v1/P19-1050",
    get="https://github.com/declare-lab/MELD (MELD.Raw.tar.gz)",
    read=read_meld,
)
