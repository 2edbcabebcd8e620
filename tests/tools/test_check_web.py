from pathlib import Path

from tools.check_web import differences


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text)
    return path


def test_equal_folders_have_no_differences(tmp_path: Path):
    committed = folder(tmp_path / "a", app_js="1", style_css="2")
    built = folder(tmp_path / "b", app_js="1", style_css="2", ort_wasm_gz="only built")
    assert differences(committed, built) == []


def test_every_difference_is_named(tmp_path: Path):
    committed = folder(tmp_path / "a", app_js="1", old_js="")
    built = folder(tmp_path / "b", app_js="2", new_js="")
    missing, stale, changed = differences(committed, built)
    assert "new.js is missing" in missing
    assert "old.js is not built" in stale
    assert "app.js is not what the sources give" in changed
