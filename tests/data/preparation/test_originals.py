"""Archives are unpacked, pickles and MATLAB files read without trusting them, and originals converted as published."""

import io
import os
import pickle
import tarfile
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from segvoc.data.benchmarks import Download
from segvoc.data.preparation.conversions import resized_linear, resized_nearest, shrunk_size
from segvoc.data.preparation.originals import (
    check_originals,
    find_original,
    read_matlab_array,
    read_pickled_index,
    unpack_downloads,
)
from segvoc.errors import InputError, UsageError
from tests.data.original_files import save_matlab_73
from tests.images import one_line_error

IMAGES = Download(
    archives=("set.zip", "set.tar.gz"),
    member="set/images",
    locations=("data/images", "other/images"),
    suffix=".jpg",
    page="https://example.org/set",
)
LIST = replace(IMAGES, member="set/list.txt", locations=("data/list.txt",), suffix="")
CONTENT = {
    "set/images/a.jpg": b"first",
    "set/images/sub/b.jpg": b"second",
    "set/images/._a.jpg": b"hidden",
    "__MACOSX/set/images/.c.jpg": b"hidden",
    "set/images/readme.txt": b"not wanted",
    "set/images2/d.jpg": b"not wanted",
    "set/list.txt": b"a b",
}


def write(path, content=CONTENT):
    """An archive by its suffix; a tar has a link, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("set/images/", b"")
            for name, data in content.items():
                file.writestr(name, data)
        return
    with tarfile.open(path, "w:gz") as file:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("set/images/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


WANTED = {"data/images/a.jpg": b"first", "data/images/sub/b.jpg": b"second", "data/list.txt": b"a b"}


def unpack(root, *downloads):
    return unpack_downloads(downloads or (IMAGES, LIST), root, lambda *error: pytest.fail(error))


@pytest.mark.parametrize("archive", ["set.zip", "data/set.zip", "set.tar.gz"])
def test_wanted_files_are_unpacked_from_either_folder(tmp_path, archive):
    write(tmp_path / archive)
    check_originals((IMAGES, LIST), tmp_path, "The set")
    assert unpack(tmp_path) == ("data/images", "data/list.txt")
    assert files(tmp_path) == WANTED | {archive: (tmp_path / archive).read_bytes()}


def test_what_lies_unpacked_is_used_as_it_is(tmp_path):
    write(tmp_path / "set.zip")
    (tmp_path / "other/images").mkdir(parents=True)
    (tmp_path / "other/images/x.jpg").write_bytes(b"mine")
    assert unpack(tmp_path, IMAGES) == ("other/images",)
    assert set(files(tmp_path)) == {"set.zip", "other/images/x.jpg"}


def test_an_interrupted_unpacking_goes_on(tmp_path):
    write(tmp_path / "set.tar.gz")
    whole = (tmp_path / "set.tar.gz").read_bytes()
    rest = {name: data for name, data in CONTENT.items() if name != "set/images/sub/b.jpg"}
    write(tmp_path / "set.tar.gz", {**rest, "set/big": bytes(range(256)) * 4000})
    cut = (tmp_path / "set.tar.gz").read_bytes()
    (tmp_path / "set.tar.gz").write_bytes(cut[:-300])
    with pytest.raises(InputError, match=r"set\.tar\.gz' is damaged or incomplete"):
        unpack(tmp_path)
    assert (tmp_path / "data/images/a.jpg").exists() and find_original(IMAGES, tmp_path) is None
    (tmp_path / "set.tar.gz").write_bytes(whole)
    unpack(tmp_path)
    assert files(tmp_path) == WANTED | {"set.tar.gz": whole}


@pytest.mark.parametrize("archive", ["set.zip", "set.tar.gz"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((f"set/images/{out}", "points outside its folder") for out in ("../../../out.jpg", "a\\..\\..\\out.jpg")),
        ("else/a.jpg", r"doesn't contain 'set/images'; download it again from https://example\.org/set"),
    ],
)
def test_names_that_point_out_of_the_folder_and_archives_of_something_else_are_refused(tmp_path, archive, name, said):
    write(tmp_path / "root" / archive, {name: b"x"})
    with pytest.raises(UsageError, match=said):
        unpack(tmp_path / "root", IMAGES)
    assert set(files(tmp_path)) <= {f"root/{archive}", "root/segvoc/data.images.unpacking"}


class Command:
    """What a hostile file holds: unpickled, it would run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_lists_and_arrays_are_read_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "index.pkl"
    content = {"names": ["a", "b"], "counts": np.arange(6.0).reshape(2, 3), "objects": np.array(["a", None], object)}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    index = read_pickled_index(path)
    assert index["names"] == ["a", "b"]
    assert index["counts"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert index["objects"].tolist() == ["a", None]


@pytest.mark.parametrize("nested", [False, True])
def test_nothing_in_a_pickle_runs(tmp_path, nested):
    path, witness = tmp_path / "index.pkl", tmp_path / "ran"
    command = Command(f"touch {witness}")
    content = {"names": np.array([command], object)} if nested else command
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError, match=r"not safe to read \(it refers to posix\.system\)"):
        read_pickled_index(path)
    assert not witness.exists()


NAMES = ("builtins\neval", "numpy\nload", "numpy.core.multiarray\nscalar", "numpy\nndarray.tofile")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *((f"c{name}\n.".encode(), "not safe to read") for name in NAMES),  # only what arrays need can be named
        *((content, r"index\.pkl") for content in (b"", b"\x80\x04", b"no pickle", pickle.dumps([1]))),
        (pickle.dumps({"a": 1})[:-3], r"index\.pkl"),
    ],
)
def test_other_and_damaged_indices_are_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "index.pkl"
    path.write_bytes(content)
    with one_line_error(UsageError, match=said):
        read_pickled_index(path)


LABELS = np.arange(12, dtype=np.uint16).reshape(3, 4) + 400


def test_damaged_matlab_files_are_named(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"other": LABELS})
    with h5py.File(tmp_path / "h5.mat", "w") as file:
        file["other"] = LABELS
    scipy.io.savemat(tmp_path / "text.mat", {"LabelMap": "text"})
    (tmp_path / "empty.mat").write_bytes(b"")
    scipy.io.savemat(tmp_path / "cut5.mat", {"LabelMap": LABELS})
    save_matlab_73(tmp_path / "cut73.mat", LABELS)
    for path in tmp_path.glob("cut*.mat"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for path in (*tmp_path.glob("*.mat"), tmp_path / "none.mat"):
        with one_line_error(InputError, match=path.name):
            read_matlab_array(path, "LabelMap")


@pytest.mark.parametrize(
    ("size", "shrunk"), [((300, 2000), (300, 2000)), ((1100, 1024), (550, 512)), ((768, 1023), (512, 682))]
)
def test_the_short_side_is_at_most_512(size, shrunk):
    assert shrunk_size(*size) == shrunk


@pytest.mark.parametrize("size", [(7, 11), (20, 31), (13, 90)])
def test_images_are_resized_by_four_neighbors_and_labels_take_corners(size):
    """PyTorch's interpolation without antialiasing has the same rules; rounding may differ by one."""
    image = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    linear = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    ours = resized_linear(image, *size).astype(np.float32)
    assert np.abs(ours - linear[0].permute(1, 2, 0).numpy()).max() <= 0.51
    nearest = torch.nn.functional.interpolate(pixels, size=size)
    assert (resized_nearest(image[..., 0].astype(np.uint16), *size) == nearest[0, 0].numpy()).all()
