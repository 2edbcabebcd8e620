"""Published weights for our presets: where they are, how to verify them, and how to download them."""

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

from segvoc.errors import CheckpointError, one_line
from segvoc.storage.digests import file_sha256


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A weights file on the Hugging Face hub."""

    preset: str
    """Name of the preset that the weights are for."""
    repository: str
    """The repository as owner/name."""
    repository_type: str
    """"model", "space" or "dataset"."""
    filename: str
    """Path in the repository."""
    revision: str
    """Commit, so that the file can't change."""
    sha256: str
    """Checksum of the file."""
    size: str
    """Size as given on its page."""
    licence: str
    """SPDX identifier of the weights' licence."""
    page: str
    """Address of its page, for people."""
    source: str
    """Where this information comes from."""


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
"""Published weights by preset; PCA-Seg's authors haven't published any."""


def fetch(published: PublishedWeights) -> Path:
    """Get the file from the hub's cache or download it, and verify its SHA-256 each time.

    Interrupted transfers resume near where they stopped, but only within one call: the hub's client discards incomplete
    files when its process ends. Cached files need no network.

    Raises:
        CheckpointError: There is no network (or HF_HUB_OFFLINE is set), the hub doesn't have the file or denies access,
            the disk is full, or the file isn't the published one and was removed.
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
    """Remove a file from the hub's cache, whose named entries are links to files."""
    from huggingface_hub import constants

    file = path.resolve()
    path.unlink()
    if file.is_relative_to(Path(constants.HF_HUB_CACHE).resolve()):
        file.unlink(missing_ok=True)


def _download(published: PublishedWeights) -> Path:
    import huggingface_hub as hub

    repository, filename = published.repository, published.filename
    repo_type, revision = published.repository_type, published.revision
    failure = "the hub can't be reached"
    try:
        # A first request without the hub's retries fails at once if there is no network.
        url = hub.hf_hub_url(repository, filename, repo_type=repo_type, revision=revision)
        size = hub.get_hf_file_metadata(url, token=False).size or 0
        failure = "the transfer broke off"
        if size > (free := _free_bytes(Path(hub.constants.HF_HUB_CACHE))):
            raise OSError(errno.ENOSPC, f"{size >> 20} MiB are needed, {free >> 20} are free")
        return Path(hub.hf_hub_download(repository, filename, repo_type=repo_type, revision=revision, token=False))
    except Exception as error:
        # errors of the hub's client, of the HTTP libraries below it, and of the disk
        reason = _reason(error, hub.constants.HF_HUB_CACHE) or f"{failure} ({one_line(error)})"
        raise CheckpointError(
            f"{published.preset}: {published.filename} can't be fetched: {reason}; {_by_hand(published)}"
        ) from error


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def _reason(error: Exception, cache: str) -> str | None:
    """The reason for an error if its type reveals it."""
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
