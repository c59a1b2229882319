"""The stand-in corpus on the disk: planned below (``data/synth/``), made by several processes, resumable.

synth(OUT)                      mp4 files of people who never were, in the challenge's layout
synth(OUT, mode="features")     its feature store alone, at any size, with the best answers anybody could give
check(OUT)                      published against made, one table
check(OUT, features=STORE)      … and what the real parts understood of the films
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from mien.config import set_dotted
from mien.errors import DataError, SettingsError
from mien.progress import counted
from mien.scale import Failed, run
from mien.synthetic.feature_store import check_features, file_features
from mien.synthetic.features import VERSION, FeaturePlan, draw_clips
from mien.synthetic.labels import Bound, Comparison, check_labels, claim, draw_labels, write_challenge
from mien.synthetic.media import ClipSpec, Filming, make_media
from mien.synthetic.oracle import CEILING, check_ceilings, write_oracle

FEATURES = "features"
"""The folder of the feature store in a corpus of features."""


def synth(
    out: str | Path,
    *,
    mode: Literal["media", "features"] = "media",
    clips: int = 400,
    test_clips: int = 0,
    seed: int = 0,
    dirt: float = 0.0,
    provided: bool = False,
    workers: int = 0,
    progress: bool = True,
    plan: FeaturePlan | None = None,
) -> Path:
    """Make the stand-in corpus in the challenge's layout; the same call continues an interrupted one.

    Args:
        out: folder to fill.
        mode: ``media`` films real mp4 files; ``features`` draws a feature store, with the best answers beside it.
        clips: rated clips, shared out between training and validation as in the challenge (which has 12,660).
        test_clips: unrated clips; their labels stand in ``test_answers.csv``.
        seed: of all random numbers; the same seed gives the same labels and signals.
        dirt: share of the clips that get a fault of the real data (media only); ``spoiled.csv`` lists them.
        provided: also write the face pictures and sound that come with the real data (media only).
        workers: processes; 0 works in this one.
        progress: show a bar.
        plan: what the features are like (features only); by default as published.

    Returns:
        The folder, to be given to ``extract`` and ``train``.

    Raises:
        DataError: the folder holds another corpus.
        SettingsError: no features can be as the plan has them.
    """
    folder = Path(out)
    if mode == "media":
        make_media(folder, clips, seed, test_clips, dirt, provided, _filmed_by(workers, progress))
    else:
        _make_features(folder, replace(plan or FeaturePlan(), seed=seed), (clips, seed, test_clips), workers, progress)
    return folder


def feature_plan(overrides: Iterable[str]) -> FeaturePlan:
    """The default plan of the feature mode with ``name=value`` or ``name.modality=value`` changed, values as YAML.

    Raises:
        SettingsError: there is no such name, or it cannot have this value.

    >>> feature_plan(["no_text=0.3", "widths.text=96"]).widths["text"]
    96
    """
    plain, values = asdict(FeaturePlan()), asdict(FeaturePlan())
    for override in overrides:
        set_dotted(values, override)
    for name, value in values.items():
        if name not in plain:
            raise SettingsError(f"{name}: the feature mode has no such setting; known are {', '.join(plain)}")
        if isinstance(plain[name], dict) and (unknown := set(value) - set(plain[name])):
            raise SettingsError(f"{name}.{unknown.pop()}: no such modality; known are {', '.join(plain[name])}")
    try:
        return TypeAdapter(FeaturePlan).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # said by the plan itself, of values that are of the right type
            raise SettingsError(first["msg"].removeprefix("Value error, ")) from error
        raise SettingsError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, found {first['input']!r}") from error


def check(folder: str | Path, features: str | Path | None = None) -> list[Comparison | Bound]:
    """The published figures beside those of a corpus: labels, and in feature mode also lengths, gaps and ceilings.

    Args:
        folder: the corpus.
        features: a store made from its films; adds what the real parts understood of them, beside what is asked.

    Raises:
        DataError: there is no corpus in the folder, or it was not filmed but has ``features``.
        StoreError: there is no store at ``features``.
    """
    root = Path(folder)
    if not (root / "train_split.csv").is_file():
        raise DataError(f"{root}: no stand-in corpus; make one with: mien synth {root}")
    rows: list[Comparison | Bound] = [*check_labels(root)]
    if (root / CEILING).is_file():
        rows += [*check_features(root / FEATURES), *check_ceilings(root)]
    if features is not None:
        from mien.synthetic.corpus_check import check_understood  # noqa: PLC0415 - scikit-learn is slow to load

        rows += check_understood(root, Path(features))
    return rows


def _filmed_by(workers: int, progress: bool) -> Callable[[Callable[[ClipSpec], str], Sequence[ClipSpec]], list[str]]:
    """How clips are filmed: by processes, with a bar."""

    def film(_: Callable[[ClipSpec], str], clips: Sequence[ClipSpec]) -> list[str]:
        done = []
        for spec, name in counted(run(Filming(), clips, workers=workers), "filming", len(clips), progress):
            if isinstance(name, Failed):
                raise DataError(f"{spec.path}: not filmed, {name.reason}; run the same command again")
            done.append(name)
        return done

    return film


def _make_features(
    folder: Path, plan: FeaturePlan, drawn_from: tuple[int, int, int], workers: int, progress: bool
) -> None:
    clips, _, test_clips = drawn_from
    labels = draw_labels(*drawn_from)
    try:
        drawn = draw_clips(labels, plan)
    except ValueError as error:  # before the folder is taken
        raise SettingsError(f"no such corpus can be: {error}") from error
    claim(folder, {"mode": "features", "version": VERSION, "clips": clips, "test_clips": test_clips, **asdict(plan)})
    write_challenge(labels, folder)
    if not (folder / CEILING).is_file():
        write_oracle(labels, plan, drawn, folder)
    made = file_features(folder / FEATURES, labels, plan, drawn, max(1, workers))
    for _ in counted(made, "drawing", len(labels.ids), progress):
        continue
