"""Limits: how often something may happen, counted in a bounded memory, and how a refusal says so.

Source: draft-ietf-httpapi-ratelimit-headers (RateLimit-Policy, RateLimit: lists of strings with parameters).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.problems import Fault, RequestRefused

WINDOW_S = 60
NAMES = 65_536  # counted at once; beyond, the one that was first seen longest ago begins anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """A limit that is reached; `wait_s` is when asking again can work, 0 where it never can."""

    policy: str
    quota: int
    left: int
    wait_s: int

    def headers(self) -> dict[str, str]:
        """Write the header fields of a 429."""
        policy = f'"{self.policy}";q={self.quota};w={WINDOW_S}'
        limit = f'"{self.policy}";r={self.left};t={self.wait_s or WINDOW_S}'
        return {"Retry-After": str(self.wait_s or WINDOW_S), "RateLimit-Policy": policy, "RateLimit": limit}

    def more(self) -> Mapping[str, Any]:
        """Name the policy in the problem."""
        return {"violated-policies": [self.policy]}

    @property
    def detail(self) -> str:
        """Say what to do."""
        if not self.wait_s:
            return f"more than {self.quota} {self.policy} in a minute are never taken; split the request"
        return f"{self.quota} {self.policy} a minute are taken; ask again in {self.wait_s} s"


class Limit:
    """So many a minute of each name, evenly refilled; whoever was idle may take a minute's worth at once.

    Of each name one number is kept: until when what it took is paid for. Names that owe nothing are dropped.
    """

    def __init__(self, policy: str, quota: int, names: int = NAMES) -> None:
        self._policy, self._quota, self._names = policy, quota, names
        self._paid_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._paid_at)

    def over(self, name: str, now_s: float, count: int = 1) -> Over | None:
        """Take so many, or say that they are too many; what was refused is not counted."""
        if not self._quota:
            return None
        each_s = WINDOW_S / self._quota
        owed_s = max(0.0, self._paid_at.get(name, now_s) - now_s)
        late_s = owed_s + count * each_s - WINDOW_S
        if late_s > 1e-6:
            wait_s = math.ceil(late_s) if count <= self._quota else 0
            left = max(0, int((WINDOW_S - owed_s) / each_s + 1e-6))
            return Over(policy=self._policy, quota=self._quota, left=left, wait_s=wait_s)
        self._paid_at.pop(name, None)  # to the end: the first in order is the one that was served longest ago
        self._make_room(now_s)
        self._paid_at[name] = now_s + owed_s + count * each_s
        return None

    def give_back(self, name: str, count: int) -> None:
        """Let it be as if so many had not been taken."""
        if self._quota and name in self._paid_at:
            self._paid_at[name] -= count * WINDOW_S / self._quota

    def _make_room(self, now_s: float) -> None:
        while self._paid_at:
            first = next(iter(self._paid_at))
            if self._paid_at[first] > now_s and len(self._paid_at) < self._names:
                break
            del self._paid_at[first]


def refused(over: Over) -> RequestRefused:
    """Refuse a request at a door."""
    error = RequestRefused("quota-exceeded", over.detail)
    error.fault = Fault(slug="quota-exceeded", detail=over.detail, headers=over.headers(), more=over.more())
    return error
