import string

import numpy as np
import pytest

from mien.schema import EMOTIONS
from mien.synthetic.words import CLAUSES, MIN_STRENGTH, NEUTRAL, TASK, WHAT, WHO, as_sentences, choose_clauses


def rng():
    return np.random.default_rng(0)


def signal(**strengths):
    return np.array([strengths.get(emotion.replace(" ", "_"), 0.0) for emotion in EMOTIONS])


def wordings(emotion):
    """Every clause that can be said for an emotion."""
    for level in CLAUSES[emotion]:
        for template in level:
            names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
            for filler in {"who": WHO, "what": WHAT, "task": TASK}[names[0]] if names else [""]:
                yield template.format(**dict.fromkeys(names, filler))


def test_a_clip_about_nothing_talks_about_the_day():
    clauses = choose_clauses(signal(Joy=MIN_STRENGTH - 0.01), rng())
    assert len(clauses) == 2
    assert set(clauses) <= set(NEUTRAL)


def test_the_strongest_emotion_is_said_first_and_the_weakest_of_four_not_at_all():
    clauses = choose_clauses(signal(Joy=0.9, Amusement=0.7, Excitement=0.5, Admiration=0.3), rng())
    assert [next(e for e in EMOTIONS if clause in set(wordings(e))) for clause in clauses] == [
        "Joy",
        "Amusement",
        "Excitement",
    ]


@pytest.mark.parametrize(("strength", "level"), [(0.3, 0), (0.5, 1), (0.8, 2)])
def test_the_wording_is_as_strong_as_the_signal(strength, level):
    (clause,) = choose_clauses(signal(Joy=strength), rng())
    assert any(clause.startswith(template.split("{")[0]) for template in CLAUSES["Joy"][level])


def test_every_emotion_has_words_for_three_strengths_and_no_clause_is_said_for_two_emotions():
    assert set(CLAUSES) == set(EMOTIONS)
    assert all(len(levels) == 3 for levels in CLAUSES.values())
    everything = [clause for emotion in EMOTIONS for clause in wordings(emotion)]
    assert len(everything) == len(set(everything))


def test_the_same_generator_says_the_same():
    loud = signal(Joy=0.9, Excitement=0.4)
    assert choose_clauses(loud, rng()) == choose_clauses(loud, rng())


def test_clauses_become_sentences():
    assert as_sentences(("I am glad", "you too")) == "I am glad. You too."
