"""The stand-in corpus on the disk: planned below (``data/synth/``), filmed by several processes, resumable."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.artifacts import read_json, write_json
from mien.data.synth.media import ClipSpec, film_clip, plan_media, write_plan
from mien.errors import DataError
from mien.progress import counted
from mien.scale import Failed, run


def synth(
    out: str | Path,
    *,
    clips: int = 400,
    test_clips: int = 0,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> int:
    """Make the stand-in corpus as real mp4 files in the challenge's layout; the same call continues an interrupted one.

    Args:
        out: folder to fill.
        clips: rated clips, shared out between training and validation.
        test_clips: unrated clips in ``test_data/``; their labels stand in ``test_answers.csv``.
        seed: of all random numbers; the same seed gives the same labels and signals.
        workers: processes; 0 works in this one.
        progress: show a bar.

    Returns:
        How many clips were filmed now; those that stood already are not filmed again.

    Raises:
        DataError: the folder holds another corpus.
    """
    folder = Path(out)
    plan = plan_media(folder, clips, seed, test_clips)
    begin_corpus(folder, {"mode": "media", "clips": clips, "test_clips": test_clips, "seed": seed})
    write_plan(plan, folder)
    missing = [spec for spec in plan.clips if not spec.path.exists()]
    for spec, done in counted(run(Filming(), missing, workers=workers), "filming", len(missing), progress):
        if isinstance(done, Failed):
            raise DataError(f"{spec.path}: not filmed, {done.reason}; run the same command again")
    return len(missing)


@dataclass(frozen=True)
class Filming:
    """Films a clip of the stand-in corpus, in whatever process it is called."""

    def __call__(self) -> Callable[[ClipSpec], str]:
        """The function that films."""
        return film_clip


def begin_corpus(folder: Path, recipe: dict[str, Any]) -> None:
    """Write down what a corpus is made of, or see that it is what stands there already.

    Raises:
        DataError: the folder holds another corpus, or something else.
    """
    record = folder / "synth.json"
    if record.exists():
        if read_json(record) != recipe:
            raise DataError(f"{folder}: holds another stand-in corpus, {read_json(record)}; name another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: a folder with other things in it; name an empty or a new one")
    else:
        write_json(record, recipe)
