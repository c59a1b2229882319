"""Live: the final windows are those of the recording, what is too slow is left out and said, the end is clean."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.config import read_settings
from mien.features.spans import Windows
from mien.features.stream import StreamFeatures
from mien.inference.live import LiveSession
from mien.inference.live_events import Behind, Event, Failed, Scored, Spoken, Started, Stopped, Warned
from mien.inference.predict import Model
from mien.media.capture import Capture
from mien.media.decode import read_audio
from mien.media.speech import Transcriber
from mien.media.stream import StreamSource, open_source
from mien.model.bundle import Bundle
from mien.model.description import make_module
from mien.model.model_folder import save_bundle
from mien.model.network import variants
from mien.schema import MOTION_WIDTH, SAMPLE_RATE
from mien.weights import Weights
from mien.weights.tiny import WIDTH
from tests.media.clips import SHARED, make_clip

pytestmark = pytest.mark.weights

TARGETS = ("Joy", "Awe")


def model_of(*modalities: str, weights: str = "tiny") -> Model:
    """An untrained model on random backbones, with the real detectors of faces and of speech."""
    settings = read_settings(
        overrides=[f"weights={weights}", f"modalities=[{','.join(modalities)}]", "backbone.text=frozen", "seeds=[0]",
                   "stage1.embedding=8", "stage1.motion_embedding=4", "stage2.hidden=8", "compute.precision=float32"]
    )  # fmt: skip
    width = WIDTH if weights == "tiny" else 384
    widths = {name: MOTION_WIDTH if name == "motion" else width for name in modalities}
    models = variants(settings, settings.stage2)
    module = make_module("multimodal", widths, len(TARGETS), settings, models).requires_grad_(False)
    bundle = Bundle(module, TARGETS, widths, settings, models, {}, True, provenance={"scale": [-100, 100]})
    return Model(bundle, "first")


def run(session: LiveSession, file: Path, keep: Path | None = None) -> list[Event]:
    with StreamSource(open_source(file), file.name, keep) as source:
        return list(session.events(source))


def finals(events: list[Event]) -> list[Scored]:
    return [event for event in events if isinstance(event, Scored) and event.state == "final"]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of a person who speaks, as a stream."""
    if not SHARED.is_dir():
        pytest.skip("needs the real clips")
    file = tmp_path_factory.mktemp("spoken") / "spoken.mkv"
    with av.open(str(SHARED / "speech_mpeg4.mp4")) as read, av.open(str(file), "w") as written:
        streams = {s.index: written.add_stream_from_template(s) for s in (*read.streams.video, *read.streams.audio)}
        for packet in read.demux(*(read.streams[index] for index in streams)):
            if packet.dts is not None and packet.pts * packet.time_base < 5:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    return file


def test_final_windows_equal_those_of_the_recording(
    spoken: Path, small_weights: dict[str, Weights], tmp_path: Path
) -> None:
    """Frames, crops, movement and words of a live window are those of the file."""
    kept = tmp_path / "kept.mkv"
    with model_of("text", "vision", "motion", weights="small") as model:
        (recorded,) = model.predictions([spoken], windows=2, hop=1)
        with LiveSession(model, Windows(2, 1)) as session:
            events = run(session, spoken, kept)
    assert kept.read_bytes() == spoken.read_bytes()
    assert isinstance(events[0], Started) and isinstance(events[-1], Stopped)
    assert events[-1].reason == "ended" and events[-1].windows == len(recorded.windows) and events[-1].skipped == 0
    live = finals(events)
    assert [(one.window.start, one.window.end) for one in live] == [(one.start, one.end) for one in recorded.windows]
    assert recorded.transcript is not None
    words = [event.text for event in events if isinstance(event, Spoken)]
    assert words == [word.text for word in recorded.transcript.words]
    for one, window in zip(live, recorded.windows, strict=True):
        assert one.window.present == window.present == ("text", "vision", "motion")
        assert one.window.scores == pytest.approx(window.scores, abs=1e-3)
    assert "provisional" in [
        event.state for event in events if isinstance(event, Scored)
    ]  # he speaks through their ends


