"""Frames as cameras and programs write them, read as everybody else reads them: Pillow is the oracle."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from mien.config import ComputeSettings, MediaSettings
from mien.errors import MediaError
from mien.media.decode import MediaReader
from mien.media.decoder import DecoderClient
from mien.media.images import read_image

SETTINGS = MediaSettings()
ORIENTATION = 0x112


def photo(width: int = 640, height: int = 480, grain: float = 12.0) -> Image.Image:
    """Colours that run smoothly, no two corners alike, under the grain of a sensor: it compresses as photos do."""
    y, x = np.mgrid[0:height, 0:width]
    colours = np.stack([255 * x / width, 255 * y / height, 127 + 100 * np.sin(x / 40) * np.cos(y / 30)], -1)
    noise = np.random.default_rng(0).normal(0, grain, (height, width, 1))
    return Image.fromarray(np.clip(colours + noise, 0, 255).astype(np.uint8))


def with_alpha(image: Image.Image) -> Image.Image:
    """The frame, fully transparent at its left side, opaque at its right side."""
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").rotate(90).resize(image.size))
    return image


def inks(image: Image.Image) -> Image.Image:
    """The frame in four inks, with as much black as can be."""
    cmy = 255 - np.asarray(image, np.int64)
    black = cmy.min(-1, keepdims=True)
    return Image.fromarray(np.concatenate([cmy - black, black], -1).astype(np.uint8), "CMYK")


def coded(image: Image.Image, kind: str, **options: object) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def oriented(image: Image.Image, kind: str, orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return coded(image, kind, exif=tags.tobytes(), **({} if kind == "PNG" else {"quality": 95}))


def renamed_inks(jpeg: bytes, adobe: int) -> bytes:
    """A JPEG of four components under the numbers 1 to 4, and what Adobe's marker says of them."""
    changed, at = bytearray(jpeg), 2
    while changed[at + 1] != 0xDA:
        if changed[at + 1] == 0xEE:
            changed[at + 4 + 11] = adobe
        if changed[at + 1] in (0xC0, 0xC2):
            changed[at + 10 : at + 22 : 3] = bytes([1, 2, 3, 4])
        at += 2 + int.from_bytes(changed[at + 2 : at + 4], "big")
    changed[at + 5 : at + 13 : 2] = bytes([1, 2, 3, 4])
    return bytes(changed)


def photoshop(image: Image.Image) -> bytes:
    """A CMYK JPEG as Photoshop writes it: inverted inks, the first three as brightness and two colours."""
    four = 255 - np.asarray(inks(image))
    brightness = np.asarray(Image.fromarray(four[..., :3]).convert("YCbCr"))
    stored = 255 - np.concatenate([brightness, four[..., 3:]], -1)  # Pillow inverts what it writes
    return renamed_inks(coded(Image.fromarray(stored, "CMYK"), "JPEG", quality=95), adobe=2)


EXACT = 0
SUBSAMPLED = 14
"""Colours stored at half the resolution are interpolated linearly by libjpeg and libwebp, by cubics in libav; the rest
is rounding. The grain of ``photo`` is grey, so this is small; a wrong matrix, range or ink is off by more."""

ROUNDED = 6
"""Rounding in the transform, the colour matrix and, of inks, a product."""

WAYS: dict[str, tuple[Callable[[], bytes], int]] = {
    "1 kB.jpg": (lambda: coded(photo(48, 32), "JPEG", quality=50), SUBSAMPLED),
    "3 kB.jpg": (lambda: coded(photo(96, 72), "JPEG", quality=80), SUBSAMPLED),
    "200 kB.jpg": (lambda: coded(photo(), "JPEG", quality=95), SUBSAMPLED),
    "2 MB.jpg": (lambda: coded(photo(1920, 1440), "JPEG", quality=97), SUBSAMPLED),
    "progressive.jpg": (lambda: coded(photo(), "JPEG", quality=90, progressive=True), SUBSAMPLED),
    "full colour.jpg": (lambda: coded(photo(), "JPEG", quality=95, subsampling=0), ROUNDED),
    "rgb.jpg": (lambda: coded(photo(), "JPEG", quality=95, keep_rgb=True), ROUNDED),
    "grey.jpg": (lambda: coded(photo().convert("L"), "JPEG", quality=95), ROUNDED),
    "cmyk.jpg": (lambda: coded(inks(photo()), "JPEG", quality=95), ROUNDED),
    "photoshop.jpg": (lambda: photoshop(photo()), ROUNDED),
    "two pictures.jpg": (lambda: coded(photo(), "MPO", save_all=True, append_images=[photo(9, 9)]), SUBSAMPLED),
    "colours.png": (lambda: coded(photo(), "PNG"), EXACT),
    "grey.png": (lambda: coded(photo().convert("L"), "PNG"), EXACT),
    "grey and alpha.png": (lambda: coded(with_alpha(photo().convert("L")), "PNG"), EXACT),
    "palette.png": (lambda: coded(photo().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), EXACT),
    "two colours.png": (lambda: coded(photo().convert("1"), "PNG"), EXACT),
    "alpha.png": (lambda: coded(with_alpha(photo()), "PNG"), EXACT),
    "lossy.webp": (lambda: coded(photo(), "WEBP", quality=90), SUBSAMPLED),
    "lossless.webp": (lambda: coded(photo(), "WEBP", lossless=True), EXACT),
    "alpha.webp": (lambda: coded(with_alpha(photo()), "WEBP", lossless=True, exact=True), EXACT),
    "colours.bmp": (lambda: coded(photo(), "BMP"), EXACT),
    "palette.bmp": (lambda: coded(photo().convert("P"), "BMP"), EXACT),
    "a PNG called.jpg": (lambda: coded(photo(), "PNG"), EXACT),
    "a JPEG called.png": (lambda: coded(photo(), "JPEG", quality=90), SUBSAMPLED),
    "a WebP called.jpg": (lambda: coded(photo(), "WEBP", quality=90), SUBSAMPLED),
    "frame_%03d.jpg": (lambda: coded(photo(), "JPEG", quality=90), SUBSAMPLED),
    "clip.mpg.jpg": (lambda: coded(photo(), "JPEG", quality=90), SUBSAMPLED),
    **{
        f"turned {kind} {way}.{kind.lower()}": (lambda kind=kind, way=way: oriented(photo(), kind, way), SUBSAMPLED)
        for kind, ways in (("JPEG", range(1, 9)), ("PNG", (3, 6, 8)), ("WEBP", (3, 6, 8)))
        for way in ways
    },
}


