"""What is in a source, as a stream: its files in the order of their names, while the next pages are listed."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from segvoc.errors import UsageError, counted, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.labeling.batch.storages import Folder, Page, Unit, folder_at, name_of, parent_and_name, readable
from segvoc.storage.files import is_hidden

LISTED_AHEAD = 8
"""Sub-folders of a folder whose first pages are listed before it is their turn."""

KIND_BY = 100
"""Files of a source that tell its kind."""

PAGES_AHEAD = 10
"""Pages of a folder that are listed one after another before they are needed."""

SourceKind = Literal["images", "tars", "Parquet files"]

SUFFIXES_OF_KINDS: Mapping[SourceKind, tuple[str, ...]] = {
    "images": tuple(sorted(IMAGE_SUFFIXES)),
    "tars": (".tar", ".tar.gz", ".tgz"),
    "Parquet files": (".parquet", ".pq"),
}

ONE_KIND = "give a folder of one kind, or one file"

PageOf = Callable[[str, Any], Page]
"""`Folder.page`, or what lists more at a time."""

_Within = Iterator[tuple[str, Future[Page]] | Unit]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files of one kind in a folder, or a single file."""

    address: str
    """Address of the folder, or of a single file's folder."""
    kind: SourceKind
    only: Unit | None = None
    """The single file."""
    column: str | None = None
    """Parquet: the column with the images. Tars: the suffix of the images; None: any image suffix."""
    skip: str = ""
    """Root of the results, which aren't listed."""

    @property
    def folder(self) -> Folder:
        """The folder of its files."""
        return folder_at(self.address)

    def units(self, report: Callable[[str], object], page: PageOf | None = None) -> Iterator[Unit]:
        """The files in the order of their names; `report` gets a line about what isn't read, `page` lists.

        Raises `UnavailableError` if the storage doesn't respond.
        """
        if self.only is not None:
            yield self.only
            return
        others, first = 0, ""
        for unit in units_below(self.folder, skip=self.skip, report=report, page=page):
            if (kind := _kind_of(unit[0])) == self.kind:
                yield unit
            elif kind is not None:
                others, first = others + 1, first or unit[0]
        if others:
            files = counted(others, "file")
            report(f"{self.address!r} also has {files} of another kind ({readable(first)!r}, ...); {ONE_KIND}")


def _is_hidden(name: str) -> bool:
    """Whether a file or a folder is hidden; on object storage, "." and ".." are names like any other."""
    last = name[name.rfind("/") + 1 :]
    return is_hidden(last) and last not in (".", "..")


def units_below(
    folder: Folder, *, skip: str = "", report: Callable[[str], object], page: PageOf | None = None
) -> Iterator[Unit]:
    """All files below a folder but hidden ones, in the order of their names.

    The next pages, and the first pages of the next sub-folders, are listed meanwhile, so memory follows the depth of
    the tree and not its size. A sub-folder that can't be listed is reported.
    """
    threads = ThreadPoolExecutor(2 * LISTED_AHEAD)
    try:
        yield from _Walk(folder, skip, report, page or folder.page, threads).files()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Walk:
    folder: Folder
    skip: str
    report: Callable[[str], object]
    page: PageOf
    threads: ThreadPoolExecutor

    def files(self) -> Iterator[Unit]:
        stack = [self._within("", self.threads.submit(self._listed, "", pages=1))]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif len(entry) == 3:
                yield entry
            else:
                stack.append(self._within(*entry))

    def _listed(self, name: str, token: Any = None, pages: int = PAGES_AHEAD) -> Page:
        entries = list[Unit | str]()
        with self.folder.access(name):
            for _ in range(pages):
                more, token = self.page(name, token)
                entries += more
                if token is None:
                    break
        return entries, token

    def _within(self, name: str, listing: Future[Page] | None) -> _Within:
        """The files directly in a folder, and its sub-folders with their first pages."""
        last = ""
        while listing is not None:
            try:
                entries, token = listing.result()
            except OSError as error:
                if not name:
                    raise
                place = self.folder.address_of(name)
                self.report(f"{place!r} can't be listed: {one_line(error)}; check its permissions")
                return
            listing = self.threads.submit(self._listed, name, token) if token is not None else None
            last = self._check_order(last, entries)
            yield from self._shown(entries)

    def _check_order(self, last: str, entries: Sequence[Unit | str]) -> str:
        """The last name of a page; `UsageError` if names aren't sorted."""
        for entry in entries:
            if (name := name_of(entry)) <= last:
                problem = f"{self.folder.address!r} lists its files in no order, as S3's directory buckets do"
                raise UsageError(f"{problem}; copy them to another bucket")
            last = name
        return last

    def _shown(self, entries: Sequence[Unit | str]) -> _Within:
        inside = deque(entry for entry in entries if isinstance(entry, str) and self._is_listed(entry))
        ahead = deque[tuple[str, Future[Page]]]()
        for entry in entries:
            if not isinstance(entry, str):
                if not _is_hidden(entry[0]):
                    yield entry
                continue
            while inside and len(ahead) < LISTED_AHEAD:
                ahead.append((inside[0], self.threads.submit(self._listed, inside.popleft())))
            if ahead and ahead[0][0] == entry:
                yield ahead.popleft()

    def _is_listed(self, name: str) -> bool:
        """Whether a folder isn't hidden, and isn't that of the results."""
        return not _is_hidden(name[:-1]) and not (self.skip and f"{self.folder.root}{name}".startswith(self.skip))


def find_source(address: str, *, column: str | None = None, skip: str = "") -> Source:
    """Find what kind of files a source has, by the first of them.

    Skips hidden files and folders (.name), internal ones of tables (_name), and results, whose root is `skip`. Raises a
    `UsageError` if it doesn't exist, has nothing to label, or begins with several kinds.
    """
    place, seen, counts = folder_at(address), 0, dict[SourceKind, int]()
    parent, name = parent_and_name(address)
    only = _file(folder_at(parent), name) if name else None
    try:
        for unit in [only] if only else units_below(place, skip=skip, report=lambda _: None):
            seen += 1
            if kind := _kind_of(unit[0]):
                counts[kind] = counts.get(kind, 0) + 1
            if counts and seen >= KIND_BY:
                break
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"the source {address!r} can't be listed: {one_line(error)}; check the address") from None
    if not seen:
        raise UsageError(f"the source {address!r} does not exist or is empty; check the address")
    if len(counts) != 1:
        content = " and ".join(f"{count} {kind}" for kind, count in counts.items())
        content = content or "no images (.jpg, .png, ...), tars or Parquet files"
        raise UsageError(f"the source {address!r} has {content}; {ONE_KIND}")
    (kind,) = counts
    if kind == "images" and column is not None:
        raise UsageError("a folder of images has no columns; leave out --image-column")
    return Source(address=parent if only else place.address, kind=kind, only=only, column=column, skip=skip)


def _kind_of(name: str) -> SourceKind | None:
    lower = name.lower()
    for kind, suffixes in SUFFIXES_OF_KINDS.items():
        if lower.endswith(suffixes):
            # _name belongs to a table's own administration; cameras name photos _DSC0001.jpg
            return None if kind == "Parquet files" and "/_" in f"/{name}" else kind
    return None


def _file(folder: Folder, name: str) -> Unit | None:
    try:
        with folder.access(name):
            return folder.unit(name)
    except OSError:  # its folder may be allowed, nevertheless
        return None
