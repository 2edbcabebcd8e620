"""SynSeg's losses against a slow reference written from the paper's equations, in float64."""

import numpy as np
import pytest
import torch

from segvoc.training.objectives.losses import TERMS, SynergyLosses

OWNER = [0, 0, 0, 1, 2, 2]
IMAGES = 4
"""The last one has no phrase."""


def _vectors(seed: int = 0) -> list[np.ndarray]:
    """Foreground, background and text of six phrases; the first pair of f and g is nearly opposite, one is alike."""
    generator = np.random.default_rng(seed)
    f, g, t = (generator.normal(size=(len(OWNER), 5)) for _ in range(3))
    g[0] = -f[0] + 0.01 * g[0]
    g[1] = 2 * f[1] + 0.1 * g[1]
    f[5] = 0.9 * f[4] + 0.1 * f[5]
    return [f, g, t]


def _bounded(cosine: float, version: str, eps: float) -> float:
    """Eq. 4: v2 clips, v3 clamps and then maps [-1, 1] to [eps, 1 - eps]."""
    if version == "v2":
        return min(max(cosine, eps), 1 - eps)
    return eps + (1 - 2 * eps) * (min(max(cosine, -1.0), 1.0) + 1) / 2


def _cosine(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))


def reference(vectors: list[np.ndarray], version: str, eps: float, active: float) -> dict[str, float]:
    """Eqs. 5 to 8, term by term, averaged over the images."""
    f, g, t = vectors
    sums = dict.fromkeys(TERMS, 0.0)
    for image in range(IMAGES):
        mine = [index for index, owner in enumerate(OWNER) if owner == image]
        n = len(mine)
        for i in mine:
            sums["align"] -= np.log(_bounded(_cosine(f[i], t[i]), version, eps)) / n
            apart = _cosine(f[i], g[i])
            if version == "v2" or apart > active:
                sums["cont"] -= np.log(1 - _bounded(apart, version, eps)) / n
        if n < 2:
            continue
        pairs = [(j, k) for j in mine for k in mine if version == "v2" or j != k]
        assert len(pairs) == (n * n if version == "v2" else n * (n - 1))
        for j, k in pairs:
            sums["back"] -= np.log(_bounded(_cosine(g[j], g[k]), version, eps)) / len(pairs)
            sums["sep"] -= np.log(1 - _bounded(_cosine(f[j], f[k]), version, eps)) / len(pairs)
    return {term: value / IMAGES for term, value in sums.items()}


def _ours(vectors: list[torch.Tensor], **settings) -> dict[str, torch.Tensor]:
    return SynergyLosses(**settings)(*vectors, torch.tensor(OWNER), IMAGES)


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize(("eps", "active"), [(5e-3, 0.1), (0.1, -0.5)])
def test_losses_are_the_papers(version, eps, active):
    vectors = _vectors()
    ours = _ours([torch.tensor(part) for part in vectors], version=version, eps=eps, active=active)
    expected = reference(vectors, version, eps, active)
    assert list(ours) == list(TERMS)
    for term, value in expected.items():
        assert ours[term].item() == pytest.approx(value, rel=1e-9), term
        assert value > 0


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("term", TERMS)
def test_gradients_are_finite_differences(version, term):
    vectors = [torch.tensor(part, requires_grad=True) for part in _vectors(1)]
    _ours(vectors, version=version)[term].backward()
    moved = {"align": (0, 2), "cont": (0, 1), "back": (1,), "sep": (0,)}[term]
    for part in range(3):
        if part not in moved:
            assert vectors[part].grad is None or not vectors[part].grad.any()
            continue
        numeric = np.zeros(vectors[part].shape)
        for place in np.ndindex(*numeric.shape):
            values = []
            for step in (1e-6, -1e-6):
                changed = [vector.detach().numpy().copy() for vector in vectors]
                changed[part][place] += step
                values.append(reference(changed, version, 5e-3, 0.1)[term])
            numeric[place] = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(vectors[part].grad.numpy(), numeric, rtol=1e-5, atol=1e-7)


def test_without_phrases_there_is_nothing_to_learn():
    losses = SynergyLosses()(*(torch.zeros(0, 4) for _ in range(3)), torch.zeros(0, dtype=torch.int64), 2)
    assert [value.item() for value in losses.values()] == [0, 0, 0, 0]
