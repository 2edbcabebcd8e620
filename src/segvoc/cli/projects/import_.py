"""`segvoc project import`: images with labels from elsewhere."""

import click

from segvoc.cli.dataset_options import DatasetOptions, dataset_options
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.progress import Progress


@click.command("import")
@click.argument("folder", metavar="DIR")
@dataset_options
@click.option("--images", metavar="FOLDER", help="Folder of images; of a dataset, where its images are elsewhere.")
@click.option("--labels", metavar="FOLDER", help="With --images: their label maps, with the same names: PNG or TIFF.")
@click.option("--classes", metavar="FILE", help="With --labels: the class names, a JSON list in label order.")
@click.option("--done", is_flag=True, help="The images count as done.")
def import_(
    folder: str, images: str | None, labels: str | None, classes: str | None, done: bool, dataset: DatasetOptions
) -> int:
    """Add images to the project DIR, with labels if there are any; it is made where there is none.

    \b
    segvoc project import street --dataset coco/ --split val --done
    segvoc project import street --images photos --labels maps --classes classes.json
    segvoc project import street --dataset other_project.zip

    Words that the project hasn't are added. Images that it has already keep their labels.
    """
    from segvoc.data.labeled_images import LabeledImages
    from segvoc.data.project_import import import_dataset, import_images, import_path
    from segvoc.imaging.result_paths import passed_over_line
    from segvoc.projects.folder import is_project
    from segvoc.projects.project import Project

    dataset.refuse_beside({"--labels": labels, "--classes": classes})
    if dataset.path is None and images is None:
        raise UsageError("nothing is to be imported; give --dataset, or --images")
    if (labels is None) != (classes is None):
        raise UsageError("--labels and --classes belong together; give both, or neither")
    found = None
    if images is not None and labels is not None and classes is not None:
        found = LabeledImages.from_folders(images, labels, classes)
    project = Project.open(folder) if is_project(folder) else Project.create(folder)
    project.recover()  # an import that was ended may have left an image half-way
    with Progress("importing", unit="image") as progress:

        def show(count: int, total: int) -> None:
            progress.total = total
            progress.update(count - progress.done)

        if dataset.path is not None:
            result = import_path(
                project, dataset.path, dataset.format, images=images, split=dataset.split, done=done, on_step=show
            )
        elif found is not None:
            result = import_dataset(project, found, done=done, on_step=show)
        else:
            result = import_images(project, str(images), on_step=show)
    if (line := passed_over_line(result.passed_over)) is not None:
        echo(f"segvoc: {line}", err=True)
    for problem in result.problems:
        echo(f"segvoc: error: {problem}", err=True)
    echo(f"-> {folder} ({len(result.added)} images, {len(project.record.present)} words)")
    return 1 if result.problems else 0
