"""PCA-Seg stage by stage against the official code: the aggregator at real size, a tiny complete network, a full one.

What is ours is computed once; each stage is then compared with the compact set, and with the full one where it is.
"""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from segvoc.checkpoints.official_pca_seg import our_name, pca_seg_aggregation, pca_seg_state
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, eva_text
from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder
from segvoc.encoders.vit import vit_b16
from segvoc.networks.pca_seg import ParallelAggregation, PCASeg, PCASegConfig
from segvoc.training.losses import OrthogonalityLoss, squared_cosine
from tests.encoders.image_tower_contract import TINY_VIT
from tests.golden_rules import golden_input, golden_parameter, relative_error
from tests.golden_sets import TOLERANCE, compact_case, full_case

pytestmark = pytest.mark.golden

BLOCKS = ("layer0.{}_first", "layer0.{}_second")
RELEASED_WEIGHT = 0.001
# Of each gradient's own largest magnitude. Rounding flips single ReLUs: the stored gradients of the first convolution
# and of the gate lie 1.9e-4 and 3.2e-4 from those in float64. Of the largest gradient that is far below 1e-4.
GRADIENT_TOLERANCE = 5e-4
TINY_CONFIG = PCASegConfig(
    dim=32, guidance_dim=16, tap_dims=(24, 16), decoder_dims=(32, 16), decoder_guidance_dims=(16, 8)
)
TINY_EVA_TEXT = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=False, fine_tuned="qkv")
CLIP = "sem_seg_head.predictor.clip_model."
AGGREGATOR = "sem_seg_head.predictor.transformer."


@pytest.fixture(scope="module", params=["compact", "full"])
def of(request):
    """The case of that name, of either set."""
    if request.param == "compact":
        return cache(compact_case)
    folder = request.getfixturevalue("golden")
    return cache(lambda case: full_case(folder, case))


def record(module: nn.Module, into: dict[str, Tensor], name: str) -> None:
    module.register_forward_hook(lambda _, inputs, output: into.__setitem__(name, output))


def classes_second(tokens: Tensor, step: int = 1) -> Tensor:
    """(B T H W C) of the first picture as (1 C T H W), every `step`-th cell."""
    return tokens[:1].permute(0, 4, 1, 2, 3)[..., ::step, ::step]


# The aggregator at real size


@cache
def aggregator_inputs() -> tuple[Tensor, Tensor, list[Tensor]]:
    text = golden_input("txt", (2, 5, 1, 512))
    similar = compact_case("pca_aggregator").tensors["similar_cells"][:, None]
    image = golden_input("img", (2, 512, 24, 24)) + 2 * similar * text[:, 0, 0, :, None, None]
    shapes = {"g0": (2, 512, 24, 24), "g1": (2, 256, 48, 48), "g2": (2, 128, 96, 96)}
    guidance = [(golden_input(name, shape) * 0.5).half().float() for name, shape in shapes.items()]
    return image.half().float(), text.half().float(), guidance


def aggregation(**changes) -> ParallelAggregation:
    shapes = compact_case("pca_aggregator").record["weights"]
    if changes.get("pad_classes") == 0:
        shapes = {name: shape for name, shape in shapes.items() if ".padding_" not in name}
    module = ParallelAggregation(PCASegConfig(**changes), channels=512)
    official = {name: golden_parameter(f"agg.{name}", tuple(shape)) for name, shape in shapes.items()}
    module.load_state_dict(pca_seg_aggregation(official, module))
    return module.eval()


@cache
def aggregator_stages() -> dict[str, Tensor]:
    image, text, guidance = aggregator_inputs()
    module, seen = aggregation(), {}
    for name, part in {
        "conv1": module.embed_cost,
        "guidance_projection": module.guidance,
        "text_guidance_projection": module.text_guidance,
        "decoder1": module.decoder.stages[0],
        "head": module.decoder.head,
        "layer0": module.blocks[1],
        "layer1": module.blocks[3],
    }.items():
        record(part, seen, name)
    for number, name in enumerate(BLOCKS):
        block = module.blocks[number]
        for kind, part in (("swin_block", block.spatial), ("attention", block.semantic), ("fusion", block.fuse)):
            record(part, seen, name.format(kind))
    with torch.no_grad():
        stages = {"logits": module([image], text, guidance, pooling=(2, 2))}
    for name in ("guidance_projection", "text_guidance_projection"):
        stages[name] = F.relu(seen[name])
    stages |= {name: seen[name][:5] for name in ("conv1", "head")} | {"decoder1": seen["decoder1"][:5, :, ::2, ::2]}
    coarse = {"layer0.swin_block_second": 2, "layer0.attention_second": 2}
    stages |= {name: classes_second(seen[name], coarse.get(name, 1)) for name in seen if name.startswith("layer")}
    return {f"eval.{name}": stage for name, stage in stages.items()}


