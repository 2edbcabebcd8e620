"""A scripted annotator who corrects a draft with the tools of the page, and counts what it takes.

Correct is a label map in which each region of the truth above a least size has an IoU of at least 0.85, and no wrong
area is left that is as large and not just a seam. The annotator goes through the regions that aren't right, the
largest first. Where a whole piece of the labels is wrong, it gets another word, or the eraser takes it away. Else the
region is clicked until its mask fits, and given its word; if its word has spilled beyond it, that piece is erased
before. Last come the wrong areas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt16
from scipy import ndimage
from skimage import measure

from segvoc.clicks.clicked_image import ClickedImage
from segvoc.imaging.label_maps import UNLABELED
from tools.clicks.clicker import next_click

LEVEL = 0.85
"""IoU of a region that is right, and at which a mask is taken."""

LEAST_AREA = 0.005
"""Share of the image: smaller regions and wrong areas are left alone."""

SEAM = 0.01
"""Wrong areas narrower than twice this share of the image's shorter side are seams of regions that are right."""

MOST_CLICKS = 10
"""For one mask; then the word is given to what there is."""

TRIES = 3
"""Whole pieces that are taken for one region, before it is left as it is."""


@dataclass(frozen=True)
class Fix:
    """A correction: what it takes, and what it makes of the labels."""

    tool: str
    clicks: int
    words: int
    """How often a word is given."""
    labels: UInt16[np.ndarray, "H W"]
    gain: int
    """Pixels that are right by it, less those that aren't any more."""

    @property
    def actions(self) -> int:
        """Clicks and words."""
        return self.clicks + self.words


@dataclass
class Effort:
    """What an image took."""

    clicks: int = 0
    words: int = 0
    regions: int = 0
    """Regions of the truth."""
    wrong: int = 0
    """Those that weren't right in the draft."""
    left: int = 0
    """Those that still aren't."""
    tools: dict[str, int] = field(default_factory=dict)
    """How often each tool was used."""
    by_word: dict[int, int] = field(default_factory=dict)
    """Actions for areas of each word of the truth."""

    @property
    def actions(self) -> int:
        """Clicks and words."""
        return self.clicks + self.words

    def take(self, fix: Fix, word: int) -> UInt16[np.ndarray, "H W"]:
        """Count a fix; the labels after it."""
        self.clicks += fix.clicks
        self.words += fix.words
        self.tools[fix.tool] = self.tools.get(fix.tool, 0) + 1
        self.by_word[word] = self.by_word.get(word, 0) + fix.actions
        return fix.labels


