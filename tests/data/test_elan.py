"""ELAN files, real and hostile: labels by interval, or one line that names the fault."""

import itertools
import math
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.data.clip_table import write_clips
from mien.data.elan import read_elan
from mien.data.manifest import read_manifest
from mien.errors import DataError
from mien.schema import Manifest

Notes = list[tuple[int | None, int | None, str]]


def eaf(tiers: dict[str, Notes], participants: dict[str, str] | None = None, media: str | None = None) -> str:
    """An annotation file with these tiers; names of tiers, then (start, end, text) of their annotations."""
    count = itertools.count(1)
    slots, rows = [], []
    for tier, notes in tiers.items():
        who = f' PARTICIPANT="{participants[tier]}"' if participants and tier in participants else ""
        rows.append(f'<TIER TIER_ID="{tier}" LINGUISTIC_TYPE_REF="t"{who}>')
        for start, end, text in notes:
            number = next(count)
            slots += [
                f'<TIME_SLOT TIME_SLOT_ID="ts{number}{side}"' + ("" if at is None else f' TIME_VALUE="{at}"') + "/>"
                for side, at in (("a", start), ("b", end))
            ]
            rows.append(
                f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="ts{number}a" '
                f'TIME_SLOT_REF2="ts{number}b"><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>'
                "</ANNOTATION>"
            )
        rows.append("</TIER>")
    media = media if media is not None else '<MEDIA_DESCRIPTOR MEDIA_URL="file:///x/v.mp4" MIME_TYPE="video/mp4"/>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00Z" '
        f'VERSION="3.0"><HEADER TIME_UNITS="milliseconds">{media}</HEADER><TIME_ORDER>{"".join(slots)}</TIME_ORDER>'
        f'{"".join(rows)}<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="t"/></ANNOTATION_DOCUMENT>'
    )


def read(folder: Path, text: str, targets: tuple[str, ...] = ("Joy",), transcript: str | None = None) -> Manifest:
    (folder / "rec.eaf").write_text(text, encoding="utf-8")
    return read_elan(folder / "rec.eaf", targets, transcript)


def test_equal_intervals_of_several_tiers_are_one_clip(tmp_path: Path) -> None:
    text = eaf(
        {"Joy": [(0, 1000, "0.5"), (2000, 3000, "1")], "Awe": [(0, 1000, " 0.25 "), (2000, 3001, "0")],
         "said": [(100, 300, "so"), (300, 900, "good"), (2500, 2600, "yes")], "notes": [(0, 5, "later")]},
        {"Joy": "Anna", "Awe": "Anna"},
    )  # fmt: skip
    made = read(tmp_path, text, ("Joy", "Awe"), "said")
    assert [(clip.id, clip.start, clip.end) for clip in made.clips] == [
        ("rec_0-1000", 0, 1), ("rec_2000-3000", 2, 3), ("rec_2000-3001", 2, 3.001)
    ]  # fmt: skip
    labels = [clip.labels or () for clip in made.clips]
    assert labels[0] == (0.5, 0.25)
    assert labels[1][0] == 1 and math.isnan(labels[1][1]) and math.isnan(labels[2][0]) and labels[2][1] == 0
    assert [clip.transcript for clip in made.clips] == ["so good", "yes", "yes"]
    assert {clip.participant for clip in made.clips} == {"Anna"}
    assert f"{tmp_path / 'rec.eaf'}: 2 of 3 clips not rated on every tier (first: rec_2000-3000)" in made.notes


def test_participants_are_kept_apart_by_tier(tmp_path: Path) -> None:
    text = eaf(
        {"Joy@A": [(0, 9, "1")], "Joy@B": [(0, 9, "0")], "said@A": [(1, 2, "hi")], "said@B": [(3, 4, "ho")],
         "said": [(5, 6, "both")]},
        {"Joy@B": "Bea"} | {"said@B": "Bea"},
    )  # fmt: skip
    made = read(tmp_path, text, ("Joy",), "said")
    assert [(clip.id, clip.participant, clip.labels, clip.transcript) for clip in made.clips] == [
        ("rec_0-9_A", "A", (1.0,), "hi both"), ("rec_0-9_Bea", "Bea", (0.0,), "ho both")
    ]  # fmt: skip


