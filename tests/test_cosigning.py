"""Witnesses state a time, over the whole checkpoint, and are no substitute for the log nor for one another."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from db.notes import COSIGNATURE, VerifierKey, attach, cosign, open_checkpoint, sign
from tests.vectors.log import CHECKPOINT, COSIGNED, LOG, NOW_S, SIGNED, TEXT, WITNESS_KEYS, WITNESSES
from tests.vectors.refusing import refuses


def test_cosignatures_say_when_their_witness_saw_the_checkpoint() -> None:
    """Each trusted witness is reported with the time it stated; one that is not trusted is not reported."""
    first, second = WITNESS_KEYS

    assert open_checkpoint(COSIGNED, LOG.key(), WITNESS_KEYS).seen_at_s == (
        (first, NOW_S),
        (second, NOW_S + 1),
    )
    assert open_checkpoint(COSIGNED, LOG.key(), [second]).seen_at_s == ((second, NOW_S + 1),)
    assert open_checkpoint(COSIGNED, LOG.key()).seen_at_s == ()
    assert open_checkpoint(SIGNED, LOG.key(), WITNESS_KEYS).seen_at_s == ()


def test_a_cosignature_is_over_the_header_the_time_and_the_whole_text() -> None:
    """The signed message is that of tlog-cosignature, the time in front in 8 bytes, extension lines included."""
    text = CHECKPOINT.text() + b"extended\n"
    _, _, encoded = cosign(sign(text, LOG), WITNESSES[0], 1679315147).decode().split(" ")
    key_id, time, signature = (b64decode(encoded)[at] for at in (slice(4), slice(4, 12), slice(12, None)))
    public = WITNESSES[0].key().public

    assert key_id == sha256(b"witness.example/one\n\x04" + public).digest()[:4]
    assert time == bytes.fromhex("000000006418510b")[:4] + (1679315147).to_bytes(4, "big")
    Ed25519PublicKey.from_public_bytes(public).verify(signature, b"cosignature/v1\ntime 1679315147\n" + text)


@pytest.mark.parametrize("time_s", [-1, 2**63, 2**64])
def test_times_that_cannot_be_are_not_stated(time_s: int) -> None:
    """tlog-cosignature bounds times by 2**63 - 1; a witness with a broken clock signs nothing."""
    assert refuses(cosign, SIGNED, WITNESSES[0], time_s)


def test_a_time_beyond_the_bound_is_refused_even_when_signed() -> None:
    """A trusted witness that states a time of 2**63 is refused, as its signature is not of the format."""
    value = (2**63).to_bytes(8, "big") + WITNESSES[0].private.sign(
        b"cosignature/v1\ntime %d\n" % 2**63 + TEXT
    )

    assert refuses(open_checkpoint, attach(SIGNED, [WITNESS_KEYS[0].line(value)]), LOG.key(), WITNESS_KEYS)
    assert open_checkpoint(attach(SIGNED, [cosign(SIGNED, WITNESSES[0], 2**63 - 1)]), LOG.key(), WITNESS_KEYS)


def test_a_cosignature_with_another_time_is_false() -> None:
    """The time is signed: a day more in front of the same signature refuses the note."""
    _, _, encoded = cosign(SIGNED, WITNESSES[0], NOW_S).decode().split(" ")
    later = (NOW_S + 86_400).to_bytes(8, "big") + b64decode(encoded)[12:]

    assert refuses(open_checkpoint, attach(SIGNED, [WITNESS_KEYS[0].line(later)]), LOG.key(), WITNESS_KEYS)


def test_a_witness_signs_nothing_but_checkpoints() -> None:
    """A note of another kind is refused, so that a cosignature never says something nobody thought of."""
    assert refuses(cosign, sign(b"go\nhome\n", LOG), WITNESSES[0], NOW_S)


def test_what_only_witnesses_signed_is_no_checkpoint() -> None:
    """Witnesses vouch for what the log said; without the log's own signature there is nothing to vouch for."""
    line = cosign(SIGNED, WITNESSES[0], NOW_S)

    assert refuses(open_checkpoint, TEXT + b"\n" + line, LOG.key(), WITNESS_KEYS)


def test_keys_have_one_role_each() -> None:
    """A log's key does not cosign, a witness's does not sign, and no key counts for two."""
    log, (first, second) = LOG.key(), WITNESS_KEYS
    again = VerifierKey(name="other.example", public=first.public, algorithm=COSIGNATURE)

    for wrong in (
        [WITNESSES[0].key()],
        [first, first],
        [first, again],
        [first, second, LOG.key(COSIGNATURE)],
        [log],
    ):
        assert refuses(open_checkpoint, COSIGNED, log, wrong)


def test_a_log_does_not_sign_by_cosigning() -> None:
    """Even a true cosignature of the log under its own checkpoint is not the signature that makes it one."""
    cosigned = attach(SIGNED, [cosign(SIGNED, LOG, NOW_S)])

    assert open_checkpoint(cosigned, LOG.key()).seen_at_s == ()
    assert refuses(open_checkpoint, cosigned, LOG.key(COSIGNATURE))
