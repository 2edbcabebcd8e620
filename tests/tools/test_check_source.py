"""Each rule reports its violations, and passes what is allowed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_source import BLOCK_LINES, MAX_FILE_LINES, check, fields_in_prose

CLEAN = '"""A module."""\n'
BLOCK = [f"_value_{i} = compute({i})" for i in range(BLOCK_LINES)]


def violations(root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return check(root)


def module(*lines: str) -> str:
    return CLEAN + "\n".join(lines) + "\n"


def test_a_clean_tree_passes(tmp_path: Path):
    source = module("def double(x: int) -> int:", '    """Twice x."""', "    return 2 * x")
    assert violations(tmp_path, {"src/a.py": source, "README.md": "An address: https://example.com\n"}) == []


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "benchmarks"])
def test_a_long_file_is_a_violation(tmp_path: Path, folder: str):
    (violation,) = violations(tmp_path, {f"{folder}/a.py": CLEAN + "\n" * MAX_FILE_LINES})
    assert f"{MAX_FILE_LINES + 1} lines" in violation


def test_a_file_of_just_the_allowed_length_passes(tmp_path: Path):
    assert violations(tmp_path, {"src/a.py": CLEAN + "\n" * (MAX_FILE_LINES - 1)}) == []


def test_a_block_in_two_files_is_a_violation_whatever_its_indentation(tmp_path: Path):
    indented = module("if True:", *(f"    {line}" for line in BLOCK))
    (violation,) = violations(tmp_path, {"src/a.py": module(*BLOCK), "src/b.py": indented})
    assert "b.py:3" in violation
    assert "a.py:2" in violation


def test_a_block_twice_in_one_file_is_a_violation(tmp_path: Path):
    assert len(violations(tmp_path, {"src/a.py": module(*BLOCK, "other = 1", *BLOCK)})) == 1


def test_a_long_repetition_is_reported_once(tmp_path: Path):
    lines = [f"_value_{i} = compute({i})" for i in range(3 * BLOCK_LINES)]
    assert len(violations(tmp_path, {"src/a.py": module(*lines), "src/b.py": module(*lines)})) == 1


def test_comments_and_blank_lines_do_not_hide_a_repetition(tmp_path: Path):
    spread = module(*(f"{line}\n\n# why number {i}" for i, line in enumerate(BLOCK)))
    assert len(violations(tmp_path, {"src/a.py": module(*BLOCK), "src/b.py": spread})) == 1


def test_five_equal_lines_pass(tmp_path: Path):
    assert violations(tmp_path, {"src/a.py": module(*BLOCK[1:]), "src/b.py": module(*BLOCK[1:])}) == []


def test_repeated_blocks_of_tests_pass(tmp_path: Path):
    assert violations(tmp_path, {"tests/a.py": module(*BLOCK), "tests/b.py": module(*BLOCK)}) == []


@pytest.mark.parametrize(
    "lines",
    [
        [f"import module_{i}" for i in range(9)],
        ["from module import (", *(f"    name_{i}," for i in range(9)), ")"],
        [f"# reason {i}" for i in range(9)],
        ['"""', *(f"line {i} of a text" for i in range(9)), '"""'],
        ["_x = f(", *"(((((", *")))))", ")"],
    ],
    ids=["imports", "import over lines", "comments", "docstring", "punctuation"],
)
def test_what_is_no_code_may_be_equal(tmp_path: Path, lines: list[str]):
    assert violations(tmp_path, {"src/a.py": module(*lines), "src/b.py": module(*lines)}) == []


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
def test_a_public_name_without_docstring_or_types_is_a_violation(tmp_path: Path, source: str, complaint: str):
    found = violations(tmp_path, {"src/a.py": source})
    assert any(complaint in violation for violation in found), found


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
    assert violations(tmp_path, {"src/a.py": source}) == []


@pytest.mark.parametrize("host", [("pypi", "org"), ("files", "pythonhosted", "org"), ("download", "pytorch", "org")])
@pytest.mark.parametrize("name", ["README.md", "requirements.lock", "docs/deep/page.html", "Makefile"])
def test_the_address_of_an_index_is_a_violation_in_any_file(tmp_path: Path, name: str, host: tuple[str, ...]):
    assert violations(tmp_path, {name: f"see {'.'.join(host)}/simple\n"})


@pytest.mark.parametrize(
    "line", ["--index-url here", "--find-links /wheels", "-i here", "x @ https://example.com/x.whl"]
)
def test_a_lock_with_an_address_or_index_option_is_a_violation(tmp_path: Path, line: str):
    (violation,) = violations(tmp_path, {"requirements.lock": f"numpy==2.0\n{line}\n"})
    assert "versions and hashes only" in violation


@pytest.mark.parametrize("name", ["src/a.py", "tests/a.py", "Makefile", "pyproject.toml"])
@pytest.mark.parametrize("mark", ["TO" + "DO", "FIX" + "ME", "X" * 3])
def test_postponed_work_in_code_is_a_violation(tmp_path: Path, name: str, mark: str):
    (violation,) = violations(tmp_path, {name: f'"""A module."""\n# {mark}: later\n'})
    assert f"2: {mark}" in violation


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_in_a_repository_hidden_files_count_and_ignored_ones_do_not(tmp_path: Path):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    mark = "# " + "TO" + "DO\n"
    (violation,) = violations(tmp_path, {".ci/run": mark, "src/ignored.py": CLEAN + mark, ".gitignore": "ignored.py\n"})
    assert ".ci/run:1" in violation


def test_a_name_for_two_things_is_a_violation(tmp_path: Path):
    for source in (module("SIZE = 1"), module("SIZE: int = 1"), module("class SIZE:", '    """Doc."""')):
        files = {"src/a.py": module("SIZE, OTHER = 1, 2"), "src/b.py": source}
        (violation,) = violations(tmp_path, files)
        assert "src/b.py:2: SIZE is also defined in" in violation and "src/a.py:2" in violation


def test_private_names_of_two_modules_and_listed_exceptions_may_be_equal(tmp_path: Path):
    evaluate = ["def evaluate() -> None:", '    """Doc."""']
    files = {"src/a.py": module("_SIZE = 1", *evaluate), "src/b.py": module("_SIZE = 1", *evaluate)}
    assert violations(tmp_path, files) == []


@pytest.mark.parametrize("docstring", ["Doc. size: in cm.", "size: in cm.", "Doc.\n\n    size, other: in cm.\n    "])
def test_a_field_explained_in_the_class_docstring_is_a_violation(tmp_path: Path, docstring: str):
    source = module("@dataclass(frozen=True)", "class Box:", f'    """{docstring}"""', "    size: int = 1")
    path = tmp_path / "a.py"
    path.write_text(source)
    (violation,) = fields_in_prose([path])
    assert "Box explains size in its docstring" in violation


def test_fields_are_explained_below_themselves(tmp_path: Path):
    source = module("@dataclass", "class Box:", '    """A box of a size."""', "    size: int = 1", '    """In cm."""')
    assert violations(tmp_path, {"src/a.py": source}) == []


def test_a_retired_word_is_a_violation(tmp_path: Path):
    files = {"src/a.py": module("# each lesson"), "docs/b.md": "Two Wings.\n", "docs/dev/log/tests.md": "The lesson.\n"}
    first, second = violations(tmp_path, files)
    assert "'lesson' is retired; write 'task'" in first + second
    assert "b.md:1: 'wings' is retired; write 'layers'" in first + second


def test_the_exit_code_tells(tmp_path: Path):
    script = Path(__file__).parents[2] / "tools" / "check_source.py"
    for source, code in ((CLEAN, 0), ("x = 1\n", 1)):
        violations(tmp_path, {"src/a.py": source})
        run = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
        assert run.returncode == code, run.stdout
