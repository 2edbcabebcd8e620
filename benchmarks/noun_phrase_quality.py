"""How many noun phrases the extractors find, and how many of those that they find are right.

    python -m benchmarks.noun_phrase_quality [--extractor spacy] [--gold FILE --captions FILE]

By default on the captions in tests/data/captions/ that were written for that: noun_phrases.json has captions in COCO's
style, alt_texts.json such as web pages have. Captions that can't lie in the repository are measured with `--captions`
(any file of captions) and `--gold`, which holds no text: a JSON object from the first 16 digits of a caption's SHA-256
to its phrases, each a list of places of words. That of 60 captions of COCO's lies beside this file:

    python -m benchmarks.noun_phrase_quality --gold benchmarks/coco_captions_gold.json --captions captions.json
"""

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import keep
from segvoc.data.captions.caption_files import captions_in_file
from segvoc.data.captions.cleaning import without_determiners
from segvoc.data.captions.phrases import phrase_extractor

WRITTEN = [Path(__file__).parent.parent / f"tests/data/captions/{name}.json" for name in ("noun_phrases", "alt_texts")]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extractor", default="rules")
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--gold", type=Path)
    arguments = parser.parse_args()
    if arguments.gold is None:
        sets = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in WRITTEN}
    else:
        sets = {arguments.gold.stem: _placed(arguments.gold, arguments.captions)}
    rows: list[dict[str, object]] = []
    for name, expected in sets.items():
        found = [list(map(without_determiners, own)) for own in phrase_extractor(arguments.extractor)(expected)]
        both = list(expected.values()), found
        nouns = [[[_noun(phrase) for phrase in own] for own in side] for side in both]
        rows += [_row(f"{name}: phrases", *both), _row(f"{name}: nouns", *nouns)]
    keep("noun_phrase_quality", rows, extractor=arguments.extractor)


def _placed(gold: Path, captions: Path) -> dict[str, list[str]]:
    """The phrases of each caption, put together from the places of their words."""
    places = json.loads(gold.read_text(encoding="utf-8"))
    everything = [text for own in captions_in_file(captions, print).values() for text in own]
    return {
        caption: [" ".join(_words(caption)[place] for place in phrase) for phrase in places[digest]]
        for caption in everything
        if (digest := hashlib.sha256(caption.encode()).hexdigest()[:16]) in places
    }


def _words(caption: str) -> list[str]:
    return re.findall(r"\w[\w'’-]*", caption.lower())


def _noun(phrase: str) -> str:
    """English phrases end with their noun."""
    return phrase.split()[-1]


def _row(what: str, expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> dict[str, object]:
    hits = sum((Counter(a) & Counter(b)).total() for a, b in zip(expected, found, strict=True))
    there, told = (sum(map(len, side)) for side in (expected, found))
    return {
        "what": what,
        "precision": hits / told,
        "recall": hits / there,
        "right": hits,
        "found": told,
        "there": there,
    }


if __name__ == "__main__":
    main()
