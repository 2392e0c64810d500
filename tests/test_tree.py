"""The tree agrees with RFC 6962 read slowly, its proofs prove what is so, and nothing else is ever accepted."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.tree import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.vectors.refusing import refuses
from tests.vectors.slow import Slow, climb
from tests.vectors.trees import DECIMAL, HASHES, STRANGE, some_of, spoil

LIMIT = 300  # every size up to here, every index and every pair


def test_roots_agree_with_the_slow_tree_for_every_size_to_5000() -> None:
    """R8: grown leaf by leaf, every tree has the root that the RFC's recursive definition gives."""
    frontier = Frontier()
    for size in range(5001):
        assert DECIMAL.mth(0, size) == frontier.root()
        frontier = frontier.append([HASHES[size]]).after


def test_every_inclusion_proof_to_300_is_the_rfcs_and_no_other_is_accepted() -> None:
    """R1: for every size and index the proof is PATH of the RFC; a changed, missing, added or moved hash is refused."""
    for size in range(1, LIMIT + 1):
        root, node = DECIMAL.mth(0, size), DECIMAL.node(size)
        for index in range(size):
            proof = inclusion_proof(index, size, node)
            assert DECIMAL.path(index, 0, size) == proof
            verify_inclusion(HASHES[index], index, size, proof, root)
            for spoilt in some_of(list(spoil(proof)), index, size):
                assert refuses(verify_inclusion, HASHES[index], index, size, spoilt, root), (index, size)


