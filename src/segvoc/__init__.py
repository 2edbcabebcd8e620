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

_HOMES = {name: home for _, home, *_, name in _imports}
"""The module of each public name, as `__init__.pyi` has it: "from HOME import NAME as NAME"."""

__all__ = sorted(_HOMES.keys() - {"__version__"})  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        from segvoc.runtime.suggestions import no_attribute

        raise no_attribute("module 'segvoc'", name, "module", __all__)
    from segvoc.errors import naming_torch

    with naming_torch():
        home = import_module(_HOMES[name])
        return getattr(home, name) if hasattr(home, name) else import_module(f"{_HOMES[name]}.{name}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_HOMES)
