"""Which processors `make test-portable` imitates, and how."""

from pathlib import Path

import pytest

from tools.run_portable_tests import (
    OTHER_VARIABLES,
    X86_VARIABLES,
    chosen_instructions,
)

ROOT = Path(__file__).resolve().parents[2]

X86, OTHER = list(X86_VARIABLES), list(OTHER_VARIABLES)


@pytest.mark.parametrize(
    ("asked", "known", "own", "chosen"),
    [
        (None, X86, "avx512", ["default", "avx2", "native"]),
        (None, X86, "avx2", ["default", "native"]),
        (None, X86, "default", ["native"]),
        (None, OTHER, "sve256", ["default", "native"]),
        ("below", X86, "avx512", ["avx2"]),
        ("below", X86, "avx2", ["default"]),
        ("below", X86, "default", ["native"]),
        ("avx2,native", X86, "avx2", ["avx2", "native"]),
    ],
)
def test_instruction_sets_follow_the_machine(asked, known, own, chosen):
    assert chosen_instructions(asked, known, own) == chosen
