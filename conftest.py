"""What the tests of several wings share."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jaxtyping
import numpy as np
import pytest
from hypothesis.internal.conjecture import providers as hypothesis_draws

import segvoc
from tests.loopback_hub import LoopbackHub, loopback_hub
from tests.shape_checks import is_whole_run, modules_with_shapes
from tests.worker_groups import start_order
from tests.worker_memory import PeakMemory, WorkerMemory

_REPOSITORY = Path(__file__).resolve().parent

_STAND_INS = str(_REPOSITORY / "tests" / "stand_ins")
sys.path.insert(0, _STAND_INS)

# Every other worker computes with two threads, as users do, unless the environment says how many; PyTorch and what the
# tests start read it when they are imported.
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("OMP_NUM_THREADS", str(1 + int(_worker.removeprefix("gw")) % 2))
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # the workers share the cores

# The same drawn cases each time, so that whoever runs the tests first isn't the one who meets a case that nobody had
# before; `make test-all` draws others at each run.
hypothesis.settings.register_profile("same cases", derandomize=True, deadline=None)
hypothesis.settings.load_profile("same cases")

# Annotations of these modules are checked at each call while the tests run, and only then; those of the others by
# pyright alone, since checks at run time took a third of the time of all tests.
_HOOK = jaxtyping.install_import_hook(list(modules_with_shapes()), "beartype.beartype")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the processes of the tests small, and the drawn cases the same whichever modules are loaded."""
    config.pluginmanager.register(WorkerMemory())
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(PeakMemory())
    if config.getoption("--hypothesis-profile") is None:
        # else some values are constants of the modules of ours that happen to be loaded
        vars(hypothesis_draws)["is_local_module_file"] = lambda path: False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file, and all tests of browsers or of Ray, to one worker."""
    from tests.worker_groups import GroupScheduling

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let several workers begin with what takes longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: start_order(item.path.relative_to(_REPOSITORY).as_posix()))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed the global generators, so that no test depends on those before it.

    Where slow tests are left out, annotations are not checked in whole runs.
    """
    random.seed(0)
    np.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
    if item.config.option.markexpr == "not slow":
        jaxtyping.config.update("jaxtyping_disable", is_whole_run(item.path))


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of full goldens (env SEGVOC_GOLDEN, else ../shared/golden); without it the test skips.

    With SEGVOC_REQUIRE_GOLDEN=1 it fails instead.
    """
    folder = Path(os.environ.get("SEGVOC_GOLDEN", _REPOSITORY.parent / "shared" / "golden"))
    if folder.is_dir():
        return folder
    reason = f"no goldens at {folder}: set SEGVOC_GOLDEN"
    if os.environ.get("SEGVOC_REQUIRE_GOLDEN") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """No test changes the number of threads for the next one."""
    torch = sys.modules.get("torch")
    before = torch and torch.get_num_threads()
    yield
    if torch is not None and (after := torch.get_num_threads()) != before:
        torch.set_num_threads(before)
        pytest.fail(f"the test has left {after} threads behind, not {before}")


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user() -> Iterator[None]:
    """No test reads or writes what segvoc keeps for the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGVOC_CACHE", "off")
        yield


@pytest.fixture(scope="session", autouse=True)
def no_data_of_the_user() -> Iterator[None]:
    """No test reads benchmarks of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DETECTRON2_DATASETS", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_windows() -> Iterator[None]:
    """No test opens a window: neither a viewer of images nor a browser."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):  # also of the processes that tests start
            patch.delenv(name, raising=False)
        patch.setattr("PIL.ImageShow.show", lambda *_, **__: False)
        patch.setattr("webbrowser.open", lambda *_, **__: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def spacy_stand_in() -> Iterator[None]:
    """Captions are parsed by tests/stand_ins/spacy.py, also in the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (_STAND_INS, os.environ.get("PYTHONPATH")))))
        yield


@pytest.fixture
def as_users_call() -> Iterator[None]:
    """Without the checks of annotations, which users don't have: what the package says of wrong arguments."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def shapes_checked() -> Iterator[None]:
    """With the checks of annotations, also where whole runs go without."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", False)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def small_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset `small`, a network with few weights."""
    from segvoc.models.presets import PRESETS  # behind the hook above
    from tests.inference.small_network import SMALL_PRESET

    monkeypatch.setitem(PRESETS, "small", SMALL_PRESET)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curves, which takes a third of the time of short ones."""
    monkeypatch.setattr("segvoc.training.monitor.draw_curves", lambda *_: None)


@pytest.fixture(scope="session")
def tiny_network() -> Any:
    """The embedded model as a network in float32, with the words that tests asked it about; no test changes it."""
    return segvoc.load_network("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def taught() -> Any:
    """Words that `tiny`'s programs learned from two drawn images; teaching takes seconds."""
    from segvoc.models.shipped import open_tiny  # behind the hook above
    from tests.inference.taught.drawn_examples import drawn_examples

    return segvoc.teach(open_tiny(), drawn_examples(2), keep_worse=True)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A stand-in for the Hugging Face hub, on loopback."""
    with loopback_hub() as hub:
        yield hub
