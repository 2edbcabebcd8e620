"""English word lists for the noun phrase rules: the closed word classes, and words that are common in captions."""

import re
from pathlib import Path

from segvoc.storage.json_files import read_json

WORD_LISTS = Path(__file__).with_suffix(".json")
"""The file of the lists."""

_WORDS: dict[str, list[str]] = read_json(WORD_LISTS)


def _words(name: str) -> frozenset[str]:
    return frozenset(" ".join(_WORDS[name]).split())


ARTICLES = _words("articles")
NUMBERS = _words("numbers")
DETERMINERS = ARTICLES | NUMBERS | _words("determiners")
"""Words at the start of a noun phrase that say which or how many."""

POINTERS = _words("pointers")
"""Determiners that are also pronouns: "this shows a dog", "a man that rides"."""

PRONOUNS = _words("pronouns")
PREPOSITIONS = _words("prepositions")
CONJUNCTIONS = _words("conjunctions")
JOINING = _words("joining")
AUXILIARIES = _words("auxiliaries")
ADVERBS = _words("adverbs")
INTENSIFIERS = _words("intensifiers")
"""Adverbs inside a noun phrase: "a very large dog"."""

NOT_ADVERBS = _words("not_adverbs")
COLORS = _words("colors")
ADJECTIVES = _words("adjectives")
"""Words that are only adjectives. Those that are also nouns ("an orange", "the light") are left out."""

ADJECTIVE_ENDINGS = ("ful", "ous", "less", "able", "ible", "ish", "like", "-in", "-up", "-down", "-on")
NOT_ADJECTIVES = _words("not_adjectives")
NOUNS_IN_ING = _words("nouns_in_ing")
"""Nouns that look like present participles."""

GERUND_PAIRS = re.compile(
    r"(cooking|cleaning|serving|measuring|mixing|baking|frying|eating|drinking) "
    r"(utensils?|machines?|pots?|pans?|area|tools?|supplies|appliances|equipment|station|dish|dishes|trays?|bowls?|"
    r"cups?|sheets?|spoons?|gear|fountain|glass|glasses|class|oil|products?|pin)|"
    r"(dining|living|sitting|seating|waiting|drawing|meeting|dressing|changing|reading|shopping|eating|parking) "
    r"(rooms?|areas?|tables?|halls?|sets?|chairs?|spaces?|lots?|meters?|garages?|spots?|carts?|bags?|centers?|centres?|"
    r"malls?|lamps?|glasses|sections?|decks?)|"
    r"(swimming|wading) (pools?|trunks|suits?)|(washing|sewing|vending|slot|dish-washing) (machines?|stations?)|"
    r"washing station|cutting boards?|sleeping bags?|rolling pins?|skating rink|skating park|"
    r"(fishing|racing|sailing|rowing|moving) (boats?|poles?|rods?|nets?|bikes?|cars?|ships?|vans?|trucks?)|"
    r"(hiking|walking|riding|running|biking|cycling|skiing|jogging) (trails?|paths?|gear|boots?|shoes?|sticks?|tracks?|"
    r"lanes?|helmets?|clothes|outfits?|poles?|hats?)|"
    r"(crossing|landing|loading|boarding|launching) (signs?|signals?|gear|strips?|docks?|gates?|bridges?|guards?)|"
    r"wrapping paper|training wheels|rocking (chairs?|horses?)|folding chairs?|carving (boards?|kni\w+)|"
    r"baking soda|chewing gum|whipping cream|steering wheels?|sewing kit|playing (cards?|fields?)|ironing boards?"
)
"""A gerund and its noun, which form a phrase in any position."""

NOUNS_IN_ED = _words("nouns_in_ed")
"""Nouns and adjectives that look like past participles."""

PARTICIPLES = _words("participles")
PASTS = _words("pasts")
STRONG_VERBS = _words("strong_verbs")
ALSO_NOUNS = _words("also_nouns")
"""Verbs that are as often nouns: where a noun may stand, their forms in -s count as plural nouns."""


AGENTS = _words("agents")
"""Nouns that can be the subject of a verb of action: "a chef slices onions", but "the bread slices"."""


def _third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"


VERBS = STRONG_VERBS | ALSO_NOUNS
THIRD_PERSONS = {_third_person(verb): verb for verb in sorted(VERBS)}
"""Third person singular present -> base form."""

IRREGULAR_PLURALS = _words("irregular_plurals")
QUANTITIES = _words("quantities")
"""Before "of": nouns that say how much or how many."""

PLACES = _words("places")
"""Between a preposition and "of": nouns of compound prepositions ("on top of", "in the middle of")."""

COMPOUND_MODIFIERS = frozenset(tuple(pair.split()) for pair in _WORDS["compound_modifiers"])
"""Word pairs that are an adjective before a noun: "a walk in shower"."""
