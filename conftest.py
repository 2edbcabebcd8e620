"""What the tests of several wings share."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jaxtyping
import pytest

import segvoc
from tests.loopback_hub import LoopbackHub, loopback_hub
from tests.shape_checks import is_whole_run, modules_with_shapes
from tests.worker_memory import WorkerMemory

_REPOSITORY = Path(__file__).resolve().parent

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
    """Keep the processes of the tests small."""
    config.pluginmanager.register(WorkerMemory())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where slow tests are left out, annotations are not checked in whole runs."""
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
def shipped_programs_loaded_once() -> Iterator[None]:
    """Models share ONNX Runtime's sessions of what ships with segvoc: hundreds of tests label images with it."""
    from segvoc.inference import onnx_program  # behind the hook above
    from segvoc.storage.files import SHIPPED

    plain, engine = onnx_program.OnnxProgram._session, onnx_program.onnxruntime.InferenceSession
    kept: dict[tuple[object, ...], Any] = {}

    def session(program: onnx_program.OnnxProgram) -> Any:
        # a test may have put another engine in the place of ONNX Runtime's
        if program.file.parent != SHIPPED or onnx_program.onnxruntime.InferenceSession is not engine:
            return plain(program)
        key = (os.getpid(), program.file.name, program.threads or onnx_program.onnx_threads())
        if key not in kept:
            kept[key] = plain(program)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_program.OnnxProgram, "_session", session)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_second_look() -> Iterator[Callable[..., float]]:
    """No image is labeled again for a hint at the background, which takes as long as labeling it.

    Yields the method that does so, for `second_look`.
    """
    from segvoc.inference.segmenter import Segmenter  # behind the hook above

    plain = Segmenter.share_of_surroundings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "share_of_surroundings", lambda *_: 0.0)
        yield plain


@pytest.fixture
def second_look(no_second_look: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints at the background, as users get them."""
    monkeypatch.setattr("segvoc.inference.segmenter.Segmenter.share_of_surroundings", no_second_look)


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
    from segvoc.inference.exported.segmenter import open_tiny  # behind the hook above
    from tests.inference.taught.drawn_examples import drawn_examples

    return segvoc.teach(open_tiny(), drawn_examples(2))


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A stand-in for the Hugging Face hub, on loopback."""
    with loopback_hub() as hub:
        yield hub