@pytest.mark.parametrize("name", WAYS)
def test_a_frame_has_the_pixels_that_everybody_sees_upright_and_without_its_transparency(
    name: str, tmp_path: Path
) -> None:
    make, allowed = WAYS[name]
    file = tmp_path / name
    file.write_bytes(make())
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    found = read_image(file, SETTINGS)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= allowed


@pytest.mark.parametrize("depth", ["grey", "colours"])
def test_sixteen_bits_become_the_nearest_eight(depth: str, tmp_path: Path) -> None:
    """Pillow cuts such values off at 255, so the expected value is computed: v / 257."""
    grey = np.random.default_rng(0).integers(0, 65536, (48, 64), np.uint16)
    values = grey if depth == "grey" else np.stack([grey, grey.T.reshape(48, 64), grey[::-1]], -1)
    layout = {"grey": "gray16be", "colours": "rgb48be"}[depth]
    with av.open(str(tmp_path / "deep.png"), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, layout
        container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format=layout)))
        container.mux(stream.encode())
    found = read_image(tmp_path / "deep.png", SETTINGS).astype(float)
    expected = np.repeat(values[..., None], 3, 2) if depth == "grey" else values
    assert np.abs(found - expected / 257).max() < 2


def test_inks_that_programs_understand_differently_are_refused(tmp_path: Path) -> None:
    jpeg = coded(inks(photo()), "JPEG", quality=95)
    (tmp_path / "a.jpg").write_bytes(renamed_inks(jpeg, adobe=9))  # no inks that are known, under neutral names
    with pytest.raises(MediaError, match=r"^a\.jpg: a CMYK image with ambiguous inks; save it as RGB"):
        read_image(tmp_path / "a.jpg", SETTINGS)


@pytest.mark.parametrize("name", ["200 kB.jpg", "progressive.jpg", "grey.jpg", "colours.png", "lossy.webp"])
@pytest.mark.parametrize("share", [0.98, 0.5])
def test_a_frame_that_was_cut_short_is_refused_instead_of_filled_up(name: str, share: float, tmp_path: Path) -> None:
    whole = WAYS[name][0]()
    (tmp_path / name).write_bytes(whole[: round(share * len(whole))])
    with pytest.raises(MediaError, match=rf"^{name}: "):
        read_image(tmp_path / name, SETTINGS)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_other_kinds_of_frames_are_refused_by_what_they_are(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(coded(photo(), kind))
    with pytest.raises(MediaError, match=r"^a\.jpg: not an image \(JPEG, PNG, WebP, BMP\) of a known format"):
        read_image(tmp_path / "a.jpg", SETTINGS)


def test_an_open_file_is_read_like_the_file_and_closed(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(coded(photo(), "JPEG", quality=95))
    opened = file.open("rb")
    np.testing.assert_array_equal(read_image(Path("no such file.jpg"), SETTINGS, opened), read_image(file, SETTINGS))
    assert opened.closed


def test_the_process_that_decodes_reads_large_frames_too(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(coded(photo(1920, 1440), "JPEG", quality=97))
    assert file.stat().st_size > 1_000_000
    decoder = DecoderClient(SETTINGS, ComputeSettings())
    np.testing.assert_array_equal(decoder.read_image(file), read_image(file, SETTINGS))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_film_of_jpegs_with_exif_is_read_upright(orientation: int, tmp_path: Path) -> None:
    """Cameras that video in MJPEG write EXIF into the frames, which PyAV cannot name."""
    with av.open(str(tmp_path / "video.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(5):
            packet = av.Packet(oriented(photo(64, 48), "JPEG", orientation))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            container.mux(packet)
    with MediaReader(tmp_path / "video.avi", SETTINGS, rates={"vision": 10}) as reader:
        shapes = [frame.rgb.shape for frame in reader.frames()]
    assert shapes == [(48, 64, 3) if orientation == 1 else (64, 48, 3)] * 5
