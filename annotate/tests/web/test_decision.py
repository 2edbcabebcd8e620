"""The page's network decides every pixel as Python does, whatever rules a call has."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from annotate.tests.web.site import SAMPLES, Site, in_python

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
    window.labeled = async ([id, image, width, height, words]) => {
        await window.loaded;
        const pixels = image && { width, height, data: new Uint8ClampedArray(bytes(image)) };
        const found = await call("segment", [raw(id), raw(pixels), raw({ words, parts: "", taught: [] })]);
        return [await text(found.labels), await text(found.confidence)];
    };
}"""
"""Calls of the page's thread, as comlink makes them."""

MANY = "dog, wolf, fox, pig, cow, hen, cup, lamp, bus, ship, cat, sofa, tent, tower, bridge, boat, rocket, train, sheep"

CALLS = {
    "dogs.jpg": ["dog, grass, person, tree, car", "dog", "person", "dog, ball", "puppy, lawn"],
    "coffee.jpg": ["cup, table, sky, cat, fox, pig, cow, hen, ox", MANY],
    "astronaut.jpg": ["hat, shirt", "shirt, man", "woman, suit, badge", "astronaut, flag", "man, flag, wall"],
    "mountains.jpg": ["skier, snow", "boat, rock", "lake, mountain, sky"],
}


def test_calls_of_all_kinds_get_labels_and_confidence_of_python(site: Site, tmp_path: Path) -> None:
    site.tab.goto(f"{site.address}licenses.txt")
    site.tab.evaluate(_WORKER)
    for name, calls in CALLS.items():
        with Image.open(SAMPLES / name) as photo:
            image = photo.convert("RGBA").resize((photo.width // 2, photo.height // 2))
        given = base64.b64encode(image.tobytes()).decode()
        for words in calls:
            labels, confidence = labeled(site, [name, given, *image.size, words.split(", ")])
            given = ""
            result = in_python(np.asarray(image.convert("RGB")), words.split(", "))
            same = labels == result.labels.ravel()
            assert same.mean() >= 0.999, words
            further = np.abs(confidence - 255.0 * result.confidence.ravel())
            # below what is unlabeled, equal words may change places
            assert (further <= 1).mean() >= 0.999, words


def labeled(site: Site, query: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    labels, confidence = map(base64.b64decode, site.tab.evaluate("window.labeled", query))
    return np.frombuffer(labels, np.uint16), np.frombuffer(confidence, np.uint8)
