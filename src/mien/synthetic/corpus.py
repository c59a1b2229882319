"""The stand-in corpus on disk, made by several processes, resumable.

synth(OUT)                      mp4 files of synthetic people, in the challenge's layout
synth(OUT, mode="features")     a feature store alone, at any size, with the best possible predictions
check(OUT)                      published figures and the corpus's own, one table
check(OUT, features=STORE)      … and how much of the videos extraction recovered
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
from mien.synthetic.feature_store import check_features, write_features
from mien.synthetic.features import VERSION, FeaturePlan, draw_clips
from mien.synthetic.labels import claim_folder, draw_labels, write_challenge
from mien.synthetic.media import ClipRenderer, ClipSpec, make_media
from mien.synthetic.oracle import CEILING, check_ceilings, write_oracle
from mien.synthetic.published import Bound, Comparison, check_labels

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
        mode: ``media`` renders mp4 files; ``features`` draws a feature store, with the best possible predictions.
        clips: labelled clips, divided into training and validation as in the challenge (which has 12,660).
        test_clips: clips without labels in the manifest; their labels are in ``test_answers.csv``.
        seed: of all random numbers; the same seed gives the same labels and signals.
        dirt: share of the clips with a fault of the real data (media only); ``spoiled.csv`` lists them.
        provided: also write face images and audio files, as the real data have (media only).
        workers: processes; 0 uses the current one.
        progress: show a progress bar.
        plan: parameters of the features (features only); by default as published.

    Returns:
        The folder, for ``extract`` and ``train``.

    Raises:
        DataError: the folder holds another corpus.
        SettingsError: the plan is impossible.
    """
    folder = Path(out)
    if mode == "media":
        make_media(folder, clips, seed, test_clips, dirt, provided, _renderer(workers, progress))
    else:
        _make_features(folder, replace(plan or FeaturePlan(), seed=seed), (clips, seed, test_clips), workers, progress)
    return folder


def feature_plan(overrides: Iterable[str]) -> FeaturePlan:
    """The default plan of the feature mode with ``name=value`` or ``name.modality=value`` changed, values as YAML.

    Raises:
        SettingsError: a name does not exist, or its value is not allowed.

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
        if not first["loc"]:  # raised by the plan itself, for a value of the right type
            raise SettingsError(first["msg"].removeprefix("Value error, ")) from error
        raise SettingsError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, found {first['input']!r}") from error


def check(folder: str | Path, features: str | Path | None = None) -> list[Comparison | Bound]:
    """Published figures and those of a corpus: labels; in feature mode also durations, missing modalities, ceilings.

    Args:
        folder: the corpus.
        features: a store extracted from its videos; adds how much of the planted signals it holds.

    Raises:
        DataError: there is no corpus in the folder, or ``features`` is given for a corpus without videos.
        StoreError: there is no store at ``features``.
    """
    root = Path(folder)
    if not (root / "train_split.csv").is_file():
        raise DataError(f"{root}: no stand-in corpus; make one with: mien synth {root}")
    rows: list[Comparison | Bound] = [*check_labels(root)]
    if (root / CEILING).is_file():
        rows += [*check_features(root / FEATURES), *check_ceilings(root)]
    if features is not None:
        from mien.synthetic.corpus_check import check_recovery  # noqa: PLC0415 - scikit-learn is slow to import

        rows += check_recovery(root, Path(features))
    return rows


def _renderer(workers: int, progress: bool) -> Callable[[Callable[[ClipSpec], str], Sequence[ClipSpec]], list[str]]:
    """A function that renders clips in several processes, with a progress bar."""

    def render(_: Callable[[ClipSpec], str], clips: Sequence[ClipSpec]) -> list[str]:
        done = []
        for spec, name in counted(run(ClipRenderer(), clips, workers=workers), "rendering", len(clips), progress):
            if isinstance(name, Failed):
                raise DataError(f"{spec.path}: not rendered, {name.reason}; run the same command again")
            done.append(name)
        return done

    return render


def _make_features(
    folder: Path, plan: FeaturePlan, drawn_from: tuple[int, int, int], workers: int, progress: bool
) -> None:
    clips, _, test_clips = drawn_from
    labels = draw_labels(*drawn_from)
    try:
        drawn = draw_clips(labels, plan)
    except ValueError as error:  # before the folder is claimed
        raise SettingsError(f"impossible corpus: {error}") from error
    claim_folder(
        folder, {"mode": "features", "version": VERSION, "clips": clips, "test_clips": test_clips, **asdict(plan)}
    )
    write_challenge(labels, folder)
    if not (folder / CEILING).is_file():
        write_oracle(labels, plan, drawn, folder)
    made = write_features(folder / FEATURES, labels, plan, drawn, max(1, workers))
    for _ in counted(made, "drawing", len(labels.ids), progress):
        continue
