"""What the operator decides about alerts; api/settings.py has all other settings, and reads these among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api import readings
from api.readings import setting, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """How often alerts are looked at, whom they may tell, and what proves that it was us."""

    alerts_every_s: int = setting(
        "300",
        whole(0, 86400, "seconds"),
        "how often the alerts of the contract are evaluated; 0: never",
        "operator; each time takes some seconds of a processor, in a process of low priority",
    )
    webhook_hosts: str = setting(
        "",
        readings.NAMES,
        "hosts that alerts may tell; an alert with another one stops the start",
        "operator; the engine sends to them what fires: model, metric and value, nobody's data",
    )
    webhook_secret: Path | None = setting(
        "",
        readings.MAYBE_PATH,
        "file with the secret that webhooks are signed with: whsec_ and base64 of 24 random bytes or more",
        "operator; whoever reads it can tell receivers anything; without one nobody is told",
    )

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """List the hosts one by one."""
        return tuple(self.webhook_hosts.lower().replace(",", " ").split())
