"""Tests draw by seeds: what the check of sources finds."""

from pathlib import Path

import pytest

from tools.check_source import check


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("def test(): return os.urandom(3)", True),
        ("def test(): return secrets.token_hex(), uuid.uuid5(a, b)", True),
        ("def test(): return datetime.datetime.now()", True),
        ("def test(): return np.random.default_rng()", True),
        ("def test(): return random.Random(3).random(), np.random.default_rng(0).random()", False),
        ("def test(): return torch.randn(3), random.random()", False),
        ("IMAGE = torch.randn(3)", True),
        ("def test(image=torch.randn(3)): return image", True),
        ("IMAGE = torch.randn(3, generator=torch.Generator().manual_seed(0))", False),
        ("IMAGES = [lambda: torch.randn(3)]", False),
    ],
)
def test_what_tests_draw_anew_is_found(tmp_path: Path, line: str, found: bool) -> None:
    for name in ("tests/test_a.py", "src/a.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"{line}\n", encoding="utf-8")
    assert [f"{tmp_path}/tests/test_a.py:1" in violation for violation in check(tmp_path)] == [True] * found
