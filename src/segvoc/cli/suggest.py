"""`segvoc suggest`: which images to label next."""

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import click

from segvoc.cli.input_images import named_images, print_failures
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, model_options
from segvoc.cli.output import echo
from segvoc.cli.word_options import vocabulary_of, word_options
from segvoc.errors import InputError, UsageError
from segvoc.imaging.result_paths import InputImage, refuse_overwriting
from segvoc.progress import Progress, print_line, printable
from segvoc.records import to_json
from segvoc.storage.json_files import strict_json
from segvoc.storage.resume import stamp_of
from segvoc.vocabulary import Vocabulary

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter
    from segvoc.inference.suggesting import Summarizer
    from segvoc.labeling.suggested_images import SuggestWork
    from segvoc.teaching.suggesting import Suggestion, Suggestions
    from segvoc.teaching.uncertainty import ImageSummary


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@word_options
@click.option("--model", default="tiny", metavar="NAME", help="The model that is to be taught, or its path.")
@model_options(*NETWORK_OPTIONS, "taught")
@click.option("--count", type=click.IntRange(min=1), default=20, metavar="N", help="Number of images to suggest.")
@click.option(
    "--out", metavar="FOLDER", help="Also write suggestions.json, and the images with their uncertain regions."
)
@click.option("--resume", is_flag=True, help="With --out: resume; skip the images that were compared before.")
@click.option("--json", "as_json", is_flag=True, help="Print each suggestion as one line of JSON.")
def suggest(
    images: Sequence[str],
    words: str | None,
    words_file: str | None,
    model: str,
    count: int,
    out: str | None,
    resume: bool,
    as_json: bool,
    chosen: ModelOptions,
) -> int:
    """Choose which images to label next for `segvoc teach`, the best first. IMAGE is a file, a folder or a pattern.

    \b
    segvoc suggest photos --words "door, wall, floor" --count 10
    segvoc suggest more --taught rooms.words.safetensors --out next

    Takes images in which the model is uncertain, and that differ from one another. Name only unlabeled images. Without
    --words, the words are those of --taught.
    """
    vocabulary = _vocabulary(words, words_file, chosen.taught)
    if resume and out is None:
        raise UsageError("--resume needs the folder of the earlier call; give its --out")
    inputs = list({str(image.path): image for image in named_images(images, skip=out)}.values())
    if all(image.problem is not None for image in inputs):
        raise UsageError(inputs[0].problem or "there are no images; name some")
    from segvoc.inference.suggesting import Summarizer
    from segvoc.labeling.suggested_images import suggestion_files, write_suggestions
    from segvoc.teaching.suggesting import suggestions_of

    if out is not None:
        refuse_overwriting([image.path for image in inputs], suggestion_files(out, count))
    segmenter = chosen.open(model)
    summarizer = Summarizer(segmenter, vocabulary)
    with nullcontext() if out is None else _work(out, segmenter, summarizer, resume) as work:
        kept = list(_summaries(summarizer, inputs, work))
    taught = bool(segmenter.taught)
    suggested = suggestions_of(kept, count, model=segmenter.name, words=summarizer.words, taught=taught)
    if out is not None:
        write_suggestions(out, suggested)
    for line in map(_json_line, suggested.suggestions) if as_json else _table(suggested, out):
        echo(line)
    if len(kept) < count:
        print_line(f"segvoc: there are only {len(kept)} images, so all of them are ranked")
    print_failures(len(inputs) - len(kept), len(inputs), "images", "the others were compared")
    return 1 if len(kept) < len(inputs) else 0


def _vocabulary(words: str | None, words_file: str | None, taught: Sequence[str]) -> Vocabulary | None:
    """The words; None: those of --taught."""
    if words is None and words_file is None:
        if not taught:
            raise UsageError('no words are given; give some: --words "door, wall", --words-file FILE or --taught FILE')
        return None
    return vocabulary_of(words, words_file)


def _work(out: str, model: "Segmenter", summarizer: "Summarizer", resume: bool) -> "SuggestWork":
    """What is done in a folder: of an earlier call, or anew."""
    from segvoc.labeling.suggested_images import suggest_work

    work = suggest_work(out, model, summarizer.words)
    try:
        if resume:
            work.done.require_key(out, "leave out --resume to begin anew, or give another --out")
        else:
            work.restart()
    except BaseException:
        work.close()
        raise
    return work


def _summaries(
    summarizer: "Summarizer", inputs: Sequence[InputImage], work: "SuggestWork | None"
) -> Iterator["ImageSummary"]:
    """The summaries of all images that can be read; the others are named."""
    from segvoc.inference.read_ahead import ReadImage, read_in_batches
    from segvoc.labeling.suggested_images import summary_json

    stamps = {str(image.path): stamp_of(image.path) for image in inputs}
    done = {name for name, stamp in stamps.items() if work is not None and work.done.has(name, stamp)}
    if done:
        print_line(f"segvoc: {len(done)} of {len(inputs)} images were compared before")
    fresh = [str(image.path) for image in inputs if image.problem is None and str(image.path) not in done]
    with (
        Progress("looking for uncertainty", total=len(inputs), done=len(done)) as progress,
        closing(read_in_batches(fresh, 1)) as batches,
    ):
        for image in inputs:
            name = str(image.path)
            if work is not None and (before := work.done.get(name, stamps[name])) is not None:
                yield before
                continue
            try:
                if image.problem is not None:
                    raise InputError(image.problem)
                (read,) = next(batches)
                if not isinstance(read, ReadImage):
                    raise read
                summary = summarizer(read, name)
                if work is not None:
                    work.finish(name, stamps[name], summary_json(summary))
                yield summary
            except InputError as error:
                print_line(f"segvoc: error: {error}")
            progress.update()


def _json_line(one: "Suggestion") -> str:
    return strict_json(to_json(one))


def _table(suggested: "Suggestions", out: str | None) -> list[str]:
    rows = [["rank", "image", "why"]]
    rows += [[str(one.rank), printable(one.image), _why(one)] for one in suggested.suggestions]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    title = f"{len(suggested.suggestions)} of {suggested.images} images to label next, the best first"
    return [title, *(f"{rank:>{widths[0]}}  {image:<{widths[1]}}  {why}" for rank, image, why in rows)] + (
        [f"-> {out}"] if out else []
    )


def _why(one: "Suggestion") -> str:
    pairs = list(dict.fromkeys("/".join(map(printable, region.words)) for region in one.regions))
    return f"uncertain {one.uncertainty:.2f}" + (f": {', '.join(pairs[:3])}" if pairs else "")
