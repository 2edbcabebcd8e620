"""The original downloads of the benchmarks: archives, and where their files are after unpacking."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Download:
    """One folder or file of an original download."""

    archives: tuple[str, ...]
    """Names of the archive, the current one first; empty if the file is downloaded as it is."""
    member: str
    """The folder or file in the archive, without leading folders."""
    locations: tuple[str, ...]
    """Where it may be after unpacking, below the data folder; `segvoc prepare` unpacks to the first location."""
    suffix: str
    """How the names of the files in the folder end; empty if `member` is a single file."""
    page: str
    """Address of the download page."""

    @property
    def is_file(self) -> bool:
        """Whether this is a single file rather than a folder of files."""
        return not self.suffix


COCO = "https://cocodataset.org/#download"
COCO_STUFF = "https://github.com/nightrome/cocostuff"
SCENE_PARSING = "http://sceneparsing.csail.mit.edu"
ADE20K = "https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/"
VOC_2010 = "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/"
VOC_2012 = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
CONTEXT = "https://www.cs.stanford.edu/~roozbeh/pascal-context/"
CITYSCAPES = "https://www.cityscapes-dataset.com/downloads/"
OV_PARTS = "https://github.com/OpenRobotLab/OV_PARTS"


def coco_images(split: str) -> Download:
    """The images of COCO 2017."""
    return Download(
        archives=(f"{split}.zip",),
        member=split,
        locations=(f"coco-stuff/images/{split}", f"coco/images/{split}", f"coco/{split}"),
        suffix=".jpg",
        page=COCO,
    )


def coco_stuff_maps(split: str) -> Download:
    """The "stuffthingmaps" of COCO-Stuff: ids from 0 to 181, with gaps."""
    return Download(
        archives=("stuffthingmaps_trainval2017.zip",),
        member=split,
        locations=(f"coco-stuff/annotations/{split}", f"coco/annotations/{split}", f"coco/stuffthingmaps/{split}"),
        suffix=".png",
        page=COCO_STUFF,
    )


def scene_parsing(kind: str, suffix: str, split: str = "validation") -> Download:
    """The images or annotations of a set of the scene parsing challenge."""
    return Download(
        archives=("ADEChallengeData2016.zip",),
        member=f"ADEChallengeData2016/{kind}/{split}",
        locations=(f"ADEChallengeData2016/{kind}/{split}",),
        suffix=suffix,
        page=SCENE_PARSING,
    )


def full_ade20k(inside: str, suffix: str) -> Download:
    """A folder or file of the full ADE20K dataset, release 2021_17_01."""
    path = f"ADE20K_2021_17_01/{inside}"
    return Download(archives=("ADE20K_2021_17_01.zip",), member=path, locations=(path,), suffix=suffix, page=ADE20K)


def voc(year: int, inside: str, suffix: str) -> Download:
    """A folder or file of the training and validation data of PASCAL VOC."""
    archive, page = {
        2010: ("VOCtrainval_03-May-2010.tar", VOC_2010),
        2012: ("VOCtrainval_11-May-2012.tar", VOC_2012),
    }[year]
    path = f"VOCdevkit/VOC{year}/{inside}"
    return Download(archives=(archive,), member=path, locations=(path,), suffix=suffix, page=page)


CONTEXT_59 = Download(
    archives=(),
    member="trainval_merged.json",
    locations=("VOCdevkit/VOC2010/trainval_merged.json", "trainval_merged.json"),
    suffix="",
    page=CONTEXT,
)
"""The 59 classes and the background of PASCAL-Context, as run lengths."""

CONTEXT_459 = Download(
    archives=("trainval.tar.gz", "trainval.tar"),
    member="trainval",
    locations=("VOCdevkit/VOC2010/trainval",),
    suffix=".mat",
    page=CONTEXT,
)
"""The 459 classes of PASCAL-Context, one MATLAB file per image."""


def cityscapes(archive: str, kind: str, suffix: str) -> Download:
    """The validation set of Cityscapes, one folder per city."""
    return Download(
        archives=(archive,),
        member=f"{kind}/val",
        locations=(f"cityscapes/{kind}/val", f"{kind}/val"),
        suffix=suffix,
        page=CITYSCAPES,
    )


def ov_parts(name: str, inside: str, suffix: str) -> Download:
    """A folder or file of OV-PARTS, whose archives are named PascalPart116 and whose page says Pascal-Part-116."""
    hyphens = {"PascalPart116": "Pascal-Part-116", "ADE20KPart234": "ADE20K-Part-234"}[name]
    return Download(
        archives=(f"{name}.tar.gz", f"{name}.tar", f"{name}.zip"),
        member=inside,
        locations=(f"{name}/{inside}", f"{hyphens}/{inside}"),
        suffix=suffix,
        page=OV_PARTS,
    )
