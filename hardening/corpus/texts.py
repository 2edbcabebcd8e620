"""Texts: words, parts, classes, captions, JSON and journals, in every encoding and of every shape."""

import io
import json
import random
import tarfile
from collections.abc import Iterator

from hardening.cases import Build, Case, file, files, mutated, spread
from hardening.corpus.images import base_images

WORDS = "cat\nsofa, couch\nwall\nçà et là\nтёплый плед\n"
PARTS = '{"dog": ["head", "leg"], "*": ["skin"], "cat, kitten": [], "тёплый": ["ухо"]}'
CLASSES = '["ground", "red disc", "blue disc"]'
ODD = (
    "", " ", "\t", "\n", "\r", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u200b", "\ufeff", "\ufffe", "\u202e",
    "\ud800", "a\ud800b", "\udfff", "🦮", "e\u0301", "\U0010ffff", "%s", "{}", "{0}", "{word.__class__}", "$(id)",
    "<script>", "../../x", "C:\\x", "nan", "null", "-0", "1e999", "9" * 400, "a" * 5000, ", ", ",", ";", ":", "*", "#",
    "'s", "dog's head", "ﬁ", "ＡＢＣ", "i̇", "שָׁלוֹם", "\u0300", "\u0300" * 300,
)  # fmt: skip
"""Pieces of text that surprise."""

_ENCODINGS = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "cp1251", "koi8-r",
    "shift_jis", "euc_jp", "gb18030", "big5", "utf-7", "cp037", "iso2022_jp", "mac_roman",
)  # fmt: skip


def encoded(text: str) -> Iterator[tuple[str, bytes]]:
    """A text in many encodings, and in UTF-8 with lone surrogates, overlong forms and damaged bytes."""
    for encoding in _ENCODINGS:
        yield encoding, text.encode(encoding, "replace")
    content = text.encode("utf-8", "surrogatepass")
    for bad in (
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\0",
        b"\xef\xbb\xbf",
        b"\x80",
    ):
        yield f"{bad.hex()} first", bad + content
        yield f"{bad.hex()} inside", content[:10] + bad + content[10:]
        yield f"{bad.hex()} last", content + bad


