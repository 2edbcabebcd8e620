"""A video with `segvoc segment`: how long it takes beside the model alone, and whether kills lose anything.

    python -m benchmarks.videos [PHOTOS] [--frames 300] [--size 640x360] [--threads 2] [--kills 3] [--out FILE]

The video is made at run time: windows that move over the photographs in the folder PHOTOS (default: samples/), 50
frames each, 30000/1001 frames per second, with sound. The model's time is that of the network and the label search
alone, on frames that are in memory: every fifth one, half of them before the video and half after it, so that a busy
machine slows both alike. CPU times are those of the whole process; where all cores are busy, their ratio is what that
of the times comes to. With --kills, a shorter video is labeled once in one go, and once by a command that is killed
(-9) so many times at random moments and resumed; all results have to be equal, bit by bit.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from segvoc import process_settings
from segvoc.exported.shipped import open_tiny
from segvoc.imaging.result_paths import image_paths
from segvoc.inference.segmenter import Segmenter
from segvoc.videos.labeling import label_video
from segvoc.videos.reading import OpenVideo

ROOT = Path(__file__).parents[1]
WORDS = ["person", "sky", "wall", "table", "cup", "cat", "grass", "road", "building", "tree"]
RATE = Fraction(30_000, 1001)
SHOT = 50
"""Frames of one photograph."""


def panned(photos: Sequence[Path], frames: int, size: tuple[int, int]) -> Iterator[Image.Image]:
    """The frames of a video of shots that move over photographs."""
    for number in range(frames):
        shot, step = divmod(number, SHOT)
        with Image.open(photos[shot % len(photos)]) as opened:
            photo = opened.convert("RGB")
        scale = max((size[0] + 2 * SHOT) / photo.width, (size[1] + SHOT) / photo.height)
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
        yield photo.crop((2 * step, step, 2 * step + size[0], step + size[1]))


def make_video(path: Path, photos: Sequence[Path], frames: int, size: tuple[int, int]) -> Path:
    """Write the video."""
    with av.open(str(path), "w") as video:
        stream: Any = video.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        sound: Any = video.add_stream("aac", rate=48_000)
        for image in panned(photos, frames, size):
            video.mux(stream.encode(av.VideoFrame.from_image(image)))
        video.mux(stream.encode(None))
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, round(48_000 * frames / RATE)), np.int16), format="s16", layout="mono"
        )
        silence.sample_rate = 48_000
        video.mux(sound.encode(silence))
        video.mux(sound.encode(None))
    return path


def model_time(model: Segmenter, words: Any, frames: Sequence[np.ndarray]) -> tuple[float, float]:
    """Time and CPU time of the model for a frame [s]."""
    start, busy = time.perf_counter(), time.process_time()
    for pixels in frames:
        model.segment(pixels, words)
    return (time.perf_counter() - start) / len(frames), (time.process_time() - busy) / len(frames)


def measure(model: Segmenter, path: Path, out: Path, every: int = 1) -> dict[str, object]:
    """The video and the model, in turns."""
    with OpenVideo(path) as video:
        chosen = [frame.pixels for frame in video.frames(lambda number: number % 5 == 0)]
    sample = [pixels for pixels in chosen if pixels is not None]
    words = model.encode(WORDS)
    model.segment(sample[0], words)
    first = model_time(model, words, sample[::2])
    start, busy = time.perf_counter(), time.process_time()
    result = label_video(model, path, words, out, every=every)
    took, took_busy = time.perf_counter() - start, time.process_time() - busy
    second = model_time(model, words, sample[1::2])
    alone, alone_busy = ((one + two) / 2 * result.labeled for one, two in zip(first, second, strict=True))
    assert result.paths.overlay is not None
    with av.open(str(path)) as source, av.open(str(result.paths.overlay)) as made:
        rates = [(video.streams.video[0].frames, str(video.streams.video[0].average_rate)) for video in (source, made)]
    assert rates[0] == rates[1], rates
    return {
        "frames": result.number,
        "size": f"{result.width}x{result.height}",
        "every": every,
        "video_seconds": round(took, 1),
        "model_seconds": round(alone, 1),
        "video_by_model": round(took / alone, 3),
        "video_cpu_seconds": round(took_busy, 1),
        "model_cpu_seconds": round(alone_busy, 1),
        "video_by_model_cpu": round(took_busy / alone_busy, 3),
        "frames_and_rate": rates[1],
        "memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def killed(path: Path, folder: Path, kills: int, threads: int) -> dict[str, object]:
    """Label a video in one go, and killed and resumed; the results have to be equal."""
    code = "import sys; from segvoc.exported.shipped import open_tiny; from segvoc.videos.labeling import label_video; "
    code += "label_video(open_tiny(), sys.argv[1], sys.argv[3].split(','), sys.argv[2], smooth=0.7, resume=True)"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def command(out: Path) -> list[str]:
        return [sys.executable, "-c", code, str(path), str(out), ",".join(WORDS)]

    start = time.monotonic()
    subprocess.run(command(folder / "whole"), check=True, env=environment, stdout=subprocess.DEVNULL)
    whole, draw = time.monotonic() - start, random.Random(0)
    for _ in range(kills):
        run = subprocess.Popen(command(folder / "broken"), env=environment, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.1, 0.9) * whole)
        run.kill()
        run.wait()
    subprocess.run(command(folder / "broken"), check=True, env=environment, stdout=subprocess.DEVNULL)
    one, two = (_contents(folder / name) for name in ("whole", "broken"))
    assert one == two, [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
    return {"kills": kills, "files": len(one), "equal": True}


def _contents(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
            if path.suffix == ".json":
                found[path.relative_to(folder).as_posix()] = {**json.loads(path.read_text()), "seconds": None}
    return found


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", nargs="?", type=Path, default=ROOT / "samples")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to save the result")
    asked = parser.parse_args()
    process_settings.for_own_process(asked.threads)
    photos = [image.path for image in image_paths([asked.photos]) if image.problem is None]
    width, height = map(int, asked.size.split("x"))
    found: dict[str, object] = {"model": "tiny (ONNX Runtime)", "words": len(WORDS), "threads": asked.threads}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if asked.frames:
            video = make_video(folder / "video.mp4", photos, asked.frames, (width, height))
            found |= measure(open_tiny(), video, folder / "out", asked.every)
        if asked.kills:
            short = make_video(folder / "short.mp4", photos, 90, (320, 240))
            found["killed"] = killed(short, folder, asked.kills, asked.threads)
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