def test_with_audio_they_are_close_and_closer_the_more_its_encoder_hears(
    spoken: Path, small_weights: dict[str, Weights]
) -> None:
    """A step of the encoder hears its chunk of the file, and live only what came before it: scores differ by a part of
    what they differ when it hears no more than its own second and the last."""
    with model_of("audio", weights="small") as model:
        (recorded,) = model.predictions([spoken], windows=2, hop=1)
        apart = []
        for context in (30.0, 1.0):
            with LiveSession(model, Windows(2, 1), context) as session:
                live = finals(run(session, spoken))
            pairs = zip(live, recorded.windows, strict=True)
            apart.append(max(abs(one.window.scores[name] - two.scores[name]) for one, two in pairs for name in TARGETS))
    assert 0 < apart[0] < apart[1] / 2


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("tones") / "tones.mkv", codec=None, seconds=6.0, sound="libopus",
                     sound_rate=48_000)  # fmt: skip


def test_a_microphone_is_scored_while_it_records(tmp_path: Path) -> None:
    """A generated tone stands for it; its recording has the scores of the session, up to what an encoder hears."""
    kept = tmp_path / "kept.mkv"
    with (
        model_of("audio") as model,
        LiveSession(model, Windows(1, 0.5)) as session,
        Capture(("lavfi", "testsrc2=size=320x240:rate=15,realtime"), ("lavfi", "sine=440,arealtime")) as camera,
        StreamSource(camera.descriptor, "camera", kept) as source,
    ):
        session.warm()
        camera.start()
        live = []
        for event in session.events(source, Windows(1, 0.5)):
            live += [event] if isinstance(event, Scored) else []
            if len(live) == 4:
                source.stop()
        (recorded,) = model.predictions([kept], windows=1, hop=0.5)
    assert [one.window.start for one in live][:4] == [0.0, 0.5, 1.0, 1.5]
    assert max(one.lag for one in live) < 10
    assert len(recorded.windows) >= 4 and recorded.error is None


