"""Fetches published files from the cache, the Hugging Face hub or the authors' URLs, always verified.

Hub files are in the hub's cache; its variables configure mirrors, caches and offline machines:
HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE. Files from other URLs are also transferred by the hub's client
and are in its folder for other files, HF_ASSETS_CACHE (by default in HF_HOME).
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from segvoc.checkpoints.published import HubPlace, PublishedFile, WebPlace
from segvoc.errors import CheckpointError, OutputError, human_size, one_line
from segvoc.runtime.progress import announced
from segvoc.storage.files import cache_folder, digest_of, file_sha256, read_json, write_json


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether a file has a SHA-256; raises OSError if it can't be read.

    Verified files are recorded in the user's cache with identity, size and times, so that the next call takes
    milliseconds instead of seconds per gigabyte. Without a cache, every call reads the file.
    """
    folder = cache_folder()
    note = None if folder is None else folder / "verified" / f"{digest_of(os.fspath(path.resolve()))}.json"
    verified = {"sha256": sha256, **_identity(path)}
    if note is not None:
        with contextlib.suppress(OSError, ValueError):
            if read_json(note) == verified:
                return True
    if file_sha256(path) != sha256:
        return False
    if note is not None and _identity(path) | {"sha256": sha256} == verified:  # unchanged since
        with contextlib.suppress(OutputError, OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, verified)
    return True


def _identity(path: Path) -> dict[str, int]:
    status = os.stat(path)
    times = {"modified": status.st_mtime_ns, "changed": status.st_ctime_ns}
    return {"device": status.st_dev, "inode": status.st_ino, "size": status.st_size, **times}


def fetch(published: PublishedFile) -> Path:
    """Get a file from the cache or download it, and verify its SHA-256 (`has_sha256`).

    Interrupted transfers resume. From the hub they do so only within a call, since its client discards incomplete
    files; from other URLs also in a later call. Cached files need no network. Processes that fetch the same file wait
    for the first. `CheckpointError` without network (or if HF_HUB_OFFLINE is set), if the file isn't there any more or
    access is denied, the disk is full, or the file isn't the published one and was removed.
    """
    path = cached(published) or _download(published)
    try:
        if has_sha256(path, published.sha256):
            return path
        _remove(path)
    except OSError as error:
        raise CheckpointError(
            f"{published.name}: {str(path)!r} is unreadable, or wrong and not replaceable ({error.strerror}); remove it"
        ) from error
    raise CheckpointError(
        f"{published.name}: {published.filename} was not the published file (its SHA-256 differs) and was removed; "
        f"try again, or {_by_hand(published)}"
    )


def cached(published: PublishedFile) -> Path | None:
    """Path of the cached file, unverified; None if it is missing or unusable."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    place = published.place
    if isinstance(place, WebPlace):
        path = cache_path(published)
        return path if path.is_file() else None
    path = try_to_load_from_cache(**place.arguments)
    return Path(path) if isinstance(path, str) else None


def cache_path(published: PublishedFile) -> Path:
    """Path of the file in the cache, where it can also be put by hand."""
    from huggingface_hub import constants

    place = published.place
    if isinstance(place, WebPlace):
        return Path(constants.HF_ASSETS_CACHE) / "segvoc" / "published" / published.sha256[:16] / place.filename
    folder = f"{place.repository_type}s--{place.repository.replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE) / folder / "snapshots" / place.revision / place.filename


def transfer_size(published: PublishedFile) -> int | None:
    """Ask the server for the file's size [B] without a transfer; None if unknown."""
    import huggingface_hub as hub

    place = published.place  # of a file on the hub, the address depends on HF_ENDPOINT
    url = place.url if isinstance(place, WebPlace) else hub.hf_hub_url(**place.arguments)
    with _explained(published, f"{_server(published)} can't be reached"):
        # a single request without the hub's retries, which fails at once if there is no network
        return hub.get_hf_file_metadata(url, token=False).size


def check_space(needed: int) -> None:
    """Check that the cache's disk has room for files to be fetched, of this size [B]."""
    from huggingface_hub import constants

    home = Path(constants.HF_HOME)
    try:
        _require_space(home, needed)
    except OSError as error:
        raise CheckpointError(_no_space(home, error)) from None


def _download(published: PublishedFile) -> Path:
    size = transfer_size(published)
    size_text = published.size_text if size is None else human_size(size)
    what, place = f"fetching {published.name} ({published.filename}, {size_text})", published.place
    silent = os.environ.get("RANK", "0") != "0"  # only rank 0 of `torchrun` prints it
    with announced(what, silent=silent), _explained(published, "the transfer broke off"):
        if isinstance(place, WebPlace):
            return _web_download(published, place, size)
        import huggingface_hub as hub

        _require_space(Path(hub.constants.HF_HUB_CACHE), size or 0)
        return Path(hub.hf_hub_download(**place.arguments, token=False))


def _web_download(published: PublishedFile, place: WebPlace, size: int | None) -> Path:
    """Begin or continue a transfer, one process at a time; where locks don't work, the SHA-256 reveals a mix."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock

    path = cache_path(published)
    path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(path.with_name(f"{path.name}.lock")):
        if path.is_file():  # another process has just fetched it
            return path
        incomplete = path.with_name(f"{path.name}.incomplete")
        with open(incomplete, "ab") as file:
            if size is not None and file.tell() > size:
                file.truncate(0)
                file.seek(0)
            done = file.tell()
            _require_space(path.parent, (size or 0) - done)
            http_get(place.url, file, resume_size=done, expected_size=size, displayed_filename=place.filename)
        os.replace(incomplete, path)
    return path


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed >> 20} MiB are needed, {free >> 20} are free")


def _remove(path: Path) -> None:
    """Remove a file from the cache; entries in the hub's cache are links to files."""
    from huggingface_hub import constants

    file = path.resolve()
    path.unlink(missing_ok=True)  # another process may remove it too
    if file.is_relative_to(Path(constants.HF_HUB_CACHE).resolve()):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(published: PublishedFile, failure: str) -> Iterator[None]:
    """Turn any error of the hub's client into one line; `failure` describes those whose type is unspecific."""
    try:
        yield
    except Exception as error:
        # errors of the hub's client, of the HTTP libraries below it, and of the disk
        reason = _reason(error, published) or f"{failure} ({one_line(error)})"
        raise CheckpointError(
            f"{published.name}: {published.filename} can't be fetched: {reason}; {_by_hand(published)}"
        ) from error


def _reason(error: Exception, published: PublishedFile) -> str | None:
    from huggingface_hub import errors

    match error:
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set"
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403, 404, 410):
            return f"{_server(published)} no longer has it, or not for everybody ({error.response.status_code})"
        case errors.HfHubHTTPError():
            return f"{_server(published)} answers {error.response.status_code}"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return _no_space(_cache(published), error)
        case OSError(errno=errno.EACCES | errno.EPERM | errno.EROFS):
            return f"{str(_cache(published))!r} can't be written, change its mode or set HF_HOME to another folder"
    return None


def _no_space(cache: Path, error: OSError) -> str:
    return f"no space is left at {str(cache)!r} ({error.strerror}), free some or set HF_HOME to another disk"


def _server(published: PublishedFile) -> str:
    return "the hub" if isinstance(published.place, HubPlace) else published.place.origin


def _cache(published: PublishedFile) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE if isinstance(published.place, HubPlace) else constants.HF_ASSETS_CACHE)


def _by_hand(published: PublishedFile) -> str:
    path = str(cache_path(published))
    return f"get it from {published.place.page} and put it at {path!r}, or give it {published.option}"
