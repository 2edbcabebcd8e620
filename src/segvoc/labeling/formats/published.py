"""Published datasets as they are downloaded: where their maps are, and which benchmark has the same values."""

from dataclasses import dataclass, field, replace
from functools import partial

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED, LabelTable
from segvoc.labeling.formats.annotated_images import DatasetSource, ParsedDataset, chosen_set
from segvoc.labeling.formats.dataset_format import DatasetFormat, has_any
from segvoc.labeling.formats.maps import MapPair, Naming, ObjectNumbers, map_sets, paired_maps
from segvoc.vocabulary import read_classes


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Locations of a dataset's maps and images below its folder, and the meaning of the values.

    In the names of folders, "*" stands for the name of a set.
    """

    maps: tuple[str, ...]
    """Candidate map folders; the first that exists is used."""
    images: tuple[str, ...]
    """Candidate image folders; the first that exists is used."""
    benchmark: str
    """The benchmark that has the same classes and ids."""
    naming: Naming = field(default_factory=Naming)
    archive: str
    """The archive to unpack, for errors."""


def _read(source: DatasetSource, layout: _Layout) -> ParsedDataset:
    from segvoc.data.benchmarks import BENCHMARKS
    from segvoc.data.preparation.conversions import UNKNOWN_ID, id_table

    folder = source.folder
    sets = next((sets_of for pattern in layout.maps if (sets_of := map_sets(folder, pattern))), None)
    if sets is None:
        needed = layout.maps[-1].replace("*", "training")
        raise UsageError(f"{str(source.path)!r} has no folder {needed}; unpack {layout.archive} there")
    split, maps = chosen_set(source, {name: (name, path) for name, path in sets.items()}, "sets")
    places = [folder / pattern.replace("*", split) for pattern in layout.images]
    images = next((place for place in places if place.is_dir()), places[0])
    ids = enumerate(id_table(layout.benchmark).tolist())
    table = LabelTable(
        names=BENCHMARKS[layout.benchmark].classes, indices={id: label for id, label in ids if label != UNKNOWN_ID}
    )
    if (file := folder / "objectInfo150.txt").is_file():
        table = LabelTable.of_rows(read_classes(file))  # ADE20K's own names
        table = replace(table, indices={**table.indices, 0: UNLABELED})
    return paired_maps(source, MapPair(images, maps, layout.naming), table)


_CITYSCAPES = _Layout(
    maps=("gtFine/*",),
    images=("leftImg8bit/*",),
    benchmark="cityscapes",
    naming=Naming(
        image_ending="_leftImg8bit",
        endings=("_gtFine_labelIds",),
        objects=("_labelIds", "_instanceIds"),
        numbers=ObjectNumbers(1000, frozenset(range(24, 34))),  # from person to bicycle
    ),
    archive="gtFine_trainvaltest.zip",
)
_ADE20K = _Layout(maps=("annotations/*",), images=("images/*",), benchmark="a-150", archive="ADEChallengeData2016.zip")
_COCO_STUFF = _Layout(
    maps=("stuffthingmaps/*", "annotations/*"),
    images=("images/*", "*"),
    benchmark="coco-stuff",
    archive="stuffthingmaps_trainval2017.zip",
)

_BELOW_OTHERS = -1
"""COCO's folders have stuff maps beside the instances, and CVAT lays out folders of masks as Cityscapes does."""

CITYSCAPES = DatasetFormat(
    name="cityscapes", read=partial(_read, layout=_CITYSCAPES), is_marked=has_any("gtFine"), rank=_BELOW_OTHERS
)
ADE20K = DatasetFormat(
    name="ade20k",
    read=partial(_read, layout=_ADE20K),
    is_marked=has_any("objectInfo150.txt", "sceneCategories.txt", "annotations/training", "annotations/validation"),
    rank=_BELOW_OTHERS,
)
COCO_STUFF = DatasetFormat(
    name="coco-stuff",
    read=partial(_read, layout=_COCO_STUFF),
    is_marked=has_any("stuffthingmaps", "annotations/*2014/*.png", "annotations/*2017/*.png"),
    rank=_BELOW_OTHERS,
)
