"""The words of a call: what is a word, what is refused and how."""

import os
import re
from pathlib import Path

import pytest

from segvoc.errors import UsageError
from segvoc.vocabulary import MAX_CLASSES, Vocabulary
from tests.images import one_line_error

# ---- words


def test_words_keep_their_order_and_lose_white_space_around_them() -> None:
    assert Vocabulary([" sofa ", "cat\n", "\ttraffic light"]).words == ("sofa", "cat", "traffic light")


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        *((["cat", word], f"{word!r}.* is empty") for word in ("", " ", "\t\n", "\u3000")),
        *(
            (words, f"'{words[0]}' is given twice")
            for words in (["cat", "dog", "cat"], ["cat", " cat "], ["a, b", "a, b"])
        ),
        ([], "no words"),
        *((words, "give a list with one string per class") for words in ("cat, sofa", "", None, 3)),
        *((["cat", word], "isn't a string") for word in (None, 3, b"cat", ["cat"], float("nan"))),
        ([os.fsdecode(b"caf\xe9")], "isn't valid Unicode"),
        *(([word], "is empty") for word in (", couch", "sofa, , couch")),
    ],
)
def test_what_are_no_words_is_refused_in_one_line(words: object, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        Vocabulary(words)  # type: ignore[arg-type]
    assert re.search(said.replace("\\", r"\\"), str(refusal.value))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("word", ["猫", "кошка", "قطة", "बिल्ली", "γάτα", "🐈", "crème brûlée", "%s {} {0} \\"])
def test_any_script_is_a_word(word: str) -> None:
    vocabulary = Vocabulary([word])
    assert vocabulary.words == (word,)
    assert vocabulary.prompts(["a photo of a {}"]) == [[[f"a photo of a {word}"]]]


def test_label_map_limits_the_number_of_words() -> None:
    words = [f"word {number}" for number in range(MAX_CLASSES + 1)]
    assert len(Vocabulary(words[:-1])) == 65_535
    with pytest.raises(UsageError, match="'word 65535' is one word too many"):
        Vocabulary(words)


# ---- synonyms and templates


def test_first_synonym_is_used_alone() -> None:
    assert Vocabulary(["sofa, couch", "cat"]).prompts(["a {}", "the {}"]) == [
        [["a sofa"], ["the sofa"]],
        [["a cat"], ["the cat"]],
    ]


def test_synonyms_are_averaged_where_wanted() -> None:
    vocabulary = Vocabulary(["sofa,  couch, settee", "cat"], synonyms="average")
    assert vocabulary.prompts(["a {}"]) == [[["a sofa", "a couch", "a settee"]], [["a cat"]]]


@pytest.mark.usefixtures("as_users_call")
def test_unknown_rule_for_synonyms_is_refused() -> None:
    with pytest.raises(UsageError, match="'all' is unknown"):
        Vocabulary(["cat"], synonyms="all")  # type: ignore[arg-type]


# ---- one line of words


def test_commas_separate_words_of_a_line() -> None:
    assert Vocabulary.parse("cat,sofa , traffic light").words == ("cat", "sofa", "traffic light")


@pytest.mark.parametrize("text", ["cat,,sofa", ",cat", "cat,", "cat, ,sofa", "", "  "])
def test_line_without_proper_words_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is empty" if "," in text else "no words"):
        Vocabulary.parse(text)


# ---- a file of words


@pytest.mark.parametrize(
    "content",
    [
        "cat\nsofa, couch\n猫\n",
        "cat\nsofa, couch\n猫",
        "cat\r\nsofa, couch\r\n猫\r\n",
        "\ufeffcat\nsofa, couch\n猫\n",
        " cat \nsofa, couch\t\n猫\n\n  \n\n",
    ],
    ids=["newline at the end", "none at the end", "Windows", "byte order mark", "white space"],
)
def test_file_holds_one_class_a_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "words.txt").write_bytes(content.encode())
    assert Vocabulary.read(tmp_path / "words.txt").words == ("cat", "sofa, couch", "猫")
    assert Vocabulary.read(str(tmp_path / "words.txt")).words == ("cat", "sofa, couch", "猫")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cat\n\nsofa\n", r"line 2 of '.*words\.txt' is empty"),
        (b"\ncat\n", r"line 1 of '.*words\.txt' is empty"),
        (b"cat\nsofa\n \t\nwall", r"line 3 of '.*words\.txt' is empty"),
        (b"", "no words"),
        (b"\xef\xbb\xbf\n", "no words"),
        (b"cat\ncat\n", "'cat' is given twice"),
        ("café\n".encode("latin-1"), "isn't UTF-8"),
        ("cat\nsofa\n".encode("utf-16"), "isn't UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "isn't UTF-8"),
    ],
)
def test_file_without_proper_words_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with one_line_error(UsageError, match=said):
        Vocabulary.read(tmp_path / "words.txt")


@pytest.mark.parametrize("name", ["missing.txt", ".", "a\0b"])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with one_line_error(UsageError, repr(f"{tmp_path}/{name}"), match="can't be read"):
        Vocabulary.read(f"{tmp_path}/{name}")