def test_no_word_of_a_file_is_left_out_however_slow_the_recogniser_is(
    spoken: Path, small_weights: dict[str, Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six utterances with pauses, of sound alone, come at once; a file can wait for them, a camera cannot."""
    said = read_audio(spoken)[: 2 * SAMPLE_RATE]
    pause = np.zeros(SAMPLE_RATE, np.float32)
    file = tmp_path / "said.mkv"
    with av.open(str(file), "w") as written:
        track = written.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        samples = (32_767 * np.concatenate([said, pause] * 6)).astype(np.int16)
        for place in range(0, len(samples), SAMPLE_RATE):
            frame = av.AudioFrame.from_ndarray(samples[None, place : place + SAMPLE_RATE], "s16", "mono")
            frame.rate, frame.pts = SAMPLE_RATE, place
            written.mux(track.encode(frame))
        written.mux(track.encode(None))
    fast = Transcriber.recognise

    def slow(*given):
        time.sleep(0.2)
        return fast(*given)

    with model_of("text", weights="small") as model, LiveSession(model, Windows(3, 3)) as session:
        expected = [event.text for event in run(session, file) if isinstance(event, Spoken)]
        monkeypatch.setattr(Transcriber, "recognise", slow)
        events = run(session, file)
        theirs, ours = os.pipe()
        sender = threading.Thread(target=lambda: (os.write(ours, file.read_bytes()), os.close(ours)))
        with StreamSource(theirs, "camera") as source:
            sender.start()
            camera = list(session.events(source))
            sender.join()
    assert [event.text for event in events if isinstance(event, Spoken)] == expected and len(expected) >= 6 * 5
    assert not [event for event in events if isinstance(event, Warned) and "words are missing" in event.text]
    assert any(isinstance(event, Warned) and "words are missing" in event.text for event in camera)


@pytest.mark.parametrize("seconds", [0.4, 0.9])
def test_a_machine_that_is_too_slow_leaves_windows_out_and_says_so(
    seconds: float, tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hop of .2 s takes .4 s or more: what waits is left out; each window is scored or counted, none that is
    scored overlaps what was left out, and even if a hop takes longer than two windows there are some."""
    fast = StreamFeatures.advance

    def slow(self: StreamFeatures, until: float, skip: bool = False) -> None:
        time.sleep(0 if skip else seconds)
        fast(self, until, skip)

    monkeypatch.setattr(StreamFeatures, "advance", slow)
    theirs, ours = os.pipe()
    content = tones.read_bytes()

    def send() -> None:
        for place in range(0, len(content), 2000):
            os.write(ours, content[place : place + 2000])
        os.close(ours)

    sender = threading.Thread(target=send)
    with (
        model_of("audio") as model,
        LiveSession(model, Windows(0.4, 0.2)) as session,
        StreamSource(theirs, "camera") as source,
    ):
        sender.start()
        events = list(session.events(source))
    sender.join()
    behind = [event for event in events if isinstance(event, Behind)]
    ended = events[-1]
    assert len(finals(events)) >= 2
    assert behind and isinstance(ended, Stopped)
    assert ended.skipped == behind[-1].total == sum(event.skipped for event in behind)
    assert ended.skipped + ended.windows == len(Windows(0.4, 0.2).spans(ended.seconds))
    for one in finals(events):
        assert not any(one.window.start < left.end and left.start < one.window.end for left in behind)


def test_a_stream_without_video_and_one_without_audio_say_what_is_missing(
    tones: Path, small_weights: dict[str, Weights], tmp_path: Path
) -> None:
    mute = make_clip(tmp_path / "mute.mkv", seconds=1.5, size=(64, 48), sound=None)
    with model_of("text", "vision") as model, LiveSession(model, Windows(1, 1)) as session:
        blind, deaf = run(session, tones), run(session, mute)
        broken = run(session, tmp_path / "mute.mkv") if (tmp_path / "mute.mkv").write_bytes(b"no") else []
    assert any(isinstance(event, Warned) and "no video in the stream" in event.text for event in blind)
    assert any(isinstance(event, Warned) and "no audio in the stream" in event.text for event in deaf)
    assert finals(blind)[0].absent.keys() == {"text", "vision"}
    assert "no face in" in finals(deaf)[0].absent["vision"]
    assert [type(event) for event in broken] == [Failed, Stopped]  # and the session goes on after it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "first"
    save_bundle(model_of("audio").bundle, out)
    return out


def test_the_command_prints_events_as_lines_and_ends_cleanly_when_interrupted(
    folder: Path, tones: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.mkv"
    process = subprocess.Popen(
        [sys.executable, "-m", "mien.cli", "live", str(folder), "-", "--jsonl", "--window", "1s", "--hop", "0.5s",
         "--keep", str(kept)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    try:
        process.stdin.write(tones.read_bytes())
        process.stdin.flush()
        lines = []
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1]["type"] == "window":
                break
        process.send_signal(signal.SIGINT)
        lines += [json.loads(line) for line in process.stdout]
        assert process.wait(30) == 0, process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    kinds = [line["type"] for line in lines]
    assert kinds[:2] == ["ready", "started"] and kinds[-1] == "stopped"
    assert lines[-1]["reason"] == "stopped" and lines[-1]["windows"] == kinds.count("window")
    window = next(line for line in lines if line["type"] == "window")
    assert (window["start"], window["end"], window["state"]) == (0.0, 1.0, "final")
    assert window["scores"].keys() == set(TARGETS) and window["present"] == ["audio"]
    assert kept.read_bytes() == tones.read_bytes()


def test_a_bad_stream_is_one_line_and_status_1(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"nothing that could be decoded")
    found = CliRunner().invoke(app, ["live", str(folder), str(tmp_path / "bad"), "--jsonl"])
    assert [json.loads(line)["type"] for line in found.stdout.splitlines()] == ["ready", "error", "stopped"], found
    assert "not a stream that can be decoded" in str(found.exception)


def test_without_a_terminal_a_line_per_window(folder: Path, tones: Path) -> None:
    found = CliRunner().invoke(app, ["live", str(folder), str(tones), "--window", "4s", "--hop", "2s"])
    assert found.exit_code == 0, found.output
    assert [line.split(" s ")[0] for line in found.stdout.splitlines() if "–" in line] == ["0–4", "2–5.999"]


LSL = """
import pylsl, sys, time
from mien.inference.live_events import *
from mien.inference.lsl import Outlets
from mien.schema import Window
outlets = Outlets()
outlets.send(Started("first", ["Joy", "Awe"], ["audio"], (0.0, 1.0), 0.9, 4.0, 1.0, True, True))
streams = {one.type(): one for one in pylsl.resolve_byprop("name", "mien", 2, 10)}
scores, marks = (pylsl.StreamInlet(streams[kind]) for kind in ("Emotion", "Markers"))
for inlet in (scores, marks):
    inlet.open_stream(10)
time.sleep(0.5)
sent = Window(1.0, 5.0, {"Joy": 0.5, "Awe": 0.25}, {"Joy": (0.25, 0.75), "Awe": (0.125, 0.5)}, ("audio",))
outlets.send(Scored(sent, "provisional", {}, 0.5))
outlets.send(Scored(sent, "final", {}, 0.5))
now = pylsl.local_clock()
outlets.send(Spoken("hello", 2.0, 2.5, 0.9, False))
values, at = scores.pull_sample(10)
assert values == [0.5, 0.25, 0.25, 0.125, 0.75, 0.5], values
assert abs(at - (now - 0.5 - 2.0)) < 0.2, (at, now)   # the middle lies 2 s before the end, which came .5 s ago
assert scores.pull_sample(0.3)[0] is None             # one sample per window
found, _ = marks.pull_sample(10)
assert found == ["word:hello"], found
info = scores.info()
channel, labels = info.desc().child("channels").child("channel"), []
while channel.child_value("label"):
    labels.append(channel.child_value("label")); channel = channel.next_sibling()
assert labels == ["Joy", "Awe", "Joy_lower", "Awe_lower", "Joy_upper", "Awe_upper"], labels
assert info.nominal_srate() == pylsl.IRREGULAR_RATE
print("read back")
"""


def test_lab_streaming_layer_reads_scores_intervals_and_words(tmp_path: Path) -> None:
    pytest.importorskip("pylsl")
    config = tmp_path / "lsl.cfg"
    config.write_text("[multicast]\nResolveScope = machine\n[ports]\nIPv6 = disable\n[log]\nlevel = -3\n")
    done = subprocess.run(
        [sys.executable, "-c", LSL], env={**os.environ, "LSLAPICFG": str(config)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert "read back" in done.stdout, done.stderr


def paced(content: bytes, ours: int, seconds: float, dies: Callable[[], None]) -> None:
    """Send a stream in so many seconds; after a half the decoder dies."""
    count = 40
    for number in range(count):
        if number == count // 2:
            dies()
        os.write(ours, content[len(content) * number // count : len(content) * (number + 1) // count])
        time.sleep(seconds / count)
    os.close(ours)


@pytest.mark.parametrize(("ending", "modalities"), [("mkv", ("audio", "vision")), ("ts", ("audio",))])
def test_a_decoder_that_dies_is_replaced_and_times_go_on(
    ending: str, modalities: tuple[str, ...], small_weights: dict[str, Weights], tmp_path: Path
) -> None:
    """Each window is scored or counted, and those that are scored are those of the stream decoded in one go."""
    file = make_clip(tmp_path / f"a.{ending}", seconds=4.0, size=(64, 48), sound_rate=48_000, layout="mono",
                     options={"g": "12"})  # fmt: skip
    theirs, ours = os.pipe()
    with model_of(*modalities) as model, LiveSession(model, Windows(1, 0.5)) as session:
        whole = run(session, file)
        decoder = session._extractor.engines.senses.decoder

        def kill() -> None:
            assert decoder._process is not None
            decoder._process.kill()

        sender = threading.Thread(target=paced, args=(file.read_bytes(), ours, 2.0, kill))
        with StreamSource(theirs, "camera") as source:
            sender.start()
            events = list(session.events(source))
        sender.join()
    (warned,) = [event.text for event in events if isinstance(event, Warned) and "died" in event.text]
    assert "SIGKILL" in warned and "another one goes on" in warned
    assert isinstance(whole[-1], Stopped) and isinstance(events[-1], Stopped) and events[-1].reason == "ended"
    assert events[-1].seconds == pytest.approx(whole[-1].seconds, abs=0.05)
    assert events[-1].windows + events[-1].skipped == whole[-1].windows
    expected = {one.window.start: one.window for one in finals(whole)}
    assert finals(events)
    for one in finals(events):
        window = expected[one.window.start]
        assert one.window.end == pytest.approx(window.end, abs=0.05)
        if one.window.present == window.present:
            assert one.window.scores == pytest.approx(window.scores, abs=0.05)


def test_a_stream_that_kills_every_decoder_ends_with_its_reason(tones: Path) -> None:
    with model_of("audio") as model, LiveSession(model, Windows(1, 1)) as session:
        decoder = session._extractor.engines.senses.decoder
        begin = decoder.start

        def dying() -> subprocess.Popen[bytes]:
            process = begin()
            process.kill()
            return process

        decoder.start = dying  # type: ignore[method-assign]
        events = run(session, tones)
    *warned, failed, stopped = events  # a decoder may also die before it is asked for anything
    assert len(warned) <= 2 and all(isinstance(event, Warned) for event in warned)
    assert isinstance(failed, Failed) and isinstance(stopped, Stopped)
    assert "died" in failed.text or "did not start" in failed.text
