"""Whatever anybody does to a token, our verifier and an independent one agree about it, and nothing else escapes."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.jwks import SigningKey
from api.jwts import Profile, TokenRefused, verify
from tests.verifier import verdict

NOW = 1_800_000_000
ISSUER = "https://onrecord.test"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
OURS, THEIRS = (SigningKey.of(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
PROFILE = Profile(issuer=ISSUER, audience=ISSUER)
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": OURS.verifying.kid}
CLAIMS = {
    "iss": ISSUER, "aud": ISSUER, "sub": "demo", "client_id": "demo", "scope": "predict predictions:read",
    "iat": NOW, "exp": NOW + 600, "jti": "0123456789abcdefghijkl",
}  # fmt: skip
NAMES = [
    *HEADER,
    *CLAIMS,
    "nbf",
    "jwk",
    "jku",
    "x5u",
    "x5c",
    "crit",
    "b64",
    "zip",
    "cty",
    "enc",
    "azp",
    "__proto__",
]
VALUES: list[Any] = [
    *HEADER.values(), *CLAIMS.values(), None, True, False, 0, 1, -1, 5.0, 1e308, "", " ", "none", "HS256", "es256",
    "JWT", "AT+JWT", "application/at+jwt", "demo ", "admin", "é", "a\x00b", "a\nb", "x" * 128, "x" * 129,
    [], [ISSUER], [ISSUER, "other"], {}, {"a": 1}, ISSUER + "/", ISSUER.upper(), THEIRS.verifying.kid,
    "../../etc/passwd", "' OR 1=1--", NOW - 629, NOW - 630, NOW - 3600, NOW + 30, NOW + 31, NOW + 3600, NOW + 3601,
    float(NOW), str(NOW), 253402300799, 253402300800, 10**30, "predict", "predict  x", "predict\tx", 'a"b', "a\\b",
]  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A token before it is written: members as pairs, so that one can be there twice."""

    header: tuple[tuple[str, Any], ...] = tuple(HEADER.items())
    claims: tuple[tuple[str, Any], ...] = tuple(CLAIMS.items())
    encoding: str = "utf-8"
    is_ascii: bool = False
    key: SigningKey = OURS
    signature: str = "good"
    ending: str = ""


def _written(pairs: tuple[tuple[str, Any], ...], draft: Draft) -> str:
    members = ",".join(
        f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=draft.is_ascii)}" for name, value in pairs
    )
    return _b64(f"{{{members}}}".encode(draft.encoding))


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _token(draft: Draft) -> str:
    message = f"{_written(draft.header, draft)}.{_written(draft.claims, draft)}"
    return f"{message}.{_signature(message.encode(), draft)}{draft.ending}"


def _signature(message: bytes, draft: Draft) -> str:
    assert isinstance(draft.key.private, ec.EllipticCurvePrivateKey)
    der = draft.key.private.sign(message, ec.ECDSA(SHA256()))
    r, s = decode_dss_signature(der)
    match draft.signature:
        case "mirrored":  # ECDSA has two signatures of one message: the same token under another text
            s = ORDER - s
        case "der":
            return _b64(der)
        case "zero":
            r = s = 0
        case "order":
            s = ORDER
        case "none":
            return ""
        case "short":
            return _b64(r.to_bytes(32) + s.to_bytes(32))[:-2]
        case "flipped":
            r ^= 1
    return _b64(r.to_bytes(32) + s.to_bytes(32))


def _changed(pairs: tuple[tuple[str, Any], ...], change: tuple[str, str, Any]) -> tuple[tuple[str, Any], ...]:
    what, name, value = change
    others = tuple(pair for pair in pairs if pair[0] != name)
    match what:
        case "drop":
            return others
        case "set":
            return (*others, (name, value))
        case "double":
            return (*pairs, (name, value))
    return pairs[::-1]


CHANGE = st.tuples(
    st.sampled_from(["drop", "set", "double", "reverse"]),
    st.sampled_from(NAMES),
    st.one_of(st.sampled_from(VALUES), st.text(max_size=8), st.integers(), st.floats(allow_nan=True)),
)


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Draw one to three things that are wrong with a token, or none."""
    draft = Draft()
    for _ in range(draw(st.integers(0, 3))):
        match draw(
            st.sampled_from(["header", "claims", "claims", "encoding", "signature", "key", "ending", "ascii"])
        ):
            case "header":
                draft = replace(draft, header=_changed(draft.header, draw(CHANGE)))
            case "claims":
                draft = replace(draft, claims=_changed(draft.claims, draw(CHANGE)))
            case "encoding":
                draft = replace(
                    draft, encoding=draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "utf-8"]))
                )
            case "signature":
                kinds = ["mirrored", "der", "zero", "order", "none", "short", "flipped"]
                draft = replace(draft, signature=draw(st.sampled_from(kinds)))
            case "key":
                draft = replace(draft, key=THEIRS)
            case "ascii":
                draft = replace(draft, is_ascii=True)
            case _:
                draft = replace(
                    draft, ending=draw(st.sampled_from(["=", "==", "\n", " ", ".", ".x", "é", "A"]))
                )
    return draft


def _ours(token: str) -> tuple[str, frozenset[str], str] | None:
    try:
        claims = verify(token, {OURS.verifying.kid: OURS.verifying}, PROFILE, NOW)
    except TokenRefused:
        return None
    return claims.client_id, claims.scopes, claims.jti


def _agree(draft: Draft) -> None:
    try:
        token = _token(draft)
    except UnicodeEncodeError:  # a lone surrogate cannot be written at all
        return

    assert _ours(token) == verdict(token, OURS.verifying.jwk(), ISSUER, NOW)


def test_both_verifiers_know_a_good_token() -> None:
    """Unchanged, and with the mirrored signature that ECDSA allows, it is good to both, as the same client and jti."""
    for draft in (Draft(), Draft(signature="mirrored")):
        assert _ours(_token(draft)) == ("demo", frozenset({"predict", "predictions:read"}), CLAIMS["jti"])
        _agree(draft)


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drafts())
def test_a_mutated_token_gets_one_verdict(draft: Draft) -> None:
    """Header, claims, encoding, signature and ending may be changed in any combination."""
    _agree(draft)


def test_every_value_in_every_member_gets_one_verdict() -> None:
    """All members of header and claims with all odd values, one at a time: what a random search might not meet."""
    for name in NAMES:
        for value in VALUES:
            for what in ("set", "double"):
                _agree(replace(Draft(), claims=_changed(Draft().claims, (what, name, value))))
                _agree(replace(Draft(), header=_changed(Draft().header, (what, name, value))))
        _agree(replace(Draft(), claims=_changed(Draft().claims, ("drop", name, None))))
        _agree(replace(Draft(), header=_changed(Draft().header, ("drop", name, None))))


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=200), st.text(alphabet="abcAB01-_.=", max_size=200)))
def test_any_text_gets_one_verdict(text: str) -> None:
    """A text that is no token at all is refused without anything else leaving the verifier."""
    assert _ours(text) == verdict(text, OURS.verifying.jwk(), ISSUER, NOW)
