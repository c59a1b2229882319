"""A file is called cut short when it is: not because its tracks end at different times, as those of any phone do."""

import struct
from pathlib import Path

import av
import pytest

from mien.config import MediaSettings
from mien.media.decode import MediaReader
from tests.media.clips import SHARED, make_clip

CALLED_SHORT = "but its header states"
ASKED = {"faces": ({"vision": 4.0}, False), "sound": ({}, True), "both": ({"vision": 4.0}, True)}


def notes(path: Path, asked: str) -> list[str]:
    rates, sound = ASKED[asked]
    with MediaReader(path, MediaSettings(), rates=rates, audio=sound) as reader:
        reader.audio()
    return [note for note in reader.notes if CALLED_SHORT in note]


def uneven(path: Path, picture: float, sound: float) -> Path:
    """A clip whose frame and sound have different lengths, in seconds."""
    codec = {".avi": "mpeg4"}.get(path.suffix, "libx264")
    parts = [
        make_clip(path.with_name("picture.mp4"), seconds=picture, codec=codec, sound=None),
        make_clip(path.with_name("sound.mp4"), seconds=sound, codec=None, sound="libmp3lame"),
    ]
    with av.open(str(path), "w") as output, av.open(str(parts[0])) as one, av.open(str(parts[1])) as other:
        packets = []
        for source in (one, other):
            track = output.add_stream_from_template(source.streams[0])
            for packet in source.demux(source.streams[0]):
                if packet.dts is not None:
                    packets.append((float(packet.dts * packet.time_base), track, packet))
        for _, track, packet in sorted(packets, key=lambda entry: entry[0]):
            packet.stream = track
            output.mux(packet)
    return path


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("lengths", [(3.0, 3.8), (3.8, 3.0), (0.1, 0.2)])
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".avi"])
def test_tracks_of_different_lengths_are_not_called_cut_short(
    ending: str, lengths: tuple[float, float], asked: str, tmp_path: Path
) -> None:
    assert notes(uneven(tmp_path / f"clip{ending}", *lengths), asked) == []


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("ending", [".mov", ".mkv"])
def test_a_file_that_was_cut_short_is_called_so_whatever_is_asked_of_it(
    ending: str, asked: str, tmp_path: Path
) -> None:
    """The head of the file, which tells its length, comes first; the copy breaks off in the middle of its packets.

    Not AVI, of whose length libav itself only tells what is there.
    """
    whole = uneven(tmp_path / f"whole{ending}", 4.0, 4.0)
    if ending == ".mov":  # the index goes to the front, as phones and the web have it
        with av.open(str(whole)) as source, av.open(str(tmp_path / "front.mov"), "w", options=FRONT) as output:
            tracks = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = tracks[packet.stream.index]
                    output.mux(packet)
        whole = tmp_path / "front.mov"
    content = whole.read_bytes()
    (tmp_path / f"cut{ending}").write_bytes(content[: len(content) * 6 // 10])
    with MediaReader(tmp_path / f"cut{ending}", MediaSettings(), rates=ASKED[asked][0], audio=ASKED[asked][1]) as one:
        one.audio()
    assert one.seconds < 3.5
    assert any(CALLED_SHORT in note or note.startswith("damaged: reading stopped") for note in one.notes)


FRONT = {"movflags": "faststart"}


def test_a_clip_that_was_trimmed_in_a_phone_is_not_called_cut_short(tmp_path: Path) -> None:
    """Trimming on a phone copies nothing: an edit list says how much of the frames is shown."""
    path = make_clip(tmp_path / "trimmed.mov", seconds=4, sound=None)
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12  # version and flags, count, then the length of the first edit in milliseconds
    assert struct.unpack_from(">I", content, at) == (4000,)
    struct.pack_into(">I", content, at, 2000)
    path.write_bytes(content)
    with MediaReader(path, MediaSettings(), rates={"vision": 4.0}, audio=False) as reader:
        reader.audio()
    assert reader.notes == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real clips are not beside the repository")
@pytest.mark.parametrize("asked", ASKED)
def test_no_real_clip_is_called_cut_short(asked: str) -> None:
    clips = [path for path in SHARED.iterdir() if path.suffix in (".mp4", ".mov")]
    assert len(clips) == 7
    assert {path.name: found for path in clips if (found := notes(path, asked))} == {}