@cache
def aggregator_variant(name: str) -> Tensor:
    image, text, guidance = aggregator_inputs()
    pooling, keep, chunk, step = (2, 2), None, None, 2
    match name:
        case "eval_pool1.logits":
            module, pooling, step = aggregation(), (1, 1), 1
        case "trunc_padlen4.logits":
            module, text, keep = aggregation(pad_classes=4), golden_input("txt6", (2, 6, 1, 512)), 4
        case "padlen0.logits":
            module = aggregation(pad_classes=0)
        case "fullattn.logits":
            module = aggregation(class_attention="softmax")
        case "c300.logits_s8":
            module, text, keep = aggregation(), golden_input("txt300", (1, 300, 1, 512)), 256
            image, guidance, chunk, step = image[:1], [guide[:1] for guide in guidance], 64, 8
    with torch.no_grad():
        logits = module([image], text, guidance, pooling=pooling, keep_classes=keep, chunk=chunk)
    return logits[..., ::step, ::step]


@cache
def aggregator_training() -> tuple[ParallelAggregation, Tensor, Tensor, list[tuple[float, float]]]:
    """The module after one backward pass of the goldens' loss, its logits, FOD, and each block's mean cosines."""
    image, text, guidance = aggregator_inputs()
    module, orthogonality, cosines = aggregation().train(), OrthogonalityLoss(RELEASED_WEIGHT), []

    def observe(spatial: Tensor, semantic: Tensor) -> None:
        orthogonality.observe(spatial, semantic)
        mean = F.cosine_similarity(spatial, semantic, dim=-1).mean().item()
        cosines.append((squared_cosine(spatial, semantic).mean().item(), mean))

    logits = module([image], text, guidance, pooling=(2, 2), observe=observe)
    fod = orthogonality()
    (1000 * fod + logits.square().mean()).backward()
    return module, logits.detach(), fod.detach(), cosines


def aggregator_gradient(name: str) -> Tensor:
    return official_gradient(aggregator_training()[0], our_name(name))


def official_gradient(module: nn.Module, ours: str) -> Tensor:
    """The gradient of one of our weights, or of the share of one expert in it."""
    ours, _, number = ours.partition(" of expert ")
    gradient = module.get_parameter(ours).grad
    assert gradient is not None, f"{ours} got no gradient"
    return gradient.chunk(4)[int(number)] if number else gradient


AGGREGATOR_STAGES = (
    ["conv1", "guidance_projection", "text_guidance_projection"]
    + [name.format(kind) for name in BLOCKS for kind in ("swin_block", "attention", "fusion")]
    + ["layer0", "layer1", "decoder1", "head", "logits"]
)
VARIANTS = ["eval_pool1.logits", "trunc_padlen4.logits", "padlen0.logits", "fullattn.logits", "c300.logits_s8"]
GRADIENTS = {
    "grad.conv1.weight": "conv1.weight",
    "grad.head.weight": "head.weight",
    "grad.gate": "layers.0.fusion_by_channel_first.gate_net.0.weight",
    "grad.layers.0.attention_first.padding_tokens": "layers.0.attention_first.padding_tokens",
}


