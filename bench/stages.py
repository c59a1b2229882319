"""What it costs to decode in some workers and to run the backbones in others (``mien.features.stages``).

python bench/stages.py driver         # CPU time of the driver for 20,000 empty items, through two stages on Ray
python bench/stages.py handing DATA   # CPU time to decode a clip, to write its inputs too, and to read them
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from cluster import ITEMS, Nothing, show_cost

from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.features.jobs import ClipJob
from mien.features.load_inputs import InputPlan
from mien.features.worker import Extraction, Extractor, plan
from mien.modalities.base import Modality, Prepared, slices
from mien.modalities.vision import BATCH_CROPS
from mien.scale import Cluster, run
from mien.scale.cluster import connected
from mien.schema import Feature, Media


def driver() -> None:
    """CPU time of the driver per item, and how its memory grows, with a worker of each stage."""
    one = Cluster(workers=1)
    with connected(one):
        first = (item for item, _ in run(Nothing(), range(ITEMS), workers=one))
        show_cost(run(Nothing(), first, workers=one))


class Reading(Extractor):
    """Reads all that a backbone reads, and runs none."""

    def features(self, modality: Modality, media: Media, keys: Mapping[str, str] | None = None) -> list[Feature]:
        del keys
        prepared = modality.prepare(media)
        if isinstance(prepared, Prepared) and modality.sense != "text":
            for part in slices(len(prepared.inputs), BATCH_CROPS if modality.sense == "vision" else 1 << 20):
                np.asarray(prepared.inputs[part])
        return []


def handing(data: Path) -> None:
    """CPU time of a worker and its decoder for a clip, by what it does: the median of all but the first."""
    both = plan(read_settings(overrides=["compute.threads=1"]))
    with tempfile.TemporaryDirectory() as folder:
        split = replace(both, inputs=InputPlan(Path(folder), keep=True, temporary=True))
        ways = {"decoded": both, "decoded and written": replace(split, prepares=True), "read": split}
        for name, extraction in ways.items():
            taken = _cpu_of_a_clip(extraction, [ClipJob(clip) for clip in read_manifest(data).clips])
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
            print(f"{name}: {1000 * taken:.0f} ms of CPU a clip; {size / 1e6:.1f} MB wait", flush=True)


def _cpu_of_a_clip(extraction: Extraction, jobs: list[ClipJob]) -> float:
    extractor, taken = Reading(extraction), []
    for job in jobs:
        began = _cpu()
        assert extractor(job).failure is None
        taken.append(_cpu() - began)
    extractor.close()
    return statistics.median(taken[1:])


def _cpu() -> float:
    """CPU time of this process and its decoder, if there is one."""
    decoders = (child.cpu_times() for child in psutil.Process().children())
    return time.process_time() + sum(times.user + times.system for times in decoders)


if __name__ == "__main__":
    import stages  # workers import what they run, which must not be in the main script

    stages.driver() if sys.argv[1] == "driver" else stages.handing(Path(sys.argv[2]))
