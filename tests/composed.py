"""docker-compose.yml as Python: what each service is started with, for the tests that hold it to that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("setup", "engine", "doors")


def environment(service: str, **env: str) -> dict[str, str]:
    """Interpolate a service's environment as compose does: ${NAME}, ${NAME:-default}, ${NAME:?message}."""

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        return env.get(name) or (default[2:] if default and default.startswith(":-") else f"secret-of-{name}")

    pairs = SERVICES[service].get("environment", {}).items()
    return {key: re.sub(r"\$\{(\w+)(:[-?][^}]*)?\}", value, str(text)) for key, text in pairs}


def mounts(service: str) -> dict[str, str]:
    """Map each mount point of a service to the volume or file behind it."""
    pairs = [volume.split(":") for volume in SERVICES[service].get("volumes", [])]
    return {target: source for source, target, *_ in pairs}