class TestAggregator:
    @pytest.mark.parametrize("stage", AGGREGATOR_STAGES)
    def test_evaluation(self, of, stage):
        assert of("pca_aggregator").error(f"eval.{stage}", aggregator_stages()[f"eval.{stage}"]) <= TOLERANCE

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_variant(self, of, variant):
        assert of("pca_aggregator").error(variant, aggregator_variant(variant)) <= TOLERANCE

    def test_classes_in_chunks(self, of):
        image, text, guidance = aggregator_inputs()
        with torch.no_grad():
            logits = aggregation()([image], text, guidance, pooling=(2, 2), chunk=2)
        assert of("pca_aggregator").error("eval.logits", logits) <= TOLERANCE

    def test_training_logits(self, of):
        assert of("pca_aggregator").error("train.logits", aggregator_training()[1]) <= TOLERANCE

    def test_orthogonality(self, of):
        golden, (_, logits, fod, cosines) = of("pca_aggregator").record, aggregator_training()
        value = golden["fod_returned(=0.001*mean over layers of mean of 2)"]
        assert fod.item() == pytest.approx(value, rel=TOLERANCE)
        assert (1000 * fod + logits.square().mean()).item() == pytest.approx(golden["train_loss"], rel=TOLERANCE)
        terms = golden["fod_terms (mean cos^2, mean cos) in call order"]
        for ours, theirs in zip(cosines, terms, strict=True):
            assert ours == pytest.approx(theirs, rel=TOLERANCE)

    @pytest.mark.parametrize("stage", GRADIENTS)
    def test_stored_gradient(self, of, stage):
        shape = compact_case("pca_aggregator").record["tensors"][stage]["shape"]
        ours = aggregator_gradient(GRADIENTS[stage]).reshape(shape)
        assert of("pca_aggregator").error(stage, ours) <= GRADIENT_TOLERANCE

    def test_stored_gradients_together(self, of):
        """All as one stage: the unit is the largest of all."""
        largest = {stage: aggregator_gradient(name).abs().max().item() for stage, name in GRADIENTS.items()}
        shapes = compact_case("pca_aggregator").record["tensors"]
        for stage, name in GRADIENTS.items():
            error = of("pca_aggregator").error(stage, aggregator_gradient(name).reshape(shapes[stage]["shape"]))
            assert error * largest[stage] <= TOLERANCE * max(largest.values()), stage

    def test_the_norms_of_all_gradients(self, of):
        norms = of("pca_aggregator").record["grad_norm"]
        assert_norms(norms, {name: aggregator_gradient(name).norm().item() for name in norms})

    @pytest.mark.parametrize("statistic", ["running_mean", "running_var"])
    def test_batch_statistics_after_one_step(self, of, statistic):
        name = f"layers.0.fusion_by_channel_first.expert_layers.0.1.{statistic}"
        ours = aggregator_training()[0].get_buffer(our_name(name).removesuffix(" of expert 0")).chunk(4)[0]
        assert of("pca_aggregator").error(f"train_after.{name}", ours) <= TOLERANCE

    def test_every_stored_stage_is_compared(self, of):
        compared = {f"eval.{stage}" for stage in AGGREGATOR_STAGES} | set(VARIANTS) | set(GRADIENTS) | {"train.logits"}
        stored = {name for name in of("pca_aggregator").record["tensors"] if "text_feats" not in name}
        assert {name for name in stored if not name.startswith("train_after.")} == compared


def assert_norms(golden: dict[str, float], ours: dict[str, float]) -> None:
    """All within the tolerance; those that are zero but for rounding (of keys' biases) need only be as small."""
    pairs = {name: (ours[name], theirs) for name, theirs in golden.items()}
    wrong = {name: pair for name, pair in pairs.items() if abs(pair[0] - pair[1]) > GRADIENT_TOLERANCE * pair[1] + 1e-7}
    assert not wrong


def test_the_rule_gives_the_stored_inputs(golden):
    stored = load_file(golden / "cat_pca" / "aggregator_inputs.safetensors")
    image, text, guidance = aggregator_inputs()
    assert torch.equal(image, stored["img_feats"].float())
    assert torch.equal(text, stored["text_feats"].float())
    assert all(torch.equal(ours, stored[f"guid{number}"].float()) for number, ours in enumerate(guidance))
    outputs = load_file(golden / "cat_pca" / "pca_aggregator_outputs.safetensors")
    assert torch.equal(golden_input("txt6", (2, 6, 1, 512)), outputs["trunc.text_feats"])
    assert torch.equal(golden_input("txt300", (1, 300, 1, 512)), outputs["c300.text_feats"])


# A tiny complete network


def tiny_pca_seg() -> PCASeg:
    return PCASeg(TINY_CONFIG, EvaClipImageEncoder(EvaClipConfig(vit=TINY_VIT)), ClipTextEncoder(TINY_EVA_TEXT))


