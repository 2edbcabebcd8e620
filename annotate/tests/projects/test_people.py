"""Who labels what, and how well two people agree."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.projects.drawn_projects import SIZE, drawn_labels, drawn_project
from segvoc import UsageError
from segvoc_annotate.projects.agreement import DIFFERENT, agreement, difference_map, write_differences
from segvoc_annotate.projects.archive import archived, open_project
from segvoc_annotate.projects.contributions import as_csv, contributions
from segvoc_annotate.projects.exporting import ProjectExport
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.merging import follow_merges
from segvoc_annotate.projects.people import assign
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import NotInProjectError
from segvoc_annotate.projects.work_files import CORRECTIONS_ENTRY, LABELS_ENTRY, LabelWork, packed_work
from segvoc_annotate.service.improving import done_images
from tests.serving.services import drawn_image, png


@pytest.fixture
def street(tmp_path: Path) -> Project:
    return drawn_project(tmp_path / "street", "a.png", "sub/b.png", "c.png")


def people_of(project: ProjectFolder) -> dict[str, str | None]:
    return {state.image: state.person for state in project.states()[0]}


def done(project: Project, name: str, labels: np.ndarray, by: str = "someone") -> None:
    project.write(name, LabelWork.of_labels(labels), expected=0, by=by)
    project.set_done(name, True, expected=project.state(project.image(name)).revision, by=by)


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


def test_nobody_gets_a_copy_of_an_image_that_they_have_or_labeled(street: Project) -> None:
    assign(street, ["a.png", "c.png"], ["anna", "ben"])
    done(street, "sub/b.png", drawn_labels(0), by="anna")
    for people, image in ((["anna"], "a.png"), (["anna"], "sub/b.png"), (["ben"], "c.png")):
        with pytest.raises(UsageError, match=f"'{image}' is .*'s already"):
            assign(street, ["a.png", "c.png", "sub/b.png"] if image == "c.png" else [image], people, as_copies=True)
    assert len(street.images()) == 3
    # in turn, but for those
    for _ in range(2):
        made = assign(street, ["a.png", "c.png", "sub/b.png"], ["anna", "ben"], as_copies=True)
        assert [one.image for one in made] == ["a (ben).png", "c (anna).png", "sub/b (ben).png"]
    # a copy stands for its photograph
    (again,) = assign(street, ["a (ben).png", "a.png"], ["cleo"], as_copies=True)
    assert again.image == "a (cleo).png"


def test_agreement_is_the_iou_of_each_word_over_all_images(street: Project, tmp_path: Path) -> None:
    assign(street, ["a.png"], ["cleo"])
    assign(street, ["a.png", "c.png"], ["ben"], as_copies=True)
    with pytest.raises(UsageError, match="no image is done by two people"):
        agreement(street)
    done(street, "a.png", drawn_labels(0, 1), by="anna")  # whoever has it
    street.review("a.png", "accepted", "", expected=street.state(street.image("a.png")).revision, by="lead")
    done(street, "a (ben).png", drawn_labels(0, 0, 1, 0), by="ben")  # of four bands, the last one differs
    done(street, "c.png", drawn_labels(2))
    done(street, "c (ben).png", drawn_labels(2), by="ben")
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


def test_actions_and_time_are_those_of_people(street: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = count(1)

    def act(second: int, by: str, name: str, *, answers: str | None = None, done: bool = False) -> None:
        """Send labels as the page does."""
        clock = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        monkeypatch.setattr("segvoc_annotate.projects.index.now", lambda: clock.strftime("%Y-%m-%dT%H:%M:%SZ"))
        corrected = np.full(SIZE, 0 if answers else 2, np.uint16)
        work = LabelWork(labels=drawn_labels(0), corrections=corrected, answers=answers)
        content = packed_work(work, name, street.record.colors)
        planes = {
            key: png for key, png in content.planes.items() if answers or key in (LABELS_ENTRY, CORRECTIONS_ENTRY)
        }
        file = BytesIO(replace(content, planes=planes).content(content.state))
        about = {"done": done, "change": f"c{next(changes)}", "keep_draft": answers is None}
        street.receive(name, file, expected=street.state(street.image(name)).revision, by=by, **about)

    act(0, "anna", "a.png", answers="cat")  # the model labels what nobody looks at
    act(20, "anna", "c.png", answers="cat")
    act(30, "ben", "c.png", answers="cat")  # on two pages
    act(100, "anna", "a.png")
    act(120, "ben", "c.png")
    act(130, "anna", "a.png")
    act(250, "anna", "c.png")  # the longest time that is no pause
    act(400, "anna", "c.png", done=True)  # after one
    with street.index.transaction():
        street.index.log("done", by="anna", image="c.png", revision=1, change="odd")
        street.index._rows("UPDATE changes SET at = 'never' WHERE change = 'odd'")
    street.merge_words(1, 2)
    follow_merges(street)
    done(street, "sub/b.png", drawn_labels(2), by="import")
    street.remove("a.png")
    found = contributions(ProjectFolder(street.folder))
    assert [(one.person, one.image, one.actions, one.seconds, one.done) for one in found.images] == [
        ("anna", "a.png", 2, 30, False),
        ("anna", "c.png", 3, 120, True),
        ("ben", "c.png", 1, 0, False),
        ("import", "sub/b.png", 0, 0, True),
    ]
    told = [(one.person, one.done, one.images, one.actions, one.seconds, one.gold) for one in found.people]
    assert told == [("anna", 1, 2, 5, 150, 0), ("ben", 0, 1, 1, 0, 0), ("import", 1, 0, 0, 0, 0)]


def test_the_gold_set_scores_who_labels_copies_of_accepted_images(street: Project) -> None:
    for person in ("anna", "ben"):
        assign(street, ["a.png", "c.png", "sub/b.png"], [person], as_copies=True)
    for name, labels in (("a", drawn_labels(0, 1)), ("c", drawn_labels(2)), ("sub/b", drawn_labels(1))):
        done(street, f"{name}.png", labels, by="lead")
        done(street, f"{name} (anna).png", labels, by="anna")
        if name != "sub/b":
            # not accepted, it scores nobody
            street.review(f"{name}.png", "accepted", "", expected=street.state(street.image(f"{name}.png")).revision)
    done(street, "a (ben).png", drawn_labels(0, 0, 1, 0), by="ben")
    street.write("c (ben).png", LabelWork.of_labels(drawn_labels(0)), expected=0, by="ben")
    done(street, "sub/b (ben).png", drawn_labels(0), by="ben")
    steps = list[tuple[int, int]]()
    found = contributions(ProjectFolder(street.folder), on_step=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)] and found.problems == ()
    people = {one.person: one for one in found.people}
    assert {name: (one.assigned, one.done, one.gold) for name, one in people.items()} == {
        "anna": (3, 3, 2),
        "ben": (3, 2, 1),
        "lead": (0, 3, 0),
    }
    assert (people["anna"].same, people["anna"].miou) == (1.0, 1.0)
    assert (people["ben"].same, people["ben"].miou) == (0.75, pytest.approx((2 / 3 + 1 / 2) / 2))
    assert (people["lead"].same, people["lead"].miou) == (None, None)
    rows = as_csv(found.images).decode().splitlines()
    assert rows[0] == "person,image,actions,seconds,done,miou,same"
    assert rows[4].startswith("ben,a (ben).png,0,0,True,0.58") and rows[4].endswith(",0.75")
    assert rows[5] == "ben,sub/b (ben).png,0,0,True,,"
    # a person who does the copy of somebody else is scored by that
    street.set_done("c (ben).png", True, expected=street.state(street.image("c (ben).png")).revision, by="anna")
    assert {one.person: one.gold for one in contributions(street).people} == {"anna": 3, "ben": 1, "lead": 0}


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
