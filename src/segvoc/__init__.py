"""segvoc: label every pixel of an image with words chosen at run time.

    import segvoc

    model = segvoc.load("tiny")
    result = model.segment("photo.jpg", ["cat", "sofa", "wall"])
    result.save("out/")

Importing this package is cheap; its only side effect is to turn off ONNX Runtime's telemetry. PyTorch is imported by
the first call that needs it.
"""

import os
from importlib import import_module

# Turn off the telemetry of ONNX Runtime 1.29 and later: it reports models and machine, stores an identifier in the
# user's home, and warns if it can't. The variable is read at import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

with open(os.path.splitext(__file__)[0] + ".pyi", encoding="utf-8") as _file:
    _imports = [line.split() for line in _file if line.startswith("from ")]

_HABITS = {
    **dict.fromkeys(("segment", "predict", "label"), 'segvoc.load("tiny").segment(image, words)'),
    **dict.fromkeys(
        ("from_pretrained", "load_model", "Model", "model", "create_model", "pipeline"), "segvoc.load(name)"
    ),
    **dict.fromkeys(("finetune", "fit", "Trainer"), "segvoc.train(...)"),
    **dict.fromkeys(("models", "available_models"), "segvoc.list_models()"),
    **dict.fromkeys(
        ("imread", "read_image", "load_image", "from_bgr"), "PIL or an RGB array: image[:, :, ::-1] of OpenCV's"
    ),
    "push_to_hub": 'segvoc.push(model, "owner/name")',
}
"""What is called otherwise in other libraries, and its name here."""

_HOMES = {name: home for _, home, *_, name in _imports}
"""The module of each public name, as `__init__.pyi` has it: "from HOME import NAME as NAME"."""

__all__ = sorted(_HOMES.keys() - {"__version__"})  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        from segvoc.errors import no_attribute

        raise no_attribute("module 'segvoc'", name, _HABITS, __all__)
    from segvoc.errors import naming_torch

    with naming_torch():
        home = import_module(_HOMES[name])
        return getattr(home, name) if hasattr(home, name) else import_module(f"{_HOMES[name]}.{name}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_HOMES)
