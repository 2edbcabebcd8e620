"""The table of benchmarks: classes, original downloads, scoring rules and published scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segvoc.data.class_lists import ENGLISH_NAMES, class_names, read_class_list
from segvoc.data.labeled_images import LabeledImage, LabeledImages
from segvoc.data.preparation.downloads import (
    CONTEXT_59,
    CONTEXT_459,
    Download,
    cityscapes,
    coco_images,
    coco_stuff_maps,
    full_ade20k,
    ov_parts,
    scene_parsing,
    voc,
)
from segvoc.data.preparation.manifests import Manifest
from segvoc.data.published_scores import PublishedScore, published_scores
from segvoc.errors import UsageError
from segvoc.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class BenchmarkParts:
    """Which object each part belongs to, and which objects are seen in training."""

    class_list: str
    """File of the names (`segvoc.data.class_lists`)."""

    @property
    def objects(self) -> tuple[str, ...]:
        """All objects, those without parts included; the index is the label in an object map."""
        return tuple(read_class_list(self.class_list)["obj_names"])

    @property
    def seen_objects(self) -> frozenset[str]:
        """Objects whose parts are trained on."""
        return frozenset(read_class_list(self.class_list)["seen_obj_names"])

    @property
    def object_of(self) -> tuple[int, ...]:
        """For each class ("cat's tail"), the index of its object."""
        index = {name: number for number, name in enumerate(self.objects)}
        # the last "'s": "chest of drawers's leg"
        return tuple(index[name.rpartition("'s ")[0]] for name in class_names(self.class_list))

    @property
    def seen_classes(self) -> tuple[str, ...]:
        """The classes whose objects are seen in training."""
        return tuple(name for name, seen in zip(class_names(self.class_list), self.seen, strict=True) if seen)

    @property
    def seen(self) -> tuple[bool, ...]:
        """For each class, whether its object is seen in training."""
        objects, seen = self.objects, self.seen_objects
        return tuple(objects[index] in seen for index in self.object_of)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark, as it is named on the command line."""

    name: str
    """Name on the command line."""
    title: str
    """Name in papers."""
    class_list: str
    """File of the class names (`segvoc.data.class_lists`)."""
    ignored: Literal[255, 65535] = 255
    """The label of ignored pixels in the prepared maps: 255 in maps of 8 bits, 65535 in maps of 16 bits."""
    downloads: tuple[Download, ...]
    """The original files."""
    label_folder: str
    """Folder of the prepared label maps, below the data folder."""
    label_suffix: str = ".png"
    """End of the label map's file name, after the stem of the image."""
    image_count: int | None
    """Number of images; None if no source gives it."""
    background: str | None = None
    """The class that stands for "none of the others"."""
    collapse_from: int | None = None
    """Predictions of this class or a later one count as this class, which is scored as "background"."""
    parts: BenchmarkParts | None = None
    """For part benchmarks."""
    training_parts: BenchmarkParts | None = None
    """For training sets of parts, whose classes are the parts of seen objects."""
    citation: str
    """The paper of the data."""
    note: str = ""
    """Peculiarities of the data, for the documentation."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names that the network is asked for, spelled as in the data set; the index is the label."""
        if self.training_parts is not None:
            return self.training_parts.seen_classes
        return class_names(self.class_list)

    @property
    def classes_in_words(self) -> tuple[str, ...]:
        """The class names in English: "dining table" instead of "diningtable"."""
        return tuple(ENGLISH_NAMES.get(name, name) for name in self.classes)

    @property
    def scored_classes(self) -> tuple[str, ...]:
        """The names of the scored classes: `classes`, or those below `collapse_from` and "background"."""
        if self.collapse_from is None:
            return self.classes
        return (*self.classes[: self.collapse_from], "background")

    @property
    def protocol(self) -> str:
        """The scoring rule, in a few words."""
        if self.parts is not None:
            return "Pred-All and Oracle-Obj, seen and unseen objects"
        if self.collapse_from is not None:
            return f"classes from {self.collapse_from} count as background: {len(self.scored_classes)} scored"
        if self.background is not None:
            return f'with the background rule ("{self.background}")'
        return "all classes"

    @property
    def published(self) -> tuple[PublishedScore, ...]:
        """The scores that papers report."""
        return published_scores(self.name)

    def published_for(self, preset: str) -> tuple[PublishedScore, ...]:
        """The scores that papers report for a network: for parts one for each protocol, else one or none."""
        return tuple(score for score in self.published if score.preset == preset)

    @property
    def pages(self) -> tuple[str, ...]:
        """Addresses of the download pages."""
        return tuple(dict.fromkeys(download.page for download in self.downloads))


