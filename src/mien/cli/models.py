"""Commands on models: ``import-features``, ``train``, ``cross-validate``, ``study``, ``tune``, ``evaluate`` …"""

from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import (
    MODEL_HELP,
    ClusterOption,
    ConfigOption,
    DataArgument,
    LabelScaleOption,
    QuietOption,
    RawCellsOption,
    SetOption,
    TargetsOption,
    WorkersOption,
    leave,
    pool_from,
    read_data,
    worker_count,
)
from mien.wording import plural

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
FeaturesOption = Annotated[
    str, typer.Option("--features", "-f", metavar="STORE", help="The clips' features; also s3://….")
]
SplitOption = Annotated[str, typer.Option("--split", help="train, valid, test, another name in the table, or all.")]
EvaluatedSplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="train, valid, test, another name in the table, or all.  [default: the run's validation clips]",
    ),
]
ResamplesOption = Annotated[int, typer.Option("--resamples", min=100, help="Bootstrap resamples.")]


def train(
    data: DataArgument,
    features: FeaturesOption,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="RUN", help="Run folder; the model is in RUN/model; also s3://….")
    ],
    config: ConfigOption = None,
    overrides: SetOption = None,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    quiet: QuietOption = False,
) -> None:
    """Train an encoder per modality, then all of them jointly. The same command continues after an interruption.

    The encoder of a modality may come from another run: --set stage1.text.from=runs/words

    Backbones are trained on several devices with: torchrun --nproc-per-node 2 -m mien.cli train …
    """
    from mien import api
    from mien.cli.options import settings_from
    from mien.cli.results import print_run
    from mien.scale import follows

    settings = settings_from(config, overrides)
    shown = not (quiet or follows())
    summary = api.train(read_data(data, targets, label_scale), features, out, settings, progress=shown)
    if not follows():
        print_run(summary)


def cross_validate(
    data: DataArgument,
    features: FeaturesOption,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the folds and the results.")],
    folds: Annotated[int, typer.Option("--folds", min=2, help="Number of folds, at most one per participant.")] = 5,
    workers: WorkersOption = 0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    quiet: QuietOption = False,
) -> None:
    """Estimate r by nested cross-validation over participants: each clip is scored by models that never saw its person.

    Continues after an interruption.
    """
    from mien import api
    from mien.cli.options import settings_from
    from mien.cli.results import print_cross_validation

    settings = settings_from(config, overrides)
    manifest = read_data(data, targets, label_scale)
    count = worker_count(workers, folds)
    print_cross_validation(
        api.cross_validate(manifest, features, out, settings, folds=folds, workers=count, progress=not quiet)
    )


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY", help="A study file, e.g. studies/two_stage.yaml.")],
    data: DataArgument,
    features: FeaturesOption,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the study and its report.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print what would be trained, and how long it takes.")
    ] = False,
    workers: WorkersOption = 0,
    cluster: ClusterOption = None,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    quiet: QuietOption = False,
) -> None:
    """Compare training variants on the same clips: seeds, intervals, paired tests. Continues after an interruption."""
    from mien.cli.results import print_estimate, print_study
    from mien.progress import counted
    from mien.reporting.study_files import write_study_files
    from mien.storage.mirror import local_folder
    from mien.study.plan import read_study
    from mien.study.study import estimate, run_study

    variants, manifest = read_study(file), read_data(data, targets, label_scale)
    store = local_folder(features)
    expected = estimate(variants, manifest, store, out)
    print_estimate(expected, variants)
    if plan:
        return
    pool = pool_from(workers, expected.cells + expected.trials, cluster, variants.reference.settings.compute)
    results, failed, _ = run_study(
        variants, manifest, store, out, pool,
        lambda done, total: counted(done, "studying", total, not quiet, "trainings"),
    )  # fmt: skip
    print_study(results, failed, write_study_files(out))
    leave(len(failed), len(variants.cells))


