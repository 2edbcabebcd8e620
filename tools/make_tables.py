"""Renew the tables of pages that follow the code or a benchmark's results: python tools/make_tables.py.

A table stands between two comments, `<!-- NAME -->` and `<!-- end -->`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from segvoc.checkpoints import terms
from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, PublishedFile, UnconfirmedFile
from segvoc.data.benchmarks import BENCHMARKS, Download
from segvoc.evaluation.protocol import PUBLISHED_PROTOCOLS
from segvoc.models.presets import PRESETS
from segvoc.storage.files import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Rows = Iterator[tuple[object, ...]]
"""The head of a table, then its rows."""

MEASURED: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "serve": {
        "service_load": {
            "clients": "{clients}",
            "seconds": "{seconds:.0f}",
            "images per second": "{images_per_second:.2f}",
            "the model alone": "{alone_before:.2f}, {alone_after:.2f}",
            "median, 99 % [s]": "{p50_seconds:.1f}, {p99_seconds:.1f}",
            "labeled": "{labeled:,}",
            "told to wait": "{told_to_wait:,}",
            "without an answer": "{unanswered}",
            "memory early, late [MB]": "{memory_early_mb:.0f}, {memory_late_mb:.0f}",
        },
        "service_again": {
            "model": "`{model}`",
            "longer side [px]": "{side:,}",
            "photographs": "{images}",
            "first time [s]": "{first_seconds:.2f}",
            "again [s]": "{again_seconds:.2f}",
        },
        "service_memory": {
            "model": "`{model}` {options}",
            "at the start [MB]": "{started_mb}",
            "mixed requests": "{requests:,}",
            "peak [MB]": "{peak_of_mixed_mb}",
            "peak with 100 megapixels [MB]": "{peak_mb}",
        },
    },
    "deploy": {
        "service_guard": {"in front of the service": "{front}", "answered": "{answered} of {of}"},
        "service_burst": {
            "TLS connections": "{connections}",
            "labeled": "{labeled}",
            "told to wait": "{told_to_wait}",
            "without an answer": "{unanswered}",
            "seconds": "{seconds:.1f}",
        },
    },
    "batch": {
        "service_batch": {
            "workers": "{workers}",
            "killed": "{killed}",
            "photographs": "{images}",
            "missing": "{missing}",
            "twice": "{twice}",
            "seconds, with the start": "{seconds:.0f}",
            "images per second": "{images_per_second:.2f}",
        },
        "growth_batch": {
            "images": "{images:,}",
            "seconds to the first shard": "{seconds_to_first_shard:.1f}",
            "its processor time [µs an image]": "{driver_microseconds_an_image:.1f}",
            "its memory beyond the start [MB]": "{memory_mb:.0f}",
            "records [bytes an image]": "{record_bytes_an_image:.1f}",
            "seconds to resume at 50 %": "{seconds_to_resume_at_half:.0f}",
        },
    },
    "objects": {
        "objects": {
            "background": "{labels}",
            "objects": "{rule}",
            "photographs": "{photographs}",
            "found": "{found} of {objects}",
            "predicted": "{predicted:,}",
            "AP50": "{ap50:.1f}",
            "AP": "{ap:.1f}",
            "PQ": "{pq:.1f}",
        },
    },
    "tracks": {
        "tracks": {
            "": "{tracker}",
            "drawn: HOTA": "{drawn_hota:.3f}",
            "IDF1": "{drawn_idf1:.3f}",
            "MOTA": "{drawn_mota:.3f}",
            "switches": "{drawn_num_switches:.0f}",
            "pedestrians: HOTA": "{real_hota:.3f}",
            "IDF1 ": "{real_idf1:.3f}",
            "MOTA ": "{real_mota:.3f}",
            "switches ": "{real_num_switches:.0f}",
        },
    },
}
"""By page, the tables of benchmarks/results: their columns, and what a row has there."""

KINDS = {"network": "", "protocol": ", published test protocol", "training": ", training step"}
"""Kinds of comparisons with the official code, and what a row is called then."""

LARGEST_SPREAD = 0.25
"""Comparisons with the official code in which either code's times spread by more aren't shown."""

CURVES = {
    "words": "words",
    "side": "pixels (by side)",
    "images": "images",
    "simulated images": "images without the network",
}
"""Curves of `benchmarks.growth segment`."""

SHOWS = {
    "caltech": "one animal or thing, often on plain ground",
    "voc": "common things, animals and vehicles",
    "coco-panoptic": "everyday scenes; things and surfaces",
    "pantry": "foods, many of them alike",
    "clothing": "garments on people in the street",
}
"""Data sets that `tiny` is scored on."""


def pages() -> Iterator[tuple[Path, str]]:
    """Each page, and its text with the tables as code and results have them."""
    yield _page("../README", {"against-official AMX": against_official("AMX")})
    yield _page("explanation/speed", {"against-official": against_official(), "growth": growth()})
    yield _page("explanation/clicks", {"clicks": clicks(), "annotator": annotator()})
    tables = {"benchmarks": benchmarks(), "downloads": downloads(), "sources": sources(), "protocols": protocols()}
    yield _page("how_to/benchmarks", {**tables, "scores": scores(), "scores of parts": scores(parts=True)})
    of_tiny = {name: of_photographs(f"tiny_{name}") for name in ("natural_words", "confidence", "surroundings")}
    of_folds = {kind: scores_of_tiny(kind) for kind in ("held_out", "unseen_words")}
    yield _page("explanation/what_tiny_can_do", of_folds | of_tiny)
    licenses = {"shipped-terms": shipped_terms(), "sources-of-shipped": sources_of_shipped(), "to-know": to_know()}
    published = {"terms-of-published": terms_of(PUBLISHED), "terms-of-unconfirmed": terms_of(UNCONFIRMED)}
    yield _page("how_to/licenses", licenses | published)
    for page, by_name in MEASURED.items():
        tables = {name: results(name, columns) for name, columns in by_name.items()}
        yield _page(f"how_to/{page}", tables | ({"batch_hours": batch_hours()} if page == "batch" else {}))


def _page(name: str, tables: Mapping[str, Rows | str]) -> tuple[Path, str]:
    path = (ROOT / "docs" / f"{name}.md").resolve()
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        text = with_block(text, name, table if isinstance(table, str) else markdown(table))
    return path, text


def markdown(table: Rows) -> str:
    """The lines of a table."""
    head, *rows = (f"| {' | '.join(map(str, row))} |" for row in table)
    return "\n".join((head, re.sub(r"[^|]+", "---", head), *rows))


def with_block(text: str, name: str, block: str) -> str:
    """A page with another block between the comments `<!-- NAME -->` and `<!-- end -->`."""
    start = text.index(begin := f"<!-- {name} -->\n\n")
    return f"{text[:start]}{begin}{block}\n\n{text[text.index('<!-- end -->', start) :]}"


RECORDS = {"tiny": "labels", "clicks": "clicks", "edges": "edges"}
"""Records of weights that ship, and what these are for."""


def _records() -> dict[str, Any]:
    return {name: json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8")) for name in RECORDS}


def shipped_terms() -> Rows:
    """The license of each file of weights that ships."""
    yield "files", "license", "what it allows"
    for name, record in _records().items():
        files = ", ".join(f"`{file}`" for file in record["sha256"])
        yield f"{files} ({RECORDS[name]})", record["license"], terms.allows(record["license"])


def sources_of_shipped() -> Rows:
    """What shipped weights learned from, and what for."""
    used: dict[str, list[str]] = {}
    for name, record in _records().items():
        for said in terms.sources_of(record).values():
            used.setdefault(re.sub(r"^[\d,]+( of [\d,]+)? ", "", said), []).append(RECORDS[name])
    yield "data", "used for"
    yield from ((said, ", ".join(dict.fromkeys(uses))) for said, uses in used.items())


def to_know() -> str:
    """What to know of these."""
    said = [text for record in _records().values() for text in terms.sources_of(record).values()]
    lines = [f"{text[0].upper()}{text[1:]}" for text in terms.to_know(said)]
    return "\n".join(f"- {line}." for line in [*lines, f"{terms.UNSETTLED[0].upper()}{terms.UNSETTLED[1:]}"])


def terms_of(files: Mapping[str, PublishedFile | UnconfirmedFile]) -> Rows:
    """License of published weights, what it allows, and what they learned from."""
    yield "weights", "license", "commercial use", "learned from"
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, file in files.items():
        license, note = file.license or terms.NOT_STATED, file.license_note
        may = f"{terms.may_be_sold(file.license, note)}: {terms.allows(file.license, note)}"
        alike.setdefault((license, may, file.learned_from or terms.NOT_STATED), []).append(f"`{name}`")
    yield from ((", ".join(names), *cells) for cells, names in alike.items())


def results(name: str, columns: Mapping[str, str]) -> Rows:
    """What a benchmark measured."""
    yield tuple(columns)
    yield from (tuple(text.format(**row).strip() for text in columns.values()) for row in measured(name)["rows"])


def batch_hours() -> Rows:
    """Machine hours for so many photographs, and what each rate was measured with."""
    (tiny,) = [row for row in measured("service_batch")["rows"] if row["workers"] == 1]
    networks = [
        (model, _network(file, model, words, dtype), f"{words} words, {dtype}, the network alone")
        for file, model, words, dtype in (
            ("amx", "cat-seg-b", 20, "float32"),
            ("nvidia-h200", "pca-seg-b", 171, "bfloat16"),
        )
    ]
    machines = {"tiny": "one core", "cat-seg-b": "two cores (AMX)", "pca-seg-b": "one H200"}
    counts = [10**power for power in range(6, 10)]
    yield "network", "on", "images/s", *(f"{count:,}" for count in counts), "measured", "limited by"
    whole = ("tiny", tiny["images_per_second"], "10 words, 640 px, whole runs of `segvoc batch`")
    for model, rate, how in (whole, *networks):
        hours = (f"{count / rate / 3600:,.0f}" for count in counts)
        limit = "decoding and writing, with few cores" if machines[model] == "one H200" else "the network"
        yield f"`{model}`", machines[model], f"{rate:.1f}", *hours, how, limit


def _network(file: str, model: str, words: int, dtype: str) -> float:
    """Images that a network labels in a second, as compared with the official code."""
    wanted = {"model": model, "words": words, "dtype": dtype, "kind": "network", "keep": 0}
    rows = measured(f"against_official_{file}")["rows"]
    return 1 / next(row["median"] for row in rows if all(row.get(name) == value for name, value in wanted.items()))


def measured(name: str) -> dict[str, Any]:
    """The results of a benchmark: "machine" and "rows"."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def against_official(machine: str = "") -> str:
    """A table for each machine, with a line about it; or of one machine, with the exact rows of the most words."""
    tables = []
    for name in sorted(file.stem for file in RESULTS.glob("against_official_*.json")):
        found = measured(name)
        rows = sorted((row for row in found["rows"] if not spreads(row)), key=_place)
        if machine == found["machine"]["instructions"] and "gpu" not in found["machine"]:
            exact = (row for row in rows if row["kind"] != "protocol" and not row["keep"])
            # the last ones have the most words
            return markdown(official_rows({(row["model"], row["kind"], row["dtype"]): row for row in exact}.values()))
        if rows:
            tables.append(f"{markdown(official_rows(rows))}\n\n{about(**found)}")
    return "\n\n".join(tables)


