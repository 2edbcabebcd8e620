"""Learning from the images of a project that are done, on the service that has it."""

import multiprocessing
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import segvoc
from annotate.tests.service.jobs import stuck
from annotate.tests.services import in_process
from segvoc.cli.options import ModelOptions
from segvoc.errors import UsageError
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.opening import load
from segvoc.models.shipped import copy_tiny, open_tiny
from segvoc.storage.files import write_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from segvoc_annotate.service.improvement import IMPROVED_FILE, Improvement, ImprovementState
from segvoc_annotate.service.improving import IMPROVEMENT_STAGES, corrected_places, done_images, why_no_finetuning
from tests.inference.small_network import small_segmenter
from tests.inference.taught.drawn_examples import UNLABELED, drawn_examples
from tests.serving.services import png

ADDRESS = "/v1/project/improvement"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    examples = drawn_examples(4)
    project = Project.create(tmp_path / "drawn", words=["to be removed", *examples.vocabulary.words])
    first, *others = project.record.words
    project.update(expected=1, words=(replace(first, removed=True), *others))
    for number in range(4):
        name = f"{number}.png"
        project.add(name, png(examples.images[number]))
        work = LabelWork.of_labels((examples.labels[number] + 1).astype(np.uint16))
        state = project.write(name, work, expected=0)
        if number < 3:
            project.set_done(name, True, expected=state.revision)
    return project


def test_images_that_are_done_teach_the_service(project: Project) -> None:
    with in_process(small_segmenter, project=project.folder) as client:
        assert client.get(ADDRESS).json()["state"] == "none"
        told = client.post(ADDRESS, json={}, headers={"X-Segvoc-User": "anna"}).json()
        assert (told["state"], told["images"], told["by"]) == ("running", 3, "anna")
        shares = []
        while told["state"] == "running":
            shares.append(told["share"])
            time.sleep(0.2)
            told = client.get(ADDRESS).json()
        assert (told["state"], told["message"]) == ("done", None)
        assert shares == sorted(shares) and len(set(shares)) > 2
        assert list(told["scores"]["after"]["words"]) == list(drawn_examples(1).vocabulary.words)
        assert told["scores"]["after"]["accuracy"] > told["scores"]["before"]["accuracy"]
        assert project.record.options.taught == (IMPROVED_FILE,)
        change = project.index.changes(0)[-1]
        assert (change.what, change.by) == ("improved", "anna")
        # the service labels with them at once
        taught = TaughtWords.load(project.folder / IMPROVED_FILE)
        model = client.get("/v1/models").json()["models"][0]
        assert (model["taught"], model["taught_files"]) == (list(taught.words), [taught.digest])


def test_images_that_nobody_corrected_teach_and_do_not_judge(project: Project) -> None:
    for number in (0, 2):
        name = f"{number}.png"
        state, work = project.work(name)
        if state.done:
            state = project.set_done(name, False, expected=state.revision)
        sure = np.full(work.labels.shape, 200, np.uint8)
        draft = replace(work, draft=work.labels, confidence=sure, corrections=None, source="model")
        state = project.write(name, draft, expected=state.revision)
        project.set_done(name, True, expected=state.revision)
    images = done_images(project)
    stages, held_out = list[str](), corrected_places(images)
    assert held_out == [1]
    taught = segvoc.teach(small_segmenter(), images, held_out=held_out, on_step=lambda stage, *_: stages.append(stage))
    # one image is held out, once for each penalty and share that is tried
    assert taught.record.images == 3 and stages.count("fitting classifiers") <= 9
    (project.folder / "taught").mkdir()
    taught.save(project.folder / "taught/.unfinished.words.safetensors")
    running = ImprovementState(state="running", images=3)
    ended = Improvement(project, small_segmenter).finish(to_json(taught.record) | {"held_out": 0}, running)
    assert "scores" not in ended and "none of the done images was corrected" in str(ended["message"])


