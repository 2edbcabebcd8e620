"""Words are merged in all images, and whole again after a kill."""

from collections.abc import Callable
from pathlib import Path

import pytest

from annotate.tests.projects.drawn_projects import drawn_project, drawn_work
from annotate.tests.services import in_process
from hardening.faults import killed_copies
from segvoc.errors import SegvocError, UsageError
from segvoc.imaging.label_maps import read_label_map
from segvoc_annotate.projects.merging import merge_words, resume_merge
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import FIRST_WORD
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
    record = merge_words(project, SOFA, CAT, by="anna")
    assert (record.revision, [word.name for word in record.present]) == (before + 1, ["cat", "wall"])
    assert [labels_of(project, name) for name in ("a.png", "b.png", "c.png")] == [[CAT, WALL]] * 3
    states = {state.image: state for state in project.states()[0]}
    assert [(states[name].revision, states[name].done) for name in states] == [(2, False), (3, True), (1, False)]
    assert (states["b.png"].pixels, states["a.png"].by) == ({"0": 1536, "2": 1536}, "anna")
    for name, word, rows in (("a.png", CAT, slice(16, 32)), ("b.png", WALL, slice(24, 48))):
        work = project.work(name)[1]
        assert work.objects is not None and work.corrections is not None
        assert (work.corrections[rows] == word + FIRST_WORD).all(), "what people corrected stays corrected"


def test_removed_images_are_merged_too(tmp_path: Path) -> None:
    project = labeled_project(tmp_path / "street")
    project.remove("a.png")
    project.remove("b.png")
    merge_words(project, SOFA, CAT, by="anna")
    assert project.restore("b.png").done and labels_of(project, "b.png") == [CAT, WALL]
    project.restore("a.png")
    assert labels_of(project, "a.png") == [CAT, WALL]


@pytest.mark.parametrize("ids", [(SOFA, SOFA), (SOFA, 7)])
def test_words_that_cannot_be_merged(tmp_path: Path, ids: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="give the ids of two words"):
        merge_words(labeled_project(tmp_path / "street"), *ids, by="anna")


def test_a_word_that_is_added_again_is_not_merged_again(tmp_path: Path) -> None:
    project = labeled_project(tmp_path / "street")
    merge_words(project, SOFA, CAT, by="anna")
    project.add_words(["sofa"])
    assert [word.name for word in resume_merge(project).present] == ["cat", "sofa", "wall"]


def _damaged_work(project: Project) -> None:
    (project.folder / "work/a.zip").write_bytes(b"no zip")


def _replaced_image(project: Project) -> None:
    (project.images_folder / "a.png").write_bytes(png(drawn_image(size=(20, 20))))


def _folder_for_labels(project: Project) -> None:
    (project.folder / "labels/a.png").unlink()
    (project.folder / "labels/a.png").mkdir()


def _damaged_trash(project: Project) -> None:
    project.remove("a.png")
    (project.folder / "trash/1/work/a.zip").write_bytes(b"no zip")


@pytest.mark.parametrize("damage", [_damaged_work, _replaced_image, _folder_for_labels, _damaged_trash])
def test_an_image_that_cannot_be_used_holds_up_no_other_and_no_service(
    tmp_path: Path, damage: Callable[[Project], None]
) -> None:
    with labeled_project(tmp_path / "street") as project:
        damage(project)
        with pytest.raises(SegvocError, match=r"a\.(png|zip)'"):
            merge_words(project, SOFA, CAT, by="anna")
        assert labels_of(project, "b.png") == [CAT, WALL]
    with in_process(project=project.folder) as client:
        found = client.get("/v1/project").json()
        assert [image["image"] for image in found["images"]][-2:] == ["b.png", "c.png"]
        assert len(found["words"]) == 3 and not any(word["removed"] for word in found["words"])
    for path in (project.folder / "trash/1/work/a.zip", project.folder / "work/a.zip", project.folder / "labels/a.png"):
        if path.is_dir():
            path.rmdir()
        elif path.is_file():
            path.unlink()
    with Project(project.folder) as project:
        assert merge_words(project, SOFA, CAT, by="anna").present == project.record.words[::2]


def test_a_kill_at_any_write_leaves_nothing_half(tmp_path: Path) -> None:
    def merge(folder: Path) -> None:
        with Project(folder) as project:
            merge_words(project, SOFA, CAT, by="anna", change="one")

    with labeled_project(tmp_path / "original") as project:
        original = project.folder
    for folder in killed_copies(merge, original, tmp_path, most=20):
        with Project(folder) as left:
            assert left.recover() == []
            words = [word.name for word in resume_merge(left).present]
            is_merged = words == ["cat", "wall"]
            assert is_merged or words == ["cat", "sofa", "wall"]
            assert labels_of(left, "a.png") == ([CAT, WALL] if is_merged else [CAT, SOFA, WALL])
            assert labels_of(left, "b.png") == ([CAT, WALL] if is_merged else [SOFA, WALL])
            assert left.state(left.image("b.png")).done
            # whoever got no answer repeats it
            for _ in range(2):
                merged = merge_words(left, SOFA, CAT, by="anna", change="one")
            assert [word.name for word in merged.present] == ["cat", "wall"]