@cache
def tiny() -> PCASeg:
    shapes, network = compact_case("tiny_pca_eva").record["weights"], tiny_pca_seg()
    official = {name: golden_parameter(name, tuple(shape)) for name, shape in shapes.items()}
    network.load_state_dict(pca_seg_state(official, network))
    return network.eval()


def embed(network: PCASeg, names: list[str]) -> Tensor:
    """Embeddings (T 1 C) by the released code's prompts: of synonyms the first, spaces kept."""
    encoder = network.text_encoder
    prompts = [f"A photo of a {name.split(', ')[0]} in the scene" for name in names]
    return encoder(encoder.tokenize(prompts))[:, None]


def pictures(*names: str) -> Tensor:
    return torch.stack([compact_case("tiny_pca_eva").tensors[name] for name in names]).float()


def network_stages(network: PCASeg, image: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Towers' maps, lifted taps, text, blocks, logits, and probabilities at 384 px as the released code gives them."""
    seen, hooked = {}, {"image": network.image_encoder, "layer0": network.aggregation.blocks[1]}
    hooked |= {"res4": network.lifts[0], "res5": network.lifts[1], "layer1": network.aggregation.blocks[3]}
    for name, part in hooked.items():
        record(part, seen, name)
    with torch.no_grad():
        text = embed(network, names)
        logits = network(image, text, pooling=(2, 2), keep_classes=256)
        probabilities = F.interpolate(logits.sigmoid(), (384, 384), mode="bilinear", align_corners=False)[0]
    for part in hooked.values():
        part._forward_hooks.clear()
    return seen | {
        "text": text[None],
        "logits": logits,
        "sem_seg": probabilities,
        "img_feats": seen["image"].maps[0],
        "taps": seen["image"].taps,
    }


@cache
def tiny_stages() -> dict[str, Tensor]:
    names = compact_case("tiny_pca_eva").record["classes"]
    stages = network_stages(tiny(), pictures("image384_u8"), names)
    return {
        "eval384.res4_in": stages["taps"][0],
        "eval384.res5_in": stages["taps"][1],
        "eval384.res4_s2": stages["res4"][..., ::2, ::2],
        "eval384.res5_s4": stages["res5"][..., ::4, ::4],
        "eval384.res3": stages["img_feats"],
        "eval384.img_feats": stages["img_feats"],
        "eval384.text": stages["text"],
        "eval384.layer0": classes_second(stages["layer0"], 2),
        "eval384.layer1": classes_second(stages["layer1"], 2),
        "eval384.logits": stages["logits"],
        "eval384.sem_seg_s4": stages["sem_seg"][:, ::4, ::4],
    }


@cache
def tiny_training() -> tuple[PCASeg, Tensor, dict[str, float]]:
    """The network after one backward pass of the released losses over two pictures, its logits, the losses."""
    case = compact_case("tiny_pca_eva")
    labels = case.tensors["train.sem_seg_u8"].long()
    network, orthogonality = tiny.__wrapped__().train(), OrthogonalityLoss(RELEASED_WEIGHT)
    text = embed(network, case.record["classes"])
    logits = network(pictures("image384_u8", "train.image1_u8"), text, observe=orthogonality.observe)
    scores = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    # as released: an ignored pixel (255) belongs to no class, and counts
    targets = torch.stack([labels == number for number in range(scores.shape[1])], dim=1).float()
    losses = {"loss_sem_seg": F.binary_cross_entropy_with_logits(scores, targets), "loss_organ": orthogonality()}
    torch.stack(tuple(losses.values())).sum().backward()
    return network, logits.detach(), {name: loss.item() for name, loss in losses.items()}


def tiny_gradient(official: str) -> list[Tensor]:
    """Our gradients that make up the official one: packed projections of the text tower are three here."""
    network = tiny_training()[0]
    if official.startswith(AGGREGATOR):
        return [official_gradient(network.aggregation, our_name(official.removeprefix(AGGREGATOR)))]
    if official.startswith("upsample"):
        return [official_gradient(network.lifts, f"{int(official[8]) - 1}.{official[10:]}")]
    name = official.removeprefix(CLIP)
    if name.startswith("visual."):
        return [official_gradient(network.image_encoder.tower, name.removeprefix("visual."))]
    stem = name.removeprefix("text.").removesuffix("in_proj_weight")
    return [official_gradient(network.text_encoder.tower, f"{stem}{letter}_proj.weight") for letter in "qkv"]


class TestTinyNetwork:
    @pytest.mark.parametrize(
        "stage",
        "text img_feats res3 res4_in res5_in res4_s2 res5_s4 layer0 layer1 logits sem_seg_s4".split(),
    )
    def test_evaluation(self, of, stage):
        assert of("tiny_pca_eva").error(f"eval384.{stage}", tiny_stages()[f"eval384.{stage}"]) <= TOLERANCE

    @pytest.mark.parametrize("mode", ["csa", "qq", "kk", "vv", "all", "maskclip", "vanilla"])
    def test_dense_mode_of_the_image_tower(self, of, mode):
        tower = EvaClipImageEncoder(EvaClipConfig(vit=TINY_VIT, dense=mode)).eval()
        tower.load_state_dict(tiny().image_encoder.state_dict())
        with torch.no_grad():
            dense = tower(pictures("image384_u8")).maps[0].flatten(2).mT
        assert of("tiny_pca_eva").error(f"dense_{mode}", dense) <= TOLERANCE

    def test_training_logits(self, of):
        assert of("tiny_pca_eva").error("train.logits", tiny_training()[1]) <= TOLERANCE

    def test_losses(self, of):
        assert tiny_training()[2] == pytest.approx(of("tiny_pca_eva").record["train_losses"], rel=TOLERANCE)

    def test_the_norms_of_all_gradients(self, of):
        norms = of("tiny_pca_eva").record["grad_norm"]
        ours = {name: sum(part.square().sum() for part in tiny_gradient(name)).sqrt().item() for name in norms}
        assert_norms(norms, ours)

    def test_what_is_trained(self, of):
        """Just what gets a gradient in the official training step, and what that step leaves at none."""
        network, trainable = tiny(), compact_case("tiny_pca_eva").record["trainable"]
        ours = sum(network.get_parameter(name).numel() for name in network.trainable_parameters())
        shapes = compact_case("tiny_pca_eva").record["weights"]
        assert ours == sum(torch.Size(shapes[name]).numel() for name in trainable)
        assert set(of("tiny_pca_eva").record["grad_norm"]) <= set(trainable)


# The network at full size


FULL_WORDS = ["aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"]
FULL_WORDS += ["dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"]


@cache
def full_network(golden: Path) -> PCASeg:
    shapes = json.loads((golden / "cat_pca" / "keys_pca_eva_vitb_384.json").read_text())["state_dict"]
    with torch.device("meta"):
        network = PCASeg(
            PCASegConfig(), EvaClipImageEncoder(EvaClipConfig(vit=vit_b16())), ClipTextEncoder(eva_text(512))
        )
    official = {name: golden_parameter(name, tuple(shape)) for name, shape in shapes.items()}
    network.load_state_dict(pca_seg_state(official, network), assign=True)
    return network.eval()


@pytest.fixture(scope="module")
def full_stages(golden):
    return network_stages(full_network(golden), pictures("image384_u8"), FULL_WORDS)


class TestFullNetwork:
    @pytest.mark.parametrize(
        ("ours", "stage", "step"),
        [
            ("text", "text", 1),
            ("img_feats", "img_feats_s4", 4),
            ("res4", "res4_s8", 8),
            ("res5", "res5_s16", 16),
            ("logits", "logits_s4", 4),
            ("sem_seg", "sem_seg_s8", 8),
        ],
    )
    def test_stage(self, golden, full_stages, ours, stage, step):
        theirs = load_file(golden / "cat_pca" / "full_pca_eva_vitb_384_voc20.safetensors")[f"eval384.{stage}"]
        value = full_stages[ours] if step == 1 else full_stages[ours][..., ::step, ::step]
        assert relative_error(value, theirs) <= TOLERANCE

    @pytest.mark.parametrize(("ours", "stage", "step"), [("logits", "logits_s4", 4), ("sem_seg", "sem_seg_s8", 8)])
    def test_the_strongest_classes_are_equal(self, golden, full_stages, ours, stage, step):
        theirs = load_file(golden / "cat_pca" / "full_pca_eva_vitb_384_voc20.safetensors")[f"eval384.{stage}"]
        equal = full_stages[ours][..., ::step, ::step].argmax(-3) == theirs.argmax(-3)
        assert equal.float().mean() >= 0.999