def test_teaching_has_no_stage_whose_share_of_the_work_is_unknown() -> None:
    examples, stages = drawn_examples(3), set[str]()
    for labels in examples.labels:
        labels[: labels.shape[0] // 3], labels[-labels.shape[0] // 3 :] = UNLABELED, UNLABELED
    taught = segvoc.teach(small_segmenter(), examples, keep_worse=True, on_step=lambda stage, *_: stages.add(stage))
    assert taught.record.unlabeled and "labeling what has no label" in stages <= IMPROVEMENT_STAGES.keys()


def test_a_job_is_joined_and_canceled_and_leaves_nothing(project: Project) -> None:
    improvement = Improvement(project, stuck)
    found = [improvement.start(finetune=False, by=name) for name in ("anna", "ben")]
    found += [improvement.state(), improvement.cancel(), improvement.cancel()]
    assert [one.state for one in found] == ["running", "running", "running", "canceled", "canceled"]
    assert {one.by for one in found} == {"anna"}
    assert not (project.folder / IMPROVED_FILE).exists() and project.record.options.taught == ()
    assert [path.name for path in (project.folder / "taught").iterdir()] == ["improvement.json"]
    improvement.stop()


def test_a_killed_service_says_so(project: Project) -> None:
    (project.folder / "taught").mkdir()
    running = ImprovementState(state="running", stage="fitting classifiers", share=0.7, images=3, by="anna")
    write_json(project.folder / "taught/improvement.json", to_json(running))
    (project.folder / "taught/.unfinished.words.safetensors").write_bytes(b"half")
    (project.folder / "taught/.tuning-x/run").mkdir(parents=True)
    with in_process(small_segmenter, project=project.folder) as client:
        told = client.get(ADDRESS).json()
    assert told["state"] == "failed" and "the service stopped" in told["message"]
    assert [path.name for path in (project.folder / "taught").iterdir()] == ["improvement.json"]


def test_a_damaged_image_is_named_and_too_few_are_refused(project: Project) -> None:
    image = project.images()["1.png"].path
    former = image.read_bytes()
    image.write_bytes(former[:100])
    improvement = Improvement(project, open_tiny)
    improvement.start(finetune=False, by="anna")
    while (state := improvement.state()).state == "running":
        time.sleep(0.1)
    assert state.state == "failed" and "1.png" in str(state.message)
    image.write_bytes(former)  # else it is another picture than that of its labels
    for number in (1, 2):
        name = f"{number}.png"
        project.set_done(name, False, expected=project.state(project.images()[name]).revision)
    with pytest.raises(UsageError, match="only 1 image is done"):
        improvement.start(finetune=False, by="anna")


def test_the_shipped_model_can_be_fine_tuned_however_it_runs_and_exports_cannot(tmp_path: Path) -> None:
    copy_tiny(tmp_path)
    assert why_no_finetuning(open_tiny()) is None and why_no_finetuning(open_network()) is None
    # as a project's service opens it for that
    assert why_no_finetuning(partial(ModelOptions().open, "tiny")(dtype="float32")) is None
    assert "is an exported model" in str(why_no_finetuning(ExportedSegmenter(tmp_path)))


open_network = partial(load, "tiny", dtype="float32")
"""The embedded model as a network, which words can be tuned for."""


def until(improvement: Improvement, stage: str | None) -> ImprovementState:
    """The state once a job has come to a stage, or, for None, to its end."""
    while (state := improvement.state()).state == "running" and state.stage != stage:
        time.sleep(0.1)
    return state


def tune_forever(folder: Path, said: Path) -> None:
    improvement = Improvement(Project(folder), open_network, steps=100_000)
    improvement.start(finetune=True, by="anna")
    said.write_text(str(until(improvement, "fine-tuning").stage))
    until(improvement, None)


@pytest.mark.slow
def test_fine_tuning_ends_is_canceled_and_is_killed(project: Project) -> None:
    left, said, folder = ["improvement.json"], project.folder.parent / "said", project.folder
    project.close()
    service = multiprocessing.get_context("spawn").Process(target=tune_forever, args=(folder, said))
    service.start()
    while not said.exists() or not said.read_text():
        assert service.is_alive()
        time.sleep(0.1)
    service.kill()
    service.join()
    assert said.read_text() == "fine-tuning"
    project = Project(folder)
    improvement = Improvement(project, open_network, steps=100_000)
    # whoever comes next takes over, and may begin again at once
    state = until(improvement, None)
    assert (state.state, state.message) == ("failed", "the service stopped during training; start it again")
    assert sorted(path.name for path in (project.folder / "taught").iterdir()) == left

    assert improvement.start(finetune=True, by="ben").state == "running"
    assert until(improvement, "fine-tuning").stage == "fine-tuning"
    assert improvement.cancel().state == "canceled"
    assert sorted(path.name for path in (project.folder / "taught").iterdir()) == left
    assert project.record.options.taught == ()

    # as `segvoc serve` opens it, without PyTorch
    improvement = Improvement(project, partial(ModelOptions().open, "tiny"), steps=4)
    improvement.start(finetune=True, by="anna")
    state = until(improvement, None)
    assert (state.state, state.scores, state.images) == ("done", None, 3)
    assert "too few images" in str(state.message)
    assert project.record.options.taught == (IMPROVED_FILE,)
    taught = TaughtWords.load(project.folder / IMPROVED_FILE)
    assert taught.record.pyramid_channels
    image = project.images()["3.png"].path
    for model in (open_network(), open_tiny()):
        assert model.with_taught(taught).segment(image, list(taught.words)).labels.shape