def test_an_annotation_without_time_has_its_parents(tmp_path: Path) -> None:
    text = eaf({"turn": [(100, 700, "x")]}).replace(
        '<LINGUISTIC_TYPE ',
        '<TIER TIER_ID="Joy" LINGUISTIC_TYPE_REF="t" PARENT_REF="turn"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="r1" '
        'ANNOTATION_REF="a1"><ANNOTATION_VALUE>0.5</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>'
        '<LINGUISTIC_TYPE ',
    )  # fmt: skip
    assert [(clip.start, clip.end, clip.labels) for clip in read(tmp_path, text).clips] == [(0.1, 0.7, (0.5,))]
    looped = text.replace('ANNOTATION_REF="a1"', 'ANNOTATION_REF="r1"')
    with pytest.raises(DataError, match=r"rec\.eaf:r1: is its own parent"):
        read(tmp_path, looped)


@pytest.mark.parametrize(
    ("notes", "message"),
    [([(0, 1, "much")], ":a1: 'much' is not a number"), ([(0, 1, "0,5")], ":a1: '0,5' is not a number"),
     ([(0, 1, "nan")], ":a1: 'nan' is not"), ([(0, 1, "inf")], ":a1: 'inf' is not"),
     ([(0, 1, "1"), (0, 1, "0")], ":a2: Joy is rated twice on one interval (first by a1)"),
     ([(5, 5, "1")], ":a1: ends at 5 ms, but begins at 5 ms"), ([(None, 5, "1")], ":a1: has no time of its own"),
     ([], "the tiers Joy have no annotations")],
)  # fmt: skip
def test_an_invalid_rating_is_named_by_file_and_annotation(notes: Notes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, eaf({"Joy": notes}))
    assert message in str(caught.value) and "rec.eaf" in str(caught.value) and "\n" not in str(caught.value)


def test_an_interval_without_text_is_unrated(tmp_path: Path) -> None:
    made = read(tmp_path, eaf({"Joy": [(0, 1, ""), (1, 2, "1")]}))
    assert [clip.labels and clip.labels[0] for clip in made.clips] == [pytest.approx(math.nan, nan_ok=True), 1]


def test_a_missing_tier_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tier 'Awe' in 1 file \(in rec.eaf: Joy, Fun\)"):
        read(tmp_path, eaf({"Joy": [(0, 1, "1")], "Fun": []}), ("Joy", "Awe"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.eaf files"):
        read_elan(tmp_path / "empty", ["Joy"])


def test_a_folder_is_read_whole_and_files_without_the_tiers_are_counted(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.eaf").write_text(eaf({"Other": []}))
    (tmp_path / "sub" / "b.eaf").write_text(eaf({"Joy": [(0, 1, "1")]}))
    (tmp_path / "sub" / "._b.eaf").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    made = read_elan(tmp_path, ["Joy"])
    assert [clip.id for clip in made.clips] == ["sub/b_0-1"]
    assert f"{tmp_path}: 1 file without any of the tiers (first: a.eaf)" in made.notes


@pytest.mark.parametrize(
    ("descriptor", "where"),
    [('MEDIA_URL="file:///gone/v.mp4" RELATIVE_MEDIA_URL="../v 1.mp4"', "v 1.mp4"),
     ('MEDIA_URL="file:///gone/v.mp4" RELATIVE_MEDIA_URL="../v%201.mp4"', "v 1.mp4"),
     ('MEDIA_URL="file:///{root}/v 1.mp4"', "v 1.mp4"), ('MEDIA_URL="file://{root}/v%201.mp4"', "v 1.mp4"),
     ('MEDIA_URL="file:///C:/gone/w.mp4"', "elan/w.mp4"),  # beside the annotation file, as ELAN looks for it
     ('MEDIA_URL="file:///C:\\gone\\w.mp4"', "elan/w.mp4")],
)  # fmt: skip
def test_the_video_is_found_where_elan_finds_it(descriptor: str, where: str, tmp_path: Path) -> None:
    (tmp_path / "elan").mkdir()
    for name in ("v 1.mp4", "elan/w.mp4"):
        (tmp_path / name).touch()
    media = f'<MEDIA_DESCRIPTOR MIME_TYPE="video/mp4" {descriptor.format(root=str(tmp_path)[1:])}/>'
    if "file://{" in descriptor:
        media = f'<MEDIA_DESCRIPTOR MIME_TYPE="video/mp4" {descriptor.format(root=str(tmp_path))}/>'
    made = read(tmp_path / "elan", eaf({"Joy": [(0, 1000, "1")]}, media=media))
    assert made.clips[0].path == tmp_path / where
    assert not made.notes


def test_the_first_video_counts_and_its_offset_is_added(tmp_path: Path) -> None:
    media = (
        '<MEDIA_DESCRIPTOR MEDIA_URL="file:///x/v.wav" MIME_TYPE="audio/x-wav"/>'
        '<MEDIA_DESCRIPTOR MEDIA_URL="file:///x/v.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="1500"/>'
    )
    clip = read(tmp_path, eaf({"Joy": [(500, 1000, "1")]}, media=media)).clips[0]
    assert (clip.path.name, clip.start, clip.end) == ("v.mp4", 2.0, 2.5)
    early = media.replace("1500", "-501")
    with pytest.raises(DataError, match=r":a1: begins before its video, v\.mp4"):
        read(tmp_path, eaf({"Joy": [(500, 1000, "1")]}, media=early))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not an ELAN file"), ("<a>", "rec.eaf:1: not an ELAN file"), ("<a/>", "XML of another kind (a)"),
     ('<?xml version="1.0" encoding="none"?><a/>', "not an ELAN file"),
     (eaf({"Joy": [(0, 1, "1")]}, media=""), "names no video"),
     (eaf({"Joy": [(0, 1, "1")]}, media='<MEDIA_DESCRIPTOR MEDIA_URL="https://x/v.mp4"/>'), "its video is https://x"),
     (eaf({"Joy": [(0, 1, "1")]}).replace('"milliseconds"', '"PAL-frames"'), "times are in PAL-frames"),
     (eaf({"Joy": [(0, 1, "1")]}).replace('TIME_VALUE="1"', 'TIME_VALUE="1.5"'), "TIME_VALUE = '1.5' is not a whole")],
)  # fmt: skip
def test_anything_but_an_elan_file_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_entities_are_refused_before_they_are_expanded(tmp_path: Path) -> None:
    """A billion laughs: ten levels of ten references, 3 GB when expanded; and a file of the machine's own."""
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "lol">{levels}]><ANNOTATION_DOCUMENT>&l9;</ANNOTATION_DOCUMENT>'
    )
    theft = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ANNOTATION_DOCUMENT>&x;</ANNOTATION_DOCUMENT>'
    begin = time.perf_counter()
    for text in (bomb, theft, '<!DOCTYPE a SYSTEM "http://x/y.dtd"><ANNOTATION_DOCUMENT/>'):
        with pytest.raises(DataError, match="holds a document type or entities"):
            read(tmp_path, text)
    assert time.perf_counter() - begin < 1


