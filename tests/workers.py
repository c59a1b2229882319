"""The processes that ``mien.scale`` has started."""

import psutil


def kill_workers() -> int:
    """Kill all that are alive; how many they were."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    workers = [child for child in alive if "spawn_main" in " ".join(child.cmdline())]
    for worker in workers:
        worker.kill()
    return len(workers)
