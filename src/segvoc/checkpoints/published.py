"""The manifest of published weights: where each file is, what it must contain, and which page says so.

Only what a page of the Hugging Face hub or the authors' own repository states is in it. Files without such a page for
their SHA-256 are never fetched; `UNCONFIRMED` lists them. NOTICE quotes the sources, and `tools/check_published.py`
compares the manifest with the hub.
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["network", "encoders"]
"""What a file contains: a whole network, or encoders that a training starts from."""


@dataclass(frozen=True, kw_only=True)
class SourcePage:
    """A page that states facts about a file."""

    page: str
    """Its address."""
    states: str
    """The facts, in the words of the page where they are short."""


@dataclass(frozen=True, kw_only=True)
class HubPlace:
    """A file in a repository of the Hugging Face hub."""

    repository: str
    """The repository as owner/name."""
    revision: str
    """Commit, so that the file can't change."""
    filename: str
    """Path in the repository."""
    repository_type: Literal["model", "space"] = "model"
    """Type of the repository."""

    @property
    def page(self) -> str:
        """Address of the file's page, for people."""
        folder = "spaces/" if self.repository_type == "space" else ""
        return f"https://huggingface.co/{folder}{self.repository}/blob/{self.revision}/{self.filename}"

    @property
    def origin(self) -> str:
        """Whose file it is: the repository."""
        return self.repository

    def record(self) -> dict[str, str]:
        """The entries that identify the file in records of conversions and runs."""
        return {
            "filename": self.filename,
            "repository": self.repository,
            "repository_type": self.repository_type,
            "revision": self.revision,
            "page": self.page,
        }


@dataclass(frozen=True, kw_only=True)
class WebPlace:
    """A file at an address of its own, which has no revisions: only the SHA-256 tells whether it has changed."""

    url: str
    """Its address."""

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def page(self) -> str:
        """The address itself."""
        return self.url

    @property
    def origin(self) -> str:
        """Whose file it is: the host."""
        return urlsplit(self.url).hostname or self.url

    def record(self) -> dict[str, str]:
        """The entries that identify the file in records of conversions and runs."""
        return {"filename": self.filename, "url": self.url}


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file of weights that its authors, or somebody for them, have published."""

    name: str
    """Name for `segvoc fetch`."""
    summary: str
    """What the weights are."""
    kind: Kind
    """What the file contains."""
    place: HubPlace | WebPlace
    """Where it is."""
    sha256: str
    """Checksum of the file."""
    size: int | None
    """Size as its page states it, rounded to three digits unless `exact_size`; None if no page states it [B]."""
    exact_size: bool = False
    """Whether `size` is exact."""
    license: str
    """SPDX identifier of the license."""
    license_note: str = ""
    """What should be known about the license, for example pages that contradict each other."""
    sources: tuple[SourcePage, ...]
    """The pages that state all this."""

    @property
    def filename(self) -> str:
        """Name of the file at its place."""
        return self.place.filename

    @property
    def option(self) -> str:
        """How to give the file by hand."""
        whole = "as weights=FILE or --weights FILE"
        return whole if self.kind == "network" else f"{whole}, or with --encoder-weights FILE to train on it"

    @property
    def size_text(self) -> str:
        """The size for people."""
        return "size not stated" if self.size is None else human_size(self.size)

    def record(self) -> dict[str, str]:
        """What identifies the file in records of conversions and runs: its name, place, SHA-256 and license."""
        return {"name": self.name, **self.place.record(), "sha256": self.sha256, "license": self.license}


@dataclass(frozen=True, kw_only=True)
class UnconfirmedFile:
    """Published weights that aren't fetched, since no page of the hub or of their authors states what is needed."""

    name: str
    """Name for `segvoc fetch`, which then says why not."""
    summary: str
    """What the weights are."""
    page: str
    """Where they can be found, for people."""
    reason: str
    """What isn't confirmed."""


def known_file(sha256: str) -> PublishedFile | None:
    """The published file with a checksum, if it is in the manifest."""
    return next((file for file in PUBLISHED.values() if file.sha256 == sha256), None)


def human_size(size: int) -> str:
    """A size as the hub's pages write it: three digits and a decimal unit, "819 MB".

    Args:
        size: the size [B].
    """
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


_MB = 1_000_000
_HUB = "https://huggingface.co"


