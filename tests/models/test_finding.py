"""What a folder of transformers tells of the network that its weights are for."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from segvoc.models.finding import find_model
from segvoc.models.loading import named_model

VISION = {"hidden_size": 768, "patch_size": 16, "image_size": 224}


@pytest.mark.parametrize(("act", "options"), [("gelu", {"activation": "gelu"}), ("quick_gelu", {}), (None, {})])
def test_the_activation_of_a_clip_is_known(tmp_path: Path, act: str | None, options: dict[str, str]) -> None:
    vision = VISION | ({} if act is None else {"hidden_act": act})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": vision}))
    save_file({"logit_scale": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    found = find_model(str(tmp_path))
    assert found is not None and (found.model, dict(found.options)) == ("clip-b", options)
    configuration = named_model(str(tmp_path)).configuration
    assert configuration.encoders.activation == options.get("activation", "quick_gelu")  # type: ignore[union-attr]
