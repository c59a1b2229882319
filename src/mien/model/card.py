"""The model card: what a user must know before relying on a score, from the metadata of the model.

    front matter    for model hubs: licence, tags, metrics (YAML, with a ``model-index``)
    text            use, data, results, licences, limits, law

Rendering only: all numbers are in ``provenance.json``, computed when the model was trained.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from mien.model.encoder_origin import origin_text, origins_in
from mien.model.legal_notice import notice_markdown
from mien.model.licences import Licences
from mien.weights.licences import UNKNOWN
from mien.wording import plural

TASK = "emotion mimicry intensity"
USE = (
    "Estimating how strongly raters would say that emotions show in short videos of one person: for research on "
    "mimicry and expression, for comparing conditions over many clips and people, for annotation that is checked by "
    "a person.",
    "On people, languages, cameras and situations like those of the training data, as far as the results below go.",
)
NOT_FOR = (
    "Inferring what a person feels, means or will do, or whether a person lies.",
    "Decisions about persons: hiring, schooling, insurance, policing, credit, diagnosis.",
    "Monitoring workers, pupils or students, and people who do not know that they are being scored.",
)
LIMITS = (
    "A score is an estimate of ratings. Raters see expressions, and disagree; feelings are not measured.",
    "An emotion that is rare in the training data is scored near its mean.",
    "People who are missing or rare in the training data may be scored worse, and no figure here would show it.",
)

OPTIMISTIC = (
    "The validation clips also stopped the training and calibrated scores and prediction intervals, so the figures "
    "here are somewhat too good; how much, only clips of another split can tell."
)
HONEST = (
    "A part of the training clips stopped the training and calibrated scores and prediction intervals; the validation "
    "clips were only evaluated."
)
REFIT = (
    "This model was then trained again on all {clips} rated clips, validation clips included, for the epochs chosen "
    "before. Every figure and interval here is that of the model before, which was trained on {before} clips and "
    "calibrated the scores of both; no clip is left to measure this one."
)


def card(config: Mapping[str, Any], provenance: Mapping[str, Any], licences: Licences) -> str:
    """A model card in Markdown, with front matter for model hubs.

    Args:
        config: ``config.json``.
        provenance: ``provenance.json``.
        licences: of the pretrained weights.
    """
    results = provenance.get("results", {})
    sections = [
        ("", [*_banner(provenance), *_about(config), *_calibration(provenance)]),
        ("Intended use", _list(USE)),
        ("Not for", _list(NOT_FOR)),
        ("Data", _data(config, provenance)),
        ("Results", [*_results(results), *_before_refit(provenance)]),
        ("Results by group", _groups(results)),
        ("Layers", _layers(provenance)),
        ("Encoders from other runs", _list(origin_text(*one) for one in origins_in(provenance).items())),
        ("Licences", _licences(licences)),
        ("Limits", _list([*LIMITS, *_selection(provenance)])),
        ("Law", notice_markdown()),
        ("Made with", _made_with(config, provenance)),
    ]
    head = yaml.safe_dump(front_matter(config, provenance, licences), sort_keys=False, allow_unicode=True, width=120)
    lines = ["---", head.rstrip(), "---", "", "# Emotion mimicry intensity model", ""]
    for title, body in sections:
        if body:
            lines += [f"## {title}", "", *body, ""] if title else [*body, ""]
    return "\n".join(lines)


def front_matter(config: Mapping[str, Any], provenance: Mapping[str, Any], licences: Licences) -> dict[str, Any]:
    """Front matter for model hubs. The licence of a trained model is its author's choice, so none is named."""
    results = provenance.get("results", {})
    tags = ["affective-computing", "emotion-mimicry-intensity", "video"]
    tags += ["non-commercial-weights"] if licences.non_commercial else []
    head: dict[str, Any] = {
        "library_name": "mien",
        "license": "other",
        "license_name": "not-chosen",
        "license_link": "licences.json",
        "tags": tags
        + (["random-weights"] if config["random_weights"] else [])
        + (["synthetic-data"] if provenance.get("data", {}).get("synthetic") else []),
    }
    before = ", before the refit" if provenance.get("data", {}).get("refit") else ""
    metrics = [
        {"type": "pearsonr", "name": f"Pearson's r, {row['target']}{before}", "value": row["r"][0]}
        for row in results.get("scores", ())
        if row["r"][0] is not None
    ]
    if metrics:
        name = provenance.get("data", {}).get("name", "unknown")
        dataset = {"type": name, "name": name, "split": "validation"}
        one = {"task": {"type": "video-classification", "name": TASK}, "dataset": dataset, "metrics": metrics}
        head["model-index"] = [{"name": f"mien {config['kind']}", "results": [one]}]
    return head


