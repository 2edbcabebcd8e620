"""The table of models; building, loading and converting them."""

import sys
from types import ModuleType


class _Package(ModuleType):
    """This package, whose call, as of a function that lists models elsewhere, is answered with ours."""

    def __call__(self, *_: object, **__: object) -> object:
        raise TypeError("models is a module, no function; use segvoc.list_models()")


sys.modules[__name__].__class__ = _Package
