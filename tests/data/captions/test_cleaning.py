"""Which phrases an image keeps."""

import pytest

from segvoc.data.captions.phrases import EXCLUDED, CleaningRules, without_determiners
from segvoc.errors import UsageError


@pytest.mark.parametrize(
    ("phrase", "plain"),
    [
        ("A Dog", "dog"),
        ("his two  old dogs", "old dogs"),
        ("the", ""),
        ("12 eggs", "eggs"),
        ("12,000 people", "people"),
        ("twenty sheep", "sheep"),
        ("a man’s hat", "man's hat"),
        ("anteater", "anteater"),
        ("A clean, dry towel", "clean dry towel"),
    ],
)
def test_determiners_and_capitals_go(phrase, plain):
    assert without_determiners(phrase) == plain


def test_determiners_may_stay():
    rules = CleaningRules(determiners=True)
    assert rules.clean([["A red  Hat", "the", "two men"], ["a red hat"]]) == ("a red hat", "two men")


def test_phrases_with_an_excluded_word_are_dropped_and_by_the_published_rule_those_with_its_letters():
    rules = CleaningRules(match="substring")
    assert rules.clean([["a laptop", "a chair repair", "a dog"]]) == ("dog",)
    whole_words = [["a laptop", "the background", "two pictures", "a front door", "a chair repair", "a dog"]]
    assert CleaningRules().clean(whole_words) == ("laptop", "chair repair", "dog")
    assert {"reflection", "southwest", "background", "pair", "front"} <= set(EXCLUDED)


def test_each_phrase_once_the_most_named_first_and_no_more_than_asked_for():
    captions = [["a dog", "a ball"], ["The dog", "the dog", "grass"], ["dog", "grass", "a cat"]]
    assert CleaningRules().clean(captions) == ("dog", "grass", "ball", "cat")
    assert CleaningRules(most=2).clean(captions) == ("dog", "grass")


@pytest.mark.parametrize("wrong", [{"match": "letters"}, {"most": 0}])
def test_unknown_rules_are_wrong_calls(wrong, as_users_call):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        CleaningRules(**wrong)
