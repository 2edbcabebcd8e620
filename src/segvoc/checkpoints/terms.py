"""Licenses in plain words: what they allow, for code, for weights, and for what weights learned from.

The facts are elsewhere: of weights that ship in the record beside them, of others in `published.json`. This is no legal
advice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

CODE = "Apache-2.0"
"""License of segvoc's code."""

NOT_STATED = "not stated"
"""Where no page that segvoc's authors could read says more."""

ALLOWED = {
    "Apache-2.0": "commercial use is allowed; pass LICENSE and NOTICE on, and say what you changed",
    "MIT": "commercial use is allowed; pass the copyright notice on",
}
"""Licenses that allow commercial use, and what they ask for."""

OTHERS = {
    "apple-amlr": "commercial use is not allowed",
    "DINOv3 License": "Meta's own terms; read them before any commercial use",
    "": "its authors state no license; ask them before any commercial use",
}
"""Other licenses of weights; "": none is stated."""

TO_KNOW = {
    "ImageNet's photographs are for research by its terms of access": ("ImageNet",),
    "COCO's annotations are CC BY 4.0; its photographs have licenses of their own on Flickr": ("COCO",),
    "PASCAL VOC is given for research, and its photographs are under Flickr's terms of use": ("PASCAL VOC",),
    "UJ Staple Pantry is CC BY-SA 4.0: what is adapted from it has to be shared alike": ("UJ Staple Pantry",),
    "images from the internet have the licenses of their owners": ("internet", "OpenAI's CLIP", "LAION"),
}
"""What to know of data that weights learned from, and the names in descriptions that it is about."""

UNSETTLED = (
    "whether the terms of images bind weights that learned from them isn't settled: if it matters to you, ask a lawyer "
    "or train weights from images that you may use"
)
"""What follows from these."""

NO_ADVICE = "this is no legal advice"


def allows(license: str, note: str = "") -> str:
    """What a license of weights allows, in plain words; `note`: what else there is to say about it."""
    said = ALLOWED.get(license) or OTHERS.get(license, "read its terms")
    return f"{said} ({note})" if note else said


def may_be_sold(license: str, note: str = "") -> str:
    """The same in a word: "yes", "no" or "unclear"."""
    if license in ALLOWED:
        return "unclear" if note else "yes"
    return "no" if "not allowed" in allows(license) else "unclear"


def to_know(learned_from: Sequence[str]) -> list[str]:
    """What to know of the data in descriptions of what weights learned from."""
    return [text for text, names in TO_KNOW.items() if any(name in one for name in names for one in learned_from)]


def sources_of(record: Mapping[str, Any]) -> dict[str, str]:
    """What shipped weights learned from, by their record: the description of each network and set of photographs."""
    origin = record.get("origin")
    origin = origin if isinstance(origin, Mapping) else {}
    networks = {part: origin[part]["what"] for part in ("trunk", "text") if part in origin}
    return {**networks, **origin.get("photographs", {})}


def terms(license: str, learned_from: Sequence[str], note: str = "") -> dict[str, Any]:
    """The answer to "may I use it commercially?" for weights, as plain values.

    Args:
        license: their license; "" if none is stated.
        learned_from: descriptions of what they learned from; none if that isn't stated.
        note: what else there is to say about the license.

    Returns:
        "code" and "weights": the license, and what it allows; "learned_from"; "to_know": of what they learned from;
        "commercial_use": all of it in short.
    """
    may, known = may_be_sold(license, note), to_know(learned_from)
    caveat = f"; {UNSETTLED}" if may != "no" else ""
    return {
        "code": f"{CODE}: {ALLOWED[CODE]}",
        "weights": f"{license or NOT_STATED}: {allows(license, note)}",
        "learned_from": list(learned_from) or NOT_STATED,
        **({"to_know": known} if known else {}),
        "commercial_use": f"{may} by the licenses of code and weights{caveat} ({NO_ADVICE})",
    }


def terms_of_training() -> dict[str, Any]:
    """The answer for weights that the user trains, or has trained."""
    return {
        "code": f"{CODE}: {ALLOWED[CODE]}",
        "weights": "that of what they started from, and of the images that they learned from",
        "commercial_use": f"yes by the license of the code; for weights that you train, see there ({NO_ADVICE})",
    }
