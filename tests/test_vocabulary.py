"""Vocabularies of words and parts, and which rule of selection a caller's number or name stands for."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segvoc.errors import UsageError
from segvoc.layers.selection import ClassSelection, requested_selection
from segvoc.vocabulary import Part, PartVocabulary, Vocabulary, parts_by_object
from segvoc.vocabulary.names import MAX_CLASSES
from tests.images import one_line_error


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        *((["cat", word], f"{word!r}.* is empty") for word in ("", " ", "\t\n", "\u3000")),
        *((["a, b", *others], "'a, b' is given twice") for others in (["a, b"], [" a, b "], ["dog", "a, b"])),
        ([], "no words"),
        *((words, "give a list with one string per class") for words in (None, 3)),
        *((words, "has no order; give a list") for words in ({"cat", "sofa"}, frozenset(["cat"]), set())),
        ({"cat": "sofa"}, "'cat' is not an id; give names by id"),
        ({"-1": "cat"}, "'-1' is not an id"),
        ({0: "cat", "0": "sofa"}, "the id 0 is given twice"),
        ({0: 5}, "isn't a string"),
        *((["cat", word], "isn't a string") for word in (None, 3, b"cat", ["cat"], float("nan"))),
        ([os.fsdecode(b"caf\xe9")], "isn't valid Unicode"),
        *(([word], "is empty") for word in (", couch", "sofa, , couch", "sofa=", "=couch", "sofa==couch")),
    ],
)
def test_what_are_no_words_is_refused_in_one_line(words: object, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        Vocabulary(words)  # type: ignore[arg-type]
    assert re.search(said.replace("\\", r"\\"), str(refusal.value))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("word", ["猫", "बिल्ली", "🐈", "crème brûlée", "%s {} {0} \\"])
def test_any_script_is_a_word(word: str) -> None:
    vocabulary = Vocabulary([word])
    assert vocabulary.words == (word,) and vocabulary.prompts(["a photo of a {}"]) == [(f"a photo of a {word}",)]


def test_label_map_limits_the_number_of_words_and_parts() -> None:
    words = [f"word {number}" for number in range(MAX_CLASSES + 1)]
    assert len(Vocabulary(words[:-1])) == len(PartVocabulary({"cat": words[:-1]})) == 65_535
    with pytest.raises(UsageError, match="'word 65535' is one word too many"):
        Vocabulary(words)
    with pytest.raises(UsageError, match='"cat\'s word 65535" is one part too many'):
        PartVocabulary({"cat": words})


def test_prompts_have_the_first_synonym() -> None:
    prompts = Vocabulary(["sofa,  couch", "cat"]).prompts(["a {}", "the {}"])
    assert prompts == [("a sofa", "the sofa"), ("a cat", "the cat")]
    word = Part("sofa, couch", "arm,  armrest").word("sofa, couch")
    assert word == "sofa's arm, sofa's armrest, couch's arm, couch's armrest"
    assert Vocabulary([word]).prompts(["the {}"]) == [("the sofa's arm",)]


@pytest.mark.usefixtures("as_users_call")
def test_a_dictionary_is_names_by_id() -> None:
    for words in ({"0": "cat", "1": "wall"}, {1: "wall", 0: "cat"}, {"wall": 7, "cat": 3}, {"10": "wall", "9": "cat"}):
        assert Vocabulary(words).words == ("cat", "wall")  # type: ignore[arg-type]
    assert Vocabulary(dict.fromkeys(["cat", "wall"]).keys()).words == ("cat", "wall")  # these have an order


def test_synonyms_are_written_alike_everywhere(tmp_path: Path) -> None:
    file, table = tmp_path / "words.txt", tmp_path / "words.json"
    file.write_text("cat\nsofa = couch\n")
    table.write_text('{"0": "cat", "1": "sofa=couch"}')
    given = ("cat, sofa=couch", ["cat", "sofa=couch"], ["cat", "sofa, couch"], {0: "cat", 1: " sofa =couch"})
    for vocabulary in (*map(Vocabulary, given), Vocabulary.read(file), Vocabulary.read(table)):
        assert vocabulary == Vocabulary(["cat", "sofa, couch"])
        assert vocabulary.prompts(["a {}"]) == [("a cat",), ("a sofa",)]
    assert PartVocabulary("sofa=couch: leg, back=rest") == PartVocabulary({"sofa, couch": ["leg", "back, rest"]})
    assert PartVocabulary({"sofa": "leg, back"}) == PartVocabulary({"sofa": ["leg", "back"]})
    with pytest.raises(UsageError, match="'sofa, couch' is given twice"):
        Vocabulary("sofa=couch, sofa = couch")


def test_commas_separate_words_of_a_line() -> None:
    assert Vocabulary("cat,sofa , traffic light").words == ("cat", "sofa", "traffic light")
    assert Vocabulary([" sofa ", "cat\n", "\ttraffic light"]).words == ("sofa", "cat", "traffic light")
    for text in ("cat,,sofa", ",cat", "cat,", "cat, ,sofa", "", "  "):
        with pytest.raises(UsageError, match="is empty" if "," in text else "no words"):
            Vocabulary(text)


@pytest.mark.parametrize("text", ['["cat", "wall"]', ' {"0": "cat", "1": "wall"}'])
def test_a_line_of_json_is_no_words(text: str) -> None:
    with pytest.raises(UsageError, match="are in brackets; separate words with commas"):
        Vocabulary(text)
    assert Vocabulary("[MASK], {x").words == ("[MASK]", "{x")


def test_file_holds_one_class_a_line(tmp_path: Path) -> None:
    text = "cat\nsofa, couch\n猫"
    for content in (text, f"{text}\n", text.replace("\n", "\r\n"), f"\ufeff{text}\n", f" {text}\t\n\n  \n\n"):
        (tmp_path / "words.txt").write_bytes(content.encode())
        assert Vocabulary.read(tmp_path / "words.txt").words == ("cat", "sofa, couch", "猫")
    assert Vocabulary.read(str(tmp_path / "words.txt")).words == ("cat", "sofa, couch", "猫")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cat\n\nsofa\n", r"words\.txt': line 2 is empty"),
        (b"", "no words"),
        (b"cat\nsofa\nCat\n", r"words\.txt': the word 'Cat' is given twice, in lines 1 and 3"),
        ("café\n".encode("latin-1"), "isn't UTF-8"),
        (b"# made by a tool\ncat\n\nsofa\n", "line 3 is empty"),  # comments count
        (b"cat\n# a note\nsofa\ncat\n", "in lines 1 and 4;"),
    ],
)
def test_file_without_proper_words_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with one_line_error(UsageError, match=said):
        Vocabulary.read(tmp_path / "words.txt")


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b"])
def test_only_line_ends_end_a_line(tmp_path: Path, separator: str) -> None:
    words = (f"traffic{separator}light", "cat")
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    assert Vocabulary.read(tmp_path / "words.txt").words == Vocabulary(words).words == words


@pytest.mark.parametrize("suffix", [".xlsx", ".TOML"])
def test_tables_and_settings_are_no_words(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_text("train: images/train\nnames: [cat, dog]\n")
    with one_line_error(UsageError, f"({suffix.lower()}); write one class per line, or a JSON list"):
        Vocabulary.read(path)
    path = path.with_suffix(".YML")
    path.write_text("train: images/train\nnames: [cat, no]\n")
    assert Vocabulary.read(path).words == ("cat", "no")


@pytest.mark.parametrize("kind", [Vocabulary, PartVocabulary])
@pytest.mark.parametrize(
    ("name", "said"),
    [*((name, "can't be read") for name in ("missing.json", ".", "a\0b")), ("latin.json", "isn't UTF-8")],
)
def test_file_that_cannot_be_read_is_named(tmp_path: Path, kind, name: str, said: str) -> None:
    (tmp_path / "latin.json").write_bytes('{"café": ["door"]}'.encode("latin-1"))
    with one_line_error(UsageError, repr(f"{tmp_path}/{name}"), match=said):
        kind.read(f"{tmp_path}/{name}")


def test_line_mapping_and_file_are_the_same(tmp_path: Path) -> None:
    mapping = {"traffic light": ["red lamp", "pole"], "cat": ["head"], "*": ["shadow"]}
    (tmp_path / "parts.json").write_text("\ufeff" + json.dumps(mapping), encoding="utf-8")
    parts = PartVocabulary(mapping)
    assert parts.objects == ("traffic light", "cat") and len(parts) == 4
    assert [part.name for part in parts.parts[:3]] == ["traffic light's red lamp", "traffic light's pole", "cat's head"]
    assert PartVocabulary({" traffic light ": ["red lamp\n", " pole"], "cat": ["head"], "*": "shadow"}) == parts
    assert PartVocabulary("traffic light:red lamp , pole;cat: head ;*:shadow") == parts
    assert PartVocabulary.read(tmp_path / "parts.json") == parts
    assert hash(PartVocabulary(mapping)) == hash(parts)
    assert parts != PartVocabulary({**mapping, "cat": ["tail"]})


def test_parts_of_any_object_belong_to_those_that_do_not_name_them() -> None:
    parts = PartVocabulary("*: head, foot; cat: tail, head; dog: leg")
    assert parts.objects == ("cat", "dog")
    assert [(part.object, part.name) for part in parts.parts[1:3]] == [(None, "foot"), ("cat", "cat's tail")]
    of_cat, of_wall = parts_by_object(["cat", "wall"], parts.parts)
    assert [(index, part.name) for index, part in of_cat] == [(1, "foot"), (2, "cat's tail"), (3, "cat's head")]
    assert [(index, part.word("wall")) for index, part in of_wall] == [(0, "wall's head"), (1, "wall's foot")]


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "there are no parts; give at least one, for example 'dog: head, leg; cat: head'"),
        *((line, "'cat' has no colon") for line in ("cat", "dog: head; cat")),
        *((line, "the part '' of 'cat' is empty") for line in ("cat:", "dog: head; cat: head,, tail")),
        (": head", "the object before the colon of ': head' is empty"),
        ("dog: head;", "list 2 of 'dog: head;' is empty ('')"),
        ("dog: head, cat: leg", "'cat: leg' among the parts of 'dog' has a colon too; put a semicolon between objects"),
        ("dog: head; cat: head; dog: leg", "the object 'dog' is given twice"),
        ("dog: head, leg, head", "the part 'head' of 'dog' is given twice"),
        ("a: b's c; a's b: c", "\"b's c\" of 'a' and 'c' of \"a's b\" are both called \"a's b's c\""),
        (f"dog: {os.fsdecode(b'caf' + bytes([0xE9]))}", "isn't valid Unicode"),
        ({"cat": {"head", "leg"}}, "the parts of 'cat' are a set, which has no order"),
        ({"cat": ["head"], "cat ": ["leg"]}, "the object 'cat' is given twice"),
        ({"cat": {"head": 1}}, "the parts of 'cat' must be a list, not {'head': 1}"),
        ({"cat": ["head", 3]}, "the part 3 of 'cat' isn't a string; write parts as text"),
        ({3: ["head"]}, "the object 3 isn't a string; write objects as text"),
        (["cat: head"], "the parts must be a dictionary, not ['cat: head']"),
    ],
)
def test_malformed_line_or_mapping_is_refused_in_one_line_that_quotes_the_place(given: Any, said: str) -> None:
    with one_line_error(UsageError, said):
        PartVocabulary(given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"cat": ["head"]', "isn't valid JSON: Expecting ',' delimiter in line 1, column 17"),
        ('["cat"]', "has ['cat'], not an object of lists"),
        ('{"cat": ["head"], "cat": ["leg"]}', "the object 'cat' is given twice"),
        ('{"cat": ' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_malformed_file_is_refused_by_its_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "parts.json"
    path.write_text(text, encoding="utf-8")
    with one_line_error(UsageError, said, repr(str(path))):
        PartVocabulary.read(path)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("wrong", [0, -1, True, False, 2.0, "many", "", "7", b"all", [3], np.array([1, 2]), object()])
def test_what_is_no_number_of_classes_is_refused(wrong):
    with pytest.raises(UsageError, match="from 1, 'auto' or 'all'"):
        requested_selection(wrong)


@pytest.mark.parametrize(
    ("selection", "most_that_are_kept"),
    [
        (ClassSelection(keep=4, by="similarity"), 4),
        (ClassSelection(keep=3), 3),
        (ClassSelection(fraction=0.25, least=5), 5),
        (ClassSelection(fraction=0.9, keep=5), 5),
        (ClassSelection(share=0.9, least=6), 6),
        (ClassSelection(classes=(0, 2, 5)), 3),
        (ClassSelection(keep=3, owners=((0,),) * 9), 3 + 9),  # parts don't compete with objects
    ],
)
def test_whether_classes_may_be_dropped_depends_on_their_number(selection, most_that_are_kept):
    assert not selection.may_drop(most_that_are_kept)
    assert selection.may_drop(most_that_are_kept + 1)


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"share": 1.5}, {"share": 0.5, "keep": 3}, {"fraction": -0.1}])
def test_impossible_class_selections_are_refused(wrong):
    with pytest.raises(UsageError, match=r"out of range|no keep or fraction"):
        ClassSelection(**wrong)


@pytest.mark.usefixtures("as_users_call")
def test_lines_are_words_and_no_word_has_a_line_or_a_tab_in_it() -> None:
    for text in ("cup\r\nsaucer\r\n", "cup\nsaucer", "cup,saucer\n", "\ncup\rsaucer"):
        assert Vocabulary(text).words == ("cup", "saucer")
    for words, what in ((["cup\nsaucer"], "a line break"), ("cup\tsaucer", "a tab"), (["a\tb"], "a tab")):
        with one_line_error(UsageError, f"has {what} in it; give words one by one"):
            Vocabulary(words)
