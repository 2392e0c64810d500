"""Access tokens: ours are accepted, whatever anybody changed about them is not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from api.calls import Claims
from api.jwks import SigningKey, new_pem
from api.jwts import Profile, TokenRefused, sign, verify

NOW = 1_800_000_000
ISSUER = "http://127.0.0.1:8080"
KEY = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
PROFILE = Profile(issuer=ISSUER, audience=ISSUER)
GOOD_HEADER = {"typ": "at+jwt", "kid": KEY.verifying.kid}
GOOD_CLAIMS = {
    "iss": ISSUER, "aud": ISSUER, "sub": "demo", "client_id": "demo", "scope": "predict predictions:read",
    "iat": NOW, "exp": NOW + 600, "jti": "x" * 22,
}  # fmt: skip


WHO = Claims(client_id="demo", scopes=frozenset({"predict", "models:read"}), jti="x" * 22)
THEN = replace(WHO, issued_at_s=NOW, expires_at_s=NOW + 600)


def _verify(token: str, now_s: int, key: SigningKey = KEY) -> Claims:
    return verify(token, {key.verifying.kid: key.verifying}, PROFILE, now_s)


def _token(header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {name: value for name, value in (GOOD_CLAIMS | changes).items() if value is not ...}
    return jwt.encode(claims, KEY.private, "ES256", GOOD_HEADER | (header or {}))


def _signed(header: str, payload: str) -> str:
    """Sign exact texts with our own key: only the strict reading of header and claims can refuse these."""
    parts = [base64.urlsafe_b64encode(text.encode()).rstrip(b"=") for text in (header, payload)]
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(
        b".".join(parts), KEY.private
    )
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


HEADER_TEXT = json.dumps({"alg": "ES256", **GOOD_HEADER})
CLAIMS_TEXT = json.dumps(GOOD_CLAIMS)


def test_a_token_says_who_and_what_for() -> None:
    """A token we signed is read back as the client and exactly its scopes."""
    claims = _verify(sign(KEY, PROFILE, WHO, NOW, 600), NOW)

    assert claims == THEN


class TestRemembered:
    """A signature that held is not checked again; everything else is."""

    TOKEN = _token(jti="remembered")

    @pytest.fixture(autouse=True)
    def _remembered(self) -> None:
        assert _verify(self.TOKEN, NOW) == _verify(self.TOKEN, NOW)

    def test_it_expires_all_the_same(self) -> None:
        """Times are looked at every time."""
        with pytest.raises(TokenRefused, match="expired"):
            _verify(self.TOKEN, NOW + 631)

    def test_a_key_that_is_gone_no_longer_counts(self) -> None:
        """What a key has signed is worth nothing without the key."""
        with pytest.raises(TokenRefused, match="key"):
            verify(self.TOKEN, {}, PROFILE, NOW)

    def test_another_key_of_the_same_name_has_not_signed_it(self) -> None:
        """An issuer may give a new key an old name: what the old one signed is not the new one's."""
        other = SigningKey.of(ec.generate_private_key(ec.SECP256R1())).verifying
        kid = KEY.verifying.kid

        with pytest.raises(TokenRefused, match="signature"):
            verify(self.TOKEN, {kid: replace(other, kid=kid)}, PROFILE, NOW)

    def test_another_audience_does_not_take_it(self) -> None:
        """What was checked for one service says nothing for another."""
        with pytest.raises(TokenRefused, match=r"signature|claims"):
            verify(self.TOKEN, {KEY.verifying.kid: KEY.verifying}, replace(PROFILE, audience="other"), NOW)

    def test_a_changed_copy_is_another_token(self) -> None:
        """One bit of difference in the signature is refused."""
        changed = self.TOKEN[:-10] + ("A" if self.TOKEN[-10] != "A" else "B") + self.TOKEN[-9:]

        with pytest.raises(TokenRefused, match="signature"):
            _verify(changed, NOW)


def test_the_hand_made_token_of_these_tests_is_good() -> None:
    """The refusals below are refusals of the one change each makes, because unchanged the token is accepted."""
    assert _verify(_token(), NOW).client_id == "demo"
    assert _verify(_signed(HEADER_TEXT, CLAIMS_TEXT), NOW).client_id == "demo"


