"""Notes, checkpoints and proofs are those of C2SP to the byte, and what nobody trusted signed is never believed."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.notes import (
    COSIGNATURE,
    MAX_BYTES,
    Checkpoint,
    NoteRefused,
    Proof,
    Signer,
    VerifierKey,
    attach,
    cosign,
    open_checkpoint,
    open_note,
    sign,
)
from db.tree import MAX_SIZE
from tests.vectors.log import (
    CHECKPOINT,
    COSIGNED,
    DASH,
    LINE,
    LOG,
    NOW_S,
    SIGNED,
    TEXT,
    WITNESS_KEYS,
    WITNESSES,
    line_of,
    proof_of,
    signer_of,
)
from tests.vectors.refusing import refuses
from tests.vectors.spellings import REFUSED


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\tb", "a\nb", "a\u00a0b", "a\u2028b", "a\u3000b", "a\0b", "\ud800"]
)
def test_a_name_that_a_note_could_not_carry_is_refused(name: str) -> None:
    """Spaces of all alphabets, pluses, control characters and half characters end no name and begin no other."""
    with pytest.raises(NoteRefused):
        VerifierKey(name=name, public=LOG.key().public)


@pytest.mark.parametrize(
    ("algorithm", "length"), [(0, 32), (2, 32), (3, 32), (5, 32), (6, 32), (1, 31), (4, 33)]
)
def test_keys_of_unknown_types_and_lengths_are_refused(algorithm: int, length: int) -> None:
    """Only Ed25519 and its cosignatures are known, with 32 bytes; anything else would never verify anything."""
    with pytest.raises(NoteRefused):
        VerifierKey(name="a", public=bytes(length), algorithm=algorithm)


def test_a_checkpoint_is_three_lines_and_its_signature() -> None:
    """What the log signs is origin, size and root, in the form that every witness reads."""
    root = b64encode(CHECKPOINT.root).decode()
    lines = f"onrecord.example/log\n20\n{root}\n"
    private = b64encode(LOG.key().id + LOG.private.sign(lines.encode())).decode()

    assert SIGNED.decode() == f"{lines}\n{DASH} onrecord.example/log {private}\n"
    assert open_checkpoint(SIGNED, LOG.key()).checkpoint == CHECKPOINT


def test_extension_lines_are_kept_and_signed() -> None:
    """tlog-checkpoint allows further lines: they are read, written back and covered by every signature."""
    extended = Checkpoint(origin=LOG.name, size=0, root=bytes(32), extensions=("one", "two  and a half"))
    note = sign(extended.text(), LOG)
    cosigned = attach(note, [cosign(note, WITNESSES[0], NOW_S)])

    assert open_checkpoint(cosigned, LOG.key(), WITNESS_KEYS).checkpoint == extended
    assert refuses(open_checkpoint, cosigned.replace(b"two", b"too"), LOG.key(), WITNESS_KEYS)


def test_a_byte_order_mark_is_part_of_the_text() -> None:
    """Three invisible bytes in front make another origin, which the log has not signed."""
    assert refuses(open_note, b"\xef\xbb\xbf" + SIGNED, [LOG.key()])


def test_another_log_is_not_this_one() -> None:
    """R4: the same key under another origin or epoch, and another key under the same origin, are refused."""
    for name in ("onrecord.example/log2", "onrecord.example/log/epoch-2", "other.example"):
        other = Signer(name=name, private=LOG.private)
        moved = Checkpoint(origin=name, size=CHECKPOINT.size, root=CHECKPOINT.root).text()
        assert refuses(open_checkpoint, SIGNED, other.key())
        assert refuses(open_checkpoint, sign(moved, other), LOG.key())
        assert refuses(open_checkpoint, sign(moved, LOG), LOG.key())
        assert refuses(open_checkpoint, sign(TEXT, other), other.key())
    assert refuses(open_checkpoint, SIGNED, signer_of(LOG.name, 9).key())


def test_signatures_of_strangers_are_passed_over_however_wrong() -> None:
    """A known name with another id, a known id under another name, and any length of signature change nothing."""
    key_id = LOG.key().id
    strangers = [line_of(LOG.name, b"\xff\xff\xff\xff" + bytes(64)), line_of("stranger.example", key_id + bytes(64)),
                 line_of("stranger.example", b"12345"), line_of("stranger.example", b"12345"),
                 line_of("post-quantum.example", bytes(4 + 4900))]  # fmt: skip

    assert open_checkpoint(attach(SIGNED, strangers), LOG.key()).checkpoint == CHECKPOINT


@pytest.mark.parametrize("length", [1, 63, 64, 65, 72])
def test_a_false_signature_in_a_trusted_name_refuses_the_whole_note(length: int) -> None:
    """R5: whoever adds a line in the name of a known key spoils the note, even beside good signatures."""
    for key, keys in ((LOG.key(), [LOG.key()]), (WITNESS_KEYS[0], [LOG.key(), *WITNESS_KEYS])):
        spoilt = TEXT + b"\n" + key.line(bytes(length))
        for note in (spoilt, spoilt + LINE, SIGNED + key.line(bytes(length))):
            assert refuses(open_note, note, keys)


def test_a_trusted_key_signs_once() -> None:
    """R5: the same signature twice, or two cosignatures of one witness with different times, refuse the note."""
    later = cosign(SIGNED, WITNESSES[0], NOW_S + 5)

    assert refuses(open_note, SIGNED + LINE, [LOG.key()])
    assert refuses(open_checkpoint, COSIGNED + later, LOG.key(), WITNESS_KEYS)


def test_what_nobody_trusted_signed_is_not_returned() -> None:
    """No keys, or only keys that did not sign, and the text stays unread."""
    assert refuses(open_note, SIGNED, [])
    assert refuses(open_note, SIGNED, WITNESS_KEYS)


@pytest.mark.parametrize("note", REFUSED.values(), ids=REFUSED.keys())
def test_a_note_with_a_second_spelling_is_refused(note: bytes) -> None:
    """R5: every departure from the format is refused, also in parts that nobody would verify."""
    assert refuses(open_note, note, [LOG.key()])
    assert refuses(cosign, note, WITNESSES[0], NOW_S)
    assert refuses(Proof.parse, proof_of(checkpoint=note).encode())


def test_sixteen_signatures_are_accepted() -> None:
    """signed-note wants at least 16 accepted, of up to 5 kB each as post-quantum ones have."""
    strangers = [line_of(f"stranger{number}.example", bytes(4 + 5000)) for number in range(15)]

    assert open_checkpoint(attach(SIGNED, strangers), LOG.key()).checkpoint == CHECKPOINT


def test_the_text_of_a_note_may_have_empty_lines() -> None:
    """The last empty line divides: a text that looks like a signed note is text."""
    text = SIGNED + b"\nand so on\n\n"

    assert open_note(sign(text, LOG), [LOG.key()])[0] == text
    assert refuses(open_checkpoint, sign(text, LOG), LOG.key())


@pytest.mark.parametrize("text", [b"", b"no newline", b"tab\t\n", b"\xff\n", b"x" * (MAX_BYTES + 1) + b"\n"])
def test_what_could_not_be_opened_is_not_signed(text: bytes) -> None:
    """A signature exists only for texts that every reader of notes accepts."""
    assert refuses(sign, text, LOG) or open_note(sign(text, LOG), [LOG.key()])[0] == text
    assert text == b"" or refuses(sign, text, LOG)


def test_attached_lines_cannot_change_what_was_signed() -> None:
    """A witness that answers with an empty line, or with text, does not move the end of the text."""
    for lines in (
        [b"\n" + LINE],
        [b"more\n\n" + LINE],
        [b"\n\n", LINE],
        [b"junk"],
        [LINE[:-1]],
        [b""] * 2 + [b"\n"],
    ):
        assert refuses(attach, SIGNED, lines)
    assert attach(SIGNED, []) == SIGNED


ROOT = b64encode(bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\n", b"log\n20\n", b"log\n20\n" + ROOT, b"log\n20\n\n", b"\n20\n" + ROOT + b"\n",
        b"log\n020\n" + ROOT + b"\n", b"log\n00\n" + ROOT + b"\n", b"log\n-1\n" + ROOT + b"\n",
        b"log\n+1\n" + ROOT + b"\n", b"log\n1_0\n" + ROOT + b"\n", b"log\n1.0\n" + ROOT + b"\n",
        b"log\n0x1\n" + ROOT + b"\n", b"log\n 1\n" + ROOT + b"\n", b"log\n1 \n" + ROOT + b"\n",
        b"log\n\n" + ROOT + b"\n", b"log\n9223372036854775808\n" + ROOT + b"\n",
        b"log\n" + b"9" * 5000 + b"\n" + ROOT + b"\n", "log\n١\n".encode() + ROOT + b"\n",
        "log\n1٢\n".encode() + ROOT + b"\n",
        b"log\n1\n" + ROOT + b" \n", b"log\n1\n" + ROOT + b"\n\nmore\n", b"log\n1\n" + ROOT + b"\n\n",
        b"log\n1\n" + b64encode(bytes(31)) + b"\n", b"log\n1\n" + b64encode(bytes(33)) + b"\n",
        b"log\n1\n" + ROOT[:-1] + b"\n", b"log\n1\n" + ROOT[:-2] + b"B=\n",
        b"log\n1\n" + bytes(32).hex().encode() + b"\n",
        b"log\r\n1\r\n" + ROOT + b"\r\n",
    ],
)  # fmt: skip
def test_a_checkpoint_has_one_spelling(text: bytes) -> None:
    """R1, R5: leading zeros, signs, spaces, other digits, 2**63, another length of root, empty lines are refused."""
    assert refuses(Checkpoint.parse, text)


@pytest.mark.parametrize("size", [0, 1, 10, MAX_SIZE])
def test_checkpoints_survive_being_written_and_read(size: int) -> None:
    """From no leaf to the most there can be, reading gives back what was written."""
    checkpoint = Checkpoint(origin="an origin with spaces is allowed", size=size, root=bytes(range(32)))

    assert Checkpoint.parse(checkpoint.text()) == checkpoint


@pytest.mark.parametrize(
    "change",
    [
        {"origin": ""}, {"origin": "a\nb"}, {"origin": "a\0"}, {"origin": "\udc80"}, {"size": -1}, {"size": 2**63},
        {"root": bytes(31)}, {"extensions": ("",)}, {"extensions": ("a\nb",)},
    ],
)  # fmt: skip
def test_a_checkpoint_that_could_not_be_read_is_not_made(change: dict[str, Any]) -> None:
    """A newline in an origin would be another checkpoint once it is signed; it is refused before."""
    with pytest.raises(NoteRefused):
        Checkpoint(**{"origin": LOG.name, "size": 1, "root": bytes(32), **change})


@settings(max_examples=300)
@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_whatever_is_offered_as_a_note_is_refused(data: bytes) -> None:
    """R9: bytes out of nowhere raise NoteRefused from every reader, and nothing else."""
    for read in (
        Proof.parse,
        lambda note: open_note(note, [LOG.key()]),
        lambda note: cosign(note, WITNESSES[0], 0),
    ):
        with pytest.raises(NoteRefused):
            read(data)


@settings(max_examples=200)
@given(
    st.text(max_size=120) | st.from_regex(r"[a-z.]{1,9}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{43,45}=?", fullmatch=True)
)
def test_whatever_is_offered_as_a_key_is_one_or_is_refused(text: str) -> None:
    """R9: reading any text gives a key that is written the same, or NoteRefused."""
    try:
        assert str(VerifierKey.parse(text)) == text
    except NoteRefused:
        return


@settings(max_examples=200)
@given(st.binary(), st.binary(max_size=100), st.binary(max_size=100) | st.binary(min_size=64, max_size=72))
def test_whatever_is_offered_as_a_signature_is_refused(seed: bytes, text: bytes, signature: bytes) -> None:
    """R9: signatures of any length, under keys half of which are no point of the curve, raise NoteRefused only."""
    for algorithm in (1, COSIGNATURE):
        with pytest.raises(NoteRefused):
            VerifierKey(name="a", public=sha256(seed).digest(), algorithm=algorithm).verify(text, signature)
