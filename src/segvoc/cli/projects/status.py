"""`segvoc project status`: what is done, and what was labeled."""

from collections import Counter

import click

from segvoc.cli.output import echo
from segvoc.progress import aligned, printable
from segvoc.storage.json_files import strict_json


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON, with the state of each image.")
def status(folder: str, as_json: bool) -> int:
    """Show how many images of DIR are done, labeled and unlabeled, and how much of them each word has."""
    from segvoc.projects.folder import ProjectFolder
    from segvoc.records import to_json

    project = ProjectFolder.open(folder)
    record, (states, problems) = project.record, project.states()
    if as_json:
        images = [to_json(state) for state in states]
        echo(strict_json({**to_json(record), "images": images, "removed": project.removed(), "problems": problems}))
        return 1 if problems else 0
    done, labeled = sum(state.done for state in states), sum(state.revision > 0 for state in states)
    counts = {"images": len(states), "done": done, "labeled": labeled - done, "unlabeled": len(states) - labeled}
    echo(f"{record.name}: {', '.join(f'{count} {what}' for what, count in counts.items())}")
    pixels, images, objects = Counter[str](), Counter[str](), Counter[str]()
    for state in states:
        pixels.update(state.pixels)
        images.update(state.pixels.keys())
        objects.update(state.objects or {})
    total = sum(state.width * state.height for state in states if state.revision) or 1
    rows = [["word", "images", "objects", "pixels"]]
    for word in record.words:
        key = str(word.id)
        if not word.removed or pixels[key]:
            name = printable(word.name) + (" (removed)" if word.removed else "")
            rows.append([name, str(images[key]), str(objects[key] or "-"), f"{100 * pixels[key] / total:.1f} %"])
    for line in aligned(rows) if record.words else ():
        echo(line)
    for problem in problems:
        echo(f"segvoc: {problem}", err=True)
    return 1 if problems else 0
