"""Annotation files: as their formats demand, as Praat and an independent ELAN reader read them, and back as labels."""

import itertools
import math
import re
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import parselmouth
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parselmouth.praat import call
from pympi.Elan import Eaf

from mien.data.elan import read_elan
from mien.errors import DataError
from mien.schema import Prediction, Transcript, Window, Word
from mien.scores.exports import write_scores
from mien.scores.exports.elan import eaf
from mien.scores.exports.praat import textgrid
from mien.scores.exports.tiers import apart, extent, tiers
from tests.scores.scored import PLAIN, TARGETS, WINDOWED, scored

# What EAFv3.0.xsd demands of the elements that are written: children in order, and attributes that must or may be.
CHILDREN = {
    "ANNOTATION_DOCUMENT": "HEADER TIME_ORDER TIER* LINGUISTIC_TYPE*",
    "HEADER": "MEDIA_DESCRIPTOR* PROPERTY*",
    "TIME_ORDER": "TIME_SLOT*",
    "TIER": "ANNOTATION*",
    "ANNOTATION": "ALIGNABLE_ANNOTATION",
    "ALIGNABLE_ANNOTATION": "ANNOTATION_VALUE",
    **dict.fromkeys(("MEDIA_DESCRIPTOR", "PROPERTY", "TIME_SLOT", "ANNOTATION_VALUE", "LINGUISTIC_TYPE"), ""),
}
MUST = {
    "ANNOTATION_DOCUMENT": {"DATE", "AUTHOR", "VERSION"},
    "MEDIA_DESCRIPTOR": {"MEDIA_URL", "MIME_TYPE"},
    "TIME_SLOT": {"TIME_SLOT_ID"},
    "TIER": {"TIER_ID", "LINGUISTIC_TYPE_REF"},
    "ALIGNABLE_ANNOTATION": {"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"},
    "LINGUISTIC_TYPE": {"LINGUISTIC_TYPE_ID"},
}
MAY = {
    "ANNOTATION_DOCUMENT": {"FORMAT", "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"},
    "HEADER": {"MEDIA_FILE", "TIME_UNITS"},
    "MEDIA_DESCRIPTOR": {"RELATIVE_MEDIA_URL", "TIME_ORIGIN", "EXTRACTED_FROM"},
    "PROPERTY": {"NAME"},
    "TIME_SLOT": {"TIME_VALUE"},
    "TIER": {"PARTICIPANT", "ANNOTATOR", "DEFAULT_LOCALE", "PARENT_REF", "EXT_REF", "LANG_REF"},
    "ALIGNABLE_ANNOTATION": {"SVG_REF", "EXT_REF", "LANG_REF", "CVE_REF"},
    "LINGUISTIC_TYPE": {"TIME_ALIGNABLE", "CONSTRAINTS", "GRAPHIC_REFERENCES", "CONTROLLED_VOCABULARY_REF", "EXT_REF",
                        "LEXICON_REF"},
}  # fmt: skip


