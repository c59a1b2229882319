"""The text signal → the sentences of a clip; only their wording carries the signal.

Every emotion above a threshold gets one clause, the strongest first, worded for its strength; a clip without emotion
gets neutral clauses. The trade-off: a few hundred plain clauses in common words, so that a small speech
recogniser transcribes them and sentence embeddings separate them.

Shapes: a text signal is ``(E,)`` strengths in [0, 1], in the order of ``EMOTIONS``.
"""

import numpy as np
import numpy.typing as npt

from mien.schema import EMOTIONS

MIN_STRENGTH = 0.25
"""Emotions below this strength get no clause."""

MAX_CLAUSES = 3

WHO = ("my sister", "my brother", "that woman", "that man", "my teacher", "our team", "the doctor", "my best friend")
WHAT = ("the party", "the game", "the trip", "the concert", "the wedding", "the race", "the show", "the holiday")
TASK = ("the exam", "the project", "the race", "the job", "this work", "the training", "the mountain", "the test")

CLAUSES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "Admiration": (
        ("{who} did that quite well", "that was nice work by {who}", "I have respect for {who}"),
        ("{who} is very talented", "I really look up to {who}", "what a beautiful performance by {who}"),
        (
            "I am in awe of {who}, what an incredible talent",
            "{who} is absolutely brilliant, I admire that so much",
            "that is the most amazing work I have ever seen",
        ),
    ),
    "Amusement": (
        ("that was a little funny", "this makes me smile a bit", "that is a silly joke"),
        ("that is so funny, it makes me laugh", "{who} told such a funny joke", "you are making me laugh"),
        (
            "I cannot stop laughing, this is hilarious",
            "that is the funniest joke I have ever heard",
            "oh my god, {who} is hilarious, I am laughing so hard",
        ),
    ),
    "Determination": (
        ("I think I can finish {task}", "I will try to do {task}", "let me work on {task} again"),
        ("I will keep working until {task} is done", "I have to focus on {task}", "I am going to finish {task}"),
        (
            "I will never give up on {task}, no matter what",
            "nothing can stop me, I must win {task}",
            "I am going to fight hard until I finish {task}",
        ),
    ),
    "Empathic Pain": (
        ("that looks a bit painful", "I feel sorry for {who}", "that must have hurt"),
        ("poor thing, that looks so painful", "it hurts to see {who} cry", "I am so sorry for your loss"),
        (
            "oh no, that is terrible, {who} is badly hurt",
            "it breaks my heart to see {who} in so much pain",
            "I can feel the pain, it hurts so badly",
        ),
    ),
    "Excitement": (
        ("I am looking forward to {what}", "{what} starts very soon", "I wonder what comes next"),
        ("I am so excited about {what}", "let us go to {what} right now", "I cannot wait for {what}"),
        (
            "oh wow, I am so excited, {what} is starting right now",
            "yes yes yes, we are going to {what} tonight",
            "this is so thrilling, I can hardly wait for {what}",
        ),
    ),
    "Joy": (
        ("it is a nice sunny day", "I feel quite good today", "I am glad to be here"),
        ("I am very happy today", "I enjoyed {what} with my family", "it is a lovely day and I feel happy"),
        (
            "this is the happiest day of my life",
            "I am so happy and full of joy today",
            "I love my life, everything is wonderful",
        ),
    ),
}
"""By emotion: mild, plain and strong clauses."""

NEUTRAL = (
    "I think the door is open",
    "there is a lamp next to the door",
    "we need to buy some bread and milk",
    "the office is on the second floor",
    "she walked down the street to the bank",
    "please close the window and turn off the light",
    "my car is in front of the house",
    "you can take the bus to the airport",
    "the kitchen has two windows",
    "my father works in the city",
)
"""Two of these are spoken when no emotion is strong enough."""


def choose_clauses(signal: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[str, ...]:
    """Choose the clauses for a text signal.

    Args:
        signal: ``(E,)`` strengths in [0, 1].
        rng: draws among wordings of the same meaning.

    Returns:
        One to three clauses, the strongest emotion first; two neutral clauses when no emotion reaches ``MIN_STRENGTH``.
    """
    order = [which for which in np.argsort(-signal, kind="stable") if signal[which] >= MIN_STRENGTH]
    if not order:
        return tuple(rng.choice(NEUTRAL, 2, replace=False).tolist())
    return tuple(_clause(EMOTIONS[which], float(signal[which]), rng) for which in order[:MAX_CLAUSES])


def _clause(emotion: str, strength: float, rng: np.random.Generator) -> str:
    wordings = CLAUSES[emotion][int(strength >= 0.45) + int(strength >= 0.7)]
    template = wordings[int(rng.integers(len(wordings)))]
    return template.format(who=rng.choice(WHO), what=rng.choice(WHAT), task=rng.choice(TASK))


def as_sentences(clauses: tuple[str, ...]) -> str:
    """The clauses as one line of text, each a sentence of its own.

    >>> as_sentences(("my sister is brilliant", "I am glad to be here"))
    'My sister is brilliant. I am glad to be here.'
    """
    return " ".join(f"{clause[0].upper()}{clause[1:]}." for clause in clauses)
