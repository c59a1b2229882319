"""Optuna's side of a search: which settings to try next, and its log, from which a search is continued.

    Proposals(out, name, space, seed) → ask() → (number, chosen) → tell(number, r, reason) → Trial

Proposals are made by TPE from the results so far; trials that are still in work count as bad ones (a constant liar), so
that several at once differ. One at a time, the same seed and results give the same proposals.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import Damaged, DataError, DependencyMissing, SettingsError
from mien.storage.files import MALFORMED, as_written, open_regular
from mien.study.space import Choice, Range

LOG = "trials.log"

LARGEST_LOG = 100_000_000
"""In bytes."""

_REASON, _REPLACES = "reason", "replaces"
"""Attributes of a trial in the log: why it failed, and the number of the interrupted one that it repeats."""


@dataclass(frozen=True)
class Trial:
    """One proposal and its result: ``r`` is the mean over seeds on the inner split, ``None`` if it failed."""

    number: int
    chosen: dict[str, Choice]
    r: float | None
    reason: str = ""


class Proposals:
    """The trials of a search, continued from its log; only one process at a time may have it."""

    def __init__(self, out: Path, name: str, space: dict[str, Range | list[Choice]], seed: int) -> None:
        """Open the log; trials that were interrupted are proposed again, before all others.

        Args:
            out: folder of the search, whose lock the caller holds.
            name: of the search: its settings and data.
            space: by dotted name of a setting.
            seed: of the sampler.

        Raises:
            DependencyMissing: Optuna is not installed.
            SettingsError: the log is that of another search.
            DataError: the log cannot be read, or is damaged.
        """
        self._optuna, self._space = _optuna(), space
        self._study = _opened(self._optuna, out, name, seed)
        self._asked: dict[int, Any] = {}

    def done(self) -> list[Trial]:
        """Finished trials, without those that were interrupted and are proposed again."""
        replaced = _replaced(self._study)
        finished = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]
        return [_as_trial(trial) for trial in finished if trial.number not in replaced]

    def ask(self) -> tuple[int, dict[str, Choice]]:
        """The number and the settings of the next trial."""
        trial = self._study.ask()
        chosen = {name: _suggest(trial, name, values) for name, values in self._space.items()}
        self._asked[trial.number] = trial
        return trial.number, chosen

    def tell(self, number: int, r: float | None, reason: str) -> Trial:
        """Record the result of a trial, or why it failed."""
        trial = self._asked.pop(number)
        if r is None:
            trial.set_user_attr(_REASON, reason)
        self._study.tell(trial, r, state=None if r is not None else self._optuna.trial.TrialState.FAIL)
        return Trial(number, dict(trial.params), r, reason)


def _opened(optuna: Any, out: Path, name: str, seed: int) -> Any:
    """Optuna's study of this name, or a new one."""
    log = out / LOG
    _check_log(log)
    (out / f"{LOG}.lock").unlink(missing_ok=True)  # of a killed search: this process holds the folder's lock
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    try:
        known = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
    except MALFORMED as error:
        raise Damaged(f"{log}: damaged ({error}); delete it: finished trials are not trained again") from error
    if known and name not in known:
        raise SettingsError(f"{out}: holds a search of another space or other data; choose another folder with --out")
    with as_written(log, "delete it: finished trials are not trained again"):
        return _continued(optuna, storage, name, seed, bool(known))


def _continued(optuna: Any, storage: Any, name: str, seed: int, known: bool) -> Any:
    before = len(optuna.load_study(study_name=name, storage=storage).trials) if known else 0
    sampler = optuna.samplers.TPESampler(seed=seed + before, constant_liar=True)
    study = optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
    )
    states = optuna.trial.TrialState
    replaced = _replaced(study)
    for trial in study.get_trials(states=(states.RUNNING,)):  # those that wait to be repeated keep waiting
        if trial.number not in replaced:
            study.enqueue_trial(trial.params, {_REPLACES: trial.number})
        study.tell(trial.number, state=states.FAIL)
    return study


def _replaced(study: Any) -> set[int]:
    """The numbers of interrupted trials that are, or will be, repeated."""
    return {trial.user_attrs[_REPLACES] for trial in study.get_trials(deepcopy=False) if _REPLACES in trial.user_attrs}


def _check_log(file: Path) -> None:
    """Check that the log, which Optuna opens itself, is a regular file of limited size, or does not exist."""
    try:
        open_regular(file, LARGEST_LOG, follow=False).close()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _as_trial(trial: Any) -> Trial:
    r = trial.value if trial.values else None
    return Trial(trial.number, dict(trial.params), r, "" if r is not None else trial.user_attrs.get(_REASON, "failed"))


def _suggest(trial: Any, name: str, values: Range | list[Choice]) -> Choice:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - optional, and slow to load
    except ImportError as error:
        raise DependencyMissing("optuna is not installed; pip install 'mien[study]' brings it") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