def test_an_inclusion_proof_is_for_one_leaf_one_index_and_one_root() -> None:
    """R1: with another leaf, root, index, or a size that has another shape, the right proof is refused."""
    for size in range(1, LIMIT + 1, 3):
        root = DECIMAL.mth(0, size)
        for index in range(size):
            proof = DECIMAL.path(index, 0, size)
            changes: list[tuple[bytes, int, int, bytes]] = [
                (STRANGE, index, size, root), (HASHES[index], index, size, STRANGE),
                (HASHES[index], index, size, EMPTY_ROOT), (HASHES[index], index, 2 * size, root),
                (HASHES[index], index, size // 2, root), (HASHES[index], index ^ 1, size, root),
                (HASHES[index], index + 1, size, root), (HASHES[index], index - 1, size, root),
            ]  # fmt: skip
            for hashed, at, of, under in changes:
                assert refuses(verify_inclusion, hashed, at, of, proof, under), (index, size, at, of)


def test_every_consistency_proof_to_300_is_the_rfcs_and_no_other_is_accepted() -> None:
    """R2: for every pair of sizes the proof is PROOF of the RFC; a changed, missing, added or moved hash is refused."""
    for n in range(1, LIMIT + 1):
        root_n, node = DECIMAL.mth(0, n), DECIMAL.node(n)
        for m in range(1, n + 1):
            proof, root_m = consistency_proof(m, n, node), DECIMAL.mth(0, m)
            assert DECIMAL.proof(m, 0, n) == proof
            verify_consistency(m, n, proof, root_m, root_n)
            for spoilt in some_of(list(spoil(proof)), m, n):
                assert refuses(verify_consistency, m, n, spoilt, root_m, root_n), (m, n)


def test_a_consistency_proof_is_for_one_pair_of_trees() -> None:
    """R2: no proof, exchanged roots, a strange root or another size on either side is refused for every pair."""
    for n in range(2, LIMIT + 1, 3):
        root_n = DECIMAL.mth(0, n)
        for m in range(1, n):
            proof, root_m = DECIMAL.proof(m, 0, n), DECIMAL.mth(0, m)
            changes: list[tuple[int, int, Sequence[bytes], bytes, bytes]] = [
                (m, n, [], root_m, root_n), (m, n, proof, root_n, root_m), (m, n, proof, STRANGE, root_n),
                (m, n, proof, root_m, STRANGE), (m, n, proof, root_m, root_m), (m, n, proof, root_n, root_n),
                (m - 1, n, proof, root_m, root_n), (m + 1, n, proof, root_m, root_n), (n, m, proof, root_n, root_m),
                (m, 2 * n, proof, root_m, root_n), (m, m, proof, root_m, root_n), (n, n, proof, root_m, root_n),
            ]  # fmt: skip
            for change in changes:
                assert refuses(verify_consistency, *change), (m, n, change[:2])


def test_another_past_is_refused_under_the_same_present() -> None:
    """R2, CVE-2022-36111: a history that differs in one leaf is refused under the true root, with either proof."""
    for n in range(2, 65):
        for m in range(1, n):
            forged = Slow([*DECIMAL.leaves[: m - 1], b"forged", *DECIMAL.leaves[m:n]])
            for proof in (DECIMAL.proof(m, 0, n), forged.proof(m, 0, n)):
                assert refuses(verify_consistency, m, n, proof, forged.mth(0, m), DECIMAL.mth(0, n)), (m, n)


def test_a_tree_is_consistent_with_itself_and_with_none() -> None:
    """Equal sizes need equal roots and no hash; size 0 needs the empty root and no hash."""
    root = DECIMAL.mth(0, 5)

    verify_consistency(5, 5, [], root, root)
    verify_consistency(0, 5, [], EMPTY_ROOT, root)
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    for m, n in ((5, 5), (0, 5), (0, 0)):
        assert consistency_proof(m, n, DECIMAL.node(n)) == []


@pytest.mark.parametrize(
    ("m", "n", "proof", "root_m", "root_n"),
    [
        (5, 5, [], DECIMAL.mth(0, 5), DECIMAL.mth(0, 6)),
        (5, 5, [STRANGE], DECIMAL.mth(0, 5), DECIMAL.mth(0, 5)),
        (0, 5, [], DECIMAL.mth(0, 5), DECIMAL.mth(0, 5)),
        (0, 5, [STRANGE], EMPTY_ROOT, DECIMAL.mth(0, 5)),
        (0, 0, [], DECIMAL.mth(0, 1), DECIMAL.mth(0, 1)),
        (0, 0, [], EMPTY_ROOT, DECIMAL.mth(0, 1)),
        (5, 5, [], b"", b""),
        (0, 5, [], EMPTY_ROOT, b"short"),
    ],
)
def test_sizes_that_need_no_proof_are_not_a_way_around_it(
    m: int, n: int, proof: list[bytes], root_m: bytes, root_n: bytes
) -> None:
    """R2: two roots of one size, a size 0 with another root, and needless hashes are refused."""
    assert refuses(verify_consistency, m, n, proof, root_m, root_n)


@pytest.mark.parametrize(
    ("index", "size"),
    [(-1, 5), (5, 5), (6, 5), (0, 0), (0, -1), (-1, 0), (0, 2**63), (2**63, 2**64), (2**63 - 1,) * 2],
)
def test_leaves_that_cannot_be_are_neither_proven_nor_accepted(index: int, size: int) -> None:
    """R1: negative numbers, an index not below its size, size 0 and sizes of 2**63 and more are refused at once."""
    for proof in ([], [STRANGE], [STRANGE] * 63, [STRANGE] * 64):
        assert refuses(verify_inclusion, STRANGE, index, size, proof, STRANGE)
    assert refuses(inclusion_proof, index, size, DECIMAL.node(5))


@pytest.mark.parametrize(
    ("m", "n"), [(-1, 5), (6, 5), (-2, -1), (1, 2**63), (2**63, 2**63), (0, 2**63), (1, 0)]
)
def test_sizes_that_cannot_be_are_neither_proven_nor_accepted(m: int, n: int) -> None:
    """R2: negative sizes, m above n and sizes of 2**63 and more are refused at once."""
    for proof in ([], [STRANGE], [STRANGE] * 64):
        assert refuses(verify_consistency, m, n, proof, STRANGE, STRANGE)
    assert refuses(consistency_proof, m, n, DECIMAL.node(5))


def test_a_proof_of_a_million_hashes_is_refused_before_any_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends a huge proof makes us count it and nothing more."""
    monkeypatch.setattr("db.tree.node_hash", lambda left, right: pytest.fail("something was hashed"))
    huge = [STRANGE] * 1_000_000

    assert refuses(verify_inclusion, STRANGE, 5, MAX_SIZE, huge, STRANGE)
    assert refuses(verify_consistency, 5, MAX_SIZE, huge, STRANGE, STRANGE)


@given(
    st.integers(1, MAX_SIZE).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))),
    st.integers(0, 2**32),
)
def test_proofs_in_trees_too_large_to_exist_follow_the_definition(place: tuple[int, int], seed: int) -> None:
    """R1: up to 2**63 - 1 leaves, what the recursive definition leads to is accepted, and one changed bit is not."""
    index, size = place
    pool = [random.Random(seed + at).randbytes(32) for at in range(64)]
    used = list(pool)
    root = climb(index, size, STRANGE, used)
    path = pool[len(used) :]

    verify_inclusion(STRANGE, index, size, path, root)
    assert all(refuses(verify_inclusion, STRANGE, index, size, spoilt, root) for spoilt in spoil(path))


def test_the_longest_proof_has_63_hashes() -> None:
    """The first leaf of the largest tree is proven by 63 hashes, and by neither 62 nor 64."""
    path = [bytes([number]) * 32 for number in range(63)]
    root = climb(0, MAX_SIZE, STRANGE, list(path))

    verify_inclusion(STRANGE, 0, MAX_SIZE, path, root)
    assert refuses(verify_inclusion, STRANGE, 0, MAX_SIZE, path[:-1], root)
    assert refuses(verify_inclusion, STRANGE, 0, MAX_SIZE, [*path, STRANGE], root)


def test_an_inner_node_is_no_leaf() -> None:
    """R3: a 64-byte leaf made of two hashes has another hash than their parent, so a node never passes for a leaf."""
    left, right = HASHES[0], HASHES[1]
    disguised = leaf_hash(left + right)

    assert node_hash(left, right) != disguised
    assert refuses(verify_inclusion, disguised, 0, 2, [DECIMAL.mth(2, 4)], DECIMAL.mth(0, 4))


def test_under_the_signed_size_an_inner_node_cannot_be_proven_as_a_leaf() -> None:
    """R3: even when the hash of a node is offered as a leaf's, the proof would have to be as long as a leaf's."""
    node, path, root = DECIMAL.mth(0, 2), [DECIMAL.mth(2, 4)], DECIMAL.mth(0, 4)

    assert all(refuses(verify_inclusion, node, index, 4, path, root) for index in range(4))


def test_repeating_the_last_leaf_gives_another_root() -> None:
    """R3, CVE-2012-2459: no tree is the tree with its last leaf, or its last node, written twice."""
    for size in range(1, 100):
        for repeated in (1, 2, 3):
            longer = Frontier().append(HASHES[:size] + HASHES[size - min(repeated, size) : size]).after

            assert DECIMAL.mth(0, size) != longer.root()


numbers = st.integers(-2, 20) | st.integers(-(2**65), 2**65)
hashes = st.binary(min_size=32, max_size=32) | st.binary(max_size=40)


@settings(max_examples=300)
@given(hashes, numbers, numbers, st.lists(hashes, max_size=70), hashes)
def test_whatever_is_offered_as_a_proof_is_answered(
    leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes
) -> None:
    """R9: verifying anything returns or raises ProofRefused, and what returns is no more than a leaf being the root."""
    if not refuses(verify_inclusion, leaf, index, size, proof, root):
        assert (index, size, [], root) == (0, 1, proof, leaf)
    if not refuses(verify_consistency, index, size, proof, leaf, root):
        assert proof == [] and (index == 0 or index == size)


@settings(max_examples=300)
@given(numbers, numbers)
def test_whatever_is_asked_for_is_built_or_refused(m: int, n: int) -> None:
    """R9: building proofs about any numbers gives hashes or ProofRefused, with few questions to the source."""
    asked: list[tuple[int, int]] = []

    def node(level: int, index: int) -> bytes:
        asked.append((level, index))
        return STRANGE

    refuses(inclusion_proof, m, n, node)
    refuses(consistency_proof, m, n, node)
    assert len(asked) <= 4 * 63