def check_eaf(root: ElementTree.Element) -> None:
    """Raise unless a document is as the schema has it, its references lead somewhere, and ELAN's own rules hold."""
    assert root.tag == "ANNOTATION_DOCUMENT"
    for element in root.iter():
        pattern = re.sub(r"(\w+)(\*?) ?", r"(?:\1 )\2", CHILDREN[element.tag])
        assert re.fullmatch(pattern, "".join(f"{child.tag} " for child in element)), element.tag
        must, may = MUST.get(element.tag, set()), MAY.get(element.tag, set())
        assert must <= set(element.keys()) <= must | may, (element.tag, element.keys())
        assert element.tag in ("PROPERTY", "ANNOTATION_VALUE") or not (element.text or "").strip()
    assert datetime.fromisoformat(root.attrib["DATE"]).tzinfo is not None
    slots = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")}
    notes = [note.attrib for note in root.iter("ALIGNABLE_ANNOTATION")]
    ids = [
        *(slot.attrib["TIME_SLOT_ID"] for slot in root.iter("TIME_SLOT")),
        *(note["ANNOTATION_ID"] for note in notes),
    ]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[A-Za-z_][\w.-]*", name) for name in ids)  # xsd:ID
    assert list(slots.values()) == sorted(slots.values()) and all(0 <= time < 2**32 for time in slots.values())
    used = [note[end] for note in notes for end in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
    assert sorted(used) == sorted(slots)
    names = [tier.attrib["TIER_ID"] for tier in root.iter("TIER")]
    kinds = [kind.attrib["LINGUISTIC_TYPE_ID"] for kind in root.iter("LINGUISTIC_TYPE")]
    assert len(names) == len(set(names)) and len(kinds) == len(set(kinds))
    assert {tier.attrib["LINGUISTIC_TYPE_REF"] for tier in root.iter("TIER")} <= set(kinds)
    for tier in root.iter("TIER"):
        spans = [
            (slots[note.attrib["TIME_SLOT_REF1"]], slots[note.attrib["TIME_SLOT_REF2"]])
            for note in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        assert all(start < end for start, end in spans)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def made(prediction: Prediction, folder: Path = Path("out")) -> ElementTree.Element:
    document = scored(prediction)
    return ElementTree.fromstring(eaf(document, document.clips[0], folder))


def spans_of(file: str | Path, tier: str) -> list[tuple[float, float, str]]:
    grid = parselmouth.read(str(file))
    names = [call(grid, "Get tier name", place + 1) for place in range(call(grid, "Get number of tiers"))]
    place = names.index(tier) + 1
    return [
        (call(grid, "Get start time of interval", place, n), call(grid, "Get end time of interval", place, n),
         call(grid, "Get label of interval", place, n))
        for n in range(1, call(grid, "Get number of intervals", place) + 1)
    ]  # fmt: skip


@pytest.mark.parametrize("prediction", [WINDOWED, PLAIN, replace(PLAIN, path=None), Prediction("x", {})])
def test_an_eaf_is_as_its_schema_demands(prediction: Prediction) -> None:
    check_eaf(made(prediction))


@pytest.mark.parametrize(
    "spoil",
    [lambda root: root.find("TIER").attrib.pop("TIER_ID"), lambda root: root.append(root.find("HEADER")),
     lambda root: root.find("TIME_ORDER/TIME_SLOT").set("TIME_SLOT_ID", "elsewhere"),
     lambda root: root.find("TIER").set("LINGUISTIC_TYPE_REF", "none"),
     lambda root: root.find("TIER").set("COLOUR", "red")],
)  # fmt: skip
def test_the_check_of_the_schema_sees_faults(spoil) -> None:
    root = made(WINDOWED)
    spoil(root)
    with pytest.raises(AssertionError):
        check_eaf(root)


def test_an_independent_reader_of_elan_files_finds_the_tiers(tmp_path: Path) -> None:
    write_scores(scored(), tmp_path, "eaf")
    read = Eaf(str(tmp_path / "anna_01.eaf"))
    # windows 0-4, 1-5, 2-6 s: the first two overlap in 1-4, whose middle is 2.5; the last two in 2-5, middle 3.5
    assert read.get_annotation_data_for_tier("Joy") == [
        (0, 2500, "0.1000"), (2500, 3500, "0.2000"), (3500, 6000, "0.3000")
    ]  # fmt: skip
    assert read.get_annotation_data_for_tier("words") == [
        (200, 500, "she"), (500, 800, "said"), (800, 1200, '"yes"'), (2000, 2001, "&"), (4500, 5000, "left")
    ]  # fmt: skip
    assert read.get_annotation_data_for_tier("transcript") == [(0, 6000, 'she said "yes" & left')]
    assert read.get_parameters_for_tier("Joy")["PARTICIPANT"] == "Anna"
    # a clip that begins at 10 s in its file is placed on the file's timeline
    assert Eaf(str(tmp_path / "02.eaf")).get_annotation_data_for_tier("Joy") == [(10000, 12500, "0.7500")]


def test_the_video_is_named_as_elan_names_it(tmp_path: Path) -> None:
    clip = replace(PLAIN, path=tmp_path / "a b.mp4")
    media = made(clip, tmp_path / "elan").find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.get("RELATIVE_MEDIA_URL") == "../a b.mp4"
    assert media.get("MEDIA_URL") == f"file:///{str(tmp_path)[1:]}/a b.mp4"
    assert media.get("MIME_TYPE") == "video/mp4"


def test_praat_reads_the_grid(tmp_path: Path) -> None:
    write_scores(scored(), tmp_path, "textgrid")
    file = tmp_path / "anna_01.TextGrid"
    assert spans_of(file, "Joy") == [(0, 2.5, "0.1000"), (2.5, 3.5, "0.2000"), (3.5, 6, "0.3000")]
    assert spans_of(file, "words")[:4] == [(0, 0.2, ""), (0.2, 0.5, "she"), (0.5, 0.8, "said"), (0.8, 1.2, '"yes"')]
    assert spans_of(tmp_path / "02.TextGrid", "Joy") == [(10, 12.5, "0.7500")]


@pytest.mark.parametrize(
    "text", ['"', "ü 漢 🙂", "line\nbreak", "a\x00\x01b", "\ud800", "<&>]]>", "intervals [1]:", "!"]
)
def test_any_text_can_be_said(text: str, tmp_path: Path) -> None:
    said = replace(WINDOWED, transcript=Transcript(text, "asr", (Word(text, 0, 1, 1.0),)), participant=text)
    document = scored(said)
    document = document.model_copy(update={"model": document.model.model_copy(update={"name": text})})
    (clip,) = document.clips
    root = ElementTree.fromstring(eaf(document, clip, tmp_path))
    check_eaf(root)
    (tmp_path / "a.TextGrid").write_bytes(textgrid(document, clip).encode())
    (_, _, label), *_ = spans_of(tmp_path / "a.TextGrid", "words")
    if text.isprintable():
        assert label == text
        assert [value.text for value in root.iter("ANNOTATION_VALUE")][-1] == text


def test_a_target_named_like_a_tier_keeps_its_name() -> None:
    clip = scored(replace(WINDOWED, scores={"words": 0.5})).clips[0].model_copy(update={"windows": []})
    assert [tier.name for tier in tiers(clip, ["words"])] == ["words", "transcript", "words_"]


def test_windows_without_a_score_are_gaps() -> None:
    empty = Window(0, 1, {"Joy": math.nan, "Empathic Pain": math.nan})
    later = Window(1, 2, {"Joy": 0.5, "Empathic Pain": math.nan})
    clip = scored(replace(WINDOWED, windows=(empty, later))).clips[0]
    assert [len(tier.intervals) for tier in tiers(clip, TARGETS)[:2]] == [1, 0]


def test_windows_within_each_other_are_refused() -> None:
    with pytest.raises(DataError, match="a: window 1-2 s after 0-4 s; windows must be in order"):
        apart([(0, 4000), (1000, 2000)], "a")
    with pytest.raises(DataError, match="less than 2 ms apart"):
        apart([(0, 10), (1, 10), (2, 10), (3, 10)], "a")


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Spans in order of time, of any length and overlap, in steps of 10 ms."""
    starts = [
        10 * start for start in sorted(draw(st.lists(st.integers(0, 10**5), min_size=1, max_size=12, unique=True)))
    ]
    ends, reached = [], 0
    for start in starts:
        reached = max(reached, start + 10 * draw(st.integers(1, 10**4)))
        ends.append(reached)
    return list(zip(starts, ends, strict=True))


@given(windows())
def test_spans_set_apart_lie_within_their_windows_and_do_not_overlap(spans: list[tuple[int, int]]) -> None:
    cut = apart(spans, "clip")
    assert all(start <= a < b <= end for (start, end), (a, b) in zip(spans, cut, strict=True))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(cut))
    covered = sum(b - a for a, b in cut)
    union, reached = 0, 0
    for start, end in spans:  # what the windows cover together, they still cover
        union += max(0, end - max(start, reached))
        reached = max(reached, end)
    assert covered == union


@settings(max_examples=30, deadline=None)
@given(windows(), st.lists(st.floats(-0.5, 1.5), min_size=12, max_size=12), st.integers(0, 10**6))
def test_what_is_exported_to_elan_is_imported_again(spans, scores, begin) -> None:
    """The same spans in the file, and the same values to the four decimals that are written."""
    made = tuple(
        Window(a / 1000, b / 1000, {"Joy": s, "Empathic Pain": -s}) for (a, b), s in zip(spans, scores, strict=False)
    )
    clip = replace(WINDOWED, windows=made, start=begin / 1000, transcript=None)
    with tempfile.TemporaryDirectory() as folder:
        write_scores(scored(clip), Path(folder), "eaf")
        back = read_elan(Path(folder), TARGETS)
    expected = apart([(begin + a, begin + b) for a, b in spans], "clip")
    assert [(c.start, c.end) for c in back.clips] == [(a / 1000, b / 1000) for a, b in expected]
    assert [c.labels for c in back.clips] == [
        (pytest.approx(s, abs=5.1e-5), pytest.approx(-s, abs=5.1e-5)) for s, _ in zip(scores, spans, strict=False)
    ]  # fmt: skip
    assert {c.participant for c in back.clips} == {"Anna"}


def test_a_clip_reaches_as_far_as_anything_in_it() -> None:
    clip = scored(replace(PLAIN, transcript=Transcript("so", "asr", (Word("so", 2.4, 2.75, 1.0),)))).clips[0]
    assert extent(clip) == (10_000, 12_750)