def _cat_seg(name: str, filename: str, sha256: str, size: int, hash_page: str) -> PublishedFile:
    space = f"{_HUB}/spaces/hamacojr/CAT-Seg-weights"
    revision = "de5f330f3fe6a28e19b2f0c7855a6e3b4928a76a"
    return PublishedFile(
        name=name,
        summary=f"CAT-Seg as its authors trained it, for the preset {name}",
        kind="network",
        place=HubPlace(
            repository="hamacojr/CAT-Seg-weights", revision=revision, filename=filename, repository_type="space"
        ),
        sha256=sha256,
        size=size,
        license="MIT",
        sources=(
            SourcePage(page=f"{space}/blob/{hash_page}/{filename}", states=f"SHA256: {sha256}, {human_size(size)}"),
            SourcePage(
                page=f"{space}/blob/{revision}/model_large.pth",
                states="the revision in full; the files have one commit, de5f330",
            ),
            SourcePage(
                page="https://github.com/cvlab-kaist/CAT-Seg",
                states=f"README links {filename}; LICENSE: MIT License, 2023, KU-CVLAB",
            ),
        ),
    )


def _openai_clip(name: str, model: str, filename: str, sha256: str) -> PublishedFile:
    repository = "https://github.com/openai/CLIP/blob/d05afc436d78f1c48dc0dbf8e5980a9d471f35f6"
    return PublishedFile(
        name=name,
        summary=f"OpenAI's CLIP {model}, as OpenAI publishes it",
        kind="encoders",
        place=WebPlace(url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{filename}"),
        sha256=sha256,
        size=None,
        license="MIT",
        license_note="license of the repository openai/CLIP, which doesn't speak of the weights separately",
        sources=(
            SourcePage(
                page=f"{repository}/clip/clip.py",
                states=f'"{model}" at this address; expected_sha256 = url.split("/")[-2], here {sha256}',
            ),
            SourcePage(page=f"{repository}/LICENSE", states="MIT License"),
        ),
    )


_EVA_REPOSITORY = SourcePage(
    page="https://github.com/mlfoundations/open_clip/blob/89fb801f1e6087880e951fc8354b8a2077b79c6d/src/open_clip/pretrained.py",
    states="names this repository as the place of EVA02-CLIP for open_clip",
)

_CLIPSEG_LICENSE = (
    "the hub's tag is Apache-2.0, but the LICENSE of the authors' repository (MIT) says: "
    '"This license does not apply to the model weights."'
)


def _clipseg(name: str, revision: str, sha256: str, sources: tuple[SourcePage, ...]) -> PublishedFile:
    authors = "https://github.com/timojl/clipseg/blob/77c4e2dc853880df46413d4a870a725e961f2f73"
    return PublishedFile(
        name=name,
        summary=f"CLIPSeg {name.removeprefix('clipseg-')}, encoders and decoder, in the form of transformers",
        kind="network",
        place=HubPlace(repository=f"CIDAS/{name}", revision=revision, filename="pytorch_model.bin"),
        sha256=sha256,
        size=603 * _MB,
        license="Apache-2.0",
        license_note=_CLIPSEG_LICENSE,
        sources=(
            *sources,
            SourcePage(
                page=f"{authors}/LICENSE", states="MIT License. This license does not apply to the model weights."
            ),
        ),
    )


PUBLISHED: dict[str, PublishedFile] = {
    file.name: file
    for file in (
        _cat_seg(
            "cat-seg-b",
            "model_base.pth",
            "a201a50f94f4c04196e3083773832b736c2b8b81d27ea2c59cc13af3aff05760",
            819 * _MB,
            "main",
        ),
        _cat_seg(
            "cat-seg-l",
            "model_large.pth",
            "80722f4b328161aa15d25d278e832a824b72af4486b013f664757ae7cc020f61",
            2300 * _MB,
            "de5f330f3fe6a28e19b2f0c7855a6e3b4928a76a",
        ),
        _clipseg(
            "clipseg-rd64",
            "bd24dd21b694654bf18b388d3ebfda7b06a5f8c9",
            "63e3e34334d7ef9975b1ffcf17d78b3391e0556241ec9ac654f6c19248b6a5b7",
            (
                SourcePage(
                    page=f"{_HUB}/CIDAS/clipseg-rd64/blob/main/pytorch_model.bin",
                    states=(
                        "Upload CLIPSegForImageSegmentation e734c98; SHA256: "
                        "63e3e34334d7ef9975b1ffcf17d78b3391e0556241ec9ac654f6c19248b6a5b7, 603 MB"
                    ),
                ),
                SourcePage(
                    page=f"{_HUB}/CIDAS/clipseg-rd64/tree/bd24dd21b694654bf18b388d3ebfda7b06a5f8c9",
                    states="the revision, with the same last upload of the file; License: apache-2.0",
                ),
            ),
        ),
        _clipseg(
            "clipseg-rd64-refined",
            "8bef68afb9ebcbb7b153eee19f49aedb58e3f083",
            "dd9308225b8314bb7236f207e6ea72b22db5d90dba03fe3dc7d654f54dcfd08a",
            (
                SourcePage(
                    page=f"{_HUB}/CIDAS/clipseg-rd64-refined/blob/8bef68afb9ebcbb7b153eee19f49aedb58e3f083/pytorch_model.bin",
                    states=(
                        "the revision; Upload CLIPSegForImageSegmentation 217ba22; SHA256: "
                        "dd9308225b8314bb7236f207e6ea72b22db5d90dba03fe3dc7d654f54dcfd08a, 603 MB"
                    ),
                ),
                SourcePage(
                    page=f"{_HUB}/CIDAS/clipseg-rd64-refined/tree/217ba22327e68f59a46d7ea1f44bf4e4d641c395",
                    states="License: apache-2.0",
                ),
            ),
        ),
        _openai_clip(
            "openai-clip-b",
            "ViT-B/16",
            "ViT-B-16.pt",
            "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        ),
        _openai_clip(
            "openai-clip-l",
            "ViT-L/14@336px",
            "ViT-L-14-336px.pt",
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        ),
        PublishedFile(
            name="eva02-clip-b",
            summary="EVA02-CLIP B/16 (not distilled by DeCLIP), in the form of open_clip",
            kind="encoders",
            place=HubPlace(
                repository="timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k",
                revision="4ba0c57e561ff2c90e5c370da15147864b9ca7fa",
                filename="open_clip_model.safetensors",
            ),
            sha256="f6e95ce85f65eb8f42558e51b1864db6e831f6130cd4cc66a01490b30bae81f6",
            size=299 * _MB,
            license="MIT",
            sources=(
                SourcePage(
                    page=f"{_HUB}/timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k/blob/main/open_clip_model.safetensors",
                    states=(
                        "Add model 4b35a4c; SHA256: f6e95ce85f65eb8f42558e51b1864db6e831f6130cd4cc66a01490b30bae81f6, "
                        "299 MB"
                    ),
                ),
                SourcePage(
                    page=f"{_HUB}/timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k/tree/4ba0c57e561ff2c90e5c370da15147864b9ca7fa",
                    states=(
                        "the revision; the file's only commit is Add model, so it is the one above; License: mit; "
                        "open_clip_model.safetensors 299 MB"
                    ),
                ),
                _EVA_REPOSITORY,
            ),
        ),
        PublishedFile(
            name="eva02-clip-l",
            summary="EVA02-CLIP L/14 at 336 px (not distilled by DeCLIP), in the form of open_clip",
            kind="encoders",
            place=HubPlace(
                repository="timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k",
                revision="4f62907359c8506be7021582f360564693b22c15",
                filename="open_clip_model.safetensors",
            ),
            sha256="f753bca0e8327f77e8845b0af2510d599c3e4614237007b48078c791f2cf391c",
            size=856 * _MB,
            license="MIT",
            sources=(
                SourcePage(
                    page=f"{_HUB}/timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k/blob/4f62907359c8506be7021582f360564693b22c15/open_clip_model.safetensors",
                    states=(
                        "the revision; Add model 735670c; SHA256: "
                        "f753bca0e8327f77e8845b0af2510d599c3e4614237007b48078c791f2cf391c, 856 MB"
                    ),
                ),
                SourcePage(
                    page=f"{_HUB}/timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k/tree/735670c3be6fd6ee91ddb1d7b9141c51d21f9f48",
                    states="License: mit",
                ),
                _EVA_REPOSITORY,
            ),
        ),
        PublishedFile(
            name="convnext-clip-l",
            summary="LAION's CLIP-ConvNeXt-L at 320 px, in the form of open_clip",
            kind="encoders",
            place=HubPlace(
                repository="laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup",
                revision="39918dfbdf69ccd2172e6510a430e92337ee23e1",
                filename="open_clip_pytorch_model.safetensors",
            ),
            sha256="1a8e47bdefd6d36202ec66a8975edda9e3c89560bcd1ecefe6f676311637a671",
            size=1_407_151_868,
            exact_size=True,
            license="MIT",
            sources=(
                SourcePage(
                    page=f"{_HUB}/laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup/commit/39918dfbdf69ccd2172e6510a430e92337ee23e1",
                    states=(
                        "the revision; open_clip_pytorch_model.safetensors ADDED, oid "
                        "sha256:1a8e47bdefd6d36202ec66a8975edda9e3c89560bcd1ecefe6f676311637a671, size 1407151868"
                    ),
                ),
                SourcePage(
                    page=f"{_HUB}/laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup/tree/main",
                    states="License: mit",
                ),
            ),
        ),
        PublishedFile(
            name="dinov2-s",
            summary="Meta's DINOv2 ViT-S/14, without registers, in the form of transformers",
            kind="encoders",
            place=HubPlace(
                repository="facebook/dinov2-small",
                revision="ed25f3a31f01632728cabb09d1542f84ab7b0056",
                filename="model.safetensors",
            ),
            sha256="ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
            size=88_200_000,
            license="Apache-2.0",
            sources=(
                SourcePage(
                    page=f"{_HUB}/facebook/dinov2-small/blob/ed25f3a31f01632728cabb09d1542f84ab7b0056/model.safetensors",
                    states=(
                        "the revision; Upload safetensors version (#2) 150c8e7; SHA256: "
                        "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1, 88.2 MB"
                    ),
                ),
                SourcePage(
                    page="https://github.com/facebookresearch/dinov2/blob/b8931f7bf91576930313be2c6d6af376033b35f0/README.md",
                    states="DINOv2 code and model weights are released under the Apache License 2.0.",
                ),
            ),
        ),
    )
}
"""Every file that segvoc fetches, by name."""

UNCONFIRMED: dict[str, UnconfirmedFile] = {
    file.name: file
    for file in (
        UnconfirmedFile(
            name="declip-b",
            summary="EVA02-CLIP B/16 as DeCLIP distils it, from which the paper's PCA-Seg starts",
            page=f"{_HUB}/xiaomoguhzz/DeCLIP_EVA-B_DINOv2-B_csa_0.05_2.0",
            reason="the authors' README names the repository; no page states file, revision, SHA-256 or license",
        ),
        UnconfirmedFile(
            name="declip-l",
            summary="EVA02-CLIP L/14 as DeCLIP distils it, from which the paper's PCA-Seg starts",
            page="https://github.com/xiaomoguhz/DeCLIP",
            reason="only third parties name a file",
        ),
        UnconfirmedFile(
            name="cat-seg-declip-b",
            summary="CAT-Seg on DeCLIP's EVA02-CLIP B/16, for the preset cat-seg-eva-b",
            page=f"{_HUB}/xiaomoguhzz/CATSeg_DeCLIP_EVA-B_DINOv2-B_csa_0.05_2.0",
            reason="the authors' README names the repository; no page states file, revision, SHA-256 or license",
        ),
        UnconfirmedFile(
            name="convnext-clip-b",
            summary="LAION's CLIP-ConvNeXt-B at 320 px, from which err-seg-b starts",
            page=f"{_HUB}/laion/CLIP-convnext_base_w_320-laion_aesthetic-s13B-b82K",
            reason="the hub states revision, size (718 MB) and license (MIT); no page states the SHA-256",
        ),
        UnconfirmedFile(
            name="err-seg",
            summary="ERR-Seg as its authors trained it, for the presets err-seg-b and err-seg-l",
            page=f"{_HUB}/lchen1019/ERR-Seg",
            reason="the hub states the license (MIT); no page states files, revision or SHA-256",
        ),
        UnconfirmedFile(
            name="part-cat-seg",
            summary="PartCATSeg as its authors trained it, for the preset part-cat-seg-b",
            page="https://github.com/kaist-cvml/part-catseg",
            reason="on Google Drive, without a SHA-256",
        ),
        UnconfirmedFile(
            name="open-clip-h",
            summary="LAION's CLIP ViT-H/14, from which cat-seg-v1-h starts",
            page=f"{_HUB}/laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            reason="no page that states its SHA-256 was found; give open_clip's file",
        ),
        UnconfirmedFile(
            name="open-clip-g",
            summary="LAION's CLIP ViT-bigG/14, from which cat-seg-v1-g starts",
            page=f"{_HUB}/laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
            reason="no page that states its SHA-256 was found; give open_clip's file",
        ),
        UnconfirmedFile(
            name="resnet101",
            summary="torchvision's ResNet-101 of ImageNet-1k, which guides cat-seg-v1-b",
            page=f"{_HUB}/timm/resnet101.tv_in1k",
            reason="no page that states its SHA-256 was found; give the file of timm or torchvision",
        ),
        UnconfirmedFile(
            name="swin-b",
            summary="Swin-B of ImageNet-22k at 384 px, which guides cat-seg-v1-l, cat-seg-v1-h and cat-seg-v1-g",
            page=f"{_HUB}/timm/swin_base_patch4_window12_384.ms_in22k",
            reason="no page that states its SHA-256 was found; give the file of timm or of Swin's authors",
        ),
    )
}
"""Published weights that our presets could use if they could be checked, by name."""
