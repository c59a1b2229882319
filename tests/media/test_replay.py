"""What is kept of a stream lets a decoder begin in its middle."""

from mien.media.replay import CLUSTER, Replay

HEAD = b"\x1a\x45\xdf\xa3 header "


def fed(replay: Replay, blocks: list[bytes], every: float = 1.0) -> list[bytes]:
    return [replay.add(block, number * every) for number, block in enumerate(blocks)]


def test_the_header_and_the_clusters_of_the_last_seconds_are_kept() -> None:
    """Clusters a, b, … come each second; six seconds before the last one, at 9 s, cluster d began."""
    replay, blocks = (
        Replay(6),
        [CLUSTER + name for name in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i", b"j")],
    )
    assert fed(replay, [HEAD + blocks[0], *blocks[1:]]) == [HEAD + blocks[0], *blocks[1:]]
    assert replay.restart() == HEAD + b"".join(blocks[3:])


def test_a_cluster_is_found_across_blocks_and_a_skip_passes_on_from_the_next_one() -> None:
    replay = Replay()
    fed(replay, [HEAD[:3], HEAD[3:] + CLUSTER[:2], CLUSTER[2:] + b"a"])
    assert replay.restart() == HEAD + CLUSTER + b"a"
    assert replay.restart(skip=True) == HEAD
    assert fed(replay, [b"poison", b"more" + CLUSTER[:3], CLUSTER[3:] + b"b", b"c"]) == [b"", b"", CLUSTER + b"b", b"c"]
    assert replay.restart() == HEAD + CLUSTER + b"bc"


def test_memory_is_bounded_even_if_no_cluster_comes() -> None:
    replay = Replay(most_bytes=1000)
    fed(replay, [HEAD + CLUSTER, *[b"0" * 400] * 10])
    assert replay.restart() is not None and len(replay.restart() or b"") < 1500
    assert Replay().restart() is None


def test_fragments_of_mp4_are_cut_before_their_size_and_transport_streams_anywhere() -> None:
    head, parts = b"\0\0\0\x0cftypiso5 moov", [b"\0\0\0\x10moof" + name for name in (b"a", b"b", b"c")]
    replay = Replay(0)
    fed(replay, [(head + b"".join(parts))[place : place + 5] for place in range(0, 80, 5)])
    assert replay.restart() == head + parts[2]
    replay = Replay(2)
    fed(replay, [bytes([0x47, *[number] * 187]) for number in range(6)])
    assert len(replay.restart() or b"") == 3 * 188
