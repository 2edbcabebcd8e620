"""What this package uses of segvoc: its public names, and the modules that are listed here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import segvoc

SOURCES = Path(__file__).resolve().parents[1] / "src"

COMMANDS_AND_ROUTES = """cli.dataset_options cli.options cli.output cli.serve runtime.process_settings
runtime.progress serving.admission serving.answers serving.app serving.bodies serving.labeler serving.middleware
serving.schemas serving.server serving.settings"""

IMAGES_AND_FORMATS = """data.labeled_images imaging.annotations
imaging.connected_regions imaging.image_formats imaging.label_maps imaging.palette imaging.pictures
imaging.reading imaging.result_paths
inference.edges inference.label_options labeling.formats.dataset labeling.formats.opening labeling.formats.project
labeling.formats.table"""

PROGRAMS_OF_THE_PAGE = """inference.clicks inference.exported.manifest inference.exported.segmenter models.catalog
models.shipped"""

VIDEOS = """encoders.lexicon imaging.video_reading inference.objects inference.tracks labeling.formats.parsed"""

FILES = "errors storage.atomic_writes storage.files storage.journal storage.records"

EXTENSION_POINTS = {
    f"segvoc.{module}"
    for modules in (COMMANDS_AND_ROUTES, IMAGES_AND_FORMATS, PROGRAMS_OF_THE_PAGE, VIDEOS, FILES)
    for module in modules.split()
}
"""A change of one of these is a change of this package, too."""


def imports() -> Iterator[tuple[str, str]]:
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "segvoc":
                yield from ((str(node.module), name.name) for name in node.names)
            elif isinstance(node, ast.Import):
                yield from ((name.name, "") for name in node.names if name.name.startswith("segvoc."))


def test_only_public_names_and_listed_modules_are_used() -> None:
    found = list(imports())
    assert {module for module, _ in found if module != "segvoc"} == EXTENSION_POINTS
    assert {name for module, name in found if module == "segvoc"} <= {*segvoc.__all__, "__version__"}
    assert [name for _, name in found if name.startswith("_") and name != "__version__"] == []
