"""Archives for `segvoc prepare`: hostile names, links, devices, bombs, cut and changed; and damaged preparations."""

import io
import json
import random
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from hardening.cases import Build, Case, cuts, files, mutated, spread
from hardening.corpus.texts import changed_json, json_values, member, tar_of
from segvoc.data.benchmarks import BENCHMARKS, find_benchmark
from segvoc.data.manifests import PREPARED_LAYOUT
from segvoc.data.preparation.prepare import prepare
from segvoc.storage.resume import done_entry
from tests.data.original_files import pack
from tests.data.replicas import replica

ZIPPED, TARRED = "a-150", "pas-20"
"""Benchmarks whose downloads are a zip and a tar."""


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@cache
def packed(name: str) -> Mapping[str, bytes]:
    """The archives of a benchmark's replica, and what else it needs."""
    with tempfile.TemporaryDirectory() as folder:
        replica(name, Path(folder))
        pack(name, Path(folder))
        return _contents(Path(folder))


@cache
def unpacked(name: str, *, done: bool = False) -> Mapping[str, bytes]:
    """The originals of a benchmark's replica, maybe prepared."""
    with tempfile.TemporaryDirectory() as folder:
        replica(name, Path(folder))
        if done:
            prepare(find_benchmark(name), folder, allow_missing=True)
        return _contents(Path(folder))


def data_folder(name: str, contents: Mapping[str, bytes]) -> Build:
    """A data folder beside the name of its benchmark."""
    return files({"benchmark": name.encode(), **{f"data/{path}": content for path, content in contents.items()}})


HOSTILE = (
    "../evil.png", "../../../evil.png", "/evil.png", "a/../../../../evil.png", "..\\..\\evil.png", "C:\\evil.png", ".", "..",
    "", "/", "x\0y.png", "\x1b[2J.png", "x" * 255 + ".png", "y" * 60_000 + ".png", "/".join("d" * 100 for _ in range(60)) + ".png",
    "ü.png", "u\u0308.png", "\udcff.png", "CON.png", "a/./b.png", "a//b.png", "__MACOSX/._a.png", "a.png/", "a.png/b.png",
)  # fmt: skip


