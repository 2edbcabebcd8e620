"""Noun phrases by rules."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segvoc.data.captions.phrases import LONGEST, RulePhrases, noun_chunks, without_determiners

WRITTEN = Path(__file__).parent
"""Captions that were written for this test, and their noun phrases: in COCO's style, and as web pages have them."""


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("A man riding a wave on top of a surfboard.", "A man|a wave|a surfboard"),
        ("a couple of dogs", "dogs"),
        ("A baseball player swings a bat.", "A baseball player|a bat"),
        ("Knives and forks are on two plates", "Knives|forks|two plates"),
        ("A red and white bus, a dog", "A red and white bus|a dog"),
        ("A clean, spacious room", "A clean spacious room"),
        ("a person's reflection in the girl's mirror", "a person's reflection|the girl's mirror"),
        ("A man with a red hat rides a bike", "A man|a red hat|a bike"),
        ("a man that is sitting near some old cars", "a man|some old cars"),
        ("The dog is ready to run and it looks very happy.", "The dog"),
        ("a bathroom with a walk-in closet and a shower", "a bathroom|a walk-in closet|a shower"),
        ("dining tables and cooking utensils", "dining tables|cooking utensils"),
        ("A woman cooking food for people eating cake", "A woman|food|people|cake"),
        ("diamond patterned walls", "diamond patterned walls"),
        ("people walk past Burger King", "people"),
        ("A CITY ROAD WITH TAXIS", "A CITY ROAD|TAXIS"),
        ("a 4x4 beside 3 mp3 players in the 1920s, 12,000 years old", "a 4x4|3 mp3 players|the 1920s|12,000 years"),
        ("An orange on a white table", "An orange|a white table"),
        ("3 female peacocks together", "3 female peacocks"),
        ("A dog. 2 cats! A bird; the end.", "A dog|2 cats|A bird|the end"),
        ("<PERSON> waves from <PERSON>'s red car #car @garage http://x.y/z.jpg", "PERSON|PERSON's red car"),
        ("A farmers' market by the boys’ school", "A farmers' market|the boys’ school"),
        ("A Boeing 747 taking off", ""),
        ("It is what he does here.", ""),
        ("", ""),
    ],
)
def test_what_a_caption_names(caption, phrases):
    assert "|".join(noun_chunks(caption)) == phrases


def shared(expected, found):
    """Precision and recall of lists of strings, caption by caption."""
    hits = sum((Counter(a) & Counter(b)).total() for a, b in zip(expected, found, strict=True))
    return hits / sum(map(len, found)), hits / sum(map(len, expected))


@pytest.mark.parametrize(("name", "captions"), [("noun_phrases", 60), ("alt_texts", 24)])
def test_nearly_all_phrases_and_nouns_are_found_and_few_that_are_none(name, captions):
    written = json.loads((WRITTEN / f"{name}.json").read_text())
    found = [[without_determiners(phrase) for phrase in phrases] for phrases in RulePhrases()(written)]
    assert len(written) == len(found) == captions
    assert min(shared(written.values(), found)) >= 0.96
    nouns = [[[phrase.split()[-1] for phrase in own] for own in side] for side in (written.values(), found)]
    assert min(shared(*nouns)) >= 0.96


@given(st.text(alphabet=st.sampled_from("ab the and , . 's’-ing ed of\n\t1_ß猫🐈 that to is"), max_size=60))
def test_no_text_breaks_the_rules(text):
    for phrase in noun_chunks(text):
        assert phrase.strip() and len(phrase.split()) <= LONGEST
