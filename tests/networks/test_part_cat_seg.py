"""The contract of networks for a small PartCATSeg, what its two levels mean, and the official stages."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from segvoc.encoders.prompts import PartNames, PartWordEncoder, PartWords, split_name
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import UsageError
from segvoc.layers.aggregation import DecoderSizes
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.selection import ClassSelection
from segvoc.networks.part_cat_seg import (
    PART_CAT_SEG,
    PCA_PART,
    PartAggregation,
    PartAggregationConfig,
    PartNetwork,
    part_aggregation_state,
)
from segvoc.training.losses import StreamSimilarity
from segvoc.vocabulary import Vocabulary
from tests.golden_sets import ERR_FOLDER, err_case
from tests.networks.aggregation_contract import ThreeMaps, text_tower
from tests.networks.contract import (
    NetworkContract,
    PaperContract,
    assert_alike,
    drawn,
    make_image,
    torch_threads,
    words,
)

WORDS = ["dog's head", "dog's leg", "cat", "cat's head", "sofa"]


def small(config: PartAggregationConfig, **changes) -> PartNetwork:
    sizes = {"dim": 32, "guidance_dim": 16, "window": 4, "appearance_channels": None}
    sizes |= {"costs": 6, "prompts": 2}
    decoder = DecoderSizes(lifts=(), taps=(24, 16), guidance=(16, 8), stages=(32, 16))
    changed = replace(config, **(sizes | {"decoder_sizes": decoder} | changes))
    return PartNetwork(ThreeMaps(), text_tower(""), PartAggregation(changed, 32, (24, 16)))


def part_words(count: int, prompts: int = 2, channels: int = 32) -> PartWords:
    """Random embeddings of so many words: parts of two objects, and every third an object itself."""
    names = PartNames.of([f"thing {n}" if n % 3 == 2 else f"thing {n % 2}'s part {n}" for n in range(count)])
    return PartWords(
        general=words(len(names.parts) + len(names.objects), prompts, channels),
        specific=words(len(names.specific) + 1, prompts, channels)[:-1],
        part_of=torch.tensor(names.part_of),
        object_of=torch.tensor(names.object_of) + len(names.parts),
        places=torch.tensor([place for place in names.places if place is not None]),
        parts=len(names.parts),
        names_objects=count > 2,
    )


class Asked(nn.Module):
    """A network with its words; no other form of it can be exported."""

    def __init__(self, network: nn.Module, text: PartWords) -> None:
        super().__init__()
        self.network, self.text = network, text

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image, self.text)


class PartContract(NetworkContract):
    prompts = 2

    def inputs(self, network, *, batch=1, rows=6, columns=6, classes=3):
        return make_image(batch, *self.size(network, rows, columns)), part_words(classes)

    def test_the_backward_pass_reaches_every_trainable_parameter(self, network, shapes_checked):
        network.train()
        image, text = self.inputs(network, batch=2, classes=5)
        first, second = network.levels(image, text)
        sum(level.logits.square().mean() + level.logits.mean() for level in (first, second)).backward()
        without = {name for name in network.trainable_parameters() if network.get_parameter(name).grad is None}
        assert without == self.unused(network)

    def test_dropping_words_is_refused(self, built):
        with pytest.raises(UsageError, match="leave out keep_classes"):
            built(*self.inputs(built), selection=ClassSelection(keep=2, by="similarity"))


class TestSerial(PartContract):
    build = staticmethod(lambda: small(PART_CAT_SEG))


class TestParallel(PartContract, PaperContract):
    build = staticmethod(lambda: small(PCA_PART, blocks=1))

    @pytest.mark.slow
    def test_it_is_exported_whole(self, network):
        image, text = self.inputs(network)
        exported = torch.export.export(Asked(network, text), (image,)).module()
        with torch.no_grad():
            assert_alike(exported(image), network(image, text))

    def test_the_losses_view_of_the_streams_does_not_depend_on_chunks(self, built):
        image, text = self.inputs(built, classes=7)
        parts, whole = StreamSimilarity(), StreamSimilarity()
        with torch.no_grad():
            built.levels(image, text, chunk=2, observe=parts.observe)
            built.levels(image, text, observe=whole.observe)
        torch.testing.assert_close(parts.means(), whole.means(), rtol=1e-4, atol=1e-6)
        assert len(whole.means().squared) == 2  # a block of each level

    @pytest.mark.slow
    def test_threads_change_statistics_in_bfloat16_by_a_rounding(self, network):
        """Norms see activations rounded to bfloat16, and a sum in another order may round to the neighbor.

        The statistics are summed in float32, so they move by less than a step of bfloat16, 2^-8 of their size.
        """
        image, text = self.inputs(network, batch=2, rows=3, columns=4)
        statistics = []
        for threads in (1, 2, 4):
            step = copy.deepcopy(network).train()
            with torch_threads(threads), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                step(image, text)
            statistics.append({name: value for name, value in step.named_buffers() if ".running_" in name})
        assert statistics[0]
        for name, expected in statistics[0].items():
            for other in statistics[1:]:
                assert (other[name] - expected).abs().max() <= 2**-8 * expected.abs().max(), name


# ---- words


def test_words_are_split_as_published_names_are_and_sorted_into_parts_and_objects():
    assert split_name("dog's head") == ("dog", "head")
    assert split_name("chest of drawers's leg") == ("chest of drawers", "leg")
    assert split_name("sofa's leg, couch's leg") == ("sofa", "leg")
    assert [split_name(word) for word in ("dog", "dog's", "'s head")] == [None] * 3
    names = PartNames.of(["none", *WORDS], none="none")
    assert names.specific == ("dog's head", "dog's leg", "cat's head")
    assert names.parts == ("head", "leg") and names.objects == ("cat", "dog", "sofa")
    assert names.part_of == (0, 1, 0) and names.object_of == (1, 1, 0)
    assert names.places == (None, 3, 4, 0, 5, 2)


def encoded(network: PartNetwork, words: list[str], none: str | None = None) -> PartWords:
    return PartWordEncoder(VocabularyEncoder(network.text_encoder, ("a {}", "the {}")))(Vocabulary(words), none=none)


@pytest.fixture
def network() -> PartNetwork:
    return drawn(lambda: small(PART_CAT_SEG))


def test_every_word_is_answered_by_its_level(network):
    image, text = make_image(1, 64, 96), encoded(network, WORDS)
    with torch.no_grad():
        logits, (first, second) = network(image, text), network.levels(image, text)
    places = [(second, 0), (second, 1), (first, 2), (second, 2), (first, 4)]
    for place, (level, at) in enumerate(places):
        assert torch.equal(logits[:, place], level.logits[:, at]), WORDS[place]


@pytest.mark.parametrize(
    ("asked", "level"), [(["dog's head", "dog's leg"], 1), (["dog's head", "dog"], 0), (["dog", "cat"], 0)]
)
def test_none_is_the_last_map_of_the_level_that_decides(network, asked, level):
    image, text = make_image(1, 64, 96), encoded(network, ["nothing", *asked], none="nothing")
    with torch.no_grad():
        logits, levels = network(image, text), network.levels(image, text)
    assert torch.equal(logits[:, 0], levels[level].logits[:, -1])


def test_a_part_sees_the_other_level(network):
    """The second level is made of the first one's features: another object beside the dog changes the dog's head."""
    image = make_image(1, 64, 96)
    with torch.no_grad():
        alone = network(image, encoded(network, ["dog's head", "dog's leg"]))
        beside = network(image, encoded(network, ["dog's head", "dog's leg", "sofa"]))
    assert not torch.allclose(alone, beside[:, :2], atol=1e-3)


# ---- stages at real channels; losses are in tests/training/test_losses.py

NAMES = ["cat's tail", "cat's head", "dog's tail", "dog's head", "dog's ear", "bus's wheel", "car's wheel"]
PARTS = 4


@pytest.mark.golden
def test_names_and_both_levels_are_those_of_the_released_code(golden):
    case = err_case(golden, "part_aggregator_io")
    stored, names = case.tensors, PartNames.of(NAMES)
    assert names.parts == ("ear", "head", "tail", "wheel") and names.objects == ("bus", "car", "cat", "dog")
    assert list(names.part_of) == stored["in.part_index"].tolist()
    assert list(names.object_of) == stored["in.obj_index"].tolist()
    weights = load_file(golden / ERR_FOLDER / "part_aggregator_weights_fp16.safetensors")
    module = PartAggregation(replace(PART_CAT_SEG, costs=8, prompts=8, window=4), 512, (384, 384)).eval()
    official = {name: value.float() for name, value in weights.items()}
    module.load_state_dict(part_aggregation_state(official, module))
    general, specific = stored["in.text_part_obj"][0], stored["in.text_specific"][0]
    # the stored inputs have a vector for none of its own for every prompt and level
    stored_text = {len(NAMES): specific}
    module._with_none = lambda text, image: stored_text.get(len(text), general).expand(len(image), -1, -1, -1)
    words = PartWords(
        general=general[:-1],
        specific=specific[:-1],
        part_of=stored["in.part_index"],
        object_of=PARTS + stored["in.obj_index"],
        places=torch.arange(PARTS, PARTS + len(NAMES)),
        parts=PARTS,
        names_objects=False,
    )
    guidance = [stored[f"in.vis{number}"] for number in range(3)]
    with torch.no_grad():
        first, second = module.levels([stored["in.img"]], words, guidance, AggregationContext((2, 2), None, 3))
    assert second is not None
    case.check({"out.part_obj_cost": first.cost, "out.part_obj_logit": first.logits})
    case.check({"out.specific_part_cost": second.cost, "out.specific_logit": second.logits})
