"""`segvoc segment video.mp4`: videos, one after the other, each frame by frame."""

from collections.abc import Sequence

from segvoc.cli.one_by_one import OneByOne, Steps
from segvoc.errors import UsageError
from segvoc.imaging.result_paths import InputImage, ResultFiles, plan_files
from segvoc.inference.label_options import LabelOptions
from segvoc.progress import print_line
from segvoc.videos.labeling import write_video
from segvoc.videos.options import VideoOptions
from segvoc.videos.reading import is_video, require_av
from segvoc.videos.result import VideoPaths, VideoResult


def has_videos(
    inputs: Sequence[InputImage],
    labels: LabelOptions,
    every: int | None,
    *,
    dataset_format: str | None,
    parts: bool,
    tiles: bool,
    jobs: int,
) -> bool:
    """Whether a call labels videos.

    Args:
        inputs: what it labels.
        labels: how it labels.
        every: its --every.
        dataset_format: its --format.
        parts: whether it has --parts.
        tiles: whether it has --tile or its relatives.
        jobs: its --jobs.

    Raises:
        UsageError: it has images and videos, options of videos without a video, or options that videos don't have; or
            PyAV isn't installed.
    """
    named = [source for source in inputs if source.problem is None]
    videos = [source for source in named if is_video(source.path)]
    if not videos:
        if every is not None or labels.smooth:
            given = "--every" if every is not None else "--smooth"
            raise UsageError(f"{given} is for videos (.mp4, .mkv, ...); leave it out")
        return False
    if len(videos) < len(named):
        image = next(source.path for source in named if not is_video(source.path))
        raise UsageError(
            f"{str(videos[0].path)!r} is a video and {str(image)!r} is none; label videos and images in two calls"
        )
    if dataset_format is not None:
        raise UsageError("a dataset has images; leave out --format, or make images of the video's frames first")
    if parts:
        raise UsageError("parts are looked for in images only; leave out --parts, or the video")
    if tiles:
        raise UsageError("videos have no tiles; leave out --tile and its relatives")
    if jobs > 1:
        raise UsageError("frames go through the network one after the other; leave out --jobs")
    require_av()
    return True


def plan_videos(inputs: Sequence[InputImage], out: str, *, overlay: bool) -> Sequence[ResultFiles | None]:
    """Where the results of each video go (`plan_files`)."""
    return plan_files(inputs, out, lambda video, stem: VideoPaths.below(out, stem, overlay=overlay))


def segment_videos(call: OneByOne, work: Sequence[tuple[InputImage, ResultFiles | None]], every: int) -> int:
    """Label videos and print a line for each.

    Args:
        call: the words and options.
        work: the videos, and where their results go (`plan_videos`); None if there is nothing to read.
        every: label every such frame.

    Returns:
        The exit code: 1 if a video failed, or is damaged.

    Raises:
        UsageError: the options don't fit together.
    """
    labeling, model = call.labeling, call.model
    options = VideoOptions(labels=labeling.options, every=every, overlay=labeling.overlay, compact=labeling.compact)
    words = labeling.encoded(model)
    settings = {**labeling.settings(model), **options.settings()}

    def label(video: InputImage, paths: VideoPaths, steps: Steps) -> tuple[VideoResult, bool]:
        how = {"resume": call.resume, "progress": steps}
        result = write_video(model, words, video.path, labeling.out, paths, options, settings, **how)
        _print_losses(result)
        return result, result.damage is None

    planned = [(video, paths if isinstance(paths, VideoPaths) else None) for video, paths in work]
    return call.label(planned, label, settings, what="videos", unit="frame")


def _print_losses(result: VideoResult) -> None:
    for sound in result.sound:
        if not sound.copied:
            print_line(f"segvoc: {result.source!r}: MP4 can't hold its {sound.codec} sound, which is left out")
    if result.damage is not None:
        print_line(
            f"segvoc: error: {result.source!r} is damaged ({result.damage}); "
            f"its {result.number} frames that can be read are labeled"
        )
