"""The table of what is done to whole clips, and of files that never were one.

Each row is a ``Bad``: a name, how to put it there, and what must come of it. ``either``: scores or a reason, whatever
can still be read. Everything is drawn from one seed, so that a file that does harm can be made again by its name.
"""

import gzip
import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

SEED = 2718
CUTS = 20
CUT = ("h264.mp4", "vp9.webm", "mpeg4.avi", "h264.ts", "sound.flac", "sound.ogg")

Put = Callable[[Path], object]
Sources = Mapping[str, bytes]


@dataclass(frozen=True)
class Bad:
    """A file of the suite.

    Attributes:
        name: of the file; ``kind`` is the row of the table it comes from.
        put: makes it at a path.
        must: what has to come of it.
        quick: whether it is among the few that every run tries.
    """

    kind: str
    name: str
    put: Put
    must: Literal["scored", "refused", "either"] = "either"
    quick: bool = False


def table(sources: Sources, folder: Path, address: str) -> list[Bad]:
    """All of them.

    Args:
        sources: whole clips by name.
        folder: where they will lie; some name their neighbours by it.
        address: of a web server that must never be asked, ``http://host:port``.
    """
    rows = [
        *_whole(sources), *_cut(sources), *_flipped(sources), *_headless(sources), *_patched(sources),
        *_absurd(sources), *_foreign(sources), *_named(sources), *_irregular(sources),
        *_pointing(folder, address),
    ]  # fmt: skip
    assert len({bad.name for bad in rows}) == len(rows)
    return rows


def _holding(content: bytes) -> Put:
    return lambda path: path.write_bytes(content)


def _whole(sources: Sources) -> Iterator[Bad]:
    for name, content in sources.items():
        must = "scored" if name != "gif.gif" else "either"  # which has no sound, and here no face
        yield Bad("whole", f"whole {name}", _holding(content), must, name in ("h264.mp4", "sound.flac"))


