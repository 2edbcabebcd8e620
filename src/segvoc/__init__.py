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
    other: ours
    for ours, others in {
        'segvoc.load("tiny").segment(image, words)': "segment predict label inference run segment_image process "
        "segment_many detect infer",
        "segvoc.load(name)": "from_pretrained load_model Model model create_model pipeline get_model build_model "
        "SegVoc AutoModel Predictor build YOLO download load_checkpoint hub",
        "segvoc.train(...)": "finetune fit Trainer fine_tune",
        "segvoc.list_models()": "models available_models MODELS model_zoo list presets",
        "PIL or an RGB array: image[..., ::-1] of OpenCV's": "imread read_image load_image from_bgr from_cv2 open "
        "from_opencv",
        'segvoc.push(model, "owner/name")': "push_to_hub upload share",
        "segvoc.read_dataset(path) or segvoc.LabeledImages": "Dataset load_dataset datasets DataLoader from_coco",
        "segvoc.click(image, points=[(x, y)])": "SamPredictor sam SAM segment_anything point",
        "result.overlay() or result.show()": "show plot visualize overlay draw save_overlay imshow",
        "segvoc.evaluate(model, images, folder)": "val validate benchmark score miou metrics test",
        "segvoc.load(name, device=...)": "device set_device to cuda",
        "segvoc.load_network(...)": "network load_torch Network",
        "segvoc.Segmentation": "Result Results SegmentationResult",
        "segvoc.export(model, folder)": "to_onnx export_model onnx",
        "segvoc.save(model, path)": "save_model save_pretrained",
        "model.encode(words)": "encode tokenize encode_text",
        "segvoc.__version__": "version VERSION",
        "the command `segvoc serve`": "serve app server",
    }.items()
    for other in others.split()
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
