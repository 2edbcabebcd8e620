"""A merge is a line in the record: ids of a merged word mean the other one, and pixels follow."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from annotate.tests.projects.drawn_projects import drawn_labels, drawn_project, drawn_work, forget_place
from annotate.tests.services import in_process
from segvoc import read_dataset, read_label_map
from segvoc.errors import UsageError
from segvoc_annotate.projects.agreement import agreement
from segvoc_annotate.projects.exporting import ProjectExport
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.merging import follow_merges
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import FIRST_WORD, LabelWork, packed_work
from tests.hardening.faults import killed_copies
from tests.serving.services import drawn_image, png

CAT, SOFA, WALL = 0, 1, 2


def labeled_project(folder: Path) -> Project:
    """Three images: the second one is done, the third has no sofa."""
    project = drawn_project(folder, "a.png", "b.png", "c.png")
    for name, ids in (("a.png", (CAT, SOFA, WALL)), ("b.png", (SOFA, WALL)), ("c.png", (CAT, WALL))):
        project.write(name, drawn_work(*ids), expected=0)
    project.set_done("b.png", True, expected=1)
    return project


def labels_of(project: Project, name: str) -> list[int]:
    """The ids in an image's label map, from top to bottom."""
    labels = read_label_map(project.files(project.image(name)).labels)
    assert (project.work(name)[1].labels == labels).all()
    return list(dict.fromkeys(labels[:, 0].tolist()))


def test_a_word_gets_the_pixels_of_another(tmp_path: Path) -> None:
    project = labeled_project(tmp_path / "street")
    before = project.record.revision
    record = project.merge_words(SOFA, CAT, by="anna")
    assert (record.revision, [word.name for word in record.present]) == (before + 1, ["cat", "wall"])
    assert project.state(project.image("a.png")).pixels == {"0": 1024, "1": 1024, "2": 1024}, "the record is all"
    assert follow_merges(project) == []
    assert [labels_of(project, name) for name in ("a.png", "b.png", "c.png")] == [[CAT, WALL]] * 3
    states = {state.image: state for state in project.states()[0]}
    assert [(states[name].revision, states[name].done) for name in states] == [(2, False), (3, True), (1, False)]
    assert states["b.png"].pixels == {"0": 1536, "2": 1536}
    for name, word, rows in (("a.png", CAT, slice(16, 32)), ("b.png", WALL, slice(24, 48))):
        work = project.work(name)[1]
        assert work.objects is not None and work.corrections is not None
        assert (work.corrections[rows] == word + FIRST_WORD).all(), "what people corrected stays corrected"


def test_ids_of_merged_words_mean_the_other_one_before_and_after_pixels_follow(tmp_path: Path) -> None:
    project = labeled_project(tmp_path / "street")
    project.merge_words(SOFA, CAT)
    project.merge_words(CAT, WALL)
    # read through: a dataset, another project, and what is compared
    ProjectExport(project=project, format="voc").to_folder(str(tmp_path / "voc"))
    with Project.create(tmp_path / "other") as other:
        assert Importing(project=other).path(project.folder).problems == []
        assert labels_of(other, "a.png") == [0] and other.record.present[0].name == "wall"
        assert agreement(project, other).same == 1
    for folder in (project.folder, tmp_path / "voc"):
        (image,), words = read_dataset(folder).images, len(read_dataset(folder).vocabulary.words)
        assert set(image.read_labels((48, 64), words).ravel().tolist()) == {words - 1}
    # a stroke that somebody made before they heard of it
    late = packed_work(LabelWork.of_labels(drawn_labels(SOFA, WALL)), "c.png", project.record.colors)
    state = project.receive("c.png", io.BytesIO(late.content(late.state)), expected=1)
    assert state.pixels == {"2": 3072} and labels_of(project, "c.png") == [WALL]
    follow_merges(project)
    assert [labels_of(project, name) for name in ("a.png", "b.png")] == [[WALL]] * 2


def test_removed_images_follow_when_they_are_restored(tmp_path: Path) -> None:
    project = labeled_project(tmp_path / "street")
    project.remove("b.png")
    project.merge_words(SOFA, CAT)
    follow_merges(project)
    assert project.restore("b.png").done
    follow_merges(project)
    assert labels_of(project, "b.png") == [CAT, WALL]


@pytest.mark.parametrize("ids", [(SOFA, SOFA), (SOFA, 7)])
def test_words_that_cannot_be_merged(tmp_path: Path, ids: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="give the ids of two words"):
        labeled_project(tmp_path / "street").merge_words(*ids)


def test_a_merged_word_stays_merged_and_one_of_its_name_is_new(tmp_path: Path) -> None:
    project = labeled_project(tmp_path / "street")
    record = project.merge_words(SOFA, CAT)
    with pytest.raises(UsageError, match="'sofa' was merged, or wasn't"):
        words = tuple(replace(word, removed=False, merged_into=None) for word in record.words)
        project.update(expected=record.revision, words=words)
    assert [(word.id, word.name) for word in project.add_words(["sofa"]).present] == [
        (0, "cat"),
        (2, "wall"),
        (3, "sofa"),
    ]
    for into in (SOFA, 9):
        with pytest.raises(UsageError, match="can't be merged into"):
            replace(record, words=(*record.words[:1], replace(record.words[1], merged_into=into)))


def _damaged_work(project: Project) -> None:
    (project.folder / "work/a.zip").write_bytes(b"no zip")


def _replaced_image(project: Project) -> None:
    (project.images_folder / "a.png").write_bytes(png(drawn_image(size=(20, 20))))


def _folder_for_labels(project: Project) -> None:
    (project.folder / "labels/a.png").unlink()
    (project.folder / "labels/a.png").mkdir()


@pytest.mark.parametrize("damage", [_damaged_work, _replaced_image, _folder_for_labels])
def test_an_image_that_cannot_be_used_holds_up_no_other_and_no_service(
    tmp_path: Path, damage: Callable[[Project], None]
) -> None:
    with labeled_project(tmp_path / "street") as project:
        damage(project)
        project.merge_words(SOFA, CAT)
        (problem,) = follow_merges(project)
        assert "a.png'" in problem or "a.zip'" in problem
        assert labels_of(project, "b.png") == [CAT, WALL]
    with in_process(project=project.folder) as client:
        found = client.get("/v1/project").json()
        assert [image["image"] for image in found["images"]][-2:] == ["b.png", "c.png"]
        assert [word["merged_into"] for word in found["words"]] == [None, CAT, None]


def test_a_kill_at_any_write_leaves_nothing_half(tmp_path: Path) -> None:
    def merge(folder: Path) -> None:
        with Project(folder) as project:
            project.merge_words(SOFA, CAT, by="anna", change="one")
            follow_merges(project)

    with labeled_project(tmp_path / "original") as project:
        original = forget_place(project)
    for folder in killed_copies(merge, original, tmp_path, most=20):
        with Project(folder) as left:
            assert left.recover() == []
            is_merged = left.record.merged == {SOFA: CAT}
            follow_merges(left)
            assert labels_of(left, "a.png") == ([CAT, WALL] if is_merged else [CAT, SOFA, WALL])
            assert labels_of(left, "b.png") == ([CAT, WALL] if is_merged else [SOFA, WALL])
            assert left.state(left.image("b.png")).done
            # whoever got no answer repeats it
            for _ in range(2):
                merged = left.merge_words(SOFA, CAT, by="anna", change="one")
            assert [word.name for word in merged.present] == ["cat", "wall"]
