"""Webhooks: signed as others expect it, sent again until they arrive, and never in anybody's way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence

import pytest

from api.alerting import webhooks
from api.alerting.webhooks import Message, SecretRefused, Webhooks, read_secret
from tests.receivers import SECRET, WRITTEN, Receiver, receiving


def test_a_message_is_signed_as_standard_webhooks_are() -> None:
    """The signature is an HMAC-SHA256 over id, time and body, separated by dots."""
    message = Message(id="msg_1", url="http://x.example", body=b'{"a":1}')

    headers = webhooks.signed(message, SECRET, 1_700_000_000)

    expected = hmac.new(SECRET, b'msg_1.1700000000.{"a":1}', hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")


@pytest.mark.parametrize(
    "text", ["", "secret", "whsec_", "whsec_AAAA", base64.b64encode(SECRET).decode(), "whsec_é"]
)
def test_a_secret_that_is_none_is_refused(text: str) -> None:
    """It has its prefix, is base64, and long enough that nobody guesses it."""
    with pytest.raises(SecretRefused):
        read_secret(text)
    assert read_secret(WRITTEN + "\n") == SECRET


def deliver(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, messages: Sequence[Message], times: int
) -> None:
    """Send them with pauses that take no time, until so many requests have arrived."""
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.0, 0.0, 0.0))

    async def run() -> None:
        sender = Webhooks(SECRET, lambda: 1_700_000_000)
        for message in messages:
            sender.put(message)
        running = asyncio.create_task(sender.run())
        await asyncio.to_thread(receiver.wait, times)
        running.cancel()

    asyncio.run(run())


def test_a_receiver_that_fails_first_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors and redirects are no delivery: the same message comes again under its id, and no redirect is followed."""
    with receiving([500, 302]) as receiver:
        message = Message(id="one", url=receiver.url, body=b"{}")
        deliver(monkeypatch, receiver, [message, Message(id="two", url=receiver.url, body=b"{}")], 4)

    assert [headers["webhook-id"] for _, headers, _ in receiver.got] == ["one", "one", "one", "two"]
    assert {path for path, _, _ in receiver.got} == {"/hook"}


def test_a_receiver_that_never_answers_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its last try a message is given up, and what waits behind it is sent."""
    with receiving([500] * 4) as receiver:
        messages = [Message(id=each, url=receiver.url, body=b"{}") for each in ("lost", "next")]
        deliver(monkeypatch, receiver, messages, 5)

    assert [headers["webhook-id"] for _, headers, _ in receiver.got] == ["lost"] * 4 + ["next"]


def test_too_many_messages_never_make_anybody_wait() -> None:
    """The queue has an end: what waits longest is given up, and putting returns at once."""
    sender = Webhooks(SECRET, lambda: 0)
    for number in range(webhooks.WAITING + 5):
        sender.put(Message(id=str(number), url="http://127.0.0.1:9", body=b"{}"))

    assert sender._waiting.qsize() == webhooks.WAITING
    assert sender._waiting.get_nowait().id == "5"
