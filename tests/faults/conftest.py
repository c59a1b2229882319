"""A small corpus that was extracted, trained on, studied and scored without any disturbance, and a count of faults."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.jobs import do_extract, do_predict, do_study, do_train, make_corpus, started

WORDS = ("injected", "finished things lost", "wrong numbers", "tracebacks")
Count = Callable[..., None]


@dataclass(frozen=True)
class Undisturbed:
    """What everything comes to when nothing breaks.

    Attributes:
        data: the table of clips.
        store, run, study, scores: what the four jobs made of it.
    """

    data: Path
    store: Path
    run: Path
    study: Path
    scores: Path


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("whole")
    made = Undisturbed(
        make_corpus(root / "data"), root / "store", root / "run", root / "study", root / "scores" / "scores.csv"
    )
    made.scores.parent.mkdir()
    for job in (
        (do_extract, made.data, made.store, root / "1"),
        (do_train, made.data, made.store, made.run, root / "2"),
        (do_study, made.data, made.store, made.study, root / "3"),
        (do_predict, made.data, made.run, made.scores, root / "4"),
    ):
        process = started(*job)
        process.join()
        assert process.exitcode == 0, f"{job[0].__name__} does not even work undisturbed"
    return made


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Counts a fault and what it did, for the summary; every number but the first has to be 0."""

    def one(injected: int = 1, lost: int = 0, wrong: int = 0, tracebacks: int = 0) -> None:
        record_property("faults", (injected, lost, wrong, tracebacks))
        assert (lost, wrong, tracebacks) == (0, 0, 0)

    return one


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes are started by the dozen here, which takes its time on a busy machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(1200))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many faults there were and what they did; a soak also writes it down."""
    totals: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, values in report.user_properties:
                    if name == "faults":
                        totals.update(dict(zip(WORDS, values, strict=True)))
    if totals["injected"]:
        terminalreporter.write_sep("=", "faults")
        terminalreporter.write_line(", ".join(f"{word}: {totals[word]}" for word in WORDS))
        if config.option.markexpr == "soak":
            record = {word: totals[word] for word in WORDS}
            (config.rootpath / "soak.json").write_text(json.dumps(record, indent=2) + "\n")
