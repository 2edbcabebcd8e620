"""Recipes as values: how `--set` changes them, and what the papers' rows have."""

import json
import math

import pytest
import torch

from segvoc.errors import UsageError
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.tiny import TinyAggregationConfig, TinyConfig
from segvoc.storage.records import from_json, to_json
from segvoc.training.loop import rate_factor
from segvoc.training.parameters import learning_rates, parameter_groups
from segvoc.training.recipe import OptimizerConfig, Recipe
from segvoc.training.recipes import RECIPES, finetune
from tests.images import one_line_error

CUT = (1 + math.cos(math.pi / 10)) / 2
"""Half a cosine after a tenth of the steps."""


def on_meta(recipe: Recipe) -> SegmentationNetwork:
    with torch.device("meta"):
        return PRESETS[recipe.model].build(recipe.network_config())


def trained_numbers(network: SegmentationNetwork, recipe: Recipe) -> int:
    return sum(network.get_parameter(name).numel() for name in learning_rates(network, recipe))


def test_settings_take_the_type_of_what_they_set_and_options_of_the_network_too():
    texts = ["lr=1e-3", "steps=7", "color_jitter=false", "short_sides=384,512", "loss=masked", "blocks=2"]
    network = TinyConfig(aggregation=TinyAggregationConfig(fusion="average"))
    recipe = Recipe(model="tiny", network=network).with_settings(texts)
    assert (recipe.optimizer.lr, recipe.optimizer.steps, recipe.data.color_jitter) == (1e-3, 7, False)
    assert (recipe.data.short_sides, recipe.objective.loss) == ((384, 512), "masked")
    assert recipe.network == TinyConfig(aggregation=TinyAggregationConfig(fusion="average", blocks=2))
    assert Recipe(model="tiny").with_settings(["steps=7"]).network is None
    assert Recipe(model="tiny").with_settings(["optimizer.lr=1e-3"], steps=7) == Recipe(
        model="tiny", optimizer=OptimizerConfig(lr=1e-3, steps=7)
    )
    dotted = Recipe(model="cat-seg-b").with_settings(["aggregation.blocks=3", "trainable_encoders=image"])
    assert (dotted.network_config().aggregation.blocks, dotted.optimizer.trainable_encoders) == (3, "image")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_written_as_json_and_read_back(name):
    recipe = RECIPES[name]().with_settings(["short_sides=384,512", "blocks=2"] if "syn" not in name else [])
    assert from_json(Recipe, json.loads(json.dumps(to_json(recipe)))) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stpes=1", "a recipe for tiny has no setting 'stpes'; did you mean steps"),
        ("optimizer.color_jitter=1", "no setting 'optimizer.color_jitter'; did you mean color_jitter"),
        ("crop=1", "did you mean crop_size or resize_crop_to\\?"),
        ("zzz=1", "no setting 'zzz'; it has init_from, .*lr, .*max_bad_steps, aggregation, order, blocks"),
        ("steps=0", "steps=0 is out of range; give a number from 1$"),
        ("flip_prob=2", "flip_prob=2.0 is out of range; give a number from 0 to 1"),
        ("short_sides=", "short_sides is empty"),
        ("model=tiny", "no setting 'model'"),
    ],
)
def test_what_is_no_setting_is_refused_in_one_line(text, said):
    with one_line_error(UsageError, match=said):
        Recipe(model="tiny").with_settings([text])


def test_groups_have_the_published_rates_and_norms_and_embeddings_do_not_decay():
    recipe = RECIPES["cat-seg-b"]()
    network = on_meta(recipe)
    names = {id(value): name for name, value in network.named_parameters()}
    groups = parameter_groups(network, learning_rates(network, recipe), recipe.optimizer.weight_decay)
    members = {(round(g["rate"], 12), g["weight_decay"]): {names[id(p)] for p in g["params"]} for g in groups}
    assert members.keys() == {(2e-4, 1e-4), (2e-4, 0.0), (2e-6, 1e-4)}
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in members[2e-6, 1e-4])
    assert any(name.startswith("text_encoder.") for name in members[2e-6, 1e-4])
    assert all("norm" in name for name in members[2e-4, 0.0])
    assert not any("norm" in name for name in members[2e-4, 1e-4])
    assert "aggregation.blocks.0.semantic.pad_token" in members[2e-4, 1e-4]


