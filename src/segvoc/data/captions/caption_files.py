"""Caption files: several kinds of JSON, JSON Lines, CSV and TSV, recognized by their content."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from segvoc.data.captions.images import OnProblem, joined_captions, usable_captions
from segvoc.errors import UsageError, one_line

IMAGE_KEYS = ("image", "file_name", "filename", "image_path", "path")
"""Keys that may name the image of a record; the first one present counts."""

CAPTION_KEYS = ("captions", "caption", "text")
"""Keys that may hold its captions; the first one present counts."""

_FORMS = (
    'known are COCO captions, {"photo": ["a caption"]}, [{"image", "caption"}], JSON Lines of such records, CSV and TSV'
)


def captions_in_file(path: Path, on_problem: OnProblem) -> dict[str, tuple[str, ...]]:
    """The captions of each image, by its name in the file; several entries of one image are joined.

    `on_problem` receives one line for each entry that is skipped.

    Raises:
        UsageError: the file can't be read, or its format is unknown.
    """
    try:
        # undecodable bytes become surrogates, which spoil a caption but not the file
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            first = next((line for line in file if line.strip()), "")
    except OSError as error:
        raise UsageError(f"the captions {str(path)!r} can't be read: {error.strerror}; check the path") from None
    if not first:
        raise UsageError(f"the captions {str(path)!r} are empty; {_FORMS}")
    if first.lstrip()[0] not in "{[":
        return joined_captions(_of_records(_table(path, first, on_problem), path, on_problem))
    if _record(_parsed(first)):
        return joined_captions(_of_records(_json_lines(path, on_problem), path, on_problem))
    return joined_captions(_of_json(path, on_problem))


def _of_json(path: Path, on_problem: OnProblem) -> Iterator[tuple[str, tuple[str, ...]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if not any(_record(_parsed(line)) for _, line in _lines(path)):
            raise UsageError(f"the captions {str(path)!r} are not JSON ({one_line(error)}); {_FORMS}") from None
        # JSON Lines whose first line is damaged
        yield from _of_records(_json_lines(path, on_problem), path, on_problem)
        return
    if isinstance(content, list):
        yield from _of_records(
            ((f"entry {number}", entry) for number, entry in enumerate(content, 1)), path, on_problem
        )
    elif isinstance(content, dict) and isinstance(content.get("annotations"), list) and "images" in content:
        yield from _of_coco(content, path, on_problem)
    elif isinstance(content, dict) and content:
        for name, captions in content.items():
            yield name, usable_captions(captions, name, on_problem)
    else:
        raise UsageError(f"the captions {str(path)!r} hold nothing; {_FORMS}")


def _of_coco(content: dict[str, Any], path: Path, on_problem: OnProblem) -> Iterator[tuple[str, tuple[str, ...]]]:
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
    except (KeyError, TypeError):
        raise UsageError(f'the "images" of {str(path)!r} need "id" and "file_name"; download the file again') from None
    for annotation in content["annotations"]:
        image = annotation.get("image_id") if isinstance(annotation, dict) else None
        if isinstance(image, int | str) and image in names:
            yield names[image], usable_captions(annotation.get("caption"), names[image], on_problem)
        else:
            on_problem(f"an annotation of {str(path)!r} belongs to no image ({str(annotation)[:60]!r}); it is left out")


def _of_records(
    records: Iterable[tuple[str, Any]], path: Path, on_problem: OnProblem
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Captions of records; each record comes with its position in the file ("line 3")."""
    for position, record in records:
        if keys := _record(record):
            image, captions = keys
            yield record[image], usable_captions(record[captions], record[image], on_problem)
        else:
            on_problem(f"{position} of {str(path)!r} has no image and caption ({str(record)[:60]!r}); it is left out")


def _record(entry: Any) -> tuple[str, str] | None:
    """The keys under which a record has its image and captions; None if it lacks one of them."""
    if not isinstance(entry, dict):
        return None
    image = next((key for key in IMAGE_KEYS if isinstance(entry.get(key), str) and entry[key].strip()), None)
    captions = next((key for key in CAPTION_KEYS if entry.get(key) is not None), None)
    return None if image is None or captions is None else (image, captions)


def _parsed(line: str) -> Any:
    """The value of a line of JSON; None if it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, with their positions."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", line


def _json_lines(path: Path, on_problem: OnProblem) -> Iterator[tuple[str, Any]]:
    for position, line in _lines(path):
        try:
            yield position, json.loads(line)
        except (ValueError, RecursionError) as error:
            on_problem(f"{position} of {str(path)!r} is not JSON ({one_line(error)}); it is left out")


def _table(path: Path, header: str, on_problem: OnProblem) -> Iterator[tuple[str, dict[str, Any]]]:
    delimiter = "\t" if "\t" in header else ","
    columns = [column.strip().strip('"').lower() for column in header.split(delimiter)]
    if not any(key in columns for key in IMAGE_KEYS) or not any(key in columns for key in CAPTION_KEYS):
        raise UsageError(
            f"the captions {str(path)!r} have no known format: {_FORMS} (whose header has the columns image and "
            "caption)"
        )
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # strict, since a quote that is never closed would silently swallow the rows after it
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        rows = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=True)
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                on_problem(f"line {rows.line_num} of {str(path)!r} is not a row ({one_line(error)}); it is left out")
                continue
            if row is None:
                return
            # the reader returns the header as a row, too
            if any(row) and [cell.strip().lower() for cell in row] != columns:
                yield f"line {rows.line_num}", dict(zip(columns, row, strict=False))