_CAESAR = "Caesar, Uijlings, Ferrari: COCO-Stuff: Thing and Stuff Classes in Context. CVPR 2018"
_LIN = "Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014"
_ZHOU = "Zhou et al.: Scene Parsing through ADE20K Dataset. CVPR 2017"
_MOTTAGHI = "Mottaghi et al.: The Role of Context for Object Detection and Semantic Segmentation in the Wild. CVPR 2014"
_EVERINGHAM = "Everingham et al.: The PASCAL Visual Object Classes (VOC) Challenge. IJCV 2010"
_CORDTS = "Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding. CVPR 2016"
_WEI = "Wei et al.: OV-PARTS: Toward Open-Vocabulary Part Segmentation. NeurIPS 2023"

_LEARNED_PARTS = "parts of seen objects, for training part networks; images without any are left out"

_VOC = (
    voc(2012, "JPEGImages", ".jpg"),
    voc(2012, "SegmentationClass", ".png"),
    voc(2012, "ImageSets/Segmentation/val.txt", ""),
)
_VOC_FOLDER = "VOCdevkit/VOC2012"
_CONTEXT_FOLDER = "VOCdevkit/VOC2010/annotations_detectron2"
_CONTEXT_IMAGES = voc(2010, "JPEGImages", ".jpg")

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="coco-stuff",
            title="COCO-Stuff",
            class_list="coco",
            downloads=(coco_images("val2017"), coco_stuff_maps("val2017")),
            label_folder="coco-stuff/annotations_detectron2/val2017",
            image_count=5000,
            citation=_CAESAR,
        ),
        Benchmark(
            name="coco-stuff-train",
            title="COCO-Stuff, training set",
            class_list="coco",
            downloads=(coco_images("train2017"), coco_stuff_maps("train2017")),
            label_folder="coco-stuff/annotations_detectron2/train2017",
            image_count=118_287,
            citation=_CAESAR,
            note="the training data of CAT-Seg, PCA-Seg and ERR-Seg",
        ),
        Benchmark(
            name="a-150",
            title="A-150",
            class_list="ade150",
            downloads=(scene_parsing("images", ".jpg"), scene_parsing("annotations", ".png")),
            label_folder="ADEChallengeData2016/annotations_detectron2/validation",
            image_count=2000,
            citation=_ZHOU,
        ),
        Benchmark(
            name="a-150-train",
            title="A-150, training set",
            class_list="ade150",
            downloads=(scene_parsing("images", ".jpg", "training"), scene_parsing("annotations", ".png", "training")),
            label_folder="ADEChallengeData2016/annotations_detectron2/training",
            image_count=20_210,
            citation=_ZHOU,
            note="for training (CAT-Seg, arXiv v1, Table 6)",
        ),
        Benchmark(
            name="a-847",
            title="A-847",
            class_list="ade847",
            ignored=65535,
            downloads=(
                full_ade20k("images/ADE/validation", ".jpg"),
                full_ade20k("images/ADE/validation", "_seg.png"),
                full_ade20k("index_ade20k.pkl", ""),
            ),
            label_folder="ADE20K_2021_17_01/annotations_detectron2/validation",
            label_suffix=".tif",
            image_count=2000,
            citation=_ZHOU,
        ),
        Benchmark(
            name="pc-59",
            title="PC-59",
            class_list="pc59",
            downloads=(_CONTEXT_IMAGES, CONTEXT_59),
            label_folder=f"{_CONTEXT_FOLDER}/pc59_val",
            image_count=5105,
            citation=_MOTTAGHI,
        ),
        Benchmark(
            name="pc-59-train",
            title="PC-59, training set",
            class_list="pc59",
            downloads=(_CONTEXT_IMAGES, CONTEXT_59),
            label_folder=f"{_CONTEXT_FOLDER}/pc59_train",
            image_count=4998,
            citation=_MOTTAGHI,
            note="for training (CAT-Seg, arXiv v1, Table 6)",
        ),
        Benchmark(
            name="pc-459",
            title="PC-459",
            class_list="pc459",
            ignored=65535,
            downloads=(_CONTEXT_IMAGES, CONTEXT_459),
            label_folder=f"{_CONTEXT_FOLDER}/pc459_val",
            label_suffix=".tif",
            image_count=5104,
            citation=_MOTTAGHI,
            note="images without a MATLAB file are left out, as in the published evaluations",
        ),
        Benchmark(
            name="pas-20",
            title="PAS-20",
            class_list="voc20",
            downloads=_VOC,
            label_folder=f"{_VOC_FOLDER}/annotations_detectron2/val",
            image_count=1449,
            citation=_EVERINGHAM,
            note="background is ignored; images with nothing else are left out",
        ),
        Benchmark(
            name="pas-20b",
            title="PAS-20b",
            class_list="voc20b",
            downloads=_VOC,
            label_folder=f"{_VOC_FOLDER}/annotations_detectron2_bg/val",
            image_count=1449,
            collapse_from=20,
            citation=_EVERINGHAM,
            note="the network is asked for the 59 classes of PC-59, and all but the 20 count as background",
        ),
        Benchmark(
            name="voc-21",
            title="VOC-21",
            class_list="voc21",
            downloads=_VOC,
            label_folder=f"{_VOC_FOLDER}/annotations_voc21/val",
            image_count=1449,
            background="background",
            citation=_EVERINGHAM,
        ),
        Benchmark(
            name="pc-60",
            title="PC-60",
            class_list="pc60",
            downloads=(_CONTEXT_IMAGES, CONTEXT_59),
            label_folder=f"{_CONTEXT_FOLDER}/pc60_val",
            image_count=5105,
            background="background",
            citation=_MOTTAGHI,
        ),
        Benchmark(
            name="coco-object",
            title="COCO-Object",
            class_list="coco_object81",
            downloads=(coco_images("val2017"), coco_stuff_maps("val2017")),
            label_folder="coco-stuff/annotations_coco_object/val2017",
            label_suffix="_instanceTrainIds.png",
            image_count=5000,
            background="background",
            citation=_LIN,
            note="everything that is not an object is background, including unlabeled pixels; nothing is ignored",
        ),
        Benchmark(
            name="cityscapes",
            title="Cityscapes",
            class_list="cityscapes19",
            downloads=(
                cityscapes("leftImg8bit_trainvaltest.zip", "leftImg8bit", "_leftImg8bit.png"),
                cityscapes("gtFine_trainvaltest.zip", "gtFine", "_gtFine_labelIds.png"),
            ),
            label_folder="cityscapes/gtFine/val",
            label_suffix="_gtFine_labelTrainIds.png",
            image_count=500,
            citation=_CORDTS,
        ),
        Benchmark(
            name="pascal-part-116",
            title="Pascal-Part-116",
            class_list="pascal_part116",
            downloads=(
                ov_parts("PascalPart116", "images/val", ".jpg"),
                ov_parts("PascalPart116", "annotations_detectron2_obj/val", ".png"),
                ov_parts("PascalPart116", "annotations_detectron2_part/val", ".png"),
            ),
            label_folder="PascalPart116/annotations_segvoc",
            image_count=None,
            parts=BenchmarkParts(class_list="pascal_part116"),
            citation=_WEI,
            note="one record for each object class in an image; parts of other classes are ignored",
        ),
        Benchmark(
            name="pascal-part-116-train",
            title="Pascal-Part-116, training set",
            class_list="pascal_part116",
            downloads=(
                ov_parts("PascalPart116", "images/train", ".jpg"),
                ov_parts("PascalPart116", "annotations_detectron2_obj/train", ".png"),
                ov_parts("PascalPart116", "annotations_detectron2_part/train", ".png"),
            ),
            label_folder="PascalPart116/annotations_segvoc_train",
            image_count=None,
            training_parts=BenchmarkParts(class_list="pascal_part116"),
            citation=_WEI,
            note=_LEARNED_PARTS,
        ),
        Benchmark(
            name="ade20k-part-234",
            title="ADE20K-Part-234",
            class_list="ade20k_part234",
            ignored=65535,
            downloads=(
                ov_parts("ADE20KPart234", "images/validation", ".jpg"),
                ov_parts("ADE20KPart234", "images/training", ".jpg"),
                ov_parts("ADE20KPart234", "annotations_detectron2_part/validation", ".png"),
                ov_parts("ADE20KPart234", "annotations_detectron2_part/training", ".png"),
                ov_parts("ADE20KPart234", "ade20k_instance_val.json", ""),
                ov_parts("ADE20KPart234", "ade20k_instance_train.json", ""),
            ),
            label_folder="ADE20KPart234/annotations_segvoc",
            image_count=None,
            parts=BenchmarkParts(class_list="ade20k_part234"),
            citation=_WEI,
            note="one record for each instance in the validation set, and for unseen objects in the training set",
        ),
        Benchmark(
            name="ade20k-part-234-train",
            title="ADE20K-Part-234, training set",
            class_list="ade20k_part234",
            ignored=65535,
            downloads=(
                ov_parts("ADE20KPart234", "images/training", ".jpg"),
                ov_parts("ADE20KPart234", "annotations_detectron2_part/training", ".png"),
                ov_parts("ADE20KPart234", "ade20k_instance_train.json", ""),
            ),
            label_folder="ADE20KPart234/annotations_segvoc_train",
            image_count=None,
            training_parts=BenchmarkParts(class_list="ade20k_part234"),
            citation=_WEI,
            note=_LEARNED_PARTS,
        ),
    )
}
"""Every benchmark, by name."""