def _banner(provenance: Mapping[str, Any]) -> list[str]:
    if banner := provenance.get("banner"):
        return [f"**{banner[0].upper()}{banner[1:]}.**", ""]
    if not provenance.get("data", {}).get("synthetic"):
        return []
    return ["**Trained on synthetic people: for trying out. Its scores say nothing about real ones.**", ""]


def _about(config: Mapping[str, Any]) -> list[str]:
    reads = ", ".join(f"{name} ({width})" for name, width in config["widths"].items())
    count = len(config["models"])
    lines = ["**Made with random backbones: for tests only. Its scores mean nothing.**", ""]
    return [
        *(lines if config["random_weights"] else ()),
        f"Scores {', '.join(config['targets'])} for a short video clip. "
        + (f"A score is the mean of {count} models that differ in their seeds. " if count > 1 else "")
        + f"It reads (width of the features): {reads}.",
    ]


def _calibration(provenance: Mapping[str, Any]) -> list[str]:
    """How the outputs of the models become scores."""
    made = provenance.get("calibration")
    if not made:
        return []
    slopes = ", ".join(f"{name} {_number(slope)}" for name, slope in made["slopes"].items())
    lines = [
        "A score is an expected rating: outputs are mapped to ratings by least squares, by emotion and set of "
        f"modalities, on {plural(made['clips'], 'clip')} ({made['calibrated_on']}); slopes with all modalities: "
        f"{slopes}.",
        *(f"{note}." for note in made["notes"]),
    ]
    return ["", " ".join(lines)]