def tune(
    file: Annotated[Path, typer.Argument(metavar="SPACE", help="The search space, e.g. studies/search/fusion.yaml.")],
    data: DataArgument,
    features: FeaturesOption,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the search and its recipe.")],
    workers: WorkersOption = 0,
    cluster: ClusterOption = None,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    quiet: QuietOption = False,
) -> None:
    """Search for good settings on an inner split of the training clips. Continues after an interruption.

    Each trial is proposed from the results so far. With --workers 4 four are tried at a time: sooner done, but each is
    proposed without the results of three others, and another run may propose others.
    """
    from mien.cli.results import print_search
    from mien.progress import counted
    from mien.storage.mirror import local_folder
    from mien.study.tune import Search, read_space

    space = read_space(file)
    pool = pool_from(workers, space.file.trials, cluster, space.base.compute)
    search = Search(space, read_data(data, targets, label_scale), local_folder(features), out, pool)
    for trial in counted(search, "tuning", space.file.trials, not quiet, "trials"):
        if trial.reason:
            terminal.warn(f"trial {trial.number} failed: {trial.reason}")
    print_search(search, search.finish())


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    data: DataArgument,
    features: FeaturesOption,
    split: EvaluatedSplitOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="TABLE", help="Also write a row per clip: .csv, .parquet …")
    ] = None,
    resamples: ResamplesOption = 10_000,
    subsets: Annotated[bool, typer.Option(help="Also evaluate every subset of modalities.")] = True,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    raw_cells: RawCellsOption = False,
) -> None:
    """Evaluate a model on a split: r per emotion with bootstrap intervals, subsets of modalities, interval coverage."""
    from mien.cli.results import print_evaluation
    from mien.evaluation.evaluate import evaluate as evaluate_bundle
    from mien.evaluation.record import write_evaluation
    from mien.features.store import Store
    from mien.model.model_folder import load_bundle
    from mien.scores.tables import check_suffix, write_table
    from mien.storage.mirror import local_folder, mirror_of

    if out is not None:
        check_suffix(out)
    manifest = read_data(data, targets, label_scale)
    mirror, run = mirror_of(model), local_folder(model)
    store = Store(local_folder(features))
    result = evaluate_bundle(load_bundle(run), manifest, store, split, resamples, subsets)
    written = []
    if (run / "run.json").is_file():
        written.append(f"{write_evaluation(result, run, str(data))}: written, for mien report {model}")
    if mirror:
        mirror.push()
    if out is not None:
        write_table(result.table, out, raw_cells=raw_cells)
        written.append(f"{out}: written")
    print_evaluation(result)
    for line in written:
        terminal.say(line)


def compare(
    first: ModelArgument,
    second: ModelArgument,
    data: DataArgument,
    features: FeaturesOption,
    other_features: Annotated[
        Path | None,
        typer.Option("--other-features", metavar="STORE", help="Features for the second model, if different."),
    ] = None,
    split: EvaluatedSplitOption = None,
    resamples: ResamplesOption = 10_000,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
) -> None:
    """Is the second model better than the first? Paired bootstrap on the same clips."""
    from mien.cli.results import print_comparison
    from mien.evaluation.comparison import compare as compare_bundles
    from mien.features.store import Store
    from mien.model.model_folder import load_bundle
    from mien.storage.mirror import local_folder

    manifest = read_data(data, targets, label_scale)
    stores = (Store(here := local_folder(features)), Store(other_features or here))
    compared = compare_bundles(load_bundle(first), load_bundle(second), manifest, stores, split, resamples)
    for note in compared.notes:
        terminal.note(note)
    print_comparison(compared)


def submit(
    given: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL DATA", help="The model (or its run) and the data; with --check only DATA."),
    ],
    features: Annotated[
        Path | None, typer.Option("--features", "-f", metavar="STORE", help="The test clips' features.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="File to write.")] = Path("predictions.csv"),
    split: SplitOption = "test",
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    fill: Annotated[
        str | None,
        typer.Option("--fill", help="Score of clips without any modality: mean (of the others) or a number."),
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Only check this file against the data.")
    ] = None,
) -> None:
    """Write a challenge submission, or check one: header, order, rows and range as the challenge requires."""
    from mien.evaluation.submission import check_submission, write_submission
    from mien.features.store import Store
    from mien.model.model_folder import load_bundle

    if len(given) != (1 if check else 2) or (features is None and check is None):
        raise typer.BadParameter("write mien submit MODEL DATA --features STORE, or mien submit --check FILE DATA")
    manifest = read_data(given[-1], targets, label_scale)
    if features is not None and check is None:
        for note in write_submission(load_bundle(given[0]), manifest, Store(features), out, split, fill):
            terminal.note(note)
    file = check or out
    terminal.say(f"{file}: valid, {_rows(check_submission(file, manifest, split))}")


def import_features(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="STORE", help="Folder of the feature store.")],
) -> None:
    """Import the features that the challenge provides (vit/, wav2vec2/) into a store, instead of computing them."""
    from mien.data.manifest import read_manifest
    from mien.features.challenge import import_provided

    imported = import_provided(Path(data), read_manifest(data), out)
    for (modality, reason), (count, first) in imported.absent.items():
        terminal.say(f"  {modality}: {reason} for {plural(count, 'clip')}, first {first}")
    terminal.say(
        f"{out}: " + ", ".join(f"{modality} of {plural(count, 'clip')}" for modality, count in imported.made.items())
    )


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"


COMMANDS = [
    (import_features, "Example: mien import-features hume-vidmimic2/ --out features"),
    (train, "Example: mien train hume-vidmimic2/ --features features --out runs/first"),
    (cross_validate, "Example: mien cross-validate rated.csv --features features --folds 5 --out cv"),
    (study, "Example: mien study studies/two_stage.yaml hume-vidmimic2/ --features features --out studies/out --plan"),
    (
        tune,
        "Example: mien tune studies/search/fusion.yaml hume-vidmimic2/ --features features --out tuned --workers 4",
    ),
    (evaluate, "Example: mien evaluate runs/first hume-vidmimic2/ --features features --split valid"),
    (compare, "Example: mien compare runs/first runs/second hume-vidmimic2/ --features features"),
    (submit, "Example: mien submit runs/first hume-vidmimic2/ --features features --out predictions.csv"),
]
