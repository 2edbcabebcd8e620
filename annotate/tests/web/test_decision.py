"""The page's network decides every pixel as Python does, whatever rules a call has."""

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from annotate.tests.web.fake_service import tiny
from annotate.tests.web.site import SAMPLES, Site, in_python
from segvoc import Segmentation
from segvoc.inference.taught.taught_words import TaughtWords
from tests.inference.taught.drawn_examples import drawn_examples
from tests.inference.test_doors import RULES, photo

_WORKER = """() => {
    const worker = new Worker("worker.js", { type: "module" });
    const call = (path, given, transfer = []) => new Promise((done, fail) => {
        const id = String(Math.random());
        worker.addEventListener("message", ({ data }) => {
            if (data.id === id) (data.type === "RAW" ? done(data.value) : fail(new Error(data.value?.value?.message)));
        });
        worker.postMessage({ id, type: "APPLY", path: [path], argumentList: given }, transfer);
    });
    const raw = (value) => ({ type: "RAW", value });
    const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    const text = ({ buffer }) => new Promise((done) => {
        const reader = new FileReader();
        reader.onload = () => done(reader.result.split(",")[1]);
        reader.readAsDataURL(new Blob([buffer]));
    });
    const { port1, port2 } = new MessageChannel();
    const progress = { type: "HANDLER", name: "proxy", value: port2 };
    window.loaded = call("load", [raw(new URL("model/", location).href), progress], [port2]);
    const seen = new Set();
    window.labeled = async ([image, width, height, words, file]) => {
        await window.loaded;
        const taught = file ? [(await call("teach", [raw(""), raw(bytes(file))])).id] : [];
        // the network looks at an image once, whatever is looked for in it
        const pixels = seen.has(image) ? null : { width, height, data: new Uint8ClampedArray(bytes(image)) };
        seen.add(image);
        const found = await call("segment", [raw(image), raw(pixels), raw({ words, parts: "", taught })]);
        return [await text(found.labels), await text(found.confidence)];
    };
}"""
"""Calls of the page's thread, as comlink makes them."""

MANY = "dog, wolf, fox, pig, cow, hen, cup, lamp, bus, ship, cat, sofa, tent, tower, bridge, boat, rocket, train, sheep"
"""More words than class selection keeps at least."""

CALLS = {SAMPLES / "coffee.jpg": [MANY], SAMPLES / "astronaut.jpg": ["skier, snow", "shirt, man"]}


def test_a_page_decides_by_all_rules_as_python(site: Site, taught: TaughtWords, tmp_path: Path) -> None:
    site.tab.goto(f"{site.address}licenses.txt")
    site.tab.evaluate(_WORKER)
    # the page has no options
    of_doors = [words for words, options in RULES.values() if not options]
    for path, calls in {photo(): of_doors, **CALLS}.items():
        with Image.open(path) as opened:
            image = opened.convert("RGBA").reduce(1 if path == photo() else 4)
        for words in calls:
            is_found(site, image, words, in_python(np.asarray(image.convert("RGB")), words.split(", ")))
    drawn = Image.fromarray(drawn_examples(6).images[5])
    for background, *calls in (
        (None, "Sky", "grass, cat, wall"),
        ("brick", "Sky", "Brick, grass, sky"),
        ("none of them", "grass, cat, wall", "none of them, sky"),
    ):
        learned = replace(taught, record=replace(taught.record, background=background))
        path = tmp_path / "a.words.safetensors"
        learned.save(path)
        for words in calls:
            result = tiny().with_taught(learned).segment(np.asarray(drawn), words.split(", "))
            is_found(site, drawn.convert("RGBA"), words, result, path.read_bytes())


def is_found(site: Site, image: Image.Image, words: str, result: Segmentation, taught: bytes = b"") -> None:
    pixels, file = (base64.b64encode(some).decode() for some in (image.tobytes(), taught))
    answer = site.tab.evaluate("window.labeled", [pixels, *image.size, words.split(", "), file])
    labels, confidence = map(base64.b64decode, answer)
    assert (np.frombuffer(labels, np.uint16) == result.labels.ravel()).mean() >= 0.999, words
    # below what is unlabeled, equal words may change places
    further = np.abs(np.frombuffer(confidence, np.uint8) - 255.0 * result.confidence.ravel())
    assert (further <= 1).mean() >= 0.999, words
