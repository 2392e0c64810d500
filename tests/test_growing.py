"""A tree grows in groups of any size, is kept in few bytes and in tiles, and answers from them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.tree import (
    MAX_SIZE,
    TILE_WIDTH,
    Frontier,
    FrontierRefused,
    Growth,
    ProofRefused,
    TileSpan,
    consistency_proof,
    from_tiles,
    inclusion_proof,
    leaf_hash,
    locate,
)
from tests.vectors.trees import DECIMAL, HASHES, STRANGE, frontier_of


def test_however_the_leaves_are_grouped_the_tree_is_the_same() -> None:
    """A frontier depends on the leaves alone, not on how many came at once: 1, 2, a prime, 512 or all."""
    for group in (1, 2, 7, 256, 512, 5001):
        frontier = Frontier()
        for start in range(0, 5001, group):
            frontier = frontier.append(HASHES[start : start + group]).after

        assert frontier_of(5001) == frontier


def test_appending_nothing_changes_nothing() -> None:
    """An empty group completes no subtree and stores nothing."""
    growth = frontier_of(77).append([])

    assert (frontier_of(77), (), []) == (growth.after, growth.completed, list(growth.tiles()))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 4095, 5000])
def test_a_frontier_survives_its_bytes(size: int) -> None:
    """What is read back is equal, grows equally, and is as long as its size says: 8 bytes and 32 for every 1 bit."""
    data = frontier_of(size).to_bytes()

    assert 8 + 32 * size.bit_count() == len(data)
    assert frontier_of(size) == Frontier.from_bytes(data)
    assert frontier_of(5001) == Frontier.from_bytes(data).append(HASHES[size:]).after


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 4095])
def test_a_frontier_of_any_other_length_is_refused(size: int) -> None:
    """R9: bytes that are cut anywhere, or followed by anything, are no frontier."""
    data = frontier_of(size).to_bytes()
    wrong = [data[:length] for length in range(len(data))] + [data + b"\0", data + STRANGE, b"\0" + data]

    for bytes_ in wrong:
        with pytest.raises(FrontierRefused):
            Frontier.from_bytes(bytes_)


@given(
    st.binary(max_size=200) | st.binary(min_size=32, max_size=64).map(lambda tail: bytes(7) + b"\x05" + tail)
)
def test_bytes_are_a_frontier_or_are_refused(data: bytes) -> None:
    """R9: reading any bytes gives a frontier that writes the same bytes, or FrontierRefused, and nothing else."""
    try:
        frontier = Frontier.from_bytes(data)
    except FrontierRefused:
        return

    assert data == frontier.to_bytes()


@pytest.mark.parametrize(
    ("size", "roots"),
    [(1, ()), (0, (STRANGE,)), (3, (STRANGE,)), (1, (b"short",)), (-1, (STRANGE,)), (2**63, (STRANGE,))],
)
def test_a_frontier_is_never_made_inconsistent(size: int, roots: tuple[bytes, ...]) -> None:
    """Size and roots that do not fit are refused when the frontier is made, not when its root is wrong later."""
    with pytest.raises(FrontierRefused):
        Frontier(size=size, roots=roots)


@pytest.mark.parametrize("wrong", [b"", STRANGE[:-1], STRANGE + b"\0"])
def test_what_is_no_hash_is_not_appended(wrong: bytes) -> None:
    """A leaf given in place of its hash is refused wherever it stands, unless it happens to have 32 bytes."""
    for at in range(5):
        with pytest.raises(FrontierRefused):
            frontier_of(3).append([*HASHES[:at], wrong, *HASHES[at:4]])


def test_the_tree_ends_where_its_numbers_end() -> None:
    """The leaf that would make 2**63 is refused."""
    full = Frontier(size=MAX_SIZE, roots=(STRANGE,) * 63)

    with pytest.raises(FrontierRefused):
        full.append([STRANGE])


def test_receipts_of_a_group_need_nothing_but_its_growth() -> None:
    """For every group of up to 20 behind up to 70 leaves, its growth alone gives all proofs an answer needs."""
    for before in range(71):
        for group in range(1, 21):
            size = before + group
            growth = frontier_of(before).append(HASHES[before:size])
            proofs = [inclusion_proof(index, size, growth.node) for index in range(before, size)]

            assert [DECIMAL.path(index, 0, size) for index in range(before, size)] == proofs
            if before:
                assert DECIMAL.proof(before, 0, size) == consistency_proof(before, size, growth.node)


def test_growth_does_not_make_up_older_nodes() -> None:
    """What an append never touched is refused, and the caller told to look into the tiles."""
    growth = frontier_of(6).append(HASHES[6:9])

    for level, index in ((0, 0), (0, 5), (1, 0), (2, 1 + 2), (0, 9), (3, 1), (4, 0), (7, 0), (0, -1)):
        with pytest.raises(ProofRefused):
            growth.node(level, index)
    assert DECIMAL.mth(0, 8) == growth.node(3, 0)


def _store(tiles: dict[tuple[int, int], bytes], growth: Growth) -> None:
    for span, piece in growth.tiles():
        stored = tiles.get((span.level, span.index), b"")
        assert (span.offset, span.width) == (len(stored) // 32, len(piece) // 32)
        tiles[span.level, span.index] = stored + piece


def _tiled(size: int, largest_group: int) -> dict[tuple[int, int], bytes]:
    rng, frontier, tiles = random.Random(size), Frontier(), dict[tuple[int, int], bytes]()
    while frontier.size < size:
        group = range(frontier.size, min(size, frontier.size + rng.randint(1, largest_group)))
        growth = frontier.append([leaf_hash(str(number).encode()) for number in group])
        _store(tiles, growth)
        frontier = growth.after
    return tiles


def test_a_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    """C2SP tlog-tiles names this example: 273 full tiles and one of 112; one full and one of 17; one of 1."""
    tiles = _tiled(70_000, 512)
    widths = [
        [len(tile) // 32 for (at, _), tile in sorted(tiles.items()) if at == level] for level in range(3)
    ]

    assert widths == [[256] * 273 + [112], [256, 17], [1]]


@pytest.mark.parametrize("largest_group", [1, 40, 1000])
def test_tiles_hold_the_hashes_the_specification_says(largest_group: int) -> None:
    """Hash i of tile n at level l is the root of leaves (256n + i) * 256**l and following, however they came."""
    tiles = _tiled(3000, largest_group)

    for (level, number), tile in tiles.items():
        for at in range(len(tile) // 32):
            start, width = (TILE_WIDTH * number + at) * TILE_WIDTH**level, TILE_WIDTH**level
            assert DECIMAL.mth(start, start + width) == tile[32 * at : 32 * at + 32]


def test_proofs_for_every_size_come_from_the_tiles_of_a_larger_tree() -> None:
    """Stored tiles answer for what they once were: proofs at random sizes, old and new, are the RFC's."""
    tiles, rng = _tiled(5000, 300), random.Random(7)
    node = from_tiles(lambda level, index: tiles[level, index])

    for _ in range(300):
        size = rng.randint(1, 5000)
        index, m = rng.randrange(size), rng.randint(1, size)
        assert DECIMAL.path(index, 0, size) == inclusion_proof(index, size, node)
        assert DECIMAL.proof(m, 0, size) == consistency_proof(m, size, node)


