"""What the check of sources finds: tests that draw anew, and calls that could run code from a file."""

from pathlib import Path

from tools.check_source import check

DRAWN = """
def test_a(): return os.urandom(3)
def test_b(): return secrets.token_hex(), uuid.uuid5(a, b)
def test_c(): return datetime.datetime.now()
def test_d(): return np.random.default_rng()
IMAGE = torch.randn(3)
def test_e(image=torch.randn(3)): return image
"""
SEEDED = """
def test_f(): return random.Random(3).random(), np.random.default_rng(0).random()
def test_g(): return torch.randn(3), random.random()
IMAGE = torch.randn(3, generator=torch.Generator().manual_seed(0))
IMAGES = [lambda: torch.randn(3)]
"""


def test_what_tests_draw_anew_is_found(tmp_path: Path) -> None:
    for name in ("tests/test_a.py", "src/a.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(DRAWN + SEEDED, encoding="utf-8")
    found = {violation.split(" ")[0].rstrip(":") for violation in check(tmp_path)}
    assert found == {f"{tmp_path}/tests/test_a.py:{line}" for line in range(2, 8)}


def test_calls_that_could_run_code_from_a_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "src/segvoc").mkdir(parents=True)
    dangers = ["eval(x)", "torch.load(x)", "np.load(x, allow_pickle=True)", "run(x, shell=True)", "z.extractall()"]
    harmless = ["torch.load(x, weights_only=True)", "np.load(x)", "run(x)", "json.loads(x)"]
    lines = [*dangers, *harmless, "class A(pickle.Unpickler): ..."]
    (tmp_path / "src/segvoc/a.py").write_text("\n".join(lines), encoding="utf-8")
    found = [violation.split(":")[1] for violation in check(tmp_path)]
    assert sorted(found, key=int) == ["1", "2", "3", "4", "5", "10"]
