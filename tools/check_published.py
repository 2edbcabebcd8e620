"""Compare the manifest of published weights with the hub and the authors' addresses, by metadata requests only.

Usage: python tools/check_published.py [NAME ...]. Prints a line for each file: whether it exists at its revision, and
whether size and SHA-256 are those of the manifest, where the server tells them. Exit codes: 0 all agree; 1 something
differs; 2 an unknown name; 3 a server can't be reached, so that nothing can be said.

HF_ENDPOINT names a mirror of the hub, as for the hub's own client.
"""

import re
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from huggingface_hub import HfFileMetadata, get_hf_file_metadata
from huggingface_hub.errors import HfHubHTTPError

from segvoc.checkpoints.fetching import address
from segvoc.checkpoints.published import PUBLISHED, HubPlace, PublishedFile, human_size
from segvoc.errors import one_line

AGREES, DIFFERS, UNKNOWN, UNREACHABLE = 0, 1, 2, 3


def differences(file: PublishedFile, metadata: HfFileMetadata) -> list[str]:
    """What the server says otherwise than the manifest."""
    found: list[str] = []
    size, etag = metadata.size, metadata.etag or ""
    if size is not None and file.size is not None:
        told = f"{size:,} B" if file.exact_size else human_size(size)
        if size != file.size if file.exact_size else not _rounds_to(size, file.size):
            found.append(f"its size is {told}, not {file.size_text}")
    if isinstance(file.place, HubPlace):
        if metadata.commit_hash != file.place.revision:
            found.append(f"the revision is {metadata.commit_hash}, not {file.place.revision}")
        # the hub's tag of a large file is its SHA-256; of other servers it means nothing
        if re.fullmatch("[0-9a-f]{64}", etag) and etag != file.sha256:
            found.append(f"its SHA-256 is {etag}, not {file.sha256}")
    return found


def _rounds_to(size: int, stated: int) -> bool:
    """Whether a page that rounds, or cuts, to three digits states a size so."""
    return abs(size - stated) <= 10 ** (len(str(stated)) - 3)


def check(file: PublishedFile) -> tuple[int, str]:
    """The exit code and the line for a file."""
    try:
        metadata = get_hf_file_metadata(address(file), token=False)
    except HfHubHTTPError as error:
        return DIFFERS, f"{file.name}: the server answers {error.response.status_code} for {address(file)}"
    except Exception as error:
        # the HTTP libraries have many
        return UNREACHABLE, f"{file.name}: not checked, {address(file)} can't be reached ({one_line(error)})"
    found = differences(file, metadata)
    if found:
        return DIFFERS, f"{file.name}: {'; '.join(found)}"
    told = [human_size(metadata.size)] if metadata.size is not None else []
    told += ["SHA-256"] if metadata.etag == file.sha256 else []
    return AGREES, f"{file.name}: agrees ({', '.join(told) or 'exists'})"


def main(names: Sequence[str]) -> int:
    """Check the named files, or all of them; returns the exit code."""
    if unknown := [name for name in names if name not in PUBLISHED]:
        print(f"check_published: {unknown[0]!r} is unknown; it is one of {', '.join(PUBLISHED)}", file=sys.stderr)
        return UNKNOWN
    codes: list[int] = []
    lines: list[str] = []
    unreachable: set[str] = set()
    for file in (PUBLISHED[name] for name in names or PUBLISHED):
        server = urlsplit(address(file)).netloc
        if server in unreachable:  # nobody waits for it again
            code, line = UNREACHABLE, f"{file.name}: not checked, {server} can't be reached"
        else:
            code, line = check(file)
        if code == UNREACHABLE:
            unreachable.add(server)
        codes.append(code)
        lines.append(line)
    if set(codes) == {UNREACHABLE}:
        print(f"check_published: no network ({', '.join(sorted(unreachable))} can't be reached); nothing was checked")
        return UNREACHABLE
    print("\n".join(lines))
    return DIFFERS if DIFFERS in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
