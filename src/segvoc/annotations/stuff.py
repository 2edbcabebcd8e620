"""Which words are stuff (sky, grass, wall), of which an image has one segment, and not things, which are counted."""

from collections.abc import Sequence

STUFF_NAMES = frozenset(
    (
        *("air", "asphalt", "background", "beach", "brick", "building", "bush", "cardboard", "carpet", "ceiling"),
        *("cement", "clay", "cloth", "cloud", "concrete", "counter", "countertop", "cupboard", "curtain", "desert"),
        *("dirt", "earth", "fabric", "fence", "field", "floor", "flooring", "fog", "foliage", "forest"),
        *("glacier", "grass", "gravel", "ground", "hill", "ice", "lake", "land", "lawn", "leaves", "liquid"),
        *("marble", "meadow", "metal", "mirror", "moss", "mountain", "mud", "ocean", "other", "path"),
        *("pavement", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road"),
        *("rock", "roof", "rug", "runway", "sand", "sea", "shelf", "shrub", "sidewalk", "sky", "smoke", "snow"),
        *("soil", "stairs", "stone", "straw", "structure", "sunlight", "terrain", "textile", "tile", "track", "tree"),
        *("vegetation", "wall", "wallpaper", "water", "waterfall", "waves", "window", "wood", "woods"),
    )
)
"""Names of stuff: those of COCO's panoptic, COCO-Stuff's and Cityscapes' classes, and what is like them."""


def stuff_classes(words: Sequence[str], background: str | None) -> frozenset[int]:
    """The indices of the words that are stuff.

    A word is stuff if its last word is in `STUFF_NAMES`, in singular or plural ("stone wall", "trees"), or if it is the
    background.

    Args:
        words: the words; of synonyms ("lawn, grass") the first counts.
        background: the word that stands for "none of the others".
    """
    return frozenset(index for index, word in enumerate(words) if word == background or _is_stuff(word))


def _is_stuff(word: str) -> bool:
    parts = word.split(",")[0].replace("-", " ").replace("_", " ").lower().split()
    last = parts[-1] if parts else ""
    return last in STUFF_NAMES or last.removesuffix("s") in STUFF_NAMES
