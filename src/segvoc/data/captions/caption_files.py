"""Files of captions: JSON of several forms, JSON Lines, tables. Which one it is, the content tells."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from segvoc.data.captions.images import OnProblem, joined_captions, usable_captions
from segvoc.errors import UsageError, one_line

IMAGE_KEYS = ("image", "file_name", "filename", "image_path", "path")
"""What a record may call its picture; the first that it has counts."""

CAPTION_KEYS = ("captions", "caption", "text")
"""What it may call what is said of it."""

_FORMS = (
    'it is none of COCO\'s captions, {"photo": ["a caption"]}, [{"image", "caption"}], JSON Lines of these, CSV, TSV'
)


def captions_in_file(path: Path, on_problem: OnProblem) -> dict[str, tuple[str, ...]]:
    """The captions of each picture, by its name in the file; a picture may come several times.

    Raises: UsageError: the file can't be read, or is of no known form.
    """
    try:
        # undecodable bytes become surrogates, which make a caption unusable but not the file
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
            raise UsageError(f"the captions {str(path)!r} are no JSON ({one_line(error)}); {_FORMS}") from None
        # JSON Lines whose first line is none
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
            on_problem(f"an annotation of {str(path)!r} is of no image ({str(annotation)[:60]!r}); it is left out")


def _of_records(
    records: Iterable[tuple[str, Any]], path: Path, on_problem: OnProblem
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Captions of records, each with its place in the file ("line 3")."""
    for place, record in records:
        if keys := _record(record):
            image, captions = keys
            yield record[image], usable_captions(record[captions], record[image], on_problem)
        else:
            on_problem(f"{place} of {str(path)!r} has no image and caption ({str(record)[:60]!r}); it is left out")


def _record(entry: Any) -> tuple[str, str] | None:
    """Under which keys a record has picture and captions; None if it has none."""
    if not isinstance(entry, dict):
        return None
    image = next((key for key in IMAGE_KEYS if isinstance(entry.get(key), str) and entry[key].strip()), None)
    captions = next((key for key in CAPTION_KEYS if entry.get(key) is not None), None)
    return None if image is None or captions is None else (image, captions)


def _parsed(line: str) -> Any:
    """What a line of JSON holds; None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines with something in them, and their places."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", line


def _json_lines(path: Path, on_problem: OnProblem) -> Iterator[tuple[str, Any]]:
    for place, line in _lines(path):
        try:
            yield place, json.loads(line)
        except (ValueError, RecursionError) as error:
            on_problem(f"{place} of {str(path)!r} is no JSON ({one_line(error)}); it is left out")


def _table(path: Path, header: str, on_problem: OnProblem) -> Iterator[tuple[str, dict[str, Any]]]:
    delimiter = "\t" if "\t" in header else ","
    columns = [column.strip().strip('"').lower() for column in header.split(delimiter)]
    if not any(key in columns for key in IMAGE_KEYS) or not any(key in columns for key in CAPTION_KEYS):
        raise UsageError(
            f"the captions {str(path)!r} are of no known form: {_FORMS} (with a header that has the columns image and "
            "caption)"
        )
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # strict, since a quote that is never closed would take the rows behind it along unseen
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        rows = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=True)
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                on_problem(f"line {rows.line_num} of {str(path)!r} is no row ({one_line(error)}); it is left out")
                continue
            if row is None:
                return
            # the header is a row like any other to the reader
            if any(row) and [cell.strip().lower() for cell in row] != columns:
                yield f"line {rows.line_num}", dict(zip(columns, row, strict=False))
