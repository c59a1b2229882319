"""The processes that mien has started: workers (``mien.scale``) and decoders (``mien.media.decoder``)."""

import time

import psutil

from mien.media.decoder_start import NAME


def kill_workers() -> int:
    """Kill all that are alive; how many they were."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    workers = [child for child in alive if "spawn_main" in " ".join(child.cmdline())]
    for worker in workers:
        worker.kill()
    return len(workers)


def decoders() -> list[psutil.Process]:
    """The processes that decode for this one."""
    found = []
    for child in psutil.Process().children():
        try:
            while not (words := child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)  # a process that has just started has no arguments for a moment
            if NAME in words:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