def spreads(row: Mapping[str, Any]) -> bool:
    """Whether the times of either code spread too far to be shown."""
    return max(row["spread"], row["official_spread"]) > LARGEST_SPREAD


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    models = ("cat-seg-b", "pca-seg-b", "err-seg-b")
    kind, model = list(KINDS).index(row["kind"]), models.index(row["model"])
    return row["dtype"] != "float32", kind, model, row["keep"], row["words"]


def official_rows(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Ratios first, seconds beside them."""
    yield "", "words", "times as fast", *(f"{what}: segvoc, official" for what in ("seconds", "GB", "% of peak"))
    for row in rows:
        label = f"`{row['model']}`{KINDS[row['kind']]}" + (f", {row['keep']} kept" if row["keep"] else "")
        label += f" of {row['images']} images" if (row.get("images") or 1) != 1 else ""
        label += "" if row["dtype"] == "float32" else f", {row['dtype']}"
        label += ", one turn" if row["repeats"] == 1 else ""
        pairs = [f"{row[key]:.3g}, {row[f'official_{key}']:.3g}" for key in ("seconds", "gigabytes")]
        share = f"{row['share']:.0%}, {row['official_share']:.0%}"
        yield label, row["words"], f"**{row['ratio']:.1f}**", *pairs, share


def about(machine: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A line about a machine, and about the rows that aren't shown."""
    cores = (
        f"{machine['cores']} cores ({machine['processor']}, {machine['instructions']}), {machine['threads']} threads"
    )
    rates = {
        kind: [row[f"{kind}_gflops"] for row in rows if f"{kind}_gflops" in row] for kind in ("float32", "bfloat16")
    }
    speed = " and ".join(f"{median(found):.0f} GFLOP/s in {kind}" for kind, found in rates.items() if found)
    days = sorted(row["date"] for row in rows)
    return (
        f"*{machine.get('gpu', cores)}, PyTorch {machine['torch']}; matrix products at {speed}; "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}; not shown, as their times spread by more than "
        f"{LARGEST_SPREAD:.0%}: {sum(map(spreads, rows))} of {len(rows)} rows.*"
    )


