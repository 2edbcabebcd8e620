"""`segvoc project export`: the labels as a dataset of another tool."""

import click

from segvoc.cli.output import echo
from segvoc.formats.names import FORMAT_NAMES
from segvoc.progress import Progress


@click.command("export")
@click.argument("folder", metavar="DIR")
@click.option("--format", "format_", required=True, type=click.Choice(FORMAT_NAMES), metavar="NAME", help="The format.")
@click.option("--out", required=True, metavar="FOLDER", help="Where the dataset is to be.")
@click.option("--all", "all_", is_flag=True, help="Also images with labels that aren't done.")
@click.option("--no-images", is_flag=True, help="Leave the images where they are.")
def export(folder: str, format_: str, out: str, all_: bool, no_images: bool) -> int:
    """Write the labels of DIR as a dataset of another tool, with the images, ready for training.

    NAME is one of coco-panoptic, coco-instances, labelme, cvat, yolo-seg, voc, label-studio. Only images that are
    done are written, unless --all is given.
    """
    from segvoc.projects.exporting import ProjectExport
    from segvoc.projects.folder import ProjectFolder

    export_ = ProjectExport(
        project=ProjectFolder.open(folder), format=format_, only_done=not all_, copy_images=not no_images
    )
    count = len(export_.states)
    with Progress("exporting", total=count, unit="image") as progress:
        problems = export_.to_folder(out, lambda done, _: progress.update(done - progress.done))
    for problem in problems:
        echo(f"segvoc: error: {problem}", err=True)
    echo(f"-> {out} ({count - len(problems)} images, {len(export_.words)} words)")
    return 1 if problems else 0
