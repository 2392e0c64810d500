"""Every mutation of `make mutants` still fits the code; whether each is killed, the long run says."""

from __future__ import annotations

import ast

import pytest

from tests.mutants import ROOT, mutated
from tests.mutations import MUTANTS, Edit, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutation_fits_the_code_and_has_its_tests(mutant: Mutant) -> None:
    """What it replaces is there exactly once, what comes out is Python, and the tests that should notice exist."""
    texts = mutated(mutant, ROOT)

    assert all(ast.parse(text) and text != path.read_text() for path, text in texts.items())
    assert [name for name in mutant.killers if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("old", ["there is no such text", "import"])
def test_a_mutation_that_does_not_fit_is_refused(old: str) -> None:
    """Text that is not there, or there twice, stops the run: nothing is skipped."""
    mutant = Mutant(name="M0", what="", edits=(Edit(file="db/ledger.py", old=old, new=""),), killers=())

    with pytest.raises(AssertionError, match=r"M0: db/ledger\.py has"):
        mutated(mutant, ROOT)
