"""The data and the encoders of ``studies/elsewhere.yaml``, made from the feature-mode stand-in.

    mien synth big --mode features --clips 12660
    python bench/elsewhere.py big --out elsewhere
    mien study studies/elsewhere.yaml elsewhere/here.csv --features big/features --out elsewhere/study

Participants are divided in three, so that none is in two parts: *elsewhere*, whose clips train one encoder per
modality, each alone, for four of the six emotions; *here*, whose synchronised clips train the fused models; and the
participants of the validation clips.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import mien

RATED_ELSEWHERE = ("Admiration", "Amusement", "Excitement", "Joy")
MODALITIES = ("text", "audio", "vision", "motion")
ELSEWHERE, HERE = 0.48, 0.33
"""Shares of the participants; the rest are for validation."""

SETTINGS = ["stage1.longest_steps=24", "stage1.embedding=128", "stage2.hidden=128", "stage2.epochs=1"]
"""Of the runs elsewhere: sizes as in the study; of stage 2, which is not used, one epoch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="a stand-in of mien synth --mode features")
    parser.add_argument("--out", type=Path, default=Path("elsewhere"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    manifest = mien.read_manifest(args.corpus)
    people = sorted({clip.participant or "" for clip in manifest.clips})
    order = [people[place] for place in np.random.default_rng(0).permutation(len(people))]
    first, second = int(ELSEWHERE * len(people)), int((ELSEWHERE + HERE) * len(people))
    there, here, valid = set(order[:first]), set(order[first:second]), set(order[second:])
    rated = [clip for clip in manifest.clips if clip.labels is not None]
    write(args.out / "here.csv", rated, manifest.targets, manifest.targets, {"train": here, "valid": valid})
    fifth = max(1, len(order[:first]) // 5)
    sides = {"train": there - set(order[:fifth]), "valid": set(order[:fifth])}
    for modality in MODALITIES:
        table = args.out / f"{modality}.csv"
        write(table, rated, manifest.targets, RATED_ELSEWHERE, sides)
        settings = mien.read_settings(overrides=[*SETTINGS, f"modalities=[{modality}]"])
        mien.train(table, args.corpus / "features", args.out / modality, settings)


def write(
    file: Path, clips: Iterable[mien.Clip], known: Sequence[str], targets: Sequence[str], sides: dict[str, set[str]]
) -> None:
    """A table of the clips of some participants, with some of the ratings."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["id", "path", "split", "participant", *targets])
        for clip in clips:
            split = next((name for name, people in sides.items() if clip.participant in people), None)
            if split is not None and clip.labels is not None:
                labels = dict(zip(known, clip.labels, strict=True))
                writer.writerow([clip.id, f"{clip.id}.mp4", split, clip.participant, *(labels[t] for t in targets)])


if __name__ == "__main__":
    main()
