"""Every house rule can be broken, and the checker says so; what is allowed passes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_house import BLOCK_LINES, MAX_FILE_LINES, check

CLEAN = '"""A module."""\n'
BLOCK = [f"value_{i} = compute({i})" for i in range(BLOCK_LINES)]


def breaches(root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return check(root)


def module(*lines: str) -> str:
    return CLEAN + "\n".join(lines) + "\n"


def test_a_clean_tree_passes(tmp_path: Path):
    source = module("def double(x: int) -> int:", '    """Twice x."""', "    return 2 * x")
    assert breaches(tmp_path, {"src/a.py": source, "README.md": "An address: https://example.com\n"}) == []


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "benchmarks"])
def test_a_long_file_is_a_breach(tmp_path: Path, folder: str):
    (breach,) = breaches(tmp_path, {f"{folder}/a.py": CLEAN + "\n" * MAX_FILE_LINES})
    assert f"{MAX_FILE_LINES + 1} lines" in breach


def test_a_file_of_just_the_allowed_length_passes(tmp_path: Path):
    assert breaches(tmp_path, {"src/a.py": CLEAN + "\n" * (MAX_FILE_LINES - 1)}) == []


def test_a_block_in_two_files_is_a_breach_whatever_its_indentation(tmp_path: Path):
    indented = module("if True:", *(f"    {line}" for line in BLOCK))
    (breach,) = breaches(tmp_path, {"src/a.py": module(*BLOCK), "src/b.py": indented})
    assert "b.py:3" in breach
    assert "a.py:2" in breach


def test_a_block_twice_in_one_file_is_a_breach(tmp_path: Path):
    assert len(breaches(tmp_path, {"src/a.py": module(*BLOCK, "other = 1", *BLOCK)})) == 1


def test_a_long_repetition_is_told_once(tmp_path: Path):
    lines = [f"value_{i} = compute({i})" for i in range(3 * BLOCK_LINES)]
    assert len(breaches(tmp_path, {"src/a.py": module(*lines), "src/b.py": module(*lines)})) == 1


def test_comments_and_blank_lines_do_not_hide_a_repetition(tmp_path: Path):
    spread = module(*(f"{line}\n\n# why number {i}" for i, line in enumerate(BLOCK)))
    assert len(breaches(tmp_path, {"src/a.py": module(*BLOCK), "src/b.py": spread})) == 1


def test_five_equal_lines_pass(tmp_path: Path):
    assert breaches(tmp_path, {"src/a.py": module(*BLOCK[1:]), "src/b.py": module(*BLOCK[1:])}) == []


def test_repeated_blocks_of_tests_pass(tmp_path: Path):
    assert breaches(tmp_path, {"tests/a.py": module(*BLOCK), "tests/b.py": module(*BLOCK)}) == []


@pytest.mark.parametrize(
    "lines",
    [
        [f"import module_{i}" for i in range(9)],
        ["from module import (", *(f"    name_{i}," for i in range(9)), ")"],
        [f"# reason {i}" for i in range(9)],
        ['"""', *(f"line {i} of a text" for i in range(9)), '"""'],
        ["x = f(", *"(((((", *")))))", ")"],
    ],
    ids=["imports", "import over lines", "comments", "docstring", "punctuation"],
)
def test_what_is_no_code_may_be_equal(tmp_path: Path, lines: list[str]):
    assert breaches(tmp_path, {"src/a.py": module(*lines), "src/b.py": module(*lines)}) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1\n", "the module has no docstring"),
        (module("class Public:", "    size: int = 1"), "Public has no docstring"),
        (module("def public() -> None:", "    pass"), "public has no docstring"),
        (module("async def public() -> None:", "    pass"), "public has no docstring"),
        (module("if True:", "    def public() -> None:", "        pass"), "public has no docstring"),
        (
            module("class _Private:", "    size: int = 1", "class P:", "    def go(self) -> None:", "        pass"),
            "P.go has",
        ),
        (module("def public(x) -> None:", '    """Doc."""'), "public has no type for x"),
        (module("def public(x: int):", '    """Doc."""'), "public has no type for return"),
        (module("def public(*, x=1, **more) -> None:", '    """Doc."""'), "public has no type for x, more"),
        (
            module("class P:", '    """Doc."""', "    def __init__(self, x) -> None:", "        pass"),
            "P.__init__ has no type",
        ),
        (
            module("class P:", '    """Doc."""', "    @staticmethod", "    def f(x) -> None:", '        """D."""'),
            "for x",
        ),
    ],
)
def test_a_public_name_without_docstring_or_types_is_a_breach(tmp_path: Path, source: str, complaint: str):
    found = breaches(tmp_path, {"src/a.py": source})
    assert any(complaint in breach for breach in found), found


@pytest.mark.parametrize(
    "source",
    [
        module("def _private(x):", "    pass"),
        module("def public() -> None:", '    """Doc."""', "    def inner(x):", "        pass"),
        module("class P:", '    """Doc."""', "    @overload", "    def f(self, x: int) -> int: ..."),
        module("class P:", '    """Doc."""', "    def __len__(self) -> int:", "        return 1"),
        module("class _Private:", "    def f(self, x):", "        pass"),
    ],
    ids=["private", "inner", "overload", "magic", "method of a private class"],
)
def test_what_is_not_public_needs_no_docstring(tmp_path: Path, source: str):
    assert breaches(tmp_path, {"src/a.py": source}) == []


@pytest.mark.parametrize("host", [("pypi", "org"), ("files", "pythonhosted", "org"), ("download", "pytorch", "org")])
@pytest.mark.parametrize("name", ["README.md", "requirements.lock", "docs/deep/page.html", "Makefile"])
def test_the_address_of_an_index_is_a_breach_in_any_file(tmp_path: Path, name: str, host: tuple[str, ...]):
    assert breaches(tmp_path, {name: f"see {'.'.join(host)}/simple\n"})


@pytest.mark.parametrize(
    "line", ["--index-url here", "--find-links /wheels", "-i here", "x @ https://example.com/x.whl"]
)
def test_a_lock_with_an_address_or_index_option_is_a_breach(tmp_path: Path, line: str):
    (breach,) = breaches(tmp_path, {"requirements.lock": f"numpy==2.0\n{line}\n"})
    assert "versions and hashes only" in breach


@pytest.mark.parametrize("name", ["src/a.py", "tests/a.py", "Makefile", "pyproject.toml"])
@pytest.mark.parametrize("mark", ["TO" + "DO", "FIX" + "ME", "X" * 3])
def test_a_promise_in_code_is_a_breach(tmp_path: Path, name: str, mark: str):
    (breach,) = breaches(tmp_path, {name: f'"""A module."""\n# {mark}: later\n'})
    assert f"2: {mark}" in breach


def test_in_a_repository_hidden_files_count_and_ignored_ones_do_not(tmp_path: Path):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    promise = "# " + "TO" + "DO\n"
    (breach,) = breaches(
        tmp_path, {".ci/run": promise, "src/ignored.py": CLEAN + promise, ".gitignore": "ignored.py\n"}
    )
    assert ".ci/run:1" in breach


def test_the_exit_code_tells(tmp_path: Path):
    script = Path(__file__).parents[2] / "tools" / "check_house.py"
    for source, code in ((CLEAN, 0), ("x = 1\n", 1)):
        breaches(tmp_path, {"src/a.py": source})
        run = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
        assert run.returncode == code, run.stdout
