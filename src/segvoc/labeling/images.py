"""Images labeled as a whole: a stream through the network, results in memory, files or a dataset."""

from collections.abc import Iterable, Iterator, Sequence

from segvoc.errors import InputError, UsageError
from segvoc.imaging.result_paths import InputImage, ResultFiles, ResultPaths, plan_files
from segvoc.imaging.tiff_tags import place_of
from segvoc.inference.result_exports import labeled_map_of
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.formats.dataset import EntryFiles
from segvoc.labeling.task import FolderWork, Labeled, Planned, Task, refuse_unplaced


class ImageTask(Task):
    """Images that fit into memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        call = self.labeling
        if call.dataset is not None and call.parts is not None:
            raise UsageError(f"{call.dataset.format} has no place for parts; leave out --format, or --parts")

    def plan(self, images: Sequence[InputImage]) -> list[ResultFiles | None]:
        """See `Task.plan`; `UsageError` also for an image in the dataset's folder."""
        call, dataset = self.labeling, self.labeling.dataset
        if dataset is not None:
            dataset.refuse_inputs(images)
            return plan_files(images, call.out, lambda image, stem: dataset.files(stem, image.path))
        kinds = {
            "parts": call.parts is not None,
            "objects": call.options.objects,
            "overlay": call.overlay is not None,
            "map_format": call.map_name,
        }
        refuse_unplaced(images, call)

        def paths(image: InputImage, stem: str) -> ResultPaths:
            return ResultPaths.below(call.out, stem, placed=place_of(image.path) is not None, **kinds)

        return plan_files(images, call.out, paths)

    def finished(self, work: FolderWork, planned: Sequence[Planned], model: Segmenter) -> set[str]:
        """See `Task.finished`.

        A batch is redone as a whole, since its images affect the last bits of each other's results.
        """
        done = super().finished(work, planned, model)
        batches = ([files.stem for _, files in batch] for batch in batches_of(planned, model.batch))
        return {stem for stems in batches if done.issuperset(stems) for stem in stems}

    def label(self, model: Segmenter, planned: Iterable[Planned]) -> Iterator[Segmentation | InputError]:
        """See `Task.label`."""
        call, paths = self.labeling, (path for path, _ in planned)
        return model.segment_many(paths, call.encoded(model), options=call.options, yield_errors=True)

    def write(self, result: Segmentation, files: ResultFiles) -> Labeled:
        """See `Task.write`."""
        call = self.labeling
        if call.dataset is not None and isinstance(files, EntryFiles):
            call.dataset.write(result, files, compact=call.compact)
        else:
            if call.map is not None and isinstance(files, ResultPaths) and files.map_file is not None:
                call.map.write(labeled_map_of(result), files.map_file)
            result.save(call.out, files.stem, overlay=call.overlay, compact=call.compact)
        return super().write(result, files)


def batches_of(planned: Sequence[Planned], size: int) -> list[Sequence[Planned]]:
    """The images that go through the network together, as `Segmenter.segment_many` batches them."""
    return [planned[start : start + size] for start in range(0, len(planned), size)]