def odd_words(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Words files with odd words, separators and counts from 0 to 100,000."""
    for number, odd in enumerate(ODD):
        for separator in ("\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1e", "\u2029", "\t", ";", "\0"):
            text = separator.join(("cat", odd, "wall"))
            yield f"odd word {number} with {separator!r}", text.encode("utf-8", "surrogatepass")
        yield f"odd word {number} alone", odd.encode("utf-8", "surrogatepass")
        yield f"odd word {number} twice", f"{odd}\n{odd}".encode("utf-8", "surrogatepass")
        yield f"odd word {number} as synonyms", f"cat, {odd}, x".encode("utf-8", "surrogatepass")
    for count in (1, 2, 255, 256, 1000, 10_000, 65_534, 65_535, 65_536, 100_000):
        for word in ("word {}", "{}", "слово {}", "a{}, b{}", "same"):
            lines = (word.format(number, number) for number in range(count))
            yield f"{count} of {word!r}", "\n".join(lines).encode()
        yield f"{count} empty lines", b"cat" + b"\n" * count + b"dog"
    for length in (77, 78, 1000, 100_000, 5_000_000):
        yield f"a word of {length}", b"a" * length
        yield f"{length} synonyms", b", ".join(b"a%d" % i for i in range(length // 8))


def json_values(rng: random.Random) -> Iterator[tuple[str, str]]:
    """JSON texts that aren't what is meant, or aren't JSON."""
    for depth in (10, 900, 1000, 3000, 100_000):
        yield f"lists {depth} deep", "[" * depth + "]" * depth
        yield f"objects {depth} deep", '{"dog":' * depth + "1" + "}" * depth
        yield f"open lists {depth} deep", "[" * depth
        yield f"a list with a value {depth} deep", '["cat", ' + "[" * depth + "]" * depth + "]"
        yield f"an object with a list {depth} deep", '{"dog": ' + "[" * depth + "]" * depth + "}"
        yield f"annotations {depth} deep", '{"images": [], "annotations": ' + "[" * depth + "]" * depth + "}"
    plain = (
        "null",
        "true",
        "1",
        "-1",
        "1.5",
        "1e999",
        "NaN",
        "Infinity",
        '""',
        '"cat"',
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "[null]",
    )
    plain += ("[1]", '[""]', '[" "]', "[1.5, true]", '{"": []}', '{"a": null}', '{"a": 1}', '{"a": "b"}', '{"a": {}}')
    plain += ('{"a": [1]}', '{"a": [[]]}', '{"a": ["b", "b"]}', '{"a": ["b"], "a": ["c"]}', '{"a": [null]}', "", " ")
    plain += (
        "[1,]",
        "{'a': 1}",
        "[1 2]",
        "//x\n[]",
        "\ufeff[]",
        "[01]",
        '["\\ud800"]',
        '["\\u0000"]',
        '["a\nb"]',
        "[" + "9" * 5000 + "]",
    )
    plain += (
        '{"a":' + "9" * 5000 + "}",
        "9" * 5000,
        "-" + "9" * 4400,
        "1" + "0" * 308 + ".0",
        '{"id": ' + "9" * 4301 + "}",
    )
    for text in plain:
        yield text[:40], text
    for number, odd in enumerate(ODD):
        quoted = json.dumps(odd)
        yield f"odd text {number}", quoted
        yield f"a list with odd text {number}", f'["cat", {quoted}]'
        yield f"an object with odd text {number}", f'{{"dog": [{quoted}], {quoted}: ["x"]}}'
        raw = json.dumps(odd, ensure_ascii=False)
        yield f"raw odd text {number}", f'["cat", {raw}]'


def changed_json(text: str, rng: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """The JSON of a good file, with values of other types, left out, or doubled somewhere."""
    bad: tuple[object, ...] = (
        None,
        True,
        0,
        -1,
        1.5,
        1e300,
        10**30,
        "",
        "x",
        "../x",
        "\ud800",
        [],
        {},
        [[]],
        [None],
        {"a": 1},
    )
    for number in range(count):
        content = json.loads(text)
        places = list(_places(content))
        if not places:
            return
        holder, key = rng.choice(places)
        kind = rng.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif kind == 2 and isinstance(holder, dict):
            holder[str(key) + rng.choice(("", " ", "2"))] = holder.pop(key)
        else:
            holder[key] = rng.choice(bad)
        yield f"value {number}", json.dumps(content)


def _places(content: object) -> Iterator[tuple]:
    if isinstance(content, dict):
        pairs = list(content.items())
    elif isinstance(content, list):
        pairs = list(enumerate(content))
    else:
        return
    for key, value in pairs:
        yield content, key
        yield from _places(value)


def _bytes(texts: Iterator[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    for what, text in texts:
        yield what, text.encode("utf-8", "surrogatepass")


def text_cases(rng: random.Random, scale: float) -> Iterator[Case]:
    """Words, parts, classes and journals."""

    def all_of(
        family: str, reader: str, name: str, good: str, most: int, *more: Iterator[tuple[str, bytes]]
    ) -> list[Case]:
        made = [*encoded(good), *(pair for pairs in more for pair in pairs)]
        made += [(f"bytes {number}", mutated(good.encode(), rng)) for number in range(150)]
        made += [(f"cut at {length}", good.encode()[:length]) for length in range(len(good.encode()))]
        cases = (Case(family=family, what=what, reader=reader, build=file(name, content)) for what, content in made)
        return spread(cases, max(4, round(most * scale)), rng)

    yield from all_of("texts: words", "words", "words.txt", WORDS, 600, odd_words(rng))
    changed = _bytes(changed_json(PARTS, rng, 200))
    yield from all_of("texts: parts", "parts", "parts.json", PARTS, 450, _bytes(json_values(rng)), changed)
    changed = _bytes(changed_json(CLASSES, rng, 60))
    yield from all_of("texts: classes", "classes", "classes.json", CLASSES, 350, _bytes(json_values(rng)), changed)
    journal = "".join(
        json.dumps({"key": f"k{i}", "step": i, "miou": i / 3, "seconds": {"a": 1.0}}) + "\n" for i in range(4)
    )
    lines = [(what, f"{json.dumps({'key': 'a'})}\n{text}\n") for what, text in json_values(rng)]
    yield from all_of("texts: journals", "journal", "work.journal", journal, 350, _bytes(iter(lines)))
    yield from _captions(rng, scale)


def _captions(rng: random.Random, scale: float) -> Iterator[Case]:
    image = base_images()["rgb.jpg"]
    coco = json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "sub/b.jpg"}],
            "annotations": [{"image_id": 1, "caption": "A cat."}, {"image_id": 2, "caption": "A dog\non grass"}],
        }
    )
    named = json.dumps({"a": ["A cat."], "sub/b": "A dog.", "c.jpg": ["missing"]})
    lines = "".join(json.dumps({"image": name, "captions": ["A cat."]}) + "\n" for name in ("a.jpg", "sub/b.jpg", "x"))
    table = 'image,caption\na.jpg,"A cat, sitting."\nsub/b.jpg,A dog\n'
    made: list[tuple[str, str, bytes]] = []
    for name, good in (
        ("c.json", coco),
        ("n.json", named),
        ("l.jsonl", lines),
        ("t.csv", table),
        ("t.tsv", table.replace(",", "\t")),
    ):
        made += [(f"{name} {what}", name, content) for what, content in encoded(good)]
        made += [(f"{name} bytes {number}", name, mutated(good.encode(), rng)) for number in range(80)]
        made += [(f"{name} cut at {length}", name, good.encode()[:length]) for length in range(0, len(good), 3)]
        if name in ("c.json", "n.json"):
            made += [(f"{name} {what}", name, bad) for what, bad in _bytes(changed_json(good, rng, 120))]
    made += [(f"json {what}", "j.json", content) for what, content in _bytes(json_values(rng))]
    for number, odd in enumerate(ODD):
        row = json.dumps({"image": odd, "caption": odd}) + "\n"
        made.append((f"odd text {number}", "o.jsonl", (lines + row).encode("utf-8", "surrogatepass")))
        made.append((f"odd row {number}", "o.csv", f"{table}{odd},{odd}\n".encode("utf-8", "surrogatepass")))

    def build(name: str, content: bytes) -> Build:
        return files({"images/a.jpg": image, "images/sub/b.jpg": image, name: content})

    cases = (
        Case(family="captions: files", what=what, reader="captions", build=build(name, content))
        for what, name, content in made
    )
    yield from spread(cases, max(6, round(600 * scale)), rng)
    tars = (
        Case(family="captions: tars", what=what, reader="captions", build=file("set.tar", content))
        for what, content in caption_tars(rng)
    )
    yield from spread(tars, max(6, round(350 * scale)), rng)


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of members."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format, errors="surrogateescape") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar: a file, or a link, folder or device."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


HOSTILE_NAMES = (
    "../evil.jpg", "../../evil.jpg", "/tmp/segvoc-hardening-evil.jpg", "a/../../evil.jpg", "./a.jpg", "a//b.jpg", "a.jpg/",
    "..\\evil.jpg", "C:\\evil.jpg", "C:evil.jpg", "\\\\host\\x.jpg", ".hidden.jpg", "a\nb.jpg", "a\0b.jpg", "\x1b[31m.jpg",
    "x" * 300 + ".jpg", "/".join("d" * 200 for _ in range(30)) + ".jpg", "\udcff\udcfe.jpg", "ü.jpg", "u\u0308.jpg", "CON.jpg",
    "-rf.jpg", "~/x.jpg", "$HOME.jpg", ".jpg", "jpg", "", ".", "..", "/", "a.b.c.jpg", "a.JPG", "__MACOSX/._a.jpg",
)  # fmt: skip

_KINDS = (
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
    tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z",
)  # fmt: skip


def caption_tars(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """WebDataset tars with hostile names, links and devices, sizes that lie, cut and changed."""
    image = base_images()["rgb.jpg"]
    good = [
        member("0.jpg", image),
        member("0.txt", b"A cat."),
        member("1.jpg", image),
        member("1.json", b'{"caption": "x"}'),
    ]
    whole = tar_of(good)
    for name in HOSTILE_NAMES:
        for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            try:
                yield (
                    f"{name[:30]!r} in {format}",
                    tar_of([*good, member(name, image), member(f"{name[:-4]}.txt", b"x")], format),
                )
            except (ValueError, UnicodeEncodeError):
                continue
    for kind in _KINDS:
        for link in ("0.jpg", "../x", "/etc/passwd", "self.jpg", ""):
            yield f"{kind!r} to {link}", tar_of([*good, member("self.jpg", b"", kind, link), member("self.txt", b"x")])
    for at in (*range(0, 1600, 16), *range(1600, len(whole), 301)):
        yield f"cut at {at}", whole[:at]
    for number in range(150):
        yield f"bytes {number}", mutated(whole, rng, last=600 if number % 2 else None)
    for size in (b"77777777777", b"-0000000001", b"\x80" + b"\0" * 3 + b"\x7f" * 8, b"\xff" * 12, b"abc"):
        for at in range(0, len(whole), 512):
            if whole[at + 257 : at + 262] == b"ustar":
                head = bytearray(whole[at : at + 512])
                head[124 : 124 + len(size)] = size
                head[148:156] = b" " * 8
                head[148:156] = b"%06o\0 " % sum(head)
                yield f"size {size!r} at {at}", whole[:at] + bytes(head) + whole[at + 512 :]
    for what, text in json_values(rng):
        yield f"json {what}", tar_of([*good[:3], member("1.json", text.encode("utf-8", "surrogatepass"))])
    yield "20,000 members", tar_of([member(f"{i}.txt", b"x") for i in range(20_000)] + good)
    yield "a text of 2 MB", tar_of([*good, member("0.txt", b"x\n" * (1 << 20))])
