from pathlib import Path

import av
import numpy as np
import pytest

from mien.config import ComputeSettings, FaceSettings, MediaSettings, Settings
from mien.errors import DataError, MediaError
from mien.media.decoder import DecoderClient
from mien.media.load_media import MediaEngines, load_media
from mien.media.provided import OPENFACE_COLUMNS, provided_crops, read_openface
from mien.schema import Clip
from tests.media.test_notes import voice, write_sound

SETTINGS = FaceSettings(crop_size=16)
DECODER = DecoderClient(MediaSettings(), ComputeSettings())


def write_picture(file: Path, grey: int, height: int = 32, width: int = 32) -> None:
    """A flat frame, as the format that the ending names."""
    codec, pixels = ("png", "rgb24") if file.suffix == ".png" else ("mjpeg", "yuvj420p")
    with av.open(str(file), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), grey, np.uint8)).reformat(format=pixels)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "00042"
    made.mkdir()
    for number in (1, 2, 10, 11):
        write_picture(made / f"{number}.jpg", grey=number * 10)
    return made


def greys(crops) -> list[int]:
    return [round(float(crop.mean())) for crop in crops[0 : len(crops)]]


def test_frames_come_in_the_order_of_their_numbers_spread_over_the_clip(folder: Path) -> None:
    provided = provided_crops(folder, SETTINGS, DECODER.read_image, seconds=8.0)
    assert provided.crops[0:4].shape == (4, 16, 16, 3)
    assert greys(provided.crops) == pytest.approx([10, 20, 100, 110], abs=2)  # not 1, 10, 11, 2; JPEG is not exact
    np.testing.assert_allclose(provided.seconds, [1, 3, 5, 7])  # the middles of four quarters of 8 s
    assert provided.images == 4
    assert provided.notes == ()


def test_without_the_length_of_the_clip_no_times_are_made_up(folder: Path) -> None:
    assert np.isnan(provided_crops(folder, SETTINGS, DECODER.read_image).seconds).all()


def test_other_files_and_broken_frames_are_counted_and_leave_the_rest(folder: Path) -> None:
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "3.jpg").write_bytes(b"not a image")
    (folder / "4.jpg").write_bytes(b"")
    provided = provided_crops(folder, SETTINGS, DECODER.read_image, seconds=6.0)
    assert greys(provided.crops) == pytest.approx([10, 20, 100, 110], abs=2)
    np.testing.assert_allclose(provided.seconds, [0.5, 1.5, 4.5, 5.5])  # the broken third and fourth keep their places
    assert provided.images == 6
    assert provided.notes == (
        "00042: 2 files ignored: not an image, for example .DS_Store",
        "00042: 2 files left out: cannot be decoded, for example 3.jpg",
    )


def test_more_frames_than_wanted_are_thinned_evenly(folder: Path) -> None:
    provided = provided_crops(folder, SETTINGS, DECODER.read_image, seconds=8.0, limit=2)
    assert greys(provided.crops) == pytest.approx([20, 110], abs=2)  # the middles of two halves: positions 1 and 3
    assert provided.images == 4


def test_a_frame_that_is_not_square_is_continued_by_its_border_not_squeezed(tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    folder.mkdir()
    write_picture(folder / "1.png", grey=70, height=32, width=64)
    crop = provided_crops(folder, SETTINGS, DECODER.read_image).crops[0:1]
    assert crop.shape == (1, 16, 16, 3)
    assert np.all(crop == 70)  # nothing black above or below


def test_a_folder_without_usable_frames_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"nowhere: cannot be read as a folder of face images \(No such file"):
        provided_crops(tmp_path / "nowhere", SETTINGS, DECODER.read_image)
    with pytest.raises(MediaError, match="no face images in it, found nothing"):
        provided_crops(tmp_path, SETTINGS, DECODER.read_image)
    (tmp_path / "Thumbs.db").write_bytes(b"")
    with pytest.raises(MediaError, match=r"found 1 other file, for example Thumbs\.db"):
        provided_crops(tmp_path, SETTINGS, DECODER.read_image)
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(MediaError, match=r"none of 1 images can be decoded, for example 1\.jpg"):
        provided_crops(tmp_path, SETTINGS, DECODER.read_image)


HEADER = ["frame", "face_id", "timestamp", "confidence", "success", *OPENFACE_COLUMNS, "AU28_c"]


def openface_row(frame: int, person: int = 0, confidence: float = 0.98, success: int = 1, first: str = "1.5") -> str:
    units = [first, *(f"{unit / 10:.2f}" for unit in range(1, 17))]
    pose = ["0.5", "-0.25", "0.0", "12.0", "-30.0", "600.0"]  # radians, millimetres
    return ", ".join([str(frame), str(person), f"{frame / 25:.3f}", str(confidence), str(success), *units, *pose, "0"])