def growth() -> str:
    """Each curve from its first to its last point, and its exponents."""
    lines: list[tuple[object, ...]] = [("of", "from", "to", "time", "exponent", "memory", "exponent")]
    found = measured("growth")
    for curve, title in CURVES.items():
        rows = sorted((row for row in found["rows"] if row["curve"] == curve), key=lambda row: row["number"])
        first, last = rows[0], rows[-1]
        # of the last points, where fixed costs hardly count; of a side, along its pixels
        sizes = np.log([row["number"] ** (2 if curve == "side" else 1) for row in rows[-3:]])
        seconds, gigabytes = (
            round(float(np.polyfit(sizes, np.log([row[name] for row in rows[-3:]]), 1)[0]), 2)
            for name in ("seconds", "gigabytes")
        )
        time = f"{first['seconds']:.2g} to {last['seconds']:.3g} s"
        memory = f"{first['gigabytes']:.2f} to {last['gigabytes']:.2f} GB"
        lines.append((title, f"{first['number']:,}", f"{last['number']:,}", time, seconds, memory, gigabytes))
    return f"{markdown(iter(lines))}\n\n{found['machine']['cpu']}, two threads, `tiny`."


def clicks() -> Rows:
    """The clicks of each data set, and of all."""
    head = ("data set", "regions", "clicks to IoU 0.8", "0.85", "0.9")
    yield *head, "reach 0.9 in 20 clicks", "IoU after 1, 3, 5 clicks"
    for row in measured("clicks")["rows"]:
        levels = (f"{row[f'clicks_{level}']:.1f}" for level in (0.8, 0.85, 0.9))
        ious = ", ".join(f"{row[f'iou_{number}']:.2f}" for number in (1, 3, 5))
        yield row["set"], row["regions"], *levels, f"{100 * row['reached_0.9']:.0f} %", ious


