"""What this package uses of segvoc: its public names, and the modules that are listed here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import segvoc

SOURCES = Path(__file__).resolve().parents[1] / "src"

EXTENSION_POINTS = {
    # commands and routes
    "segvoc.cli.dataset_options",
    "segvoc.cli.options",
    "segvoc.cli.output",
    "segvoc.cli.serve",
    "segvoc.runtime.progress",
    "segvoc.serving.bodies",
    "segvoc.serving.settings",
    "segvoc.serving.answers",
    "segvoc.serving.middleware",
    "segvoc.serving.app",
    "segvoc.serving.labeler",
    "segvoc.runtime.process_settings",
    # images, label maps and formats
    "segvoc.imaging.connected_regions",
    "segvoc.data.datasets.opening",
    "segvoc.data.datasets.maps",
    "segvoc.data.labeled_images",
    "segvoc.labeling.formats.dataset",
    "segvoc.imaging.annotations",
    "segvoc.imaging.image_formats",
    "segvoc.imaging.label_maps",
    "segvoc.imaging.palette",
    "segvoc.imaging.reading",
    "segvoc.imaging.result_paths",
    "segvoc.inference.label_options",
    "segvoc.inference.edges",
    # the programs that the page runs
    "segvoc.inference.clicks",
    "segvoc.inference.exported.manifest",
    "segvoc.inference.exported.segmenter",
    # files
    "segvoc.errors",
    "segvoc.storage.records",
    "segvoc.storage.atomic_writes",
    "segvoc.storage.journal",
    "segvoc.storage.files",
}
"""A change of one of these is a change of this package, too."""


def imports() -> Iterator[tuple[str, str]]:
    """The modules of segvoc that are imported, with the names."""
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
