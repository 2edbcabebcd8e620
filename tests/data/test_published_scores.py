"""The papers' tables: every row stands for a network that exists, and printed numbers agree with each other."""

from collections import Counter

import pytest

from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.published_scores import PUBLISHED_ROWS, find_rows, published_rows, published_scores, scored_benchmarks
from segvoc.errors import UsageError
from segvoc.records import parse_settings, with_settings
from segvoc.training.recipes import RECIPES

TABLES = tuple(dict.fromkeys(row.title for row in PUBLISHED_ROWS))


def rows_of(table):
    return [row for row in PUBLISHED_ROWS if row.title == table]


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_trained_and_evaluated_with_settings_that_exist(table):
    for row in rows_of(table):
        if not row.preset:
            assert row.departs and not (row.recipe or row.training or row.options)
            continue
        recipe = RECIPES[row.recipe]().with_settings(row.training)
        assert recipe.model == row.preset
        with_settings(recipe.network_config(), parse_settings(row.options), row.preset)


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_plausible_scores_on_benchmarks(table):
    for row in rows_of(table):
        assert row.scores
        for benchmark, scores in row.scores.items():
            if BENCHMARKS[benchmark].parts is None:
                assert row.protocol is None
                assert set(scores) in ({"miou"}, {"seen", "unseen"}, {"found", "miou"})
            else:
                assert row.protocol is not None
                seen, unseen, harmonic = (scores[name] for name in ("seen", "unseen", "harmonic"))
                # the printed means are of unrounded scores
                assert harmonic == pytest.approx(2 * seen * unseen / (seen + unseen), abs=0.15)
            assert all(1 < score < 100 for score in scores.values())


def test_names_are_unique_and_find_their_rows():
    assert [name for name, count in Counter(row.name for row in PUBLISHED_ROWS).items() if count > 1] == []
    for row in PUBLISHED_ROWS:
        assert find_rows(row.name.upper()) == (row,)
    assert [row.table for row in find_rows("pca-seg-b")] == ["Table 1"]
    assert {row.protocol for row in find_rows("pca-part-b")} == {"pred-all", "oracle-obj"}


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("pca-seg-x", "'pca-seg-b'"), ("pca-seg, table 3, parallelle", "'PCA-Seg, Table 3, parallel'")],
)
def test_an_unknown_row_is_refused_with_similar_names(name, suggestion):
    with pytest.raises(UsageError, match=f"no published row is called '{name}'; did you mean .*{suggestion}"):
        find_rows(name)


def test_a_preset_has_one_main_score_on_a_benchmark():
    for benchmark in BENCHMARKS:
        scores = published_scores(benchmark)
        assert len({(score.preset, score.protocol) for score in scores}) == len(scores)
    assert scored_benchmarks("err-seg-b") == ("a-847", "pc-459", "a-150", "pc-59", "pas-20")
    assert scored_benchmarks("pca-part-b") == ("pascal-part-116", "ade20k-part-234")
    assert scored_benchmarks("tiny") == ()
    assert all(row.main for row in PUBLISHED_ROWS if not row.training and row.title == "PCA-Seg, Table 1")


def test_versions_of_cat_seg_are_told_apart():
    (cvpr,) = find_rows("cat-seg-b")
    (first,) = find_rows("CAT-Seg (arXiv v1), Table 1, ViT-B/16")
    assert (cvpr.scores["a-150"]["miou"], first.scores["a-150"]["miou"]) == (31.8, 27.2)
    assert (first.preset, first.main, first.departs) == ("cat-seg-v1-b", True, "")
    assert {row.version for row in published_rows("cat-seg-l")} == {"CVPR 2024"}
    assert {row.version for row in published_rows("cat-seg-v1-l")} == {"arXiv v1"}


@pytest.mark.parametrize(
    ("repeated", "original"),
    [
        ("PCA-Seg, Table 3, serial", "cat-seg-eva-b"),
        ("PCA-Seg, Table 3, parallel", "pca-seg-b"),
        ("PCA-Seg, Table 5a, EPL and FOD", "pca-seg-b"),
        ("PCA-Seg, Table 5b, serial", "cat-seg-eva-b"),
        ("PCA-Seg, Table 5c, n = 4", "PCA-Seg, Table 5a, EPL"),
        ("PCA-Seg, Table 5d, lambda 0.01", "pca-seg-b"),
        ("CAT-Seg (arXiv v1), Table 7, II: feature aggregation", "CAT-Seg (arXiv v1), Table 2, I: feature aggregation"),
        ("ERR-Seg, Table 9, without removal", "ERR-Seg, Table 6, no class removed"),
        ("ERR-Seg, Table 8, P = 48", "err-seg-b"),
    ],
)
def test_numbers_that_are_printed_twice_agree(repeated, original):
    (again,), (first,) = find_rows(repeated), find_rows(original)
    shared = again.scores.keys() & first.scores.keys()
    assert shared
    assert all(again.scores[name]["miou"] == first.scores[name]["miou"] for name in shared)
