"""Who labels what, and how well two people agree."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.projects.drawn_projects import drawn_labels, drawn_project
from segvoc import UsageError
from segvoc_annotate.projects.agreement import DIFFERENT, agreement, difference_map, write_differences
from segvoc_annotate.projects.archive import archived, open_project
from segvoc_annotate.projects.exporting import ProjectExport
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.people import assign
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import NotInProjectError
from segvoc_annotate.projects.work_files import LabelWork
from segvoc_annotate.service.improving import done_images
from tests.serving.services import drawn_image, png


@pytest.fixture
def street(tmp_path: Path) -> Project:
    return drawn_project(tmp_path / "street", "a.png", "sub/b.png", "c.png")


def people_of(project: ProjectFolder) -> dict[str, str | None]:
    return {state.image: state.person for state in project.states()[0]}


def done(project: Project, name: str, labels: np.ndarray) -> None:
    project.write(name, LabelWork.of_labels(labels), expected=0, by="someone")
    project.set_done(name, True, expected=1)


def test_images_are_dealt_out_in_turn_once_and_to_nobody(street: Project) -> None:
    names = [*street.images()]
    assert names == ["a.png", "c.png", "sub/b.png"]
    expected = {"a.png": "anna", "c.png": "ben b", "sub/b.png": "anna"}
    assign(street, names, ["anna", " ben  b "], by="lead", change="one")
    assign(street, names, ["cleo"], change="one")
    assert people_of(street) == expected
    change = street.index.changes(0)[-1]
    assert (change.what, change.by, change.change) == ("assigned", "lead", "one")
    done(street, "a.png", drawn_labels(0, 1))
    assign(street, ["c.png", "a.png"], [])
    assert people_of(street) == {"a.png": None, "c.png": None, "sub/b.png": "anna"}
    assert street.state(street.image("a.png")).done
    street.remove("sub/b.png")
    street.restore("sub/b.png")
    (street.folder / "index.sqlite").unlink()
    assert people_of(ProjectFolder(street.folder))["sub/b.png"] == "anna"
    with pytest.raises(NotInProjectError):
        assign(street, ["no.png"], ["anna"])
    for person in ("", "a\ab", "a" * 65):
        with pytest.raises(UsageError, match="is not a name"):
            assign(street, names, [person])


def test_a_copy_for_a_second_person_is_neither_exported_nor_learned_from(street: Project) -> None:
    for _ in range(2):  # the second time there is one already
        (made,) = assign(street, ["sub/b.png"], ["ben/2"], as_copies=True)
    copy = "sub/b (ben_2).png"
    assert (made.image, made.person, made.copy_of) == (copy, "ben/2", street.state(street.image("sub/b.png")).id)
    assert street.image(copy).path.read_bytes() == street.image("sub/b.png").path.read_bytes()
    assert not street.state(street.image(copy)).revision
    for name in ("sub/b.png", copy):
        done(street, name, drawn_labels(0, 1))
    assert [state.image for state in ProjectExport(project=street, format="voc").states] == ["sub/b.png"]
    assert len(done_images(street).images) == 1
    with pytest.raises(UsageError, match="nobody to copy"):
        assign(street, ["a.png"], [], as_copies=True)


def test_a_copy_stays_one_wherever_it_goes(street: Project, tmp_path: Path) -> None:
    long = f"{'l' * 251}.png"
    street.add(long, png(drawn_image(5, (48, 64))))
    (copy,) = assign(street, ["a.png"], ["bob"], as_copies=True)
    assert assign(street, [long], ["bob"], as_copies=True)[0].image.startswith("lll")

    def exported(project: Project) -> list[str]:
        return [state.image for state in ProjectExport(project=project, format="voc").states]

    for name in ("a.png", copy.image):
        done(street, name, drawn_labels(0, 1))
    # to another project, with the copy first
    with Project.create(tmp_path / "other") as other:
        Importing(project=other).path(street.folder)
        assert exported(other) == ["a.png"]
        assert other.state(other.image(copy.image)).person == "bob"
    # without its original it stands for that
    street.remove("a.png")
    assert exported(street) == [copy.image]
    # another photograph of the original's name isn't its original
    street.add("a.png", png(drawn_image(9, (48, 64))))
    done(street, "a.png", drawn_labels(1))
    assert exported(street) == [copy.image, "a.png"]
    street.remove(copy.image)
    assert street.restore(copy.image).copy_of == copy.copy_of


def test_agreement_is_the_iou_of_each_word_over_all_images(street: Project, tmp_path: Path) -> None:
    assign(street, ["a.png"], ["anna"])
    assign(street, ["a.png", "c.png"], ["ben"], as_copies=True)
    with pytest.raises(UsageError, match="no image is done by two people"):
        agreement(street)
    done(street, "a.png", drawn_labels(0, 1))
    done(street, "a (ben).png", drawn_labels(0, 0, 1, 0))  # of four bands, the last one differs
    done(street, "c.png", drawn_labels(2))
    done(street, "c (ben).png", drawn_labels(2))
    found = agreement(street)
    worst, best = found.pairs
    assert (worst.image, worst.other, worst.by) == ("a.png", "a (ben).png", ("anna", "ben"))
    assert (worst.same, worst.miou) == (0.75, pytest.approx((2 / 3 + 1 / 2) / 2))
    assert (best.same, best.miou, best.by) == (1.0, 1.0, ("someone", "ben"))
    assert found.words == {"cat": pytest.approx(2 / 3), "sofa": 0.5, "wall": 1.0}
    assert (found.same, found.miou) == (7 / 8, pytest.approx((2 / 3 + 1 / 2 + 1) / 3))
    write_differences(found, tmp_path / "out", street, None)
    shown = np.asarray(Image.open(tmp_path / "out/a (ben).png.png"))
    np.testing.assert_array_equal((shown == DIFFERENT).all(axis=2), drawn_labels(0, 0, 0, 1) == 1)
    assert not (difference_map(street, "c (ben).png") == DIFFERENT).all(axis=2).any()
    with pytest.raises(NotInProjectError, match="no copy"):
        difference_map(street, "a.png")


def test_two_projects_agree_by_the_names_of_words_and_images(street: Project, tmp_path: Path) -> None:
    other = drawn_project(tmp_path / "other", "a.png", "d.png", words=("wall", "cat", "door"))
    done(street, "a.png", drawn_labels(0, 2))
    done(other, "a.png", drawn_labels(1, 0))
    other.write("d.png", LabelWork.of_labels(drawn_labels(1)), expected=0)
    found = agreement(ProjectFolder(street.folder), ProjectFolder(other.folder))
    assert [(pair.image, pair.same) for pair in found.pairs] == [("a.png", 1.0)]
    assert found.words == {"cat": 1.0, "sofa": None, "wall": 1.0, "door": None}
    assert not (difference_map(street, "a.png", other) == DIFFERENT).all(axis=2).any()


def test_a_backup_has_assignments_and_is_made_while_images_come_and_go(street: Project, tmp_path: Path) -> None:
    assign(street, ["a.png", "c.png"], ["anna", "ben"])
    done(street, "a.png", drawn_labels(0, 1))
    pieces, path = archived(ProjectFolder(street.folder)), tmp_path / "saved.zip"
    with path.open("wb") as file:
        for number, piece in enumerate(pieces):
            file.write(piece)
            if number == 2:
                street.remove("c.png")
                street.write("sub/b.png", LabelWork.of_labels(drawn_labels(2)), expected=0)
    saved = open_project(path)
    assert saved.recover() == []
    assert people_of(saved)["a.png"] == "anna"
    assert saved.state(saved.image("a.png")).done
    assert np.array_equal(saved.work("a.png")[1].labels, drawn_labels(0, 1))