def test_a_tile_that_is_too_short_is_refused() -> None:
    """A cut tile never yields a hash of fewer leaves in place of the one asked for."""
    tile = b"".join(HASHES[:200])
    node = from_tiles(lambda level, index: tile)

    assert DECIMAL.mth(192, 200) == node(3, 24)
    for level, index in ((0, 200), (3, 25), (6, 3), (7, 1), (0, 255)):
        with pytest.raises(ProofRefused):
            node(level, index)


@pytest.mark.parametrize(
    ("level", "index", "span"),
    [
        (0, 0, (0, 0, 0, 1)), (0, 255, (0, 0, 255, 1)), (0, 256, (0, 1, 0, 1)), (7, 1, (0, 0, 128, 128)),
        (7, 2, (0, 1, 0, 128)), (8, 0, (1, 0, 0, 1)), (8, 300, (1, 1, 44, 1)), (9, 5, (1, 0, 10, 2)),
        (16, 3, (2, 0, 3, 1)), (62, 1, (7, 0, 64, 64)),
    ],
)  # fmt: skip
def test_every_node_is_in_one_tile(level: int, index: int, span: tuple[int, int, int, int]) -> None:
    """A node is a hash of a tile at every eighth level, and hashed up from neighbours in one tile between them."""
    tile_level, tile, offset, width = span

    assert TileSpan(level=tile_level, index=tile, offset=offset, width=width) == locate(level, index)
