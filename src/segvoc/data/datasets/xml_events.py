"""XML of unknown origin, read element by element: entities are refused, as they may stand for gigabytes or files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from xml.parsers import expat

from segvoc.data.datasets.fields import DamagedDatasetError, damaged


def read_xml(
    path: Path,
    start: Callable[[str, Mapping[str, str]], None],
    end: Callable[[str], None] = lambda name: None,
    data: Callable[[str], None] = lambda text: None,
) -> None:
    """Read an XML file.

    `start` gets the name and the attributes of each element and may raise `ValueError`, `end` its name, `data` pieces
    of text.

    Raises:
        DamagedDatasetError: the file can't be read, is no XML, or has a DOCTYPE; or `start` says what is wrong.
    """
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except OSError as error:
        raise DamagedDatasetError(f"{str(path)!r} can't be read: {error.strerror}; check the path") from None
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise damaged(path, str(error)) from None


def _refuse_doctype(*_: object) -> None:
    raise ValueError("it has a DOCTYPE, which may hold entities; none belongs there")
