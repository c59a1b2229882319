"""Work on a Ray cluster: what one process would have made, whatever dies on the way."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.doctor import check_nodes
from mien.errors import MienError
from mien.features.extract import extract
from mien.features.writer import SHARD_CLIPS
from mien.sandbox import network_guard
from mien.scale import Cluster, Failed, run
from tests.faults.conftest import Undisturbed
from tests.faults.deadly import Deadly
from tests.faults.jobs import EXTRACTION, command, make_corpus, undated
from tests.faults.test_parts import contents
from tests.study.test_parallel_search import log_of, search
from tests.test_scale import Squares
from tests.training.planted import planted

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs mien[ray]", allow_module_level=True)

TOKEN = "0" * 64

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}  # fmt: skip
"""As mien sets them for a Ray of its own, without reports and with authentication; read when Ray is imported."""

ROOT = Path(__file__).parents[2]
NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes with one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        made = Cluster(initialize_head=True, head_node_args=NODE)
        made.add_node(**NODE)
        yield made
        made.shutdown()


EXTRACTED = ("text", "text_layers", "tokens", "audio")
"""The stored sequences of each clip."""

SETTINGS = [word for each in EXTRACTION for word in ("--set", each)]


def test_every_item_comes_back_and_what_kills_or_hangs_costs_only_itself(nodes: Any) -> None:
    pool = Cluster(nodes.address, 2)
    results = dict(run(Squares(), [1, -1, 2, -2, *range(3, 30)], workers=pool, seconds_each=lambda _: 4))
    lost = {item: result.reason for item, result in results.items() if isinstance(result, Failed)}
    assert lost == {-1: "the worker process died (exit code 9)", -2: "gave up after 4 s"}
    assert {item: r[0] for item, r in results.items() if item not in lost} == {n: n * n for n in range(1, 30)}


def test_an_item_that_kills_three_actors_is_reported_and_the_others_go_on(nodes: Any) -> None:
    results = dict(run(Deadly(), ["a", "actor", "b", "network", "c"], workers=Cluster(nodes.address)))
    failed = results.pop("actor")
    assert isinstance(failed, Failed) and failed.reason.startswith("3 workers died with it")
    assert results == {
        "a": "a",
        "b": "b",
        "c": "c",
        "network": (network_guard() and "network") or "Operation not permitted",
    }


def test_an_error_of_the_function_is_raised_by_the_driver(nodes: Any) -> None:
    with pytest.raises(ArithmeticError, match="minus three"):
        list(run(Squares(), [1, -3], workers=Cluster(nodes.address, 1)))


def test_a_node_with_another_version_is_named_and_refused(nodes: Any, tmp_path: Path) -> None:
    here = version("mien")
    assert [(one.fine, one.found.partition(";")[0]) for one in check_nodes(nodes.address)] == [
        (True, f"mien {here}")
    ] * 2
    other = tmp_path / "mien-9.9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: mien\nVersion: 9.9.9\n")
    node = nodes.add_node(**NODE, env_vars={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    try:
        findings = check_nodes(nodes.address)
        assert sorted(one.found.partition(";")[0] for one in findings) == [f"mien {here}", f"mien {here}", "mien 9.9.9"]
        assert [one.remedy for one in findings if not one.fine] == [f"install mien {here} on it, as here"]
        with pytest.raises(MienError, match=rf"has mien 9\.9\.9, but here it is {here}; install one version"):
            list(run(Squares(), range(1000), workers=Cluster(nodes.address, 3)))
    finally:
        nodes.remove_node(node)


def test_a_cluster_that_is_not_there_is_reported_in_a_line(nodes: Any) -> None:
    with pytest.raises(MienError, match=r"127\.0\.0\.1:1: cannot be reached"):
        list(run(Squares(), [1], workers=Cluster("127.0.0.1:1")))


@pytest.mark.soak
def test_predict_writes_what_it_writes_without_a_cluster(nodes: Any, whole: Undisturbed, tmp_path: Path) -> None:
    line = [whole.run, whole.data, "--quiet", "--why", "--out"]
    code, _, complaint = command("predict", *line, tmp_path / "whole.json", said=tmp_path / "said")
    assert code == 0, complaint
    driver = started(nodes, "predict", *line, tmp_path / "scores.json")
    _, complaint = driver.communicate(timeout=120)
    assert driver.returncode == 0, complaint
    assert undated(tmp_path / "scores.json") == undated(tmp_path / "whole.json")


@pytest.mark.soak
def test_a_search_tries_two_at_a_time_and_repeats_what_a_killed_actor_had(nodes: Any, tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", train=90, valid=10)
    made = search(tmp_path, (manifest, store.root), 8, Cluster(nodes.address, 2))
    for number, _ in enumerate(made):
        if number == 1:
            actors_of(nodes.list_all_nodes()[0])[0].kill()
    assert [trial.number for trial in made.done] == list(range(8))
    assert all(trial.r is not None for trial in made.done)
    times = [(trial.datetime_start, trial.datetime_complete) for trial in log_of(tmp_path)]
    assert max(sum(begin <= moment < end for begin, end in times) for moment, _ in times) == 2


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary folder with a short name: those of Unix sockets have at most 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.soak)])
def test_a_ray_of_ones_own_ends_with_its_driver_and_leaves_nothing(
    number: signal.Signals, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.delenv(name)
    program = (
        "from mien.scale import Cluster, run; from tests.test_scale import Squares\n"
        "for item, _ in run(Squares(), [1, *[-2] * 9], workers=Cluster(workers=1)): print(item, flush=True)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(short)}, start_new_session=True,
    )  # fmt: skip
    assert driver.stdout is not None
    assert driver.stdout.readline() == "1\n", driver.communicate()
    begun = psutil.Process(driver.pid).children(recursive=True)
    listening = {c.laddr.ip for one in begun for c in connections(one) if c.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    os.killpg(driver.pid, number)
    _, alive = psutil.wait_procs(begun, timeout=30)
    driver.communicate()
    assert not alive
    assert number == signal.SIGKILL or not list(short.iterdir())


def test_a_ray_of_ones_own_leaves_the_handler_of_sigterm_to_its_program(short: Path) -> None:
    """Ray's own would end the command before it has said what it kept."""
    program = (
        "import signal; from mien.scale.cluster import Cluster, connected\n"
        "signal.signal(signal.SIGTERM, before := lambda *_: None)\n"
        "with connected(Cluster(workers=1)): print(signal.getsignal(signal.SIGTERM) is before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | {"TMPDIR": str(short)},
        timeout=120,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr


@pytest.mark.soak
@pytest.mark.parametrize("clips", [60, 2000])
def test_a_store_is_that_of_one_process_though_an_actor_a_node_and_the_driver_were_killed(
    clips: int, nodes: Any, tmp_path: Path
) -> None:
    data, store = make_corpus(tmp_path / "data", clips), tmp_path / "store"
    for _ in extract(read_manifest(data), tmp_path / "whole", read_settings(overrides=EXTRACTION), workers=0):
        pass

    driver = started(nodes, "extract", data, "--out", store, "--quiet", *SETTINGS)
    wait_for(store, clips // 10, driver)
    actors_of(nodes.list_all_nodes()[0])[0].kill()
    wait_for(store, clips // 5, driver)
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
    nodes.add_node(**NODE)
    wait_for(store, clips // 2, driver)
    driver.kill()
    driver.communicate()
    again = started(nodes, "extract", data, "--out", store, "--quiet", *SETTINGS)
    said, complaint = again.communicate(timeout=1200)
    reused = re.search(r"(\d+) computed, (\d+) reused, \d+ modalities missing, 0 failed", said)
    assert reused and int(reused[1]) + int(reused[2]) == clips, said + complaint
    assert int(reused[2]) >= clips // 2
    rows = Counter(pair for shard in (store / "shards").iterdir() for pair in pairs_of(shard))
    assert len(rows) == len(EXTRACTED) * clips and set(rows.values()) == {1}  # none lost, none twice
    assert contents(store) == contents(tmp_path / "whole")
    print(f"{clips} clips: {reused[2]} kept by the killed driver, {reused[1]} after it, 0 lost, 0 twice")


@pytest.mark.soak
def test_backbone_workers_on_the_nodes_make_the_store_of_one_process(
    nodes: Any, whole: Undisturbed, tmp_path: Path
) -> None:
    """Without a GPU: two actors decode and one runs the backbones, on two nodes with one core each and a third."""
    node = nodes.add_node(**NODE)
    try:
        split = ["--set", "compute.backbone_workers=1", "--workers", "2", *SMALL.split()]
        driver = started(nodes, "extract", whole.data, "--out", tmp_path, "--quiet", *split)
        busiest = 0
        while driver.poll() is None:
            busiest = max(busiest, sum(len(actors_of(one)) for one in nodes.list_all_nodes()))
            time.sleep(0.2)
        _, complaint = driver.communicate()
        assert driver.returncode == 0, complaint
        assert busiest == 3
        assert contents(tmp_path) == contents(whole.store)
        assert not list(tmp_path.glob(".inputs.*"))
    finally:
        nodes.remove_node(node)


def connections(process: psutil.Process) -> list[Any]:
    try:
        return process.net_connections()
    except psutil.Error:  # it has just ended
        return []


def started(nodes: Any, *arguments: Any) -> "subprocess.Popen[str]":
    """The command line on the cluster."""
    return subprocess.Popen(
        [sys.executable, "-m", "mien.cli", *map(str, arguments), "--cluster", f"ray={nodes.address}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def wait_for(store: Path, clips: int, driver: "subprocess.Popen[str]") -> None:
    """Wait until so many clips are in the store: sealed, or pending if they are fewer than one shard.

    Those that are being sealed are both for a moment.
    """
    while True:
        pending = len(list(store.glob("pending/*.safetensors")))
        sealed = SHARD_CLIPS * len(list(store.glob("shards/[0-9]*")))
        if (pending if clips < SHARD_CLIPS else sealed) >= clips:
            return
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.005)


def actors_of(node: Any) -> list[psutil.Process]:
    """The actors of mien on a node."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [child for child in raylet.children() if "Actor" in child.name() or "Actor" in "".join(child.cmdline())]


def pairs_of(shard: Path) -> list[tuple[str, str]]:
    table = pq.read_table(shard / "index.parquet")
    return list(zip(table["clip"].to_pylist(), table["modality"].to_pylist(), strict=True))


SMALL = "--weights tiny --modalities text,audio --set compute.precision=float32"
SHIMS = {
    "mien": f'exec {sys.executable} -m mien.cli "$@"',
    "scontrol": "echo 127.0.0.1; echo 127.0.0.2",
    "srun": 'exec "$@"',
    "ray": f'export RAY_AUTH_TOKEN={TOKEN}; while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
}
"""Programs of a SLURM installation, and of one that starts Ray, as far as the recipes call them; Ray runs already."""


@pytest.fixture
def site(tmp_path: Path, whole: Undisturbed, nodes: Any) -> dict[str, str]:
    """The environment of a job; /data of a container is ``tmp_path``."""
    (tmp_path / "bin").mkdir()
    for name, script in SHIMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    host, _, port = nodes.address.partition(":")
    assert host == "127.0.0.1"
    return os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "RAY_ADDRESS": nodes.address,
        "DATA": str(whole.data), "STORE": str(tmp_path / "features"), "OPTIONS": SMALL, "PORT": port,
        "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip


def execute(command: str, site: dict[str, str]) -> None:
    done = subprocess.run(["sh", "-c", command], env=site, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.soak
def test_the_recipe_for_ray_in_a_slurm_job_makes_the_store(site: dict[str, str], whole: Undisturbed) -> None:
    execute(str(ROOT / "recipes" / "slurm" / "ray.sh"), site)
    assert contents(Path(site["STORE"])) == contents(whole.store)


@pytest.mark.soak
def test_the_entrypoint_of_the_recipe_for_kuberay_makes_the_store(
    site: dict[str, str], whole: Undisturbed, tmp_path: Path
) -> None:
    recipe = yaml.safe_load((ROOT / "recipes" / "kuberay" / "rayjob.yaml").read_text())
    groups = [recipe["spec"]["rayClusterSpec"]["headGroupSpec"], *recipe["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    for group in groups:
        environment = {one["name"]: one for one in group["template"]["spec"]["containers"][0]["env"]}
        assert (
            environment["RAY_AUTH_MODE"]["value"] == "token" and environment["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
        )
    execute(in_folder(recipe["spec"]["entrypoint"], whole, tmp_path), site)
    assert contents(tmp_path / "features") == contents(whole.store)


@pytest.mark.soak
def test_the_recipes_for_arrays_make_parts_that_merge(site: dict[str, str], whole: Undisturbed, tmp_path: Path) -> None:
    """A part by SLURM, the other by Kubernetes."""
    execute(str(ROOT / "recipes" / "slurm" / "array.sh"), site | {"SLURM_ARRAY_TASK_ID": "2", "PARTS": "2"})
    recipe = yaml.safe_load((ROOT / "recipes" / "kuberay" / "indexed-job.yaml").read_text())
    (container,) = recipe["spec"]["template"]["spec"]["containers"]
    assert f"/{recipe['spec']['completions']} " in container["args"][0]
    text = in_folder(container["args"][0], whole, tmp_path).replace("/16 ", "/2 ")
    execute(text, site | {"JOB_COMPLETION_INDEX": "0"})
    execute('mien merge "$STORE"', site)
    assert contents(tmp_path / "features") == contents(whole.store)


def in_folder(command: str, whole: Undisturbed, folder: Path) -> str:
    """A command of a container, with the test's clips and a folder in place of its volume."""
    command = command.replace("/data/clips.csv", str(whole.data)).replace("/data/features", f"{folder}/features")
    return command.replace("--quiet", f"--quiet {SMALL}")
