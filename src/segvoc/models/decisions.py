"""What becomes of a pixel, by the presets' own weights: a decision for each kind of network."""

from segvoc.inference.confidence import ConfidenceModel
from segvoc.inference.decision import Decision, StandIns

SURROUNDINGS = (
    "banner", "bridge", "counter", "curtain", "door", "wood floor", "gravel", "house", "mirror", "net", "platform",
    "playing field", "railroad", "river", "road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent",
    "brick wall", "stone wall", "tile wall", "wood wall", "water", "window blind", "window", "tree", "fence",
    "ceiling", "sky", "cabinet", "floor", "pavement", "mountain", "grass", "dirt", "building", "rock", "wall", "rug",
)  # fmt: skip
"""Words for surroundings that stand for the background: the stuff classes of COCO panoptic (Kirillov et al., CVPR
2019), except those that are often used as things, such as food and flowers."""

HALF = Decision(parts_against="half")
"""Of networks that were trained on parts, or on phrases with independent probabilities."""

FROZEN_DECISION = Decision(
    stand_ins=StandIns(words=SURROUNDINGS, similarity=0.95, threshold=0.0), parts_against="contrast"
)
"""The background of CLIPs alone is where one of its stand-ins is the likeliest word, as in SCLIP's settings for PASCAL
VOC. There is no threshold, since probabilities are rough, and CLIP's word embeddings are close to each other, so only
stand-ins that are almost the same as a word are left out. Not measured here."""


TINY_CONFIDENCE = ConfidenceModel(
    slope=0.638,
    bias=-1.0794,
    word=(-0.2224, 0.3702, -0.5097, -0.4686, -0.1087, 2.3402),
    image=(
        -0.1921, 0.3054, -0.3942, 0.3179, 0.5814, -0.671, -0.0055, 0.672, 0.0221, 0.4067, -0.793, 1.3, -0.5525, -4.0,
    ),
)  # fmt: skip
"""Confidence of `tiny`, fitted by tools/tiny/confidence.py."""

TINY_DECISION = Decision(
    stand_ins=StandIns(
        words=(*SURROUNDINGS, "bed"),  # pets on beds lie on no sofa
        similarity=0.6,
        threshold=0.3,
        margin=0.5,
    ),
    common=(
        ("wall", "brick wall", "stone wall", "tile wall", "wood wall"),
        ("sky",),
        ("sea", "water", "river"),
        ("grass", "playing field"),
        ("tree",),
        ("road", "pavement", "railroad", "gravel", "dirt", "floor", "wood floor"),
        ("floor", "wood floor", "rug", "pavement", "road", "dirt"),
        ("building", "house"),
    ),
    most_open=8,
    wholes=("person", "car"),
    lead=1.0,
    parts_against="contrast",
    confidence=TINY_CONFIDENCE,
    better="cat-seg-b (0.8 GB once, 1 to 3 seconds an image on two cores)",
    compares_colors=True,
    # of photographs that are more than half right a tenth are below, of photographs of other things 60 %
    unsure_below=0.22,
    windows=("auto", "single", "official", "official-single", "fine"),
    weights="93739061a7d57673ecff1e9905ba308d9e7ca1c33853e5c722882224b376dea3",
)
"""What becomes of a pixel of `tiny`; fitted by the scripts of tools/tiny."""