@dataclass(frozen=True, kw_only=True)
class PartRecord(LabeledImage):
    """One object of an image, with its parts: `stem` is "photo/3" for the fourth object of "photo".

    The label map holds the parts inside the object's mask; everything else is unlabeled.
    """

    object: int
    """Index of the object in `BenchmarkParts.objects`."""
    mask: Path
    """A map that is 0 inside the object's mask, and unlabeled elsewhere."""


@dataclass(frozen=True, kw_only=True)
class PartRecords(LabeledImages):
    """Images of a part benchmark: each image comes once for every object in it, one record after the other."""

    images: tuple[PartRecord, ...]
    """By stem."""


@dataclass(frozen=True, kw_only=True)
class PartTrainingImage(LabeledImage):
    """An image whose labels are parts, with a second label map of its objects."""

    object_labels: Path
    """A label map whose classes are `BenchmarkParts.objects`; everything else is unlabeled."""


@dataclass(frozen=True, kw_only=True)
class PartTrainingImages(LabeledImages):
    """Images whose classes are the parts of objects that are seen in training, with label maps of all objects."""

    images: tuple[PartTrainingImage, ...]
    """By stem."""
    object_names: Vocabulary
    """The classes of the object maps."""

    @property
    def object_maps(self) -> LabeledImages:
        """The same images with the label maps of their objects."""
        maps = (LabeledImage(image=entry.image, labels=entry.object_labels, stem=entry.stem) for entry in self.images)
        return LabeledImages(name=self.name, vocabulary=self.object_names, images=tuple(maps))