@dataclass(eq=False)
class Annotator:
    """Corrects one image.

    Args:
        image: the image.
        truth: its right labels; `UNLABELED` pixels don't count.
    """

    image: UInt8[np.ndarray, "H W 3"]
    truth: UInt16[np.ndarray, "H W"]

    def __post_init__(self) -> None:
        """Find the regions of the truth."""
        self.known = self.truth != UNLABELED
        self.regions = connected(self.truth)
        self.regions[~self.known] = 0
        self.least = LEAST_AREA * self.truth.size
        self.sizes = np.bincount(self.regions.ravel())
        self.large = [number for number in range(1, len(self.sizes)) if self.sizes[number] >= self.least]
        self.clicked = ClickedImage(self.image)
        side = max(1, round(SEAM * min(self.truth.shape)))
        rows, columns = np.ogrid[-side : side + 1, -side : side + 1]
        self.disc = rows**2 + columns**2 <= side**2

    def corrected(self, draft: UInt16[np.ndarray, "H W"]) -> tuple[UInt16[np.ndarray, "H W"], Effort]:
        """The labels as the annotator leaves them, and what it took."""
        labels, effort = draft.copy(), Effort(regions=len(self.large), wrong=len(self.not_right(draft)))
        tries, accepted = dict.fromkeys(self.large, 0), np.zeros(labels.shape, bool)
        while (region := self.next_region(labels, tries)) is not None:
            fix = self.region_fix(labels, region)
            tries[region] += 1 if fix is not None and fix.tool in ("region", "eraser") else TRIES
            labels = labels if fix is None else effort.take(fix, int(self.truth[self.regions == region][0]))
        while (area := self.next_area(labels, accepted)) is not None:
            fix = self.quick_fix(labels, area) or self.area_fix(labels, area)
            accepted |= area
            if fix.gain > 0:
                labels = effort.take(fix, int(self.truth[area][0]))
        effort.left = len(self.not_right(labels))
        return labels, effort

    def next_region(self, labels: UInt16[np.ndarray, "H W"], tries: Mapping[int, int]) -> int | None:
        """The largest region that isn't right and was not given up."""
        left = [region for region in self.not_right(labels) if tries[region] < TRIES]
        return max(left, key=lambda region: int(self.sizes[region]), default=None)

    def next_area(
        self, labels: UInt16[np.ndarray, "H W"], accepted: Bool[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"] | None:
        """The largest wrong area that is more than a seam: of one word in the labels, in one region of the truth."""
        wrong = self.known & (labels != self.truth) & ~accepted
        wide = ndimage.binary_opening(wrong, self.disc)
        areas = connected(np.where(wrong, self.regions.astype(np.int64) * (UNLABELED + 1) + labels + 1, 0))
        inside = np.bincount(np.asarray(areas)[np.asarray(wide, bool)], minlength=1)
        return areas == inside.argmax() if inside.max() >= self.least else None

    def region_fix(self, labels: UInt16[np.ndarray, "H W"], region: int) -> Fix | None:
        """The way to get a region right: a whole piece of the labels, or a mask; None: neither helps."""
        here = self.regions == region
        word = int(self.truth[here][0])
        pieces, has = connected(labels), labels == word
        touching = np.isin(pieces, np.unique(pieces[here & has])) & has
        wrong = self.known & ((here & ~has) | (touching & (self.truth != word)))
        areas = connected(np.where(wrong, pieces, 0))
        largest = areas == np.bincount(areas[wrong]).argmax()
        if (quick := self.quick_fix(labels, largest)) is not None:
            return quick
        mask, clicks = self.mask(here, self.known & ((self.truth != word) | here), labels, region)
        given = self.fix("click", clicks, 1, labels, np.where(mask, word, labels))
        if self.is_right(given.labels, region) or not touching.any() or touching.all():
            return given
        anew = self.fix("erase and click", clicks + 1, 1, labels, np.where(mask, word, grown(labels, touching)))
        return max(given, anew, key=lambda fix: (self.is_right(fix.labels, region), fix.gain))

    def quick_fix(self, labels: UInt16[np.ndarray, "H W"], area: Bool[np.ndarray, "H W"]) -> Fix | None:
        """What takes one click, if it puts most of a wrong area right: the eraser, or a word for the whole piece."""
        at = np.flatnonzero(area)[0]
        pieces = connected(labels, connectivity=1)
        whole = pieces == pieces.flat[at]
        fixes = [self.fix("region", 1, 1, labels, np.where(whole, self.truth.flat[at], labels))]
        if not whole.all():
            fixes.append(self.fix("eraser", 1, 0, labels, grown(labels, whole)))
        best = max(fixes, key=lambda fix: fix.gain / fix.actions)
        return best if max(fix.gain for fix in fixes) >= LEVEL * area.sum() else None

    def area_fix(self, labels: UInt16[np.ndarray, "H W"], area: Bool[np.ndarray, "H W"]) -> Fix:
        """A mask for a wrong area; where its word is right already, it may be given once more."""
        word = int(self.truth[area][0])
        mask, clicks = self.mask(area, self.known & ((self.truth != word) | area), labels, None)
        return self.fix("click", clicks, 1, labels, np.where(mask, word, labels))

    def iou(self, labels: UInt16[np.ndarray, "H W"], region: int, pieces: Int[np.ndarray, "H W"]) -> float:
        """IoU of a region of the truth and the pieces of its word that touch it, less other regions of the word."""
        inside = self.regions == region
        word = self.truth[inside][0]
        has_word = labels == word
        touching = np.unique(pieces[inside & has_word])
        found = np.isin(pieces, touching) & has_word & self.known & (inside | (self.truth != word))
        return float((found & inside).sum() / (found | inside).sum())

    def not_right(self, labels: UInt16[np.ndarray, "H W"]) -> list[int]:
        """The regions whose IoU is too low."""
        pieces = connected(labels)
        return [region for region in self.large if self.iou(labels, region, pieces) < LEVEL]

    def fix(
        self,
        tool: str,
        clicks: int,
        words: int,
        before: UInt16[np.ndarray, "H W"],
        after: UInt16[np.ndarray, "H W"],
    ) -> Fix:
        """A correction and its gain."""
        right = ((after == self.truth) & self.known).sum() - ((before == self.truth) & self.known).sum()
        return Fix(tool, clicks, words, after.astype(np.uint16), int(right))

    def mask(
        self,
        wanted: Bool[np.ndarray, "H W"],
        known: Bool[np.ndarray, "H W"],
        labels: UInt16[np.ndarray, "H W"],
        region: int | None,
    ) -> tuple[Bool[np.ndarray, "H W"], int]:
        """What clicks on the middle of the largest error find, and their number.

        They end when the mask fits, or when it makes the region right.
        """
        found, guess, clicks = np.zeros_like(wanted), None, 0
        word = int(self.truth[wanted][0])
        while clicks < MOST_CLICKS:
            click = next_click(found, wanted, known)
            if click is None:
                break
            guess = self.clicked.clicked(click, guess)
            found, clicks = self.clicked.mask(guess), clicks + 1
            if (found & wanted).sum() >= LEVEL * ((found | wanted) & known).sum():
                break
            if region is not None and self.is_right(np.where(found, word, labels), region):
                break
        return found, clicks

    def is_right(self, labels: UInt16[np.ndarray, "H W"], region: int) -> bool:
        """Whether the IoU of a region is high enough."""
        return self.iou(labels, region, connected(labels)) >= LEVEL


def grown(labels: UInt16[np.ndarray, "H W"], away: Bool[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
    """The labels after the magic eraser: each pixel that is taken away gets the nearest label of the others."""
    rows, columns = ndimage.distance_transform_edt(away, return_distances=False, return_indices=True)  # type: ignore[misc]
    return labels[rows, columns]


def connected(values: np.ndarray, connectivity: int = 2) -> Int[np.ndarray, "H W"]:
    """The connected regions of equal values, numbered from 1 on."""
    return np.asarray(measure.label(values.astype(np.int64), background=-1, connectivity=connectivity))
