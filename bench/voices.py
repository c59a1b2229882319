"""The stand-in's voices without their faces: a folder of sound files with a table, made in milliseconds a clip.

    python bench/voices.py OUT --clips 3700
    mien extract OUT/clips.csv --out OUT/features --weights small --modalities audio --set backbone.audio=layers

A clip sounds as in the video that ``mien synth`` renders from the same clips and seed, but for the loss of its codec.
"""

import argparse
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from mien.data.clip_table import write_clips
from mien.progress import counted
from mien.schema import EMOTIONS, Clip, Manifest
from mien.synthetic.labels import claim_folder
from mien.synthetic.media import VERSION, ClipSpec, plan_media, write_script
from mien.synthetic.voice import VOICE_RATE


def main() -> None:
    """Write the sound files, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=3700, help="for training and validation, as in mien synth")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    made_of = {"mode": "voices", "version": VERSION, "clips": options.clips, "seed": options.seed}
    claim_folder(options.out, made_of)  # by which everything later says that the people are synthetic
    plan = plan_media(options.out, options.clips, options.seed)
    (options.out / "audio").mkdir(exist_ok=True)
    with Pool() as pool:
        spoken = pool.imap_unordered(partial(_write, folder=options.out), plan.clips, chunksize=16)
        for _ in counted(spoken, "speaking", len(plan.clips), True):
            pass
    labels = plan.labels
    clips = tuple(
        Clip(
            id=spec.id,
            path=_file(spec, options.out),
            labels=tuple(labels.shares[spec.number].tolist()),
            split=labels.split[spec.number],
            participant=str(spec.participant),
        )
        for spec in sorted(plan.clips, key=lambda spec: spec.number)
    )
    write_clips(Manifest(options.out, EMOTIONS, clips), options.out / "clips.csv")


def _file(spec: ClipSpec, folder: Path) -> Path:
    return folder / "audio" / f"{spec.id}.wav"


def _write(spec: ClipSpec, folder: Path) -> None:
    samples = np.round(write_script(spec).waveform * 32767).astype(np.int16)
    wavfile.write(_file(spec, folder), VOICE_RATE, samples)


if __name__ == "__main__":
    main()
