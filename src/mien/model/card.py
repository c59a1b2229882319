"""The model card: what somebody must know before trusting a score, written from the model's own record."""

from collections.abc import Mapping
from typing import Any


def card(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """A model card in Markdown, with the head that model hubs read.

    Args:
        config: what stands in ``config.json``.
        provenance: what stands in ``provenance.json``.
    """
    lines = ["---", "library_name: mien", "tags: [affective-computing, emotion-mimicry-intensity, video]", "---", ""]
    lines += ["# Emotion mimicry intensity model", ""]
    if config["random_weights"]:
        lines += ["**Made with random backbones: for tests only. Its scores mean nothing.**", ""]
    reads = ", ".join(f"{name} ({width})" for name, width in config["widths"].items())
    lines += [
        f"Scores {', '.join(config['targets'])} for a short video clip. A score is the mean of "
        f"{len(config['models'])} models that differ in their seeds.",
        "",
        f"- Reads (feature width): {reads}",
        f"- Backbones: the {config['settings']['weights']} set; frozen",
        *[f"  - {name}: {made}" for name, made in config["feature_provenance"].items()],
        *[f"- {key.replace('_', ' ').capitalize()}: {provenance[key]}" for key in _FACTS if key in provenance],
        "",
        *_results(provenance.get("results", {})),
        "## Limits",
        "",
        "The scores estimate how strongly raters would say an emotion shows, on people and recordings like those of "
        "the training data. They do not tell what anybody feels. Not for decisions about persons.",
        "",
    ]
    return "\n".join(lines)


_FACTS = ("trained_on", "split", "created", "versions")


def _results(results: Mapping[str, Any]) -> list[str]:
    if not results:
        return []
    lines = ["## Validation", "", "Pearson's r over the whole validation split, mean over seeds.", ""]
    lines += ["| model | " + " | ".join(results["targets"]) + " | mean |"]
    lines += ["|" + "---|" * (len(results["targets"]) + 2)]
    for name, row in results["r"].items():
        lines += [f"| {name} | " + " | ".join(_number(value) for value in row) + " |"]
    return [*lines, ""]


def _number(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.3f}"
