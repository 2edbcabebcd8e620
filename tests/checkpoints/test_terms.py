"""Every license that segvoc knows of is said in plain words, and what weights learned from is said of all that ship."""

import json

import pytest

from segvoc.checkpoints import terms
from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED
from segvoc.cli.info import describe
from segvoc.storage.files import SHIPPED

FILES = {**PUBLISHED, **UNCONFIRMED}


def test_each_license_has_its_words_and_each_shipped_network_its_sources() -> None:
    for file in FILES.values():
        assert file.license in {**terms.ALLOWED, **terms.OTHERS}, file.name
    found: list[str] = []
    for path in SHIPPED.glob("*.json"):
        record = json.loads(path.read_text())
        if "license" in record:
            assert record["license"] in terms.ALLOWED and terms.sources_of(record), path.name
            found += terms.sources_of(record).values()
    assert len(terms.to_know(found)) == len(terms.TO_KNOW) - 1  # nothing that ships is from the internet at large
    # terms other than those of a license that allows commercial use, and asks for no more than a name
    other = [text for text in found if any(word in text for word in ("research", "BY-SA", "terms of use", "ImageNet"))]
    assert other and all(terms.to_know([text]) for text in other)


@pytest.mark.parametrize(
    ("model", "weights", "commercial_use", "to_know"),
    [
        ("tiny", "Apache-2.0: commercial use is allowed", "yes by the licenses of code and weights; whether", "PASCAL"),
        ("clipseg", "Apache-2.0: commercial use is allowed", "unclear by the licenses", "images from the internet"),
        ("err-seg-b", "MIT: commercial use is allowed", "yes by the licenses", "COCO's"),
        ("cat-seg-eva-b", "not stated: its authors state no license", "unclear by the licenses", None),
        ("mobileclip-s1", "apple-amlr: commercial use is not allowed (for research alone)", "no by the", None),
        ("dinov3-l", "DINOv3 License: Meta's own terms", "unclear by the licenses", None),
        ("pca-seg-b", "that of what they started from", "yes by the license of the code; for weights", None),
    ],
)
def test_info_says_whether_a_model_may_be_used_commercially(
    model: str, weights: str, commercial_use: str, to_know: str | None
) -> None:
    said = describe(model)["terms"]
    assert said["code"].startswith("Apache-2.0: ") and said["weights"].startswith(weights)
    assert said["commercial_use"].startswith(commercial_use)
    assert said["commercial_use"].endswith("(this is no legal advice)")
    assert (to_know is None and "to_know" not in said) or any(to_know in text for text in said["to_know"])
