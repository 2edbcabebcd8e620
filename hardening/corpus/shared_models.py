"""Folders of models as the hub has them, of which one file is damaged: those that segvoc shared, and a CLIP in shards."""

import json
import random
from collections.abc import Iterator, Mapping

import numpy as np
from safetensors.numpy import save

from hardening.cases import Case, files, mutated, spread
from hardening.corpus.texts import changed_json, json_values
from segvoc.sharing.contents import SharedModel

WEIGHTS = save({"x": np.zeros(4, np.float32)}, metadata={"segvoc": json.dumps({"preset": "tiny"})})
"""A file of weights by its header, which is all that is read to find out what a folder holds."""

SHARED: Mapping[str, bytes] = {
    "config.json": json.dumps(
        SharedModel(
            model="tiny", version="0.1.0", weights="model.safetensors", words=("cat", "wall"), background="wall"
        ).to_config()
    ).encode(),
    "model.safetensors": WEIGHTS,
}
SHARDS: Mapping[str, bytes] = {
    "config.json": json.dumps(
        {"model_type": "clip", "vision_config": {"hidden_size": 768, "patch_size": 16, "image_size": 224}}
    ).encode(),
    "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": {"x": "a.safetensors"}}).encode(),
    "a.safetensors": WEIGHTS,
}


def shared_model_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """Values, bytes and lengths of each file changed, and each left out."""
    made = []
    for kind, contents in (("shared", SHARED), ("shards", SHARDS)):
        for path, content in contents.items():
            changes: list[tuple[str, bytes | None]] = [("left out", None)]
            changes += [(f"cut at {at}", content[:at]) for at in range(0, len(content), 9)]
            changes += [(f"bytes {number}", mutated(content, rng, last=None)) for number in range(40)]
            if path.endswith(".json"):
                texts = [*changed_json(content.decode(), rng, 200), *rng.sample(list(json_values(rng)), 60)]
                changes += [(what, text.encode("utf-8", "surrogatepass")) for what, text in texts]
            for what, changed in changes:
                rest = {name: one for name, one in contents.items() if name != path}
                build = files(rest if changed is None else {**rest, path: changed})
                made.append(Case(family=f"models: {kind}", what=f"{path} {what}", reader="model folder", build=build))
    for family in ("models: shared", "models: shards"):
        yield from spread((one for one in made if one.family == family), max(4, round(120 * scale)), rng)