def annotator() -> Rows:
    """The actions of a scripted annotator on each photograph, and in all."""
    yield (
        "photograph",
        "words",
        "right at the start",
        "actions with regions, clicks, polygons",
        "with all tools",
        "these",
    )
    rows = measured("annotator")["rows"]
    for row in rows:
        few, every = (f"{row[f'actions_{tools}']} ({100 * row[f'end_{tools}']:.0f} %)" for tools in ("few", "all"))
        yield row["photograph"], row["words"], f"{100 * row['start']:.0f} %", few, every, row["tools_all"]
    yield "all", "", "", *(sum(row[f"actions_{tools}"] for row in rows) for tools in ("few", "all")), ""


def benchmarks() -> Rows:
    """What is scored and how."""
    yield "name", "in papers", "classes", "images", "ignored label", "scoring", "label maps"
    for name, one in BENCHMARKS.items():
        scoring, maps = "for training" if name.endswith("-train") else one.protocol, one.label_folder
        images = "" if one.image_count is None else f"{one.image_count:,}"
        yield f"`{name}`", one.title, len(one.classes), images, one.ignored, scoring, f"`{maps}/*{one.label_suffix}`"


def downloads() -> Rows:
    """What each benchmark is made of."""
    yield "benchmarks", "download", "from", "unpacked files"
    titles: dict[tuple[Download, ...], list[str]] = {}
    for one in BENCHMARKS.values():
        for _, files in groupby(one.downloads, key=lambda file: file.archives):
            titles.setdefault(tuple(files), []).append(one.title)
    for files, names in titles.items():
        places = (f"`{file.locations[0]}{file.suffix and f'/*{file.suffix}'}`" for file in files)
        yield ", ".join(names), f"`{(*files[0].archives, files[0].member)[0]}`", files[0].page, ", ".join(places)