def _cut(sources: Sources) -> Iterator[Bad]:
    """Cut short, as by a copy that broke off: at even steps, at the very start, and before the last byte."""
    for name in CUT:
        whole = sources[name]
        places = [1, 16, *(len(whole) * step // (CUTS - 2) for step in range(1, CUTS - 2)), len(whole) - 1]
        for number, place in enumerate(places):
            yield Bad("cut", f"cut {number:02d} {name}", _holding(whole[:place]), quick=number in (5, 17))


def _flipped(sources: Sources) -> Iterator[Bad]:
    """Bytes replaced by others: a few, one in 200, one in 20; everywhere, and in the first kilobyte alone."""
    for name, whole in sources.items():
        for how, share, within in (
            ("few", 0.001, None),
            ("some", 0.005, None),
            ("many", 0.05, None),
            ("head", 0.1, 1024),
        ):
            chance = Random(f"{SEED} {name} {how}")
            content = bytearray(whole)
            reach = min(within or len(content), len(content))
            for _ in range(max(3, round(reach * share))):
                content[chance.randrange(reach)] = chance.randrange(256)
            yield Bad(
                "flipped", f"flipped {how} {name}", _holding(bytes(content)), quick=how == "some" and name in CUT[:3]
            )


def _headless(sources: Sources) -> Iterator[Bad]:
    """The head of one on the body of another; parts zeroed, left out, said twice; two files in one."""
    names = list(sources)
    for number, name in enumerate(names):
        whole, other = sources[name], sources[names[(number + 5) % len(names)]]
        third = len(whole) // 3
        yield Bad("swapped head", f"swapped head {name}", _holding(other[:256] + whole[256:]))
        yield Bad("zeroed", f"zeroed {name}", _holding(whole[:third] + bytes(third) + whole[2 * third :]))
        yield Bad("left out", f"left out {name}", _holding(whole[:third] + whole[2 * third :]))
        yield Bad("said twice", f"said twice {name}", _holding(whole[: 2 * third] + whole[third:]))
    for name in CUT:
        yield Bad("two in one", f"two in one {name}", _holding(sources[name] * 2), quick=name == "h264.ts")


PATCHES: dict[str, tuple[str, bytes, int, bytes]] = {
    # name: (source, the box or chunk, bytes from its name, what is written there)
    "no time scale": ("h264.mp4", b"mdhd", 16, bytes(4)),
    "huge time scale": ("h264.mp4", b"mdhd", 16, b"\xff" * 4),
    "huge length": ("h264.mp4", b"mdhd", 20, b"\xff" * 4),
    "huge steps": ("h264.mp4", b"stts", 16, b"\x7f\xff\xff\xff"),
    "negative steps": ("h264.mp4", b"stts", 16, b"\xff\xff\xff\xf0"),
    "no steps": ("h264.mp4", b"stts", 16, bytes(4)),
    "many steps": ("h264.mp4", b"stts", 8, b"\x0f\xff\xff\xff"),
    "no entries": ("h264.mp4", b"stsz", 12, bytes(4)),
    "huge entries": ("h264.mp4", b"stsz", 8, b"\xff" * 4),
    "many entries": ("h264.mp4", b"stsz", 12, b"\x0f\xff\xff\xff"),
    "edit list far away": ("h264.mp4", b"elst", 16, b"\x7f\xff\xff\xff"),
    "edit list before the start": ("h264.mp4", b"elst", 16, b"\xff\xff\xff\xfe"),
    "chunks outside": ("h264.mp4", b"stco", 12, b"\xff\xff\xff\xf0"),
    "chunks at zero": ("h264.mp4", b"stco", 12, bytes(4)),
    "box that is endless": ("h264.mp4", b"moov", -4, b"\xff\xff\xff\xff"),
    "box that is nothing": ("h264.mp4", b"trak", -4, bytes(4)),
    "box of itself": ("h264.mp4", b"mdia", -4, b"\x00\x00\x00\x08"),
    "no pictures": ("h264.mp4", b"vide", 0, b"hint"),
    "no sound": ("h264.mp4", b"soun", 0, b"hint"),
    "sound without codec": ("h264.mp4", b"mp4a", 0, b"zzzz"),
    "pictures without codec": ("h264.mp4", b"avc1", 0, b"zzzz"),
    "absurd codec": ("h264.mp4", b"avc1", 0, b"jpeg"),
    "sides of 65535": ("mjpeg.mov", b"jpeg", 28, b"\xff\xff\xff\xff"),
    "sides of zero": ("h264.mp4", b"avc1", 28, bytes(4)),
    "picture of 65500 pixels": ("mjpeg.mov", b"\xff\xc0", 5, b"\xff\xdc\xff\xdc"),
    "gif of 65535": ("gif.gif", b"GIF89a", 6, b"\xff\xff\xff\xff"),
    "avi of 2 billion": ("mpeg4.avi", b"strf", 12, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"),
    "avi without rate": ("mpeg4.avi", b"strh", 28, bytes(8)),
    "avi of huge rate": ("mpeg4.avi", b"strh", 28, b"\x01\x00\x00\x00\xff\xff\xff\xff"),
    "avi far too long": ("mpeg4.avi", b"strh", 40, b"\xff\xff\xff\xff"),
    "wav of 4 billion hertz": ("sound.wav", b"fmt ", 12, b"\xff\xff\xff\xff"),
    "wav of 0 hertz": ("sound.wav", b"fmt ", 12, bytes(4)),
    "wav of 65535 channels": ("sound.wav", b"fmt ", 10, b"\xff\xff"),
    "wav without channels": ("sound.wav", b"fmt ", 10, bytes(2)),
    "wav of 65535 bits": ("sound.wav", b"fmt ", 22, b"\xff\xff"),
    "wav of 4 gigabytes": ("sound.wav", b"data", 4, b"\xff\xff\xff\xff"),
    "wav of floats": ("sound.wav", b"fmt ", 8, b"\x03\x00"),
    "flac of 655350 hertz": ("sound.flac", b"fLaC", 18, b"\x9f\xff\xff"),
    "flac of 64 billion samples": ("sound.flac", b"fLaC", 21, b"\xff" * 5),
    "ogg far away": ("sound.ogg", b"OggS", 6, b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
    "opus of 255 channels": ("sound.ogg", b"OpusHead", 9, b"\xff"),
    "webm of huge clusters": ("vp9.webm", b"\x1f\x43\xb6\x75", 4, b"\x01\x00\xff\xff\xff\xff\xff\xff"),
    "webm of huge time scale": ("vp9.webm", b"\x2a\xd7\xb1", 4, b"\xff\xff\xff"),
    "webm without time scale": ("vp9.webm", b"\x2a\xd7\xb1", 4, bytes(3)),
    "webm sides of 65535": ("vp9.webm", b"\xb0\x81", 1, b"\x82\xff\xff"),
    "times that fall": ("h265.mkv", b"\xe7\x81", 2, b"\x7f"),
}
"""What the headers claim: times, sizes, rates, numbers."""


def _patched(sources: Sources) -> Iterator[Bad]:
    for name, (source, where, after, what) in PATCHES.items():
        content = bytearray(sources[source])
        place = content.find(where)
        assert place >= 0, f"{name}: {source} has no {where!r}"
        while place >= 0:  # of every track
            content[place + after : place + after + len(what)] = what
            place = content.find(where, place + len(where))
        quick = name in ("huge steps", "picture of 65500 pixels", "many entries", "wav of 4 billion hertz")
        yield Bad("claims", f"{name}.{source.partition('.')[2]}", _holding(bytes(content)), quick=quick)


def png(width: int, height: int, rows: int) -> bytes:
    """A PNG that claims these sides and holds so many rows of zeros: megabytes in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packed = zlib.compress(bytes((width + 1) * rows), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def riff(rate: int, channels: int, bits: int, body: bytes) -> bytes:
    """A WAV with any claims."""
    size = channels * bits // 8
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, 1, channels, rate,
                       rate * size & 0xFFFFFFFF, size & 0xFFFF, bits)  # fmt: skip
    return head + b"data" + struct.pack("<I", len(body)) + body


def zipped(size: int) -> bytes:
    """A ZIP of zeros, a thousandth of what is in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("clip.mp4", bytes(size))
    return file.getvalue()


def _absurd(sources: Sources) -> Iterator[Bad]:
    """Impossible sizes and rates."""
    yuv = "YUV4MPEG2 W{0} H{0} F25:1 Ip C420jpeg\nFRAME\n"
    for side in (9_000, 30_000, 99_999, 2_000_000_000):
        yield Bad(
            "absurd", f"y4m {side}.y4m", _holding(yuv.format(side).encode() + bytes(64)), "refused", side == 99_999
        )
    for side in (8_000, 60_000):
        content = _ivf(side)
        yield Bad("absurd", f"ivf {side}.ivf", _holding(content), "refused")
    yield Bad("absurd", "rate of 10 million.y4m", _holding(_frames(b"F10000000:1")))
    yield Bad("absurd", "rate of nothing.y4m", _holding(_frames(b"F0:0")))
    yield Bad("absurd", "one picture in 30 years.y4m", _holding(_frames(b"F1:1000000000")), quick=True)
    yield Bad("bomb", "png of 20000.png.mp4", _holding(png(20_000, 20_000, 20_000)), "refused", True)
    yield Bad("bomb", "png of 2 billion.mp4", _holding(png(2**31 - 1, 2**31 - 1, 0)), "refused")
    yield Bad("bomb", "zip.mp4", _holding(zipped(100_000_000)), "refused", True)
    yield Bad("bomb", "gzip.mp4", _holding(gzip.compress(sources["h264.mp4"])), "refused")
    for rate, channels, bits in (
        (384_000, 2, 16),
        (8, 1, 8),
        (1, 1, 16),
        (48_000, 64, 16),
        (48_000, 1024, 8),
        (767_000, 8, 32),
    ):
        body = bytes(min(rate * channels * bits // 8, 3_000_000))
        yield Bad("absurd", f"wav {rate} {channels} {bits}.wav", _holding(riff(rate, channels, bits, body)))


def _ivf(side: int) -> bytes:
    head = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"VP80", side, side, 25, 1, 1, 0)
    key = b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", side & 0x3FFF, side & 0x3FFF) + bytes(40)
    return head + struct.pack("<IQ", len(key), 0) + key


def _frames(rate: bytes) -> bytes:
    return b"YUV4MPEG2 W32 H32 " + rate + b" Ip C420jpeg\n" + (b"FRAME\n" + bytes(1536)) * 3


def _foreign(sources: Sources) -> Iterator[Bad]:
    """Files that never were a video, under the name of one."""
    noise, movie = Random(SEED).randbytes(65_536), sources["h264.mp4"]
    contents = {
        "empty": b"", "one byte": b"\0", "zeros": bytes(1_000_000), "ones": b"\xff" * 100_000, "noise": noise,
        "diary": b"dear diary", "page": b"<!doctype html><html><body>404</body></html>", "json": b'{"clips": []}',
        "pdf": b"%PDF-1.7\n" + noise[:999], "elf": b"\x7fELF" + noise[:999], "pickle": b"cos\nsystem\n(S'id'\ntR.",
        "script": b"#!/bin/sh\ntouch pwned\n", "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "only a head": movie[:32], "moov alone": movie[movie.find(b"moov") - 4 :],
        "mp3 of noise": b"\xff\xfb\x90\x64" * 4000, "ts of nothing": (b"G\x1f\xff\x10" + b"\xff" * 184) * 200,
        "h264 of noise": b"\0\0\0\1\x67" + noise[:4000],
        "id3 that is huge": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + noise[:99],
    }  # fmt: skip
    for name, content in contents.items():
        must = (
            "refused"
            if name in ("empty", "one byte", "zeros", "diary", "page", "pickle", "script", "svg")
            else "either"
        )
        yield Bad("foreign", f"{name}.mp4", _holding(content), must, name in ("empty", "diary", "noise", "pickle"))


NAMES = (
    "-rf.mp4", "--help.mp4", "concat:a|b.mp4", "http:example.mp4", "file:x.mp4", "pipe:0.mp4", "a\nb.mp4", "a\tb\r.mp4",
    "$(touch pwned).mp4", "`id`;'\".mp4", "%d.mp4", "%00.mp4", "*?.mp4", "[red]x[.mp4", ":skull:.mp4",
    "süß 漢字 😀.mp4", "\u202egpj.mp4", "\u200b.mp4",
    "x" * 240 + ".mp4", " .mp4", "...mp4", "=cmd|'C calc'!A0.mp4", "<b>x.mp4", "\x1b[31mred.mp4", "\udcff\udcfe.mp4",
)  # fmt: skip


def _named(sources: Sources) -> Iterator[Bad]:
    """Whole clips with names that mean something to somebody else; they are clips like any other."""
    for number, name in enumerate(NAMES):
        yield Bad("name", name, _holding(sources["sound.wav"]), "scored", number % 6 == 0)


def _irregular(sources: Sources) -> Iterator[Bad]:
    """What is no file, or not the file that it seems."""

    def to_good(path: Path) -> None:
        (path.parent / ".kept").write_bytes(sources["sound.wav"])
        path.symlink_to(".kept")

    def listening(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)  # the names of sockets must be short
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)

    yield Bad("irregular", "link to good.mp4", to_good, "scored")
    yield Bad("irregular", "link to passwd.mp4", lambda path: path.symlink_to("/etc/passwd"), "refused")
    yield Bad("irregular", "link to nowhere.mp4", lambda path: path.symlink_to("nowhere"), "refused")
    yield Bad("irregular", "link to itself.mp4", lambda path: path.symlink_to(path.name), "refused", True)
    yield Bad("irregular", "link to zero.mp4", lambda path: path.symlink_to("/dev/zero"), "refused", True)
    yield Bad("irregular", "link to random.mp4", lambda path: path.symlink_to("/dev/urandom"), "refused")
    yield Bad("irregular", "link to null.mp4", lambda path: path.symlink_to("/dev/null"), "refused")
    yield Bad("irregular", "pipe.mp4", os.mkfifo, "refused", True)
    yield Bad("irregular", "socket.mp4", listening, "refused")
    yield Bad("irregular", "folder.mp4", Path.mkdir, "refused", True)
    yield Bad("irregular", "not there.mp4", lambda _: None, "refused")


def _pointing(folder: Path, address: str) -> Iterator[Bad]:
    """Files that ask to open another: a clip beside them, a secret, or the web server."""
    good = f"whole {'h264.mp4'}"
    targets = {"beside": good, "full": str(folder / good), "web": f"{address}/x.ts", "secret": "file:///etc/passwd"}
    forms = {
        "m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:9.0,\n{0}\n#EXT-X-ENDLIST\n",
        "m3u": "#EXTM3U\n{0}\n",
        "concat": "ffconcat version 1.0\nfile '{0}'\n",
        "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
               'mediaPresentationDuration="PT10S"><Period><AdaptationSet><Representation id="1" bandwidth="1" '
               'mimeType="video/mp4"><BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{0}\nm=video 9 RTP/AVP 96\n"
               "a=rtpmap:96 H264/90000\n",
        "asx": '<asx version="3.0"><entry><ref href="{0}"/></entry></asx>',
        "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
               "<Id>{0}</Id></CompositionPlaylist>",
        "ram": "{0}\n",
    }  # fmt: skip
    for form, text in forms.items():
        for target, place in targets.items():
            content = text.format(place).encode()
            yield Bad("points elsewhere", f"{form} {target}.mp4", _holding(content), "refused", target == "web")
    reference = _box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(address) + 1) + address.encode() + b"\0")
    movie = _box(b"ftyp", b"qt  " + bytes(4)) + _box(b"moov", _box(b"rmra", _box(b"rmda", reference)))
    yield Bad("points elsewhere", "reference movie.mov", _holding(movie), "refused")


def _box(name: bytes, inner: bytes) -> bytes:
    return struct.pack(">I", 8 + len(inner)) + name + inner
