"""`compile=true`: the numbers of a run that isn't compiled, and no graph that is compiled anew at every step."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from tests.processes import printed
from tests.training.runs import drawn_images, losses, open_run

STEPS = 4


def run(folder: Path, *, compiled: bool, **options: object) -> list[int]:
    """Train; the number of graphs after each step."""
    torch._dynamo.reset()
    counters.clear()
    seen: list[int] = []
    training = open_run(drawn_images(folder / "set"), folder / "run", compile=compiled, steps=STEPS, **options)
    note = training.folder.note
    training.folder.note = lambda name, entry: (note(name, entry), seen.append(counters["stats"]["unique_graphs"]))
    training.run()
    return seen


def main(folder: Path, backend: str) -> None:
    """Compare compiled and plain runs; the backend "eager" traces as "inductor" does, but generates no code."""
    graphs: dict[str, list[int]] = {}
    torch.set_num_threads(1)
    own = torch.nn.Module.compile
    torch.nn.Module.compile = lambda self, **options: own(self, backend=backend, **options)
    for name, options in (
        ("all", {"class_chunk_size": 2}),
        ("sampled", {"class_chunk_size": 2, "activation_checkpointing": True, "num_sampled_classes": 2}),
    ):
        run(folder / name / "plain", compiled=False, **options)
        graphs[name] = run(folder / name / "compiled", compiled=True, **options)
        plain, compiled = (torch.tensor(losses(folder / name / kind / "run")) for kind in ("plain", "compiled"))
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
    sys.stdout.write(json.dumps(graphs))


# a process of its own: annotations that are checked at run time break graphs
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_run_has_the_same_numbers_and_its_graphs_serve_all_steps(backend, tmp_path, pytestconfig):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    shown = printed("-m", "tests.training.test_compiled", tmp_path, backend, cwd=pytestconfig.rootpath)
    graphs = json.loads(shown)
    assert graphs.keys() == {"all", "sampled"}
    for name, counts in graphs.items():
        assert 0 < counts[0] and counts[2] == counts[-1], f"{name}: {counts}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
