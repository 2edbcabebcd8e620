"""The weights that others have published for our presets: where they are, how to know them, fetching them."""

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

from segvoc.errors import CheckpointError, one_line
from segvoc.storage.digests import file_sha256


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A file of weights on the Hugging Face hub.

    preset: what it is for. repository, repository_type, filename, revision: where it lies; the revision is a commit, so
    that it can't change. sha256: of the file. size: as its page tells it. licence: of the weights, an SPDX name. page:
    where people find it. source: where all this was read.
    """

    preset: str
    repository: str
    repository_type: str
    filename: str
    revision: str
    sha256: str
    size: str
    licence: str
    page: str
    source: str


def _cat_seg(preset: str, filename: str, sha256: str, size: str) -> PublishedWeights:
    page = "https://huggingface.co/spaces/hamacojr/CAT-Seg-weights"
    return PublishedWeights(
        preset=preset,
        repository="hamacojr/CAT-Seg-weights",
        repository_type="space",
        filename=filename,
        revision="de5f330f3fe6a28e19b2f0c7855a6e3b4928a76a",
        sha256=sha256,
        size=size,
        licence="MIT",
        page=f"{page}/blob/main/{filename}",
        source=(
            "README and LICENSE (MIT, 2023, KU-CVLAB) of github.com/cvlab-kaist/CAT-Seg name the file and its licence, "
            "the hub's page of the file its SHA-256"
        ),
    )


PUBLISHED = {
    weights.preset: weights
    for weights in (
        _cat_seg(
            "cat-seg-b", "model_base.pth", "a201a50f94f4c04196e3083773832b736c2b8b81d27ea2c59cc13af3aff05760", "819 MB"
        ),
        _cat_seg(
            "cat-seg-l", "model_large.pth", "80722f4b328161aa15d25d278e832a824b72af4486b013f664757ae7cc020f61", "2.3 GB"
        ),
    )
}
"""Published weights by preset. PCA-Seg's authors have published none."""


def fetch(published: PublishedWeights) -> Path:
    """The file, out of the hub's cache or fetched into it; its SHA-256 is compared each time.

    A transfer that breaks off is taken up near where it ended, within one call: the hub's client keeps no part of a
    file when its process ends. What is in the cache needs no network.

    Raises:
        CheckpointError: no network (or HF_HUB_OFFLINE), no such file or no permission on the hub, a full disk, or a
            file that is not the published one, which is removed.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(
        published.repository, published.filename, revision=published.revision, repo_type=published.repository_type
    )
    path = Path(cached) if isinstance(cached, str) else _download(published)
    try:
        if file_sha256(path) == published.sha256:
            return path
        _remove(path)
    except OSError as error:
        raise CheckpointError(
            f"{published.preset}: {str(path)!r} is unreadable, or false and in the way ({error.strerror}); remove it"
        ) from error
    raise CheckpointError(
        f"{published.preset}: {published.filename} was not the published file (its SHA-256 is another) and is removed; "
        f"try again, or {_by_hand(published)}"
    )


def _remove(path: Path) -> None:
    """Remove a file of the hub's cache, which keeps files apart from their names."""
    from huggingface_hub import constants

    file = path.resolve()
    path.unlink()
    if file.is_relative_to(Path(constants.HF_HUB_CACHE).resolve()):
        file.unlink(missing_ok=True)


def _download(published: PublishedWeights) -> Path:
    import huggingface_hub as hub

    repository, filename = published.repository, published.filename
    kind, revision = published.repository_type, published.revision
    failure = "the hub can't be reached"
    try:
        # One request without the hub's retries first: without a network the answer comes at once.
        url = hub.hf_hub_url(repository, filename, repo_type=kind, revision=revision)
        size = hub.get_hf_file_metadata(url, token=False).size or 0
        failure = "the transfer broke off"
        if size > (free := _free_bytes(Path(hub.constants.HF_HUB_CACHE))):
            raise OSError(errno.ENOSPC, f"{size >> 20} MiB are needed, {free >> 20} are free")
        return Path(hub.hf_hub_download(repository, filename, repo_type=kind, revision=revision, token=False))
    except Exception as error:
        # the hub's own errors, those of the libraries that it fetches with, and those of the disk
        reason = _reason(error, hub.constants.HF_HUB_CACHE) or f"{failure} ({one_line(error)})"
        raise CheckpointError(
            f"{published.preset}: {published.filename} can't be fetched: {reason}; {_by_hand(published)}"
        ) from error


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def _reason(error: Exception, cache: str) -> str | None:
    """What went wrong, where the kind of error tells it."""
    from huggingface_hub import errors

    match error:
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set"
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403, 404, 410):
            return f"the hub no longer has it, or not for everybody ({error.response.status_code})"
        case errors.HfHubHTTPError():
            return f"the hub answers {error.response.status_code}"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return f"no space is left at {cache!r} ({error.strerror}), free some or set HF_HOME to another disk"
        case OSError(errno=errno.EACCES | errno.EPERM | errno.EROFS):
            return f"{cache!r} can't be written, change its mode or set HF_HOME to another folder"
    return None


def _by_hand(published: PublishedWeights) -> str:
    return f"get it from {published.page} and give it as weights=FILE or --weights FILE"
