"""The table of benchmarks, and the papers' tables: every row stands for a network that exists."""

import json

import pytest

from papers.tables import find_rows
from segvoc.data.benchmarks import BENCHMARKS, SEMANTIC, Manifest, find_benchmark, prepared
from segvoc.data.labeled_images import CLASS_LIST_FOLDER, read_class_list
from segvoc.data.preparation.prepare import prepare
from segvoc.data.published_scores import PUBLISHED_ROWS
from segvoc.errors import UsageError
from segvoc.storage.records import parse_settings, with_settings
from segvoc.training.recipes import RECIPES
from segvoc.vocabulary import Vocabulary
from tests.data.replicas import replica


def test_every_benchmark_has_its_classes_to_the_letter():
    for benchmark in BENCHMARKS.values():
        assert len(Vocabulary(benchmark.classes)) == len(benchmark.classes)
        assert benchmark.background in (None, benchmark.classes[0])
        if benchmark.name != "pas-20b":
            assert (benchmark.scored_classes, benchmark.collapse_from) == (benchmark.classes, None)
    collapsed = find_benchmark("pas-20b")
    assert collapsed.scored_classes == (*find_benchmark("pas-20").classes, "background")
    assert collapsed.collapse_from == 20 and set(collapsed.classes) == set(find_benchmark("pc-59").classes)
    assert "bed " in find_benchmark("a-150").classes


def test_the_lists_are_the_shared_ones(golden):
    facts = golden.parent / "data" / "classes"
    for path in CLASS_LIST_FOLDER.glob("*"):
        if "part" in path.stem:
            number = {"pascal_part116": "pascal_part_116", "ade20k_part234": "ade20k_part_234"}[path.stem]
            assert path.read_bytes() == (golden / f"err_part_syn/ovparts_{number}_classes.json").read_bytes()
        else:
            assert path.read_bytes() == (facts / path.name).read_bytes()


@pytest.mark.parametrize(("name", "objects", "unseen"), [("pascal-part-116", 20, 42), ("ade20k-part-234", 44, 58)])
def test_parts_belong_to_objects(name, objects, unseen):
    classes, parts = find_benchmark(name).classes, find_benchmark(name).parts
    assert (len(parts.objects), parts.seen.count(False)) == (objects, unseen)
    for word, index in zip(classes, parts.object_of, strict=True):
        assert word.startswith(f"{parts.objects[index]}'s ")
    seen_classes = [word for word, seen in zip(classes, parts.seen, strict=True) if seen]
    assert list(parts.seen_classes) == seen_classes == read_class_list(parts.class_list)["seen_class_names"]


def test_an_unknown_benchmark_is_answered_with_all_names():
    with pytest.raises(UsageError, match="'a-151' is unknown") as caught:
        find_benchmark("a-151")
    assert all(name in str(caught.value) for name in BENCHMARKS)


NOT_PREPARED = r"A-150 is not prepared in .*; run `segvoc prepare a-150 --data"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *((content, NOT_PREPARED) for content in (None, json.dumps({"layout": 0}))),  # of another layout
        *((content, r"a-150\.json' can't be read .*; delete it and prepare again") for content in ("{", "[]")),
        (json.dumps({"layout": 1, "records": [{"stem": 3}]}), r"a-150\.json' can't be read"),
    ],
)
def test_what_is_not_prepared_names_the_command_and_a_damaged_manifest_is_named(tmp_path, content, said):
    path = Manifest.path(tmp_path, "a-150")
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=said):
        prepared(find_benchmark("a-150"), tmp_path)


@pytest.mark.parametrize("name", ["pascal-part-116-train", "ade20k-part-234-train"])
def test_training_images_of_parts_have_object_maps(name, tmp_path):
    drawn = replica(name, tmp_path)
    prepare(find_benchmark(name), tmp_path, allow_missing=True)
    images = prepared(find_benchmark(name), tmp_path)
    assert images.object_maps is not None
    (stem,), (image,), (maps,) = drawn.labels, images.images, images.object_maps.images
    assert image.stem == maps.stem == stem
    labels = maps.read(len(images.object_maps.vocabulary)).labels
    words, expected = images.object_maps.vocabulary.words, ["cat", "dog"] if "pascal" in name else ["door", "bench"]
    assert [words[labels[8, column]] for column in (2, 20)] == expected
    assert {word.partition("'s ")[0] for word in images.vocabulary.words} <= set(words)
    assert images.only([0]).object_maps == images.object_maps


@pytest.mark.parametrize("row", PUBLISHED_ROWS, ids=lambda row: row.name)
def test_rows_have_settings_that_exist_and_plausible_scores_on_benchmarks(row):
    if row.preset:
        recipe = RECIPES[row.recipe]().with_settings(row.training)
        assert recipe.model == row.preset
        with_settings(recipe.network_config(), parse_settings(row.options), row.preset)
    else:
        assert row.departs and not (row.recipe or row.training or row.options)
    assert row.scores and all(1 < score < 100 for scores in row.scores.values() for score in scores.values())
    for benchmark, scores in row.scores.items():
        assert (row.protocol is None) == (BENCHMARKS[benchmark].parts is None)
        if row.protocol is None:
            assert set(scores) in ({"miou"}, {"seen", "unseen"}, {"found", "miou"})
        else:
            seen, unseen, harmonic = (scores[name] for name in ("seen", "unseen", "harmonic"))
            # the printed means are of unrounded scores
            assert harmonic == pytest.approx(2 * seen * unseen / (seen + unseen), abs=0.15)


def test_rows_are_found_by_name_and_preset():
    for row in PUBLISHED_ROWS:
        assert find_rows(row.name.upper()) == (row,)
    assert [row.table for row in find_rows("pca-seg-b")] == ["Table 1"]
    for name in ("pca-part-b", "PCA-Seg, Table 2, PartCATSeg on ADE20K-Part-234"):
        assert {row.protocol for row in find_rows(name)} == {"pred-all", "oracle-obj"}
    for wrong, similar in (("pca-seg-x", "pca-seg-b"), ("pca-seg, table 3, parallelle", "PCA-Seg, Table 3, parallel")):
        with pytest.raises(UsageError, match=rf"no published row is called '{wrong}' \(did you mean {similar}\?\)"):
            find_rows(wrong)


def test_a_preset_has_one_main_score_on_a_benchmark():
    for benchmark in BENCHMARKS.values():
        scores = benchmark.published
        assert len({(score.preset, score.protocol) for score in scores}) == len(scores)
    scored = {name: {score.preset for score in benchmark.published} for name, benchmark in BENCHMARKS.items()}
    assert [name for name in SEMANTIC if "err-seg-b" in scored[name]] == ["a-847", "pc-459", "a-150", "pc-59", "pas-20"]
    assert {name for name in BENCHMARKS if "pca-part-b" in scored[name]} == {"pascal-part-116", "ade20k-part-234"}
    (row,) = (row for row in find_benchmark("a-150").published if row.preset == "pca-seg-b")
    assert row.scores["a-150"] == {"miou": 38.1}
    assert all(row.main for row in PUBLISHED_ROWS if not row.training and row.title == "PCA-Seg, Table 1")