def zip_archives(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Hostile changes of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    inside = next(name for name in members if name.endswith(".png")).rpartition("/")[0]
    outside = inside.rpartition("/")[0]

    def written(extra: list[tuple[str | zipfile.ZipInfo, bytes]], kind: int = zipfile.ZIP_STORED) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", kind) as archive:
            for name, data in [*members.items(), *extra]:
                archive.writestr(name, data)
        return stream.getvalue()

    for name in HOSTILE:
        for parent in (inside, outside, "", f"/{inside}", f"../{inside}"):
            path = f"{parent}/{name}".encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            try:
                yield f"{parent}/{name[:30]}", written([(path, b"evil")])
            except (ValueError, struct.error):
                continue
    for mode in (0o120777, 0o020666, 0o060666, 0o010666, 0o140777, 0o040755, 0o104777):
        info = zipfile.ZipInfo(f"{inside}/link.png")
        info.external_attr, info.create_system = mode << 16, 3
        yield f"mode {mode:o}", written([(info, b"../../../../evil")])
    for size in (1 << 20, 1 << 26, 1 << 30):
        stream = io.BytesIO(written([], zipfile.ZIP_DEFLATED))
        with (
            zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive,
            archive.open(f"{inside}/bomb.png", "w") as file,
        ):
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
        yield f"bomb of {size}", stream.getvalue()
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed_so = written([], kind)
        yield f"kind {kind}", packed_so
        for number in range(12):
            yield f"kind {kind} bytes {number}", mutated(packed_so, rng)
    for place, value in (
        (8, 0xFFFF),
        (10, 99),
        (24, 0xFFFFFFFF),
        (20, 0),
        (42, 0x7FFFFFFF),
        (28, 0xFFFF),
        (38, 0xFFFFFFFF),
    ):
        at = content.find(b"PK\1\2")
        changed = bytearray(content)
        width = "<H" if value <= 0xFFFF and place in (8, 10, 28) else "<I"
        struct.pack_into(width, changed, at + place, value & (0xFFFF if width == "<H" else 0xFFFFFFFF))
        yield f"directory {place} is {value}", bytes(changed)
    encrypted = bytearray(content)
    for mark, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        at = encrypted.find(mark)
        encrypted[at + offset] |= 1
    yield "encrypted", bytes(encrypted)
    yield "twice", written([(name, b"other") for name in members])


def tar_archives(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Hostile changes of a tar."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        good = []
        for info in archive.getmembers():
            stream = archive.extractfile(info)
            good.append((info, b"" if stream is None else stream.read()))
    inside = next(info.name for info, _ in good if info.name.endswith(".png")).rpartition("/")[0]
    outside = inside.rpartition("/")[0]
    for name in HOSTILE:
        for parent in (inside, outside, "", f"/{inside}", f"../{inside}"):
            try:
                yield f"{parent}/{name[:30]}", tar_of([*good, member(f"{parent}/{name}", b"evil")])
            except (ValueError, UnicodeEncodeError):
                continue
    kinds = (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    )
    for kind in kinds:
        for link in ("../../../../evil", "/etc/passwd", f"{inside}/link.png", good[0][0].name, ""):
            name = f"{inside}/link.png"
            yield f"{kind!r} to {link}", tar_of([member(name, b"", kind, link), *good, member(f"{name}/x.png", b"x")])
            replaced = [member(outside, b"", kind, link), *good]
            yield f"{kind!r} to {link} in place of a folder", tar_of(replaced)
    sparse = bytearray(tar_of(good))
    for at in range(0, len(sparse), 512):
        if sparse[at + 257 : at + 262] == b"ustar":
            head = sparse[at : at + 512]
            head[124:136] = rng.choice(
                (b"77777777777\0", b"-0000000001\0", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7)
            )
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            yield f"size at {at}", bytes(sparse[:at]) + bytes(head) + bytes(sparse[at + 512 :])


def archive_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """Archives, downloads and preparations that were stopped."""
    for name, make, ending in ((ZIPPED, zip_archives, ".zip"), (TARRED, tar_archives, ".tar")):
        contents = packed(name)
        archive = next(path for path in contents if path.endswith(ending))
        made = [*make(contents[archive], rng)]
        made += [(f"cut at {at}", contents[archive][:at]) for at in cuts(len(contents[archive]), 100, rng)]
        made += [(f"bytes {number}", mutated(contents[archive], rng)) for number in range(100)]
        cases = (
            Case(
                family=f"archives: {ending[1:]}",
                what=what,
                reader="prepare",
                build=data_folder(name, {**contents, archive: content}),
            )
            for what, content in made
        )
        yield from spread(cases, max(4, round(220 * scale)), rng)
    names = sorted(BENCHMARKS) if scale > 0.2 else rng.sample(sorted(BENCHMARKS), 2)
    for name in names:
        yield from spread(_originals(name, rng), max(2, round(20 * scale)), rng)
    yield from spread(_preparations(rng), max(2, round(160 * scale)), rng)


def _originals(name: str, rng: random.Random) -> Iterator[Case]:
    """Unpacked originals: each file cut, changed, swapped, left out or replaced by a folder."""
    contents = dict(unpacked(name))
    for path, content in contents.items():
        other = contents[rng.choice(sorted(contents))]
        changes = {
            "left out": None, "empty": b"", "cut": content[: rng.randrange(len(content) + 1)], "swapped": other,
            "changed": mutated(content, rng) if content else b"x", "changed head": mutated(content, rng, last=100) if content else b"y",
        }  # fmt: skip
        for what, changed in changes.items():
            rest = {one: data for one, data in contents.items() if one != path}
            build = data_folder(name, rest if changed is None else {**rest, path: changed})
            yield Case(family="originals: files", what=f"{name} {path} {what}", reader="prepare", build=build)
        yield Case(
            family="originals: files",
            what=f"{name} {path} a folder",
            reader="prepare",
            build=data_folder(name, {**{one: data for one, data in contents.items() if one != path}, f"{path}/x": b""}),
        )


def _preparations(rng: random.Random) -> Iterator[Case]:
    """Manifests and journals that were damaged, or belong to another benchmark."""
    name = "coco-stuff"
    contents = dict(unpacked(name, done=True))
    path = f"segvoc/{name}.json"
    manifest = contents[path].decode()
    texts = [*changed_json(manifest, rng, 120), *json_values(rng)]
    texts += [(f"cut at {at}", manifest[:at]) for at in range(0, len(manifest), 40)]
    for what, text in texts:
        build = data_folder(name, {**contents, path: text.encode("utf-8", "surrogatepass")})
        for reader in ("prepare", "prepared"):
            yield Case(family="originals: manifests", what=what, reader=reader, build=build)
    stem = "000000000139"
    record = json.loads(manifest)["records"][0]
    value = {"stem": stem, "records": [record], "left_out": {}, "sha256": {record["labels"]: "0" * 64}}
    entry = json.dumps(done_entry({"layout": PREPARED_LAYOUT}, stem, [[10, 10]], value))
    start = {one: data for one, data in contents.items() if one != path}
    for what, text in [*changed_json(entry, rng, 80), *json_values(rng)]:
        journal = f"{text}\n".encode("utf-8", "surrogatepass")
        build = data_folder(name, {**start, f"segvoc/{name}.journal": journal})
        yield Case(family="originals: journals", what=what, reader="prepare", build=build)