def find_benchmark(name: str) -> Benchmark:
    """Find a benchmark by name.

    Raises:
        UsageError: the name is unknown; the message lists all names.
    """
    if name not in BENCHMARKS:
        raise UsageError(f"the benchmark {name!r} is unknown; choose one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def prepared(benchmark: Benchmark, root: str | Path) -> LabeledImages:
    """The images and label maps of a benchmark that `segvoc prepare` has prepared.

    There may be fewer images than `Benchmark.image_count`: images were missing and `--partial` was given, or the
    published evaluations leave some out too.

    Args:
        benchmark: the benchmark.
        root: the data folder.

    Returns:
        The images: `PartRecords` for part benchmarks, `PartTrainingImages` for training sets of parts.

    Raises:
        UsageError: the benchmark isn't prepared, or not completely; the message contains the command to run.
    """
    root = Path(root)
    remedy = f"run `segvoc prepare {benchmark.name} --data {root}`"
    manifest = Manifest.read(root, benchmark.name)
    if manifest is None:
        raise UsageError(f"{benchmark.title} is not prepared in {str(root)!r}; {remedy}")
    if manifest.failed and not manifest.partial:
        raise UsageError(
            f"{_counted(manifest.failed, 'image')} of {benchmark.title} failed when it was prepared, for example "
            f"{manifest.failed[0]!r}; replace the damaged files and {remedy}"
        )
    if lost := manifest.lost_files(root):
        verb = "is" if len(lost) == 1 else "are"
        raise UsageError(
            f"{_counted(lost, 'file')} of {benchmark.title} {verb} missing, for example {lost[0]!r}; {remedy}"
        )
    vocabulary = Vocabulary(benchmark.classes)
    paths = [(record, {"image": root / record.image, "labels": root / record.labels}) for record in manifest.records]
    if benchmark.training_parts is not None:
        return PartTrainingImages(
            name=benchmark.name,
            vocabulary=vocabulary,
            object_names=Vocabulary(benchmark.training_parts.objects),
            images=tuple(
                PartTrainingImage(stem=record.stem, object_labels=root / record.mask, **files)
                for record, files in paths
                if record.mask is not None
            ),
        )
    if benchmark.parts is not None:
        return PartRecords(
            name=benchmark.name,
            vocabulary=vocabulary,
            images=tuple(
                PartRecord(stem=record.stem, object=record.part_object, mask=root / record.mask, **files)
                for record, files in paths
                if record.part_object is not None and record.mask is not None
            ),
        )
    images = tuple(LabeledImage(stem=record.stem, **files) for record, files in paths)
    return LabeledImages(name=benchmark.name, vocabulary=vocabulary, images=images, background=benchmark.background)


def _counted(names: Sequence[str], noun: str) -> str:
    return f"1 {noun}" if len(names) == 1 else f"{len(names)} {noun}s"
