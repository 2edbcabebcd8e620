"""Each rule reports its violations, and passes what is allowed."""

from pathlib import Path

import pytest

from tools.check_source import MAX_FILE_LINES, check

CLEAN = '"""A module."""\n'
DOC = '    """Doc."""'
POSTPONED = ("TO" + "DO", "FIX" + "ME", "X" * 3)


def violations(root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return check(root)


def module(*lines: str) -> str:
    return CLEAN + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        *(
            ({f"{top}/a.py": CLEAN + "\n" * MAX_FILE_LINES}, [f"{MAX_FILE_LINES + 1} lines"])
            for top in ("src", "tests")
        ),
        *(
            ({"docs/page.html": f"see {'.'.join(host)}/simple\n"}, ["address"])
            for host in (("pypi", "org"), ("files", "pythonhosted", "org"))
        ),
        *(
            ({"requirements.lock": f"numpy==2.0\n{line}\n"}, ["hashes only"])
            for line in ("--index-url here", "-i here", "x @ https://example.com/x.whl")
        ),
        *(
            ({name: f"{CLEAN}# {mark}: later\n"}, [f"2: {mark}"])
            for name in ("tests/a.py", "Makefile")
            for mark in POSTPONED
        ),
        (
            {"src/a.py": module("SIZE, OTHER = 1, 2"), "src/b.py": module("SIZE: int = 1")},
            ["src/b.py:2: SIZE is also defined in", "src/a.py:2"],
        ),
    ],
)
def test_what_breaks_a_rule_is_one_violation(tmp_path: Path, files: dict[str, str], parts: list[str]):
    (violation,) = violations(tmp_path, files)
    for part in parts:
        assert part in violation


@pytest.mark.parametrize(
    "files",
    [
        {"src/a.py": CLEAN + "\n" * (MAX_FILE_LINES - 1), "README.md": "An address: https://example.com\n"},
        *({f"src/{name}.py": module("_SIZE = 1", "def evaluate() -> None:", DOC)} for name in "ab"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, files: dict[str, str]):
    assert violations(tmp_path, files) == []
