"""What the real parts make of a stand-in corpus: the table in docs/synth.md.

mien synth corpus --clips 300
mien extract corpus --weights small --out store
python bench/synth.py corpus store
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien.artifacts import read_json
from mien.data.synth.drawing import ACTIONS
from mien.data.synth.media import FPS, plan_media, write_script
from mien.data.synth.recovery import recovered, word_errors
from mien.features.store import Store
from mien.schema import EMOTIONS

MEASURES = {
    "smile": (("smile",), ("mouthSmileLeft", "mouthSmileRight")),
    "brow raise": (("brow_inner", "brow_outer"), ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")),
    "open jaw": (("jaw",), ("jawOpen",)),
    "blink": (("blink",), ("eyeBlinkLeft", "eyeBlinkRight")),
}
"""Drawn actions, and the blendshapes that should follow them."""

BLENDSHAPE = {
    name: place
    for place, name in {
        3: "browInnerUp", 4: "browOuterUpLeft", 5: "browOuterUpRight", 9: "eyeBlinkLeft", 10: "eyeBlinkRight",
        25: "jawOpen", 44: "mouthSmileLeft", 45: "mouthSmileRight",
    }.items()
}  # fmt: skip
"""Places of some blendshapes in a motion descriptor."""


def main(corpus: Path, store: Store) -> None:
    """Print the figures."""
    made_of = read_json(corpus / "corpus.json")
    made_of.pop("version")
    clips = sorted(plan_media(corpus, **made_of).clips, key=lambda clip: clip.number)
    clips = [clip for clip in clips if not clip.fault and store.row(clip.id, "motion") is not None]
    words = dict(
        zip(*(pq.read_table(corpus / "signals.parquet")[name].to_pylist() for name in ("id", "words")), strict=True)
    )
    heard = {clip.id: store.clips[clip.id]["transcript"] for clip in clips}
    errors = np.array([word_errors(words[name], said.text if said else "") for name, said in heard.items()])
    print(f"{len(clips)} clips, mean {np.mean([store.clips[clip.id]['seconds'] for clip in clips]):.1f} s")
    print(f"word errors     {errors[:, 0].sum() / errors[:, 1].sum():.3f} of {errors[:, 1].sum()} words")
    looked = sum(int(store.clips[clip.id]["seconds"] * 10) for clip in clips)
    print(f"face found      {sum(len(store.array(clip.id, 'motion')) for clip in clips) / looked:.3f} of frames")
    for name, r in follow_actions(clips, store).items():
        print(f"{name:15} r = {r:.3f}")
    people = np.array([clip.participant for clip in clips])
    print("signal recovered  ", "  ".join(f"{emotion[:9]:>9}" for emotion in EMOTIONS), "     mean")
    for modality in ("text", "audio", "vision", "motion"):
        present = [row for row, clip in enumerate(clips) if len(store.array(clip.id, modality))]
        features = np.stack([store.array(clips[row].id, modality).astype(np.float64).mean(0) for row in present])
        signals = np.array([clips[row].signals[modality] for row in present])
        r = recovered(features, signals, people[present])
        print(f"{modality:18}", "  ".join(f"{value:9.3f}" for value in r), f"{r.mean():9.3f}")


def follow_actions(clips: list, store: Store) -> dict[str, float]:
    """Correlation over all frames of drawn actions with the blendshapes that should follow them."""
    drawn, seen = [], []
    for clip in clips:
        actions = write_script(clip).actions
        moments = (store.seconds(clip.id, "motion") * FPS).round().astype(int)
        drawn.append(actions[moments.clip(0, len(actions) - 1)])
        seen.append(store.array(clip.id, "motion").astype(np.float64))
    actions, shapes = np.concatenate(drawn), np.concatenate(seen)
    return {
        name: float(
            np.corrcoef(
                actions[:, [ACTIONS.index(act) for act in acts]].sum(1),
                shapes[:, [BLENDSHAPE[one] for one in ones]].sum(1),
            )[0, 1]
        )
        for name, (acts, ones) in MEASURES.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Store(Path(sys.argv[2])))
