"""Videos as projects: frames as images, and their labels as CVAT for video, there and back."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from segvoc import InputError, Segmentation, UsageError, read_dataset
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.dataset import DatasetWriter
from segvoc_annotate.projects.exporting import ProjectExport
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.people import assign
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork, relabeled

av = pytest.importorskip("av")

HEIGHT, WIDTH, FRAMES, EVERY = 48, 64, 300, 10
WORDS = ("cat", "dog", "road")
CAT, DOG, ROAD = range(3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    with av.open(path, "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            pixels = np.full((HEIGHT, WIDTH, 3), 80, np.uint8)
            pixels[10:20, number % 50 : number % 50 + 10] = 220
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        file.mux(stream.encode(None))
    return path


def _labels(number: int) -> np.ndarray:
    """Two cats that pass a dog, on a road; a cat is away for a while."""
    labels = np.full((HEIGHT, WIDTH), ROAD, np.uint16)
    labels[:4] = UNLABELED
    labels[20:32, 40:50] = DOG
    shift = number // EVERY
    labels[6:16, shift : shift + 12] = CAT
    if not 80 <= number < 110:
        labels[36:46, 50 - shift : 62 - shift] = CAT
        labels[40:42, 54 - shift : 57 - shift] = ROAD  # a hole
    return labels


def test_frames_know_their_video_and_time_and_are_in_order(clip: Path, tmp_path: Path) -> None:
    steps = list[tuple[int, int]]()
    with Project.create(tmp_path / "street", words=WORDS) as project:
        importing = Importing(project=project, by="anna", on_step=lambda *step: steps.append(step))
        result = importing.video(clip, EVERY)
        names = [f"clip/frame_{number:06}.jpg" for number in range(0, FRAMES, EVERY)]
        assert (result.added, result.problems) == (names, []) and steps[-1] == (FRAMES, FRAMES)
        states = project.states()[0]
        assert [state.image for state in states] == names and {state.by for state in states} == {None}
        frames = [state.frame for state in states if state.frame is not None]
        assert [(one.name, one.number, one.time) for one in frames] == [
            ("clip.mp4", number, round(number / 25, 6)) for number in range(0, FRAMES, EVERY)
        ]
        # they stay frames when they are labeled, removed and restored, copied, and in a copy of the project
        project.write(names[3], LabelWork.of_labels(_labels(30)), expected=0)
        project.remove(names[4])
        project.restore(names[4])
        (copy,) = assign(project, [names[5]], ["ben"], as_copies=True)
        assert copy.frame == frames[5]
        with Project.create(tmp_path / "other") as other:
            Importing(project=other).another(project)
            found = {state.image: state.frame for state in other.states()[0]}
            assert found == {state.image: state.frame for state in project.states()[0]} and len(found) == 31
        (project.folder / "index.sqlite").unlink()
    with Project(tmp_path / "street") as project:
        assert [state.frame for state in project.states()[0] if state.copy_of is None] == frames


def test_importing_again_adds_what_is_missing(clip: Path, tmp_path: Path) -> None:
    """Whatever the file is called, and wherever an import was interrupted."""

    class Killed(Exception):
        pass

    def kill(done: int, _: int) -> None:
        if done > 100:
            raise Killed

    with Project.create(tmp_path / "street", words=WORDS) as project:
        with pytest.raises(Killed):
            Importing(project=project, on_step=kill).video(clip, 50)
        assert len(project.images()) == 2
        renamed = tmp_path / "renamed.mp4"
        renamed.write_bytes(clip.read_bytes())
        assert len(Importing(project=project).video(renamed, 50).added) == 6
        project.write("clip/frame_000050.jpg", LabelWork.of_labels(_labels(50)), expected=0)
        assert len(Importing(project=project).video(clip, 25).added) == 12
        assert [*project.images()] == [f"clip/frame_{number:06}.jpg" for number in range(0, FRAMES, 25)]
        assert project.state(project.image("clip/frame_000050.jpg")).corrected > 0
        # another video of the same name gets a folder of its own
        other = tmp_path / "other" / "clip.mp4"
        other.parent.mkdir()
        with av.open(clip) as source, av.open(other, "w") as file:
            stream = file.add_stream_from_template(source.streams.video[0])
            for packet in list(source.demux(source.streams.video[0]))[:30]:
                packet.stream = stream
                file.mux(packet)
        added = Importing(project=project).video(other, 20).added
        assert added == ["clip-2/frame_000000.jpg", "clip-2/frame_000020.jpg"]


def test_videos_that_cannot_be_imported(clip: Path, tmp_path: Path) -> None:
    with Project.create(tmp_path / "street", words=WORDS) as project:
        importing = Importing(project=project)
        cut = tmp_path / "cut.mkv"
        with av.open(clip) as source, av.open(tmp_path / "whole.mkv", "w") as file:
            stream = file.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                packet.stream = stream
                file.mux(packet)
        whole = (tmp_path / "whole.mkv").read_bytes()
        cut.write_bytes(whole[: len(whole) // 2])
        result = importing.video(cut, EVERY)
        (problem,) = result.problems
        assert 5 < len(result.added) < 30 and "is damaged (it ends after" in problem
        for path, error in ((tmp_path / "none.mp4", "does not exist"), (tmp_path / "text.mp4", "is damaged")):
            if error == "is damaged":
                path.write_text("no video")
            with pytest.raises(InputError, match=error):
                importing.video(path)
        with pytest.raises(UsageError, match="every=0 is out of range"):
            importing.video(clip, 0)
    with Project.create(tmp_path / "elsewhere", images=clip.parent) as project:
        with pytest.raises(UsageError, match="import the video into another project"):
            Importing(project=project).video(clip)


def test_a_video_comes_back_from_cvat(clip: Path, tmp_path: Path) -> None:
    """300 frames: labels by a model, two frames corrected, all accepted, written for CVAT and read again: the same."""
    with Project.create(tmp_path / "street", words=WORDS) as project:
        for name in Importing(project=project).video(clip, EVERY).added:
            labels = _labels(int(Path(name).stem[-6:]))
            confidence = np.full(labels.shape, 200, np.uint8)
            draft = LabelWork(labels=labels, draft=labels, confidence=confidence, source="model")
            project.write(name, draft, expected=0)
        for number in (100, 110):
            corrected = _labels(number)
            corrected[36:46, 5:17] = CAT
            project.rewrite(f"clip/frame_{number:06}.jpg", lambda work, new=corrected: relabeled(work, new), by="ben")
        for state in project.states()[0]:
            project.set_done(state.image, True, expected=state.revision)
        export = ProjectExport(project=project, format="cvat-video")
        assert export.to_folder(str(tmp_path / "cvat")) == []
        truth = {name: project.work(name)[1].labels for name in project.images()}
    root = ElementTree.parse(tmp_path / "cvat" / "clip.xml").getroot()
    assert [label.findtext("name") for label in root.iterfind("meta/task/labels/label")] == [*WORDS]
    tracks = {track.get("label"): len(track) for track in root.iterfind("track")}
    assert tracks["dog"] == FRAMES // EVERY == tracks["road"]
    with Project.create(tmp_path / "back") as back:
        result = Importing(project=back, done=True).path(tmp_path / "cvat")
        assert sorted(result.added) == sorted(truth) and result.problems == []
        ids = {word.id: WORDS.index(word.name) for word in back.record.present}
        table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
        table[[*ids]] = [*ids.values()]
        seen = dict[tuple[int, bool], set[int]]()
        for name, labels in truth.items():
            work = back.work(name)[1]
            np.testing.assert_array_equal(table[work.labels], labels)
            assert work.objects is not None and not work.objects[table[work.labels] == ROAD].any()
            for number in np.unique(work.objects[work.objects > 0]).tolist():
                (label,) = np.unique(table[work.labels[work.objects == number]])
                is_below = bool(np.argwhere(work.objects == number)[:, 0].mean() > HEIGHT / 2)
                seen.setdefault((int(label), is_below), set()).add(number)
        # one number each, for the cat below also over the frames that it is away from; the painted one is another cat
        assert [*map(len, (seen[DOG, True], seen[CAT, False]))] == [1, 1] and len(seen[CAT, True]) == 2
        frames = [state.frame for state in back.states()[0] if state.frame is not None]
        assert [frame.number for frame in frames] == [*range(0, FRAMES, EVERY)]
        ProjectExport(project=back, format="cvat-video").to_folder(str(tmp_path / "again"))
    again = ElementTree.parse(tmp_path / "again" / "clip.xml").getroot()
    assert ElementTree.tostring(again) == ElementTree.tostring(root)


def test_what_people_made_one_object_stays_one_in_an_export(clip: Path, tmp_path: Path) -> None:
    """A model's object that two tracks are expected in is divided among them; a person's is not."""
    with Project.create(tmp_path / "street", words=WORDS) as project:
        names = Importing(project=project).video(clip, FRAMES // 6).added
        for name in names:
            labels = np.full((HEIGHT, WIDTH), ROAD, np.uint16)
            labels[20:32, 4:16] = labels[20:32, 44:56] = CAT
            labels[20:32, 4 : 56 if name == names[-1] else 16] = CAT
            project.write(name, LabelWork.of_labels(labels), expected=0)
        ProjectExport(project=project, format="cvat-video", only_done=False).to_folder(str(tmp_path / "cvat"))
    read = read_dataset(tmp_path / "cvat")
    counts = []
    for index in range(len(names)):
        objects = read.read_objects(index, (HEIGHT, WIDTH))
        assert objects is not None
        counts.append(len(np.unique(objects[20:32, 4:56])))
    assert counts == [3, 3, 3, 3, 3, 1]


def test_images_that_are_no_frames_are_named(clip: Path, tmp_path: Path) -> None:
    with Project.create(tmp_path / "street", words=WORDS) as project:
        Importing(project=project).video(clip, 100)
        Image.new("RGB", (WIDTH, HEIGHT)).save(project.images_folder / "photo.png")
        for name in project.images():
            state = project.write(name, LabelWork.of_labels(_labels(0)), expected=0)
            project.set_done(name, True, expected=state.revision)
        (problem,) = ProjectExport(project=project, format="cvat-video").to_folder(str(tmp_path / "cvat"))
        assert "'photo' is no frame of a video" in problem
    assert len(read_dataset(tmp_path / "cvat")) == 3


def test_frames_are_images_in_other_formats(clip: Path, tmp_path: Path) -> None:
    """A surface stays one, and words without objects have none."""
    with Project.create(tmp_path / "street", words=WORDS) as project:
        for name in Importing(project=project).video(clip, 100).added:
            state = project.write(name, LabelWork.of_labels(_labels(0)), expected=0)
            project.set_done(name, True, expected=state.revision)
        assert ProjectExport(project=project, format="coco-panoptic").to_folder(str(tmp_path / "coco")) == []
    content = json.loads((tmp_path / "coco/annotations/panoptic_default.json").read_text())
    assert {one["name"]: one["isthing"] for one in content["categories"]} == {"cat": 1, "dog": 1, "road": 0}


def test_a_video_without_objects_comes_back_from_cvat(clip: Path, tmp_path: Path) -> None:
    with Project.create(tmp_path / "street", words=WORDS) as project:
        for name in Importing(project=project).video(clip, 100).added:
            nothing = np.full((HEIGHT, WIDTH), UNLABELED, np.uint16)
            state = project.write(name, LabelWork(labels=nothing, source="person"), expected=0)
            project.set_done(name, True, expected=state.revision)
        assert ProjectExport(project=project, format="cvat-video").to_folder(str(tmp_path / "cvat")) == []
    read = read_dataset(tmp_path / "cvat")
    assert len(read) == 3 and (read.read(0).labels == UNLABELED).all()


def test_what_cvat_exports_of_a_video_is_read(tmp_path: Path) -> None:
    """Tracks from 0, shapes between keyframes, one in front of another, and one that has left."""
    box = 'xtl="{0}" ytl="2" xbr="{1}" ybr="8"'
    shapes = "".join(
        f'<box frame="{frame}" keyframe="0" outside="{int(frame == 2)}" z_order="1" {box.format(2, 8)}/>'
        for frame in range(3)
    )
    behind = f'<box frame="0" outside="0" z_order="0" {box.format(5, 12)}/>'
    labels = "".join(f"<label><name>{word}</name></label>" for word in ("cat", "dog"))
    (tmp_path / "annotations.xml").write_text(
        f"<annotations><meta><task><name>a.mp4</name><labels>{labels}</labels></task></meta>"
        f'<track id="0" label="cat">{shapes}</track><track id="4" label="dog">{behind}</track></annotations>'
    )
    for frame in range(3):
        path = tmp_path / "images" / f"frame_{frame:06}.PNG"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 10)).save(path)
    read = read_dataset(tmp_path)
    assert [image.stem for image in read.images] == [f"annotations/frame_{frame:06}" for frame in range(3)]
    for index, counts in enumerate(({0: 100, 1: 36, 5: 24}, {0: 124, 1: 36}, {0: 160})):
        objects = read.read_objects(index, (10, 16))
        assert objects is not None
        numbers, pixels = np.unique(objects, return_counts=True)
        assert dict(zip(numbers.tolist(), pixels.tolist(), strict=True)) == counts
    (tmp_path / "images" / "frame_000001.PNG").unlink()
    assert "frame 1: it isn't there" in str(getattr(read_dataset(tmp_path).images[1], "problem", None))


def test_frames_of_a_call_are_written_with_their_tracks(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "out", "cvat-video") as dataset:
        for number in (0, 5):
            labels = _labels(0)
            result = Segmentation(
                labels=labels,
                words=WORDS,
                confidence=np.ones(labels.shape, np.float32),
                selected=np.ones(3, bool),
                image=np.zeros((HEIGHT, WIDTH, 3), np.uint8),
                model="drawn",
                seconds=0.0,
                object_map=np.where(labels == DOG, 7, 0).astype(np.uint16),
                is_tracked=True,
                frame=number,
            )
            dataset.add(result, f"clip/frame_{number:06}")
    read = read_dataset(tmp_path / "out")
    assert [image.stem for image in read.images] == ["clip/frame_000000", "clip/frame_000005"]
    objects = read.read_objects(0, (HEIGHT, WIDTH))
    assert objects is not None and set(np.unique(objects)) == {0, 7}
