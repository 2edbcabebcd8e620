"""`compile=true`: the numbers of a run that isn't compiled, and no graph that is compiled anew at every step."""

import json
import shutil

import pytest

from tests.processes import printed


# a process of its own: annotations that are checked at run time break graphs
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_run_has_the_same_numbers_and_its_graphs_serve_all_steps(backend, tmp_path, pytestconfig):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    shown = printed("-m", "tests.training.compiled_run", tmp_path, backend, cwd=pytestconfig.rootpath)
    graphs = json.loads(shown)
    assert graphs.keys() == {"all", "sampled"}
    for name, counts in graphs.items():
        assert 0 < counts[0] and counts[2] == counts[-1], f"{name}: {counts}"