def test_a_table_of_intervals_is_read_as_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").touch()
    media = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///gone/v.mp4" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./v.mp4"/>'
    notes: dict[str, Notes] = {"Joy": [(0, 1000, "50"), (2000, 3000, "")], "Awe": [(0, 1000, "100")]}
    notes["said"] = [(0, 500, 'a, "b"')]
    made = read(tmp_path, eaf(notes, {"Joy": "A", "Awe": "A"}, media), ("Joy", "Awe"), "said")
    write_clips(made, tmp_path / "tables" / "clips.csv")
    back = read_manifest(tmp_path / "tables" / "clips.csv", label_scale=100)
    assert back.targets == ("Joy", "Awe")
    assert [(c.id, c.start, c.end, c.participant) for c in back.clips] == [
        ("rec_0-1000", 0, 1, "A"), ("rec_2000-3000", 2, 3, "A")
    ]  # fmt: skip
    assert back.clips[0].labels == (0.5, 1.0) and back.clips[0].transcript == 'a, "b"'
    assert back.clips[1].labels is None
    assert back.clips[0].path.resolve() == tmp_path / "v.mp4"


VALID = eaf({"Joy": [(0, 1000, "0.5"), (1000, 2000, "1")], "said": [(0, 900, "so")]}, {"Joy": "A"})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed, cut out or put in anywhere, and attributes with any text: a manifest or a ``DataError``."""
    if data.draw(st.booleans()):
        raw = bytearray(VALID.encode())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    else:
        root = ElementTree.fromstring(VALID)
        element = data.draw(st.sampled_from([e for e in root.iter() if e.attrib]))
        name = data.draw(st.sampled_from(sorted(element.attrib)))
        element.set(name, data.draw(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)))
        raw = bytearray(ElementTree.tostring(root, encoding="utf-8"))
    file = tmp_path / "damaged.eaf"
    file.write_bytes(bytes(raw))
    try:
        made = read_elan(file, ["Joy"], "said")
    except DataError as error:
        assert "damaged.eaf" in str(error) and "\n" not in str(error)
    else:
        assert all(
            clip.start is not None and clip.end is not None and 0 <= clip.start < clip.end for clip in made.clips
        )


def words_of(order: tuple[tuple[str, str, str], ...], constraint: str = "Symbolic_Subdivision") -> str:
    """Two rated seconds, an utterance over both, and its words: (id, word, id of the word before), in file order."""
    text = eaf({"Joy": [(0, 1000, "0.5"), (1000, 2000, "0.7")], "utt": [(0, 2000, "all")]})
    words = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="a3"'
        + (f' PREVIOUS_ANNOTATION="{before}"' if before else "")
        + f"><ANNOTATION_VALUE>{word}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for name, word, before in order
    )
    return text.replace(
        "<LINGUISTIC_TYPE ",
        f'<TIER TIER_ID="word" LINGUISTIC_TYPE_REF="words" PARENT_REF="utt">{words}</TIER>'
        f'<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="words" CONSTRAINTS="{constraint}"/><LINGUISTIC_TYPE ',
        1,
    )


SENTENCE = (("w1", "my", ""), ("w2", "biggest", "w1"), ("w3", "weakness", "w2"), ("w4", "is", "w3"))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 1, 3), (3, 2, 1, 0)])
def test_words_of_an_utterance_share_its_time_in_the_order_of_speech(order: tuple[int, ...], tmp_path: Path) -> None:
    """Four words in 2 s are half a second each: two of them are said in each rated second."""
    made = read(tmp_path, words_of(tuple(SENTENCE[place] for place in order)), transcript="word")
    assert [clip.transcript for clip in made.clips] == ["my biggest", "weakness is"]
    note = "4 annotations without times, placed evenly in the parent (first: rec.eaf)"
    assert any(note in line for line in made.notes)


def test_words_without_an_order_of_their_own_are_those_of_the_file(tmp_path: Path) -> None:
    order = tuple((name, word, "") for name, word, _ in SENTENCE)
    made = read(tmp_path, words_of(order), transcript="word")
    assert [clip.transcript for clip in made.clips] == ["my biggest", "weakness is"]


def test_an_association_has_all_of_its_parents_time(tmp_path: Path) -> None:
    text = words_of((("w1", "0.25", ""),), "Symbolic_Association").replace('TIER_ID="word"', 'TIER_ID="Awe"')
    made = read(tmp_path, text, ("Awe",))
    assert [(clip.start, clip.end, clip.labels) for clip in made.clips] == [(0, 2, (0.25,))]
    assert not any("placed evenly in the parent" in note for note in made.notes)


def test_an_order_that_leads_back_to_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rec\.eaf:w\d: its PREVIOUS_ANNOTATION leads back to itself"):
        read(tmp_path, words_of((("w1", "my", "w2"), ("w2", "weakness", "w1"))), transcript="word")


def test_slots_without_a_time_lie_evenly_inside_their_parent(tmp_path: Path) -> None:
    """A time subdivision of 0-3 s in four words by three unaligned slots: at .75, 1.5 and 2.25 s."""
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="s{n}"{at}/>' for n, at in enumerate(
        (' TIME_VALUE="0"', "", "", "", ' TIME_VALUE="3000"')))  # fmt: skip
    words = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="t{n}" TIME_SLOT_REF1="s{n}" TIME_SLOT_REF2="s{n + 1}">'
        f"<ANNOTATION_VALUE>0.{n}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for n in range(4)
    )
    parent = (
        '<TIER TIER_ID="turn" LINGUISTIC_TYPE_REF="t"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="p" '
        'TIME_SLOT_REF1="s0" TIME_SLOT_REF2="s4"><ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>'
        "</ANNOTATION></TIER>"
    )
    text = eaf({}).replace("<TIME_ORDER>", f"<TIME_ORDER>{slots}").replace(
        "<LINGUISTIC_TYPE ",
        f'{parent}<TIER TIER_ID="Joy" LINGUISTIC_TYPE_REF="sub" PARENT_REF="turn">{words}</TIER><LINGUISTIC_TYPE ', 1
    )  # fmt: skip
    clips = read(tmp_path, text).clips
    assert [(clip.start, clip.end) for clip in clips] == [(0, 0.75), (0.75, 1.5), (1.5, 2.25), (2.25, 3)]
    assert [clip.labels for clip in clips] == [(0.0,), (0.1,), (0.2,), (0.3,)]
    with pytest.raises(DataError, match="has no time of its own"):
        read(tmp_path, text.replace(' TIME_VALUE="3000"', ""))
