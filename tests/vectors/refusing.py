"""One question that most tests of trees and notes ask."""

from collections.abc import Callable

from db.notes import NoteRefused
from db.tree import ProofRefused


def refuses(action: Callable[..., object], *arguments: object) -> bool:
    """Tell whether it refuses what it is given, in one of the two documented ways; anything else comes through."""
    try:
        action(*arguments)
    except (NoteRefused, ProofRefused):
        return True
    return False
