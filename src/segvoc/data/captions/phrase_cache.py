"""Phrases that are extracted once: a parser needs hours for millions of captions.

    FOLDER/captions-000000-<digest>.json     the phrases of each of 8,192 captions

The digest is of the captions and of all that the extractor's answers depend on. What a kill leaves is whole files,
which are not made again.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segvoc.data.captions.phrases import PhraseExtractor
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.digests import digest_of

CAPTIONS_OF_A_FILE = 8192


@dataclass(frozen=True, kw_only=True)
class CachedExtractor:
    """An extractor that looks its answers up, and keeps those that it has to make; see `PhraseExtractor`.

    folder: of the files. extractor: whose answers they are.
    """

    folder: Path
    extractor: PhraseExtractor

    @property
    def identity(self) -> str:
        """See `PhraseExtractor`."""
        return self.extractor.identity

    def __call__(self, captions: Iterable[str]) -> Iterator[list[str]]:
        """A list for each caption.

        Raises: OutputError: a file can't be written.
        """
        captions = iter(captions)
        for number in itertools.count():
            part = list(itertools.islice(captions, CAPTIONS_OF_A_FILE))
            if not part:
                return
            path = self.folder / f"captions-{number:06d}-{digest_of(self.identity, part)[:16]}.json"
            found = _read(path)
            if found is None or len(found) != len(part):
                found = list(self.extractor(part))
                content = json.dumps(found).encode()
                write_atomically(path, lambda file, content=content: file.write(content))
            yield from found


def _read(path: Path) -> list[list[str]] | None:
    """What a file holds; None if there is none, or a damaged one."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
