"""Plays a file as a camera would, through ``WS /v1/live``, and measures how late its scores come."""

import json
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

CLUSTER_MILLISECONDS = 250
"""A cluster is sent as soon as it is complete, like the slices of a browser."""


@dataclass
class Played:
    """What came back.

    Attributes:
        first, final: seconds from when the end of a window was sent to its first and to its final scores.
        events: number of events by type.
        stopped: the last event.
    """

    first: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    stopped: dict[str, Any] = field(default_factory=dict)


class _Camera:
    """A file for a muxer, whose bytes are sent; knows when each moment of the stream was."""

    def __init__(self, socket: ClientConnection) -> None:
        self.muxed = 0.0
        self.moments: list[float] = []
        self.times: list[float] = []
        self._socket = socket

    def write(self, data: bytes) -> int:
        for place in range(0, len(data), 500_000):
            self._socket.send(data[place : place + 500_000])
        self.moments.append(self.muxed)
        self.times.append(time.monotonic())
        return len(data)

    def late(self, moment: float) -> float | None:
        """Seconds since a moment of the stream was sent; ``None`` if it was not."""
        place = bisect_left(self.moments, moment)
        return None if place == len(self.moments) else time.monotonic() - self.times[place]


def play(port: int, key: str, file: Path, seconds: float, windows: float = 4.0, hop: float = 1.0) -> Played:
    """Send a file in real time, again and again until so many seconds have passed; packets are copied."""
    headers, played = {"Authorization": f"Bearer {key}"}, Played()
    with connect(f"ws://127.0.0.1:{port}/v1/live", additional_headers=headers, compression=None) as socket:
        start = {"type": "start", "windows": windows, "hop": hop, "mime": "video/x-matroska", "keep": "none"}
        socket.send(json.dumps(start))
        while json.loads(socket.recv(300))["type"] != "ready":
            pass
        camera = _Camera(socket)
        sender = threading.Thread(target=_send, args=(camera, socket, file, seconds), daemon=True)
        sender.start()
        shown: set[float] = set()
        for event in _events(socket):
            kind = event["type"]
            played.events[kind] = played.events.get(kind, 0) + 1
            if kind == "window" and (late := camera.late(event["end"])) is not None:
                if event["start"] not in shown:
                    played.first.append(late)
                shown.add(event["start"])
                if event["state"] == "final":
                    played.final.append(late)
            elif kind == "stopped":
                played.stopped = event
        sender.join()
    return played


def _events(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    try:
        while True:
            yield json.loads(socket.recv())
    except ConnectionClosed:
        return


def _send(camera: _Camera, socket: ClientConnection, file: Path, seconds: float) -> None:
    began, passed = time.monotonic(), 0.0
    options = {"cluster_time_limit": str(CLUSTER_MILLISECONDS), "flush_packets": "1", "live": "1"}
    with av.open(camera, "w", format="matroska", container_options=options) as written:
        streams: dict[int, Any] = {}
        while passed < seconds:
            end = passed
            with av.open(str(file)) as read:
                for packet in read.demux(*read.streams.video[:1], *read.streams.audio[:1]):
                    if packet.dts is None or packet.pts is None:
                        continue
                    base = packet.time_base
                    if not streams:
                        for stream in (*read.streams.video[:1], *read.streams.audio[:1]):
                            streams[stream.index] = written.add_stream_from_template(stream)
                    at = passed + float(packet.dts * base)
                    end = max(end, passed + float((packet.pts + (packet.duration or 0)) * base))
                    if at > seconds:
                        break
                    time.sleep(max(0.0, began + at - time.monotonic()))
                    packet.dts, packet.pts = (round(value + passed / base) for value in (packet.dts, packet.pts))
                    packet.stream = streams[packet.stream.index]
                    written.mux(packet)
                    camera.muxed = max(camera.muxed, at)
            passed = end
    socket.send('{"type": "stop"}')
