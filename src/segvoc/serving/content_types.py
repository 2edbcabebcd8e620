"""Which type of content a caller gets, by its header Accept."""

from collections.abc import Sequence

from segvoc.serving.failures import ServiceFailure

JSON, PNG, ZIP = "application/json", "image/png", "application/zip"

RESULT_TYPES = (JSON, PNG, ZIP)
"""Types of results, the first of which is the default."""


def negotiated(accept: str | None, offered: Sequence[str] = RESULT_TYPES) -> str:
    """Choose the type that a caller prefers (RFC 9110, section 12.5.1).

    Args:
        accept: the header; None: anything.
        offered: the types to choose from; of equally welcome ones, the first is chosen.

    Raises:
        ServiceFailure: none of them is accepted.
    """
    ranges = [_media_range(entry) for entry in (accept or "*/*").split(",") if entry.strip()]

    def quality(offer: str) -> float:
        matching = [(len(pattern.replace("*", "")), q) for pattern, q in ranges if _matches(pattern, offer)]
        return max(matching, default=(0, 0.0))[1]

    best = max(offered, key=quality)
    if not quality(best):
        raise ServiceFailure("not_acceptable", f"the answer is one of {', '.join(offered)}; accept one of them")
    return best


def _media_range(entry: str) -> tuple[str, float]:
    pattern, *parameters = (part.strip().lower() for part in entry.split(";"))
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return pattern, min(1.0, max(0.0, float(weight)))
    except ValueError:
        return pattern, 0.0


def _matches(pattern: str, offer: str) -> bool:
    return pattern in ("*/*", offer) or pattern == f"{offer.partition('/')[0]}/*"
