"""CREMA-D: 7,442 acted clips of 91 actors, each rated by voice, by face and by both; labels are shares of votes.

Source of the layout, the sentences and the codes: README.md of the corpus. In ``tabulatedVotes.csv`` the first digit
of a row's number is the channel (``queryType``: 1 voice, 2 face, 3 both).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.data.corpora.corpus import Corpus, Options, find_file, media_notes
from mien.data.rows import Table, read_table
from mien.errors import DataError
from mien.schema import Clip, Manifest

VOTES = {"A": "Anger", "D": "Disgust", "F": "Fear", "H": "Happy", "N": "Neutral", "S": "Sad"}
QUERY_TYPES = {"1": "voice", "2": "face", "3": "both"}
MEDIA = {"both": "VideoFlash/{}.flv", "face": "VideoFlash/{}.flv", "voice": "AudioWAV/{}.wav"}
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes for a clip in one channel: its name, and the number of raters by emotion."""

    clip: str
    channel: str
    counts: dict[str, int]

    @property
    def shares(self) -> tuple[float, ...]:
        """k of N for each emotion; they add up to 1."""
        total = sum(self.counts.values())
        return tuple(count / total for count in self.counts.values())


def read_crema_d(folder: Path, options: Options) -> Manifest:
    """The clips of one channel, with shares of votes.

    Args:
        folder: a clone of the repository, or a folder with its tables.
        options: ``channel``.

    Returns:
        A clip per film (or sound file, for ``voice``), with the sentence as its transcript, except for ``face``, where
        raters heard nothing; the actor as participant, the actor's sex as group.

    Raises:
        DataError: a table is missing, or has an unknown name, or votes that are no numbers.
    """
    table = read_table(find_file(folder, "processedResults/tabulatedVotes.csv", "tabulatedVotes.csv"))
    sexes = _sexes(folder)
    found = [votes for votes in read_votes(table) if votes.channel == options.channel]
    clips = tuple(
        Clip(
            votes.clip,
            folder / MEDIA[options.channel].format(votes.clip),
            participant=votes.clip[:4],
            group=sexes.get(votes.clip[:4]),
            transcript=None if options.channel == "face" else SENTENCES[votes.clip[5:8]],
            labels=votes.shares,
        )
        for votes in found
    )
    raters = sorted(sum(votes.counts.values()) for votes in found)
    notes = [f"{table.file}: labels are shares of the votes of {raters[0]} to {raters[-1]} raters"] if raters else []
    if options.channel == "face":
        notes.append(f"{folder}: raters heard nothing; extract and train with --modalities vision,motion")
    kind = MEDIA[options.channel].partition("/")[0]
    notes += media_notes(folder, clips, f"run `git lfs pull --include '{kind}/*'` in the clone")
    return Manifest(folder, tuple(VOTES.values()), clips, tuple(notes))


def read_votes(table: Table) -> Iterator[Votes]:
    """All rows of ``tabulatedVotes.csv``.

    Raises:
        DataError: a column or code is unknown, votes are no numbers, or do not add up.
    """
    for column in ("", *VOTES, "fileName", "numResponses"):
        if column not in table.columns:
            raise DataError(
                f"{table.file}:1: no column {column or 'without a name'!r}; expected CREMA-D's tabulatedVotes.csv"
            )
    for line, row in table.rows:
        where, name = f"{table.file}:{line}", row["fileName"]
        channel = QUERY_TYPES.get(row[""][:1])
        if channel is None or len(row[""]) != 6:
            raise DataError(
                f"{where}: row number {row['']!r}; expected six digits, the first of 1 voice, 2 face, 3 both"
            )
        if name[5:8] not in SENTENCES or not name[:4].isdecimal():
            raise DataError(f"{where}: fileName = {name!r}; expected a name such as 1001_IEO_NEU_XX")
        try:
            counts = {emotion: int(row[code]) for code, emotion in VOTES.items()}
            total = int(row["numResponses"])
        except ValueError as error:
            raise DataError(f"{where}: votes are not whole numbers ({error})") from error
        if min(counts.values()) < 0 or sum(counts.values()) != total or not total:
            raise DataError(f"{where}: {sum(counts.values())} votes, but numResponses = {total}")
        yield Votes(name, channel, counts)


def _sexes(folder: Path) -> dict[str, str]:
    """The sex of each actor, if the table of actors is there."""
    file = folder / "VideoDemographics.csv"
    rows = read_table(file).rows if file.is_file() else []
    return {row.get("ActorID", ""): row.get("Sex", "") for _, row in rows}


CREMA_D = Corpus(
    name="crema-d",
    title="CREMA-D, Crowd-sourced Emotional Multimodal Actors Dataset",
    items="7,442 films of two to three seconds: 12 sentences, six acted emotions, up to four levels",
    people="91 actors (48 male, 43 female, 20 to 74 years old); 2,443 raters, 4 to 12 per clip and channel",
    targets="Anger, Disgust, Fear, Happy, Neutral, Sad: the share of raters who chose each (they add up to 1)",
    is_not="spontaneous emotion, or mimicry: actors act, in English, with sentences that say nothing of the emotion",
    licence="Open Database License 1.0; contents Database Contents License 1.0",
    citation="Cao et al. 2014, IEEE Transactions on Affective Computing 5(4):377-390, doi:10.1109/TAFFC.2014.2336244",
    get="GIT_LFS_SKIP_SMUDGE=1 git clone https://github.com/CheyneyComputerScience/CREMA-D; "
    "git -C CREMA-D lfs pull --include 'VideoFlash/*'  (1.2 GB)",
    read=read_crema_d,
    has_channels=True,
)
