"""What an operator did that cannot work: which exceptions are refusals, and the one line they get.

A refusal is not a fault: it names the setting, the value and the cure, without a trace, with exit code 2.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

REFUSED = 2


class CommandRefused(Exception):
    """A command cannot do what was asked; the message says what to do instead."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One line for the operator."""

    line: str

    def show(self) -> None:
        """Print it in red on stderr, plain where stderr is no terminal."""
        from rich.console import Console

        out = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        out.print(f"refused: {self.line}", style="bold red", markup=False)


def refusal_of(raised: BaseException) -> Refusal | None:
    """Say what the operator should read, or None for what is a fault of this program."""
    return Refusal(" ".join(str(raised).split())) if isinstance(raised, _kinds()) else None


def _kinds() -> tuple[type[Exception], ...]:
    # Imported only when something was raised: the supervisor needs none of these rooms while all is well.
    from api.alerting.rules import RulesRefused
    from api.alerting.webhooks import SecretRefused
    from api.anchoring import AnchorRefused
    from api.asking import NoEngine
    from api.contract import ContractRefused
    from api.engine.journal import ErasuresUndone
    from api.engine.pen import PenTaken, VarMissing
    from api.engine.plans import ChangeRefused
    from api.keyring import KeyChangeRefused
    from api.keys import KeyRefused
    from api.readings import SettingRefused
    from db.engine import StorageRefused, StorageUnavailable
    from db.migrate import SchemaMismatch
    from db.sealing import LedgerForked
    from models.signing import PublishersRefused

    ours = (
        SettingRefused,
        KeyRefused,
        KeyChangeRefused,
        ContractRefused,
        PenTaken,
        VarMissing,
        NoEngine,
        ChangeRefused,
    )
    return (
        *ours,
        CommandRefused,
        AnchorRefused,
        RulesRefused,
        SecretRefused,
        ErasuresUndone,
        PublishersRefused,
        StorageRefused,
        StorageUnavailable,
        SchemaMismatch,
        LedgerForked,
    )
