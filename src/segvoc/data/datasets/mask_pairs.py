"""Images and their masks in two folders, as most published datasets have them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segvoc.data.datasets.annotated_images import AnnotatedImage, Annotation
from segvoc.data.datasets.places import DatasetSource, visible_files
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
"""Suffixes of masks; none of their formats changes a value."""

MASK_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_L", "_P", "_seg", "_gt", "_segmentation", "_labelIds")
"""What the name of a mask may have after that of its image."""

_IMAGES = ("images", "image", "imgs", "img", "JPEGImages", "photos")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "annotation", "segmentations", "gt", "SegmentationClass")
_BESIDE = ("_labels", "_masks", "_annotations", "_label", "_mask", "_gt", "annot")
"""What the name of a folder of masks may have after that of its images: "train" and "train_labels"."""

_BESIDE_IMAGES, _OF_IMAGES = "_mask", "_sat"
"""What masks and images may be called that are in one folder, as Roboflow and DeepGlobe have them."""


@dataclass(frozen=True, kw_only=True)
class FolderPair:
    """Where the images of a set are, and where its masks are."""

    images: Path
    masks: Path


def find_pairs(folder: Path) -> dict[str, FolderPair]:
    """The pairs of folders in a dataset by the names of its sets; a dataset without sets has "".

    These are `images/train` with `masks/train`, `train/images` with `train/masks`, `train` with `train_masks`, or
    `images` with `masks`; or else one folder is both, with `train/a.jpg` and `train/a_mask.png`.
    """
    if (pair := _pair(folder)) is not None:
        inside = {path.name for path in pair.images.iterdir() if path.is_dir()}
        sets = sorted(path.name for path in pair.masks.iterdir() if path.is_dir() and path.name in inside)
        if not sets or any(path.suffix.lower() in MASK_SUFFIXES for path in pair.masks.iterdir()):
            return {"": pair}
        return {name: FolderPair(images=pair.images / name, masks=pair.masks / name) for name in sets}
    folders = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."}
    pairs = {name: pair for name, path in folders.items() if (pair := _pair(path)) is not None}
    for name, path in folders.items():
        beside = [folders[f"{name}{ending}"] for ending in _BESIDE if f"{name}{ending}" in folders]
        if beside and name not in pairs:
            pairs[name] = FolderPair(images=path, masks=beside[0])
    if pairs:
        return pairs
    mixed = {name: path for name, path in {"": folder, **folders}.items() if any(map(is_beside_image, path.iterdir()))}
    return {name: FolderPair(images=path, masks=path) for name, path in mixed.items()}


def is_beside_image(path: Path) -> bool:
    """Whether a file's name is that of a mask in the folder of its image, "a_mask.png"."""
    return path.suffix.lower() in MASK_SUFFIXES and path.stem.endswith(_BESIDE_IMAGES)


def _pair(folder: Path) -> FolderPair | None:
    images = [folder / name for name in _IMAGES if (folder / name).is_dir()]
    masks = [folder / name for name in _MASKS if (folder / name).is_dir()]
    return FolderPair(images=images[0], masks=masks[0]) if images and masks else None


def paired_images(
    source: DatasetSource,
    pair: FolderPair,
    annotation: Callable[[Path], Annotation],
    *,
    endings: Sequence[str] = ("",),
    accept: Callable[[Path], bool] = lambda path: path.suffix.lower() in MASK_SUFFIXES,
) -> list[AnnotatedImage]:
    """The images of a set with their masks, paired by their names.

    Images without a mask and masks without an image are included, and reading them says which file is missing.

    Args:
        source: the dataset; its `images` take the place of the pair's.
        pair: the folders.
        annotation: makes the annotation of a mask's path.
        endings: what masks may be called after their images; that which most of them have is taken.
        accept: which files are masks.

    Raises:
        UsageError: a folder is missing or empty, or no image has a mask.
    """
    images_folder = source.images or pair.images
    for folder, what in ((images_folder, "images"), (pair.masks, "labels")):
        if not folder.is_dir():
            raise UsageError(
                f"{str(source.path)!r} has no {what}: the folder {str(folder)!r} is missing; unpack it there"
            )
    is_mixed = images_folder == pair.masks
    images = {
        _stem(path, images_folder).removesuffix(_OF_IMAGES if is_mixed else ""): path
        for path in visible_files(images_folder, lambda path: path.suffix.lower() in IMAGE_SUFFIXES)
        if not (is_mixed and accept(path))
    }
    masks = {_stem(path, pair.masks): path for path in visible_files(pair.masks, accept)}
    if not masks:
        raise UsageError(f"{str(pair.masks)!r} has no labels (PNG, TIFF, BMP); check the folder")
    counts = {ending: sum(stem + ending in masks for stem in images) for ending in endings}
    ending = max(endings, key=counts.__getitem__)
    if not counts[ending]:
        first = next(iter(images.values()), None)
        if first is None:
            raise UsageError(f"{str(images_folder)!r} has no images; give their folder with --images")
        needed = pair.masks / f"{_stem(first, images_folder)}.png"
        raise UsageError(
            f"no image in {str(images_folder)!r} has a mask in {str(pair.masks)!r}; "
            f"{str(first)!r} needs {str(needed)!r}"
        )
    # "photo_color.png" is another view of photo.png, not a mask whose image is missing
    alone = {stem.removesuffix(ending) for stem in masks if stem.endswith(ending)} - images.keys()
    stems = images.keys() | {stem for stem in alone if stem.rpartition("_")[0] not in images.keys() | alone}
    found = []
    for stem in sorted(stems):
        path = masks.get(stem + ending, pair.masks / f"{stem}{ending}.png")
        image = images.get(stem, images_folder / f"{stem}.jpg")
        found.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation(path)))
    return found


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