def sources() -> Rows:
    """Where a benchmark was published, and what differs in it."""
    yield "benchmarks", "published in", "notes"
    for citation in dict.fromkeys(one.citation for one in BENCHMARKS.values()):
        several = [one for one in BENCHMARKS.values() if one.citation == citation]
        notes = "; ".join(f"{one.title}: {one.note}" for one in several if one.note)
        yield "; ".join(one.title for one in several), citation, notes


def protocols() -> Rows:
    """The protocols that evaluations follow by default."""
    yield "network", "benchmarks", "window", "classes kept", "prompt", "background below", "published in", "left open"
    for family, by_benchmark in PUBLISHED_PROTOCOLS.items():
        preset = next(preset for preset in PRESETS.values() if preset.family == family)
        for one in dict.fromkeys(by_benchmark.values()):
            names = ", ".join(f"`{name}`" for name, other in by_benchmark.items() if other == one)
            selection, below = preset.protocols[one.options.window].selection, one.options.threshold
            most = "all" if selection is None else f"at most {selection.keep}"
            prompt = f"`{one.templates[0]}`" if len(one.templates) == 1 else f"{len(one.templates)} of ImageNet"
            cells = (family, names, f"`{one.options.window}`", one.options.keep_classes or most, prompt)
            yield *cells, "" if below is None else below, one.source, one.chosen


def scores(*, parts: bool = False) -> Rows:
    """The scores in percent, with a row for each network and paper table."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in BENCHMARKS.values():
        for row in one.published if (one.parts is not None) == parts else ():
            text = " / ".join(f"{value:.1f}" for value in row.scores[one.name].values())
            rows.setdefault((f"`{row.preset}`", row.protocol or "mIoU", row.title), {})[one.title] = text
    titles = [one.title for one in BENCHMARKS.values() if any(one.title in row for row in rows.values())]
    yield "network", "score", *titles, "from"
    yield from ((*key[:2], *(row.get(title, "") for title in titles), key[2]) for key, row in rows.items())


def scores_of_tiny(kind: str) -> Rows:
    """The scores of cross-validation in percent, with their standard errors, the best first."""
    yield "dataset", "what it shows", "mIoU", "pixel accuracy"
    found = json.loads((SHIPPED / "tiny.json").read_text(encoding="utf-8"))["scores"][kind]
    for name, row in sorted(found.items(), key=lambda item: -item[1]["pixel_accuracy"]):
        texts = (f"{row[score]:.1f} ± {row[f'{score}_error']:.1f}" for score in ("miou", "pixel_accuracy"))
        yield f"`{name}`", SHOWS[name], *texts


def of_photographs(name: str) -> Rows:
    """What was measured on photographs; a row may lack figures."""
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    yield tuple(columns)
    yield from (tuple(row.get(column, "") for column in columns) for row in rows)


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