@pytest.mark.parametrize(
    "changes",
    [
        *({name: ...} for name in GOOD_CLAIMS),
        {"iss": "http://elsewhere"}, {"iss": ISSUER + "/"}, {"aud": "other"},
        {"aud": [ISSUER]}, {"aud": ISSUER.upper()},
        {"sub": "admin"}, {"sub": ""}, {"sub": 1}, {"sub": "a b"}, {"sub": "a\x00", "client_id": "a\x00"},
        {"sub": "é", "client_id": "é"}, {"sub": "x" * 129, "client_id": "x" * 129},
        {"scope": ["predict"]}, {"scope": ""}, {"scope": "a  b"}, {"scope": "a\tb"}, {"scope": " a"},
        {"jti": ""}, {"jti": 5},
        {"exp": NOW + 3601}, {"exp": NOW}, {"exp": NOW - 31, "iat": NOW - 600}, {"iat": NOW + 31, "exp": NOW + 600},
        {"nbf": NOW + 31}, {"nbf": True}, {"exp": float(NOW + 600)}, {"exp": str(NOW + 600)},
        {"exp": True}, {"exp": None},
        {"exp": 10**300}, {"iat": -1}, {"iat": [NOW]},
    ],
    ids=repr,
)  # fmt: skip
def test_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    """Each claim is required, of one type, and says exactly what it must."""
    with pytest.raises(TokenRefused):
        _verify(_token(**changes), NOW)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"}, {"typ": "id_token"}, {"typ": None}, {"kid": "../../etc/passwd"},
        {"kid": "' OR 1=1--"}, {"kid": None},
        {"jwk": KEY.verifying.jwk()}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1"},
        {"x5c": ["a"]},
        {"crit": ["b64"]}, {"b64": True}, {"zip": "DEF"}, {"cty": "JWT"},
    ],
    ids=lambda header: repr(header)[:40],
)  # fmt: skip
def test_a_header_with_anything_else_is_refused(header: dict[str, Any]) -> None:
    """The header is exactly alg, typ and a kid of ours; nothing in it is followed or fetched."""
    if header == {"typ": None} or header == {"kid": None} or "crit" in header or "b64" in header:
        token = _signed(json.dumps({"alg": "ES256", **GOOD_HEADER, **header}), CLAIMS_TEXT)
    else:
        token = _token(header)

    with pytest.raises(TokenRefused):
        _verify(token, NOW)


def _hs256_with_the_public_key() -> str:
    key = KEY.private.public_key().public_numbers()
    return jwt.encode(GOOD_CLAIMS, f"{key.x:064x}{key.y:064x}", "HS256", GOOD_HEADER)


def _without_signature(algorithm: str) -> Callable[[], str]:
    def make() -> str:
        head = (
            base64.urlsafe_b64encode(json.dumps({"alg": algorithm, **GOOD_HEADER}).encode())
            .rstrip(b"=")
            .decode()
        )
        return f"{head}.{_token().split('.')[1]}."

    return make


FORGED: dict[str, Callable[[], str]] = {
    "none": _without_signature("none"),
    "None": _without_signature("None"),
    "no signature at all": _without_signature("ES256"),
    "HS256 with the public key": _hs256_with_the_public_key,
    "another key under our kid": lambda: jwt.encode(
        GOOD_CLAIMS, ec.generate_private_key(ec.SECP256R1()), "ES256", GOOD_HEADER
    ),
    "a zero signature": lambda: (
        _token().rsplit(".", 1)[0] + "." + base64.urlsafe_b64encode(bytes(64)).rstrip(b"=").decode()
    ),
    "a flipped bit": lambda: _token()[:-20] + ("A" if _token()[-20] != "A" else "B") + _token()[-19:],
    "a cut signature": lambda: _token()[:-4],
    "claims of another token": lambda: ".".join(
        [_token().split(".")[0], _token(sub="admin", client_id="admin").split(".")[1], _token().split(".")[2]]
    ),
    "a claim given twice": lambda: _signed(HEADER_TEXT, CLAIMS_TEXT[:-1] + ', "sub": "demo"}'),
    "a header member given twice": lambda: _signed(HEADER_TEXT[:-1] + ', "alg": "ES256"}', CLAIMS_TEXT),
    "claims that are a list": lambda: _signed(HEADER_TEXT, "[]"),
    "claims with a byte order mark": lambda: _signed(HEADER_TEXT, "\ufeff" + CLAIMS_TEXT),
    "padding": lambda: _token() + "==",
    "a line break": lambda: _token() + "\n",
    "two parts": lambda: ".".join(_token().split(".")[:2]),
    "five parts": lambda: _token() + ".a.b",
    "too long": lambda: _token(scope=" ".join(["x" * 100] * 50)),
    "not ASCII": lambda: "é.é.é",
    "nothing": lambda: "",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_is_refused(forge: Callable[[], str]) -> None:
    """Every way of making a token without our private key, or two readings of one, ends in the same refusal."""
    with pytest.raises(TokenRefused):
        _verify(forge(), NOW)


def test_a_token_dies_with_its_time() -> None:
    """A token works to the last second of its life and the half minute of leeway, not longer."""
    token = _token()

    _verify(token, NOW + 629)
    with pytest.raises(TokenRefused):
        _verify(token, NOW + 630)


@pytest.mark.parametrize(("algorithm", "members"), [("ES256", "crv kty x y"), ("RS256", "e kty n")])
def test_a_published_key_has_no_private_member(algorithm: str, members: str) -> None:
    """What the world sees of a key verifies and cannot sign, with either algorithm."""
    key = SigningKey.of_pem(new_pem(algorithm))

    claims = _verify(sign(key, PROFILE, WHO, NOW, 600), NOW, key)

    assert claims == THEN
    assert key.verifying.jwk().keys() == {*members.split(), "kid", "use", "alg"}


def test_a_key_is_used_with_its_own_algorithm_only() -> None:
    """A token whose header names another algorithm of the same key is refused, although its signature would verify."""
    key = SigningKey.of_pem(new_pem("RS256"))

    for algorithm in ("PS256", "RS384", "RS512"):
        header = {"typ": "at+jwt", "kid": key.verifying.kid}
        with pytest.raises(TokenRefused):
            _verify(jwt.encode(GOOD_CLAIMS, key.private, algorithm, header), NOW, key)
