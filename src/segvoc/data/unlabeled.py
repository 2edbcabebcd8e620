"""Pixels of labeled images that have no label, such as those outside all shapes: what that means, and what they get."""

from collections.abc import Mapping

from segvoc.imaging.label_maps import MUCH_UNLABELED, UNLABELED_NAME

LISTED_WORDS = 5
"""Number of words to list."""


def unlabeled_remark(share: float, *, are_shapes: bool) -> str | None:
    """What it means that a share of the pixels has no label, in one line; None up to a third (`MUCH_UNLABELED`)."""
    if share <= MUCH_UNLABELED:
        return None
    means = "they count neither in learning nor in scores, and in new images they get one of your words"
    fix = (
        "--background NAME makes them a class" if are_shapes else "if they show none of your classes, label them as one"
    )
    return f"{share:.0%} of the pixels {'are' if are_shapes else 'have'} {row_title(are_shapes)}: {means}; {fix}"


def row_title(are_shapes: bool) -> str:
    """What tables call the pixels without a label."""
    return "outside of all shapes" if are_shapes else "no label"


def unlabeled_row(shares: Mapping[str, float], *, are_shapes: bool) -> str | None:
    """The pixels without a label and the words that they get, in one line; None up to a third (`MUCH_UNLABELED`).

    `shares` are of all pixels, by word.
    """
    if (share := sum(shares.values())) <= MUCH_UNLABELED:
        return None
    largest = sorted(shares.items(), key=lambda one: -one[1])
    listed = ", ".join(f"{word} {of_all:.1%}" for word, of_all in largest[:LISTED_WORDS])
    more = f" and {len(largest) - LISTED_WORDS} more" if len(largest) > LISTED_WORDS else ""
    title = row_title(are_shapes)
    if list(shares) == [UNLABELED_NAME]:
        return f"{title}: {share:.1%} of the pixels, left unlabeled"
    return f"{title}, not scored: {share:.1%} of the pixels, labeled {listed}{more}"
