"""What people download: archives, and where their files lie once they are unpacked."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Download:
    """One folder or file of an original download.

    archives: the names it is downloaded under; the first is today's. Empty: the file itself is what is downloaded.
    inside: the folder or file in the archive, below whatever stands before it there. places: where it may lie unpacked,
    below the data's root; `segvoc prepare` unpacks to the first. suffix: of the files that are wanted of a folder;
    empty: `inside` is one file. page: where it is downloaded.
    """

    archives: tuple[str, ...]
    inside: str
    places: tuple[str, ...]
    suffix: str
    page: str

    @property
    def is_file(self) -> bool:
        """One file, not a folder of files."""
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
    """The photographs of COCO 2017."""
    return Download(
        archives=(f"{split}.zip",),
        inside=split,
        places=(f"coco-stuff/images/{split}", f"coco/images/{split}", f"coco/{split}"),
        suffix=".jpg",
        page=COCO,
    )


def coco_stuff_maps(split: str) -> Download:
    """The "stuffthingmaps" of COCO-Stuff: raw ids from 0 to 181, with gaps."""
    return Download(
        archives=("stuffthingmaps_trainval2017.zip",),
        inside=split,
        places=(f"coco-stuff/annotations/{split}", f"coco/annotations/{split}", f"coco/stuffthingmaps/{split}"),
        suffix=".png",
        page=COCO_STUFF,
    )


def scene_parsing(kind: str, suffix: str) -> Download:
    """Pictures or annotations of the scene parsing challenge's validation set."""
    return Download(
        archives=("ADEChallengeData2016.zip",),
        inside=f"ADEChallengeData2016/{kind}/validation",
        places=(f"ADEChallengeData2016/{kind}/validation",),
        suffix=suffix,
        page=SCENE_PARSING,
    )


def full_ade20k(inside: str, suffix: str) -> Download:
    """A folder or file of ADE20K in full, release 2021_17_01."""
    path = f"ADE20K_2021_17_01/{inside}"
    return Download(archives=("ADE20K_2021_17_01.zip",), inside=path, places=(path,), suffix=suffix, page=ADE20K)


def voc(year: int, inside: str, suffix: str) -> Download:
    """A folder or file of PASCAL VOC's training and validation data."""
    archive, page = {
        2010: ("VOCtrainval_03-May-2010.tar", VOC_2010),
        2012: ("VOCtrainval_11-May-2012.tar", VOC_2012),
    }[year]
    path = f"VOCdevkit/VOC{year}/{inside}"
    return Download(archives=(archive,), inside=path, places=(path,), suffix=suffix, page=page)


CONTEXT_59 = Download(
    archives=(),
    inside="trainval_merged.json",
    places=("VOCdevkit/VOC2010/trainval_merged.json", "trainval_merged.json"),
    suffix="",
    page=CONTEXT,
)
"""PASCAL-Context's 59 classes and background, as run lengths."""

CONTEXT_459 = Download(
    archives=("trainval.tar.gz", "trainval.tar"),
    inside="trainval",
    places=("VOCdevkit/VOC2010/trainval",),
    suffix=".mat",
    page=CONTEXT,
)
"""PASCAL-Context's 459 classes, a MATLAB file a picture."""


def cityscapes(archive: str, kind: str, suffix: str) -> Download:
    """The validation set of Cityscapes, a folder a city."""
    return Download(
        archives=(archive,),
        inside=f"{kind}/val",
        places=(f"cityscapes/{kind}/val", f"{kind}/val"),
        suffix=suffix,
        page=CITYSCAPES,
    )


def ov_parts(name: str, inside: str, suffix: str) -> Download:
    """A folder or file of OV-PARTS; its archives say PascalPart116, its page Pascal-Part-116."""
    hyphens = {"PascalPart116": "Pascal-Part-116", "ADE20KPart234": "ADE20K-Part-234"}[name]
    return Download(
        archives=(f"{name}.tar.gz", f"{name}.tar", f"{name}.zip"),
        inside=inside,
        places=(f"{name}/{inside}", f"{hyphens}/{inside}"),
        suffix=suffix,
        page=OV_PARTS,
    )
