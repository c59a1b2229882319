"""Empathic Reactions: essays about news articles, with the writers' own empathic concern and personal distress.

Several people wrote about one article, and its words come back in their essays; one person wrote about five. A split by
article keeps the words of a validation essay unseen, so the article is the participant here, and the note says so.
"""

from pathlib import Path

from mien.data.corpora.corpus import Corpus, Options, find_file
from mien.data.labels import read_number
from mien.data.rows import read_table
from mien.errors import DataError
from mien.schema import Clip, Manifest

TARGETS = ("Empathy", "Distress")
LOWEST, HIGHEST = 1, 7


def read_empathic_reactions(folder: Path, options: Options) -> Manifest:  # noqa: ARG001 - as every reader
    """The essays of ``messages.csv``.

    Raises:
        DataError: it is missing, lacks a column, or a rating is not between 1 and 7.
    """
    file = find_file(folder, "messages.csv", "data/responses/data/messages.csv")
    table = read_table(file)
    for name in ("message_id", "article_id", "essay", "empathy", "distress"):
        if name not in table.columns:
            raise DataError(f"{file}:1: no column {name!r}; expected messages.csv of Empathic Reactions")
    clips = tuple(
        Clip(
            row["message_id"],
            transcript=row["essay"],
            participant=f"article {row['article_id']}",
            labels=tuple(_rating(file, line, name, row[name.lower()]) for name in TARGETS),
        )
        for line, row in table.rows
    )
    notes = (
        f"{file}: ratings r of 1 to 7 are written as (r - 1) / 6",
        f"{file}: the article is the participant, so that a split keeps the essays on one article together",
    )
    return Manifest(folder, TARGETS, clips, notes)


def _rating(file: Path, line: int, column: str, cell: str) -> float:
    value = read_number(file, line, column, cell)
    if value is None:
        return float("nan")
    if not LOWEST <= value <= HIGHEST:
        raise DataError(f"{file}:{line}: {column} = {cell}, but ratings lie in [{LOWEST}, {HIGHEST}]")
    return (value - LOWEST) / (HIGHEST - LOWEST)


EMPATHIC_REACTIONS = Corpus(
    name="empathic-reactions",
    title="Empathic Reactions",
    items="1,860 essays of about 80 words on 417 news articles",
    people="372 writers, who rated themselves",
    targets="Empathy (empathic concern) and Distress (personal distress), means of items of 1 to 7, as (r - 1) / 6",
    is_not="ratings by others, or speech, or Empathic Pain: the nearest to it that is public",
    licence="CC BY 4.0",
    citation="Buechel et al. 2018, EMNLP, Modeling Empathy and Distress in Reaction to News Stories, arXiv:1808.10399",
    get="https://github.com/wwbp/empathic_reactions (data/responses/data/messages.csv)",
    read=read_empathic_reactions,
)
