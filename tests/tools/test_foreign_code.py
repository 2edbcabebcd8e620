"""What the check of sources finds that could run code from a file."""

from pathlib import Path

from tools.check_source import check


def test_calls_that_could_run_code_from_a_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "src/segvoc").mkdir(parents=True)
    dangers = ["eval(x)", "torch.load(x)", "np.load(x, allow_pickle=True)", "run(x, shell=True)", "z.extractall()"]
    harmless = ["torch.load(x, weights_only=True)", "np.load(x)", "run(x)", "json.loads(x)"]
    lines = [*dangers, *harmless, "class A(pickle.Unpickler): ..."]
    (tmp_path / "src/segvoc/a.py").write_text("\n".join(lines), encoding="utf-8")
    found = [violation.split(":")[1] for violation in check(tmp_path)]
    assert sorted(found, key=int) == ["1", "2", "3", "4", "5", "10"]