def write_table(file: Path, *rows: str, header: list[str] = HEADER) -> Path:
    file.write_text("\n".join([", ".join(header), *rows]) + "\n", encoding="utf-8")
    return file


def test_openface_rows_come_in_degrees_and_centimetres(tmp_path: Path) -> None:
    table = read_openface(write_table(tmp_path / "a.csv", openface_row(1), openface_row(2)))
    assert table.motion.shape == (2, 23)
    np.testing.assert_allclose(table.motion[0, :3], [1.5, 0.1, 0.2])
    # .5 rad x 180 / pi = 28.648 degrees; 600 mm = 60 cm
    np.testing.assert_allclose(table.motion[0, 17:], [28.648, -14.324, 0, 1.2, -3, 60], atol=1e-3)
    np.testing.assert_allclose(table.seconds, [0.04, 0.08])
    assert (table.frames, table.notes) == (2, ())


def test_rows_that_openface_does_not_vouch_for_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        openface_row(1),
        openface_row(2, success=0),
        openface_row(3, confidence=0.5),
        openface_row(4, first="-nan(ind)"),
        openface_row(5),
    ]
    table = read_openface(write_table(tmp_path / "a.csv", *rows))
    np.testing.assert_allclose(table.seconds, [0.04, 0.2])
    assert table.frames == 5
    assert table.notes == ("a.csv: 3 of 5 rows left out: no face, or confidence below 0.75",)


def test_a_part_of_a_recording_has_its_rows_with_times_of_its_own(tmp_path: Path) -> None:
    file = write_table(tmp_path / "a.csv", *(openface_row(frame) for frame in range(250)))  # 10 s
    table = read_openface(file, 2.0, 4.0)
    assert (len(table.motion), table.frames) == (50, 50)
    np.testing.assert_allclose(table.seconds, np.arange(50) / 25, atol=1e-6)

    settings, wanted = Settings.model_validate({"faces": {"source": "provided"}}), {"motion", "vision"}
    (tmp_path / "faces").mkdir()
    for number in range(20):
        write_picture(tmp_path / "faces" / f"{number}.png", grey=70)
    sound = write_sound(tmp_path / "a.mkv", voice(10, 16_000)[None], 16_000, "pcm_s16le")
    engines = MediaEngines({}, settings)
    clip = Clip("a", None, 2.0, 4.0, sound=sound, openface=file, crops=tmp_path / "faces")
    media = load_media(clip, {*wanted, "audio"}, engines, settings)
    assert media.faces is not None and len(media.faces.motion) == 50
    taken = "8 of 20 images, from the whole folder, are taken for this part"  # four a second
    assert media.notes == (f"faces: face images have no times; {taken}",)
    after = load_media(Clip("a", None, 20.0, openface=file), {"motion"}, engines, settings)
    engines.close()
    assert after.absent["motion"] == "a.csv: no row in the part from 20 s"


def test_of_several_people_the_one_with_most_rows_is_kept(tmp_path: Path) -> None:
    rows = [openface_row(1, 0), openface_row(1, 1), openface_row(2, 1), openface_row(3, 0, success=0)]
    table = read_openface(write_table(tmp_path / "a.csv", *rows))
    np.testing.assert_allclose(table.seconds, [0.04, 0.08])
    assert table.frames == 3
    assert table.notes[1] == "a.csv: 1 row of 1 other person left out"


def test_a_table_without_any_usable_row_is_empty_not_an_error(tmp_path: Path) -> None:
    table = read_openface(write_table(tmp_path / "a.csv", openface_row(1, success=0)))
    assert (table.motion.shape, table.seconds.shape, table.frames) == ((0, 23), (0,), 1)


@pytest.mark.parametrize(
    ("rows", "header", "last_error"),
    [
        (["1, 2"], HEADER, r"a\.csv:2: 2 cells, but the header has 29"),
        ([openface_row(1), openface_row(2, first="much")], HEADER, r"a\.csv:3: AU01_r = 'much', expected a number"),
        ([], ["Filename", "Joy"], r"a\.csv:1: no column timestamp \(26 missing\), expected an OpenFace 2 CSV"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(
    tmp_path: Path, rows: list[str], header: list[str], last_error: str
) -> None:
    with pytest.raises(DataError, match=last_error):
        read_openface(write_table(tmp_path / "a.csv", *rows, header=header))


def test_a_table_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read \(No such file"):
        read_openface(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="not a text file"):
        read_openface(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.csv:1: no column timestamp"):
        read_openface(tmp_path / "a.csv")
