"""Every file reader returns a value or raises a one-line ``MienError``, never another exception.

Valid files are damaged by strategies that know the separators, numbers and words of the format, so that the damage
passes the first check. A few examples in every run, thousands with ``-m soak``.
"""

import json
import pickle
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.config import Settings, read_settings, read_yaml, with_changes
from mien.data.elan import read_elan
from mien.data.manifest import read_manifest
from mien.data.rows import read_table
from mien.errors import MienError
from mien.features.challenge import read_array
from mien.media.provided import OPENFACE_COLUMNS, read_openface
from mien.scores.document import read_document, write_document
from mien.storage.files import read_json
from tests.scores.scored import scored

QUICK, SOAK = 25, 400
MOST_BYTES = 30_000_000
"""Memory limit for reading a file of a few kilobytes."""

CSV = (
    b"id,path,start,end,split,participant,group,transcript,Joy,Empathic Pain\n"
    b'a,clips/a.mp4,0,2.5,train,p1,g1,"well, then",0.5,0.25\n'
    b"b,clips/b.mp4,,,valid,p2,,,1,0\n"
    b"c,clips/c.mp4,1,2,test,p3,g2,said,,\n"
)
CHALLENGE = b"Filename,Admiration,Amusement,Joy\n00001,0.5,0.25,1\n00002,0,0.1,0.2\n3,0.5,,0\n"
PEOPLE = b"Filename,Participant,Group\n00001,p1,a\n00002,p2,b\n"
OPENFACE = (
    "frame, face_id, timestamp, confidence, success, " + ", ".join(OPENFACE_COLUMNS) + "\n"
    + "".join(f"{n}, 0, {n / 25}, 0.98, 1, " + ", ".join(["0.5"] * len(OPENFACE_COLUMNS)) + "\n" for n in range(4))
).encode()  # fmt: skip
EAF = b"""<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///clips/a.mp4" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./a.mp4" TIME_ORIGIN="0"/>
</HEADER><TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1500"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="2000"/></TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="default" PARTICIPANT="Anna" TIER_ID="Joy@Anna">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>0.5</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER><TIER TIER_ID="said"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>0.25</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE>so there</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""
YAML = b"weights: small\nmodalities: [text, audio]\nseeds: [0, 1]\nmedia: {vision_fps: 4.0}\nstage2:\n  lr: 1e-4\n"

TOKENS = [
    b"", b",", b"\t", b";", b'"', b"'", b"\n", b"\r", b" ", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xb3\xbf",
    "é²漢😀".encode(), b"nan", b"-nan(ind)", b"inf", b"1e400", b"1e308", b"-1", b"--5", b"1_000", b"9" * 5000, b"0x10",
    b"1.7", b"true", b"null", b".", b"..", b"/", b"../../etc/passwd", b"a" * 300, b"a" * 200_000, b"path", b"id",
    b"Joy", b"Filename", b"{", b"}", b"[", b"]", b":", b"[" * 3000, b'{"a":' * 3000, b"&a", b"*a", b"<<: ",
    b"!!python/object:os.system", b"2020-99-99", b"- ", b"? ", b"|", b"%", b"<", b">", b"/>", b"&lt;", b"&#0;", b"&x;",
    b'<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>', b"<a>" * 2000, b"ts1", b"a2", b"Joy@Anna",
    b"http://x/y.mp4", b"\x1b[2J",
]  # fmt: skip


WORD = re.compile(rb"[\w.@+-]+")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A valid file after a few changes: parts replaced by a word or another part of it, removed, or repeated."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        words = [found.span() for found in WORD.finditer(content[:5000])]
        if words and draw(st.booleans()):
            first, end = draw(st.sampled_from(words))
            length = end - first
        else:
            first = draw(st.integers(0, len(content)))
            length = draw(st.one_of(st.just(0), st.integers(1, 12), st.integers(0, len(content))))
        part, after = content[first : first + length], content[first + length :]
        put = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6), st.just(b""), st.just(part * 2)))
        content = content[:first] + put + after
    return content


def reads(read: Callable[[], Any]) -> None:
    """It returns a value or raises a one-line error, within the memory limit."""
    tracemalloc.start()
    try:
        read()
    except MienError as error:
        message = str(error)
        assert message
        assert ("\n" not in message and message.isprintable()) or not any(ord(each) < 32 for each in message)
        assert len(message) < 1500, message[:200]
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_BYTES


def table(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    read_manifest(file)
    read_manifest(file, targets=["Joy"], label_scale=100)


def challenge(file: Path, content: bytes) -> None:
    folder = file.with_name("challenge")
    folder.mkdir(exist_ok=True)
    (folder / "train_split.csv").write_bytes(content)
    (folder / "participants.csv").write_bytes(PEOPLE)
    read_manifest(folder)


def people(file: Path, content: bytes) -> None:
    folder = file.with_name("people")
    folder.mkdir(exist_ok=True)
    (folder / "train_split.csv").write_bytes(CHALLENGE)
    (folder / "participants.csv").write_bytes(content)
    read_manifest(folder)


def elan(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    read_elan(file, ["Joy"], "said")


def openface(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    found = read_openface(file)
    assert np.isfinite(found.motion).all()


def array(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert np.isfinite(read_array(file)).all()


def yaml(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    read_settings(file)


def override(file: Path, content: bytes) -> None:
    read_settings(None, [content.decode("utf-8", "replace")])


def changes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with_changes(Settings(), read_yaml(file), "changes")


def scores(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    read_document(file)


def document_bytes(folder: Path) -> bytes:
    write_document(scored(), folder / "whole.json")
    return (folder / "whole.json").read_bytes()


def parquet_bytes(folder: Path) -> bytes:
    columns = {
        "path": ["a.mp4", "b.mp4"],
        "start": [0.0, None],
        "Joy": [0.5, 1.0],
        "at": pa.array([1, 2], pa.timestamp("s")),
    }
    pq.write_table(pa.table(columns), folder / "whole.parquet")
    return (folder / "whole.parquet").read_bytes()


READERS: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path, bytes], None]]] = {
    "table": ("clips.csv", lambda _: CSV, table),
    "tabs": ("clips.tsv", lambda _: CSV.replace(b",", b"\t"), table),
    "parquet": ("clips.parquet", parquet_bytes, table),
    "challenge": ("train.csv", lambda _: CHALLENGE, challenge),
    "people": ("people.csv", lambda _: PEOPLE, people),
    "elan": ("a.eaf", lambda _: EAF, elan),
    "openface": ("a.csv", lambda _: OPENFACE, openface),
    "array": ("a.pkl", lambda _: pickle.dumps(np.ones((3, 4), np.float32)), array),
    "array, protocol 2": ("a.pkl", lambda _: pickle.dumps(np.ones((3, 4), np.float32), 2), array),
    "settings": ("a.yaml", lambda _: YAML, yaml),
    "override": ("", lambda _: b"stage2.lr=1e-4", override),
    "changes": ("a.yaml", lambda _: b"stage2.lr: 1e-4\nseeds: [1]\n", changes),
    "scores": ("a.json", document_bytes, scores),
}


def damage(name: str, folder: Path, examples: int) -> None:
    file, whole, read = READERS[name]
    content = whole(folder)
    read(folder / file, content)  # the undamaged file can be read

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(damaged(content))
    def each(damaged: bytes) -> None:
        reads(lambda: read(folder / file, damaged))

    each()


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    damage(name, tmp_path, QUICK)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", READERS)
def test_thousands_of_damaged_files_are_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    damage(name, tmp_path, SOAK)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_scores_with_a_value_of_another_type_are_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """One value, anywhere in the document, replaced by arbitrary JSON."""
    folder = tmp_path_factory.getbasetemp()
    whole = json.loads(document_bytes(folder))
    at: Any = whole
    while isinstance(at, dict | list) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inside = at[key]
        if not isinstance(inside, dict | list) or not inside or data.draw(st.booleans()):
            at[key] = data.draw(JSON)
            break
        at = inside
    reads(lambda: scores(folder / "other.json", json.dumps(whole).encode()))


@settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=4))
def test_any_label_name_is_accepted_or_refused(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    file = tmp_path_factory.getbasetemp() / "labels.csv"
    header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    reads(lambda: table(file, f"path,{header}\na.mp4{',0.5' * len(names)}\n".encode()))


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize("text", [LAUGHS, "seeds: &a [*a]\n", "a: " + "[" * 5000, "a: 2020-99-99", "a: " + "9" * 9999])
def test_settings_that_would_expand_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.yaml"
    with pytest.raises(MienError, match=r"a\.yaml"):
        yaml(file, text.encode())


@pytest.mark.parametrize(
    "entity",
    ['<!ENTITY x "0.5">', '<!ENTITY x SYSTEM "file:///etc/hostname">',
     '<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;',
     '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY x "&b;&b;&b;&b;&b;&b;&b;&b;">'],
)  # fmt: skip
def test_an_entity_is_never_expanded(tmp_path: Path, entity: str) -> None:
    content = EAF.replace(b"<ANNOTATION_DOCUMENT", f"<!DOCTYPE x [{entity}]><ANNOTATION_DOCUMENT".encode(), 1)
    with pytest.raises(MienError, match="document type or entities"):
        elan(tmp_path / "a.eaf", content.replace(b">0.5<", b">&x;<"))


def test_a_chain_of_annotations_is_read_in_linear_time(tmp_path: Path) -> None:
    links = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="r{n}" ANNOTATION_REF="{f"r{n - 1}" if n else "a1"}">'
        "<ANNOTATION_VALUE>1</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for n in range(20_000)
    )
    content = EAF.replace(b"</TIER>", links.encode() + b"</TIER>", 1)
    with pytest.raises(MienError, match="more than 100 parent annotations"):
        elan(tmp_path / "a.eaf", content)


def test_an_oversized_parquet_table_is_refused_by_its_header(tmp_path: Path) -> None:
    """Twenty million equal paths, in a few kilobytes."""
    file = tmp_path / "bomb.parquet"
    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000_000, np.int8)), pa.array(["a.mp4"]))
    pq.write_table(pa.table({"path": same}), file)
    assert file.stat().st_size < 1_000_000
    with pytest.raises(MienError, match="20,000,000 cells, but at most 10,000,000 are read"):
        read_manifest(file)


@pytest.mark.parametrize(
    "read", [read_table, read_json, read_openface, read_array, lambda file: read_elan(file, ["Joy"]), read_manifest]
)
def test_endless_files_are_not_read(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    file = tmp_path / "endless.csv"
    file.symlink_to("/dev/zero")
    with pytest.raises(MienError, match="not a regular file"):
        read(file)