def _data(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    data = provenance.get("data")
    if data is None:
        return []
    people = data["participants"]
    known = "participants are unknown" if people is None else f"{people[0]} and {people[1]} participants"
    both = data["participants_on_both_sides"]
    return [
        f"- {data['name']}: {data['train']} training clips, {data['valid']} for validation; {known}"
        + (f", **{both} of them on both sides**" if both else ""),
        *_divided(data),
        f"- Rated for: {', '.join(config['targets'])}"
        + (f"; ratings divided by {scale:g}" if (scale := data.get("label_scale", 1)) != 1 else ""),
        f"- Split: {provenance['split']}; fingerprint of both sides `{data['split_fingerprint']}`",
        f"- Fingerprint of clips, splits, participants and ratings `{provenance['data_fingerprint']}`, of the features "
        f"`{provenance['features_fingerprint']}`",
    ]


def _before_refit(provenance: Mapping[str, Any]) -> list[str]:
    refit = provenance.get("results") and provenance.get("data", {}).get("refit")
    return ["", "**These are results of the model before it was trained again on all clips.**"] if refit else []


def _divided(data: Mapping[str, Any]) -> list[str]:
    """What the training clips were used for, if they were divided again."""
    if "inner_train" not in data:
        return []
    refit = (
        [f"- **Trained again on all {data['train'] + data['valid']} clips, training and validation**"]
        if data.get("refit")
        else []
    )
    used = f"{data['inner_train']} trained the weights, {data['inner_valid']} chose the epochs and calibrated"
    return [f"- Of the training clips, {used} scores and intervals", *refit]


def _inner(provenance: Mapping[str, Any]) -> bool:
    return "inner_train" in provenance.get("data", {})


def _selection(provenance: Mapping[str, Any]) -> list[str]:
    """How far the results can be trusted, given the clips that chose the epochs and calibrated scores and intervals."""
    data = provenance.get("data", {})
    if not _inner(provenance):
        return [OPTIMISTIC]
    refit = REFIT.format(clips=data["train"] + data["valid"], before=data["inner_train"])
    return [HONEST, *([refit] if data.get("refit") else [])]


def _results(results: Mapping[str, Any]) -> list[str]:
    if not results:
        return []
    people = results["participants"]
    rows = results["scores"]
    unit = (
        plural(people, "participant")
        if people
        else "clips (participants are unknown, so the intervals may be too narrow)"
    )
    return [
        f"On {results['clips']} validation clips, over all at once; in brackets {results['level']:.0%} intervals of a "
        f"bootstrap over {unit}, {results['resamples']:,} resamples.",
        "",
        *_table(
            ("", "Pearson's r", "mean absolute error", "clips", "participants"),
            [(row["target"], _ends(row["r"]), _ends(row["error"]), str(row["rated"]), _people(row)) for row in rows],
        ),
        *(f"\n{note[0].upper()}{note[1:]}." for note in results.get("notes", ())),
        "",
        "Pearson's r of each part, mean over seeds:",
        "",
        *_table(
            ("", *results["targets"], "mean"),
            [(name, *map(_number, row)) for name, row in results["r"].items()],
        ),
    ]


def _people(row: Mapping[str, Any]) -> str:
    return str(row.get("participants") or "–")


def _groups(results: Mapping[str, Any]) -> list[str]:
    groups = results.get("groups")
    if results and not groups:
        return ["Groups are unknown: the data had no column `group`. Differences between groups were not evaluated."]
    if not groups:
        return []
    rows = [
        (g["group"], str(g["clips"]), str(g["participants"] or "–"), _ends(g["r"]), _ends(g["error"])) for g in groups
    ]
    return [
        "Validation clips by group. r is the mean over emotions; the error is score minus rating, "
        "above 0 where a group is scored too high.",
        "",
        *_table(("group", "clips", "participants", "Pearson's r", "mean error"), rows),
    ]


def _layers(provenance: Mapping[str, Any]) -> list[str]:
    learned: Mapping[str, Mapping[str, float]] = provenance.get("layers", {})
    if not learned:
        return []
    numbers = sorted({layer for weights in learned.values() for layer in weights}, key=int)
    rows = [(layer, *(_number(w.get(layer)) if layer in w else "–" for w in learned.values())) for layer in numbers]
    return [
        "Learned weights of the layers of each backbone, mean over seeds; 0 is the embedding of the input.",
        "",
        *_table(("layer", *learned), rows),
    ]


def _licences(licences: Licences) -> list[str]:
    rows = [
        (one.role, one.name, one.licence + (" **non-commercial**" if one.non_commercial else ""), one.source)
        for one in licences.weights
    ]
    return [
        "Pretrained weights that it builds on, and cannot score without (`licences.json` has their hashes):",
        "",
        *_table(("for", "weights", "licence", "source"), rows),
        "",
        *_list([*licences.follows, licences.data]),
    ]


def _made_with(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    made = [f"{name}: {way or UNKNOWN}" for name, way in config["feature_provenance"].items()]
    versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    facts = [f"Features: {'; '.join(made)}"]
    facts += [f"Software: {versions}"] if versions else []
    facts += [f"Made: {provenance['created']}"] if "created" in provenance else []
    return _list(facts)


def _list(items: Iterable[str]) -> list[str]:
    return [f"- {item}" for item in items]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    return [f"| {' | '.join(lines[0])} |", "|" + "---|" * len(header), *(f"| {' | '.join(row)} |" for row in lines[1:])]


def _ends(ends: Sequence[float | None]) -> str:
    """Value and interval, where defined."""
    value, low, high = ends
    if value is None or low is None or high is None:
        return _number(value)
    return f"{value:z.3f} [{low:z.3f}, {high:z.3f}]"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:z.3f}"