@pytest.mark.parametrize(
    ("settings", "endings"),
    [
        (["trainable=none"], ()),
        (["trainable=qk"], ("q_proj.weight", "k_proj.weight")),
        (["trainable=v", "trainable_encoders=image"], ("v_proj.weight",)),
        (["trainable=all", "trainable_encoders=text"], ("text_encoder.",)),
    ],
)
def test_which_parameters_of_the_towers_learn_is_a_setting(settings, endings):
    recipe = RECIPES["cat-seg-b"]().with_settings(settings)
    network = on_meta(recipe)
    tuned = [name for name in learning_rates(network, recipe) if not name.startswith("aggregation.")]
    assert bool(tuned) == bool(endings)
    assert all(any(ending in name for ending in endings) for name in tuned)
    encoders = recipe.optimizer.trainable_encoders
    both = {"image", "text"} if encoders == "both" else {encoders}
    assert not tuned or {name.partition("_")[0] for name in tuned} == both


@pytest.mark.parametrize(
    ("name", "published", "queries_and_values"),
    [
        ("pca-seg-b", 31_012_725, 27_866_997),
        ("pca-seg-l", 80_099_189, 73_021_301),
        # OpenAI's towers train nothing but queries and values anyway
        *((name, count, count) for name, count in (("cat-seg-b", 25_115_873), ("cat-seg-l", 70_270_177))),
        *((name, count, count) for name, count in (("pca-seg-clip-b", 27_866_997), ("pca-seg-clip-l", 73_021_301))),
        # of ERR-Seg, the CLIP and the head; with frozen encoders (Table 13) the head alone
        ("err-seg-b", 126_432_633, None),
        ("err-seg-l", 268_653_049, None),
        ("err-seg-b-frozen", 7_368_825, None),
        ("err-seg-vit-b-frozen", 7_339_769, None),
    ],
)
def test_as_many_numbers_learn_as_in_the_released_code_or_the_paper(name, published, queries_and_values):
    """The released code trains the keys of EVA's text tower too, since they lie in one matrix with the others."""
    recipe = RECIPES[name]()
    network = on_meta(recipe)
    assert trained_numbers(network, recipe) == published
    if queries_and_values is not None:
        literal = recipe.with_settings(["trainable=qv"])
        assert trained_numbers(network, literal) == queries_and_values
        tuned = [key for key in learning_rates(network, literal) if "_encoder." in key]
        assert all(key.endswith((".q_proj.weight", ".v_proj.weight")) for key in tuned)


def test_tiny_learns_its_projections_and_its_trunk_where_that_has_a_rate():
    network = on_meta(RECIPES["tiny"]())
    rates = learning_rates(network, RECIPES["tiny"]())
    head, stem = (rates[f"image_encoder.{name}.weight"] for name in ("project_head", "trunk.conv_stem"))
    assert head == pytest.approx(10 * stem)
    frozen = learning_rates(network, RECIPES["tiny"]().with_settings(["trunk_lr_scale=0"]))
    assert {name.partition(".")[0] for name in frozen} == {"aggregation", "image_encoder"}
    assert not any("trunk" in name for name in frozen)


@pytest.mark.parametrize(
    ("config", "factors"),
    [
        # half a cosine to zero
        ({}, {0: 1, 25: (1 + math.cos(math.pi / 4)) / 2, 50: 0.5, 100: 0}),
        # a line that ends on the cosine
        ({"warmup_steps": 10, "warmup_start_factor": 0.002}, {0: 0.002, 5: 0.001 + CUT / 2, 10: CUT}),
        # a run as short as its warm-up learns all the same
        ({"warmup_steps": 100}, {50: 0.5}),
    ],
)
def test_the_rate_of_a_step(config, factors):
    optimizer = OptimizerConfig(steps=100, **config)
    assert [rate_factor(optimizer, step) for step in factors] == pytest.approx(list(factors.values()))


def test_finetuning_a_published_network_keeps_its_rates():
    recipe = finetune("pca-seg-b")
    assert (recipe.optimizer.lr, recipe.objective.fod_weight) == (5e-4, 0.01)
    assert (recipe.objective.loss, recipe.data.dataset) == ("masked", "")
