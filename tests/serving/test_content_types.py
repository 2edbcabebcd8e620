"""The header Accept."""

import pytest

from segvoc.serving.answers import negotiated
from segvoc.serving.failures import ServiceFailure

JSON, PNG, ZIP = "application/json", "image/png", "application/zip"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("image/png", PNG),
        ("IMAGE/PNG", PNG),
        ("image/*", PNG),
        ("application/*", JSON),
        ("text/html, application/zip", ZIP),
        ("application/json;q=0.5, application/zip", ZIP),
        ("application/json;q=0, */*", PNG),
        ("image/png;q=0.1, */*;q=0.9", JSON),
        ("application/zip; charset=x; q=1.0, image/png; q=0.9", ZIP),
    ],
)
def test_the_preferred_type_is_chosen(accept, chosen):
    assert negotiated(accept) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "application/json;q=0", "nonsense", "*/*;q=x", ","])
def test_nothing_acceptable(accept):
    with pytest.raises(ServiceFailure) as refused:
        negotiated(accept)
    assert refused.value.status == 406
