"""Plans and simulates a batch of a million images, and writes docs/scale.md.

    python -m benchmarks.scale

Measured here: the sizes of images, rows and records, with `tiny` on the photographs of samples/ and 133 words. Read
from benchmarks/results/: the seconds of an image (tiny_speed.json), and Ray's share of the model's rate (batch.json).
The simulation passes every shard through readers, a bounded store and workers, and kills nodes at random moments.
Prices are assumptions, each with the page that states it.
"""

import heapq
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS
from segvoc.batch.batch import Batch
from segvoc.batch.places import place_of
from segvoc.batch.reading import read_shards
from segvoc.batch.shards import Shard, ShardLimits, in_groups
from segvoc.batch.sources import find_source, result_stems
from segvoc.batch.work import Labeled, ModelFacts, ShardLabeler, find_facts
from segvoc.exported.shipped import open_tiny
from segvoc.vocabulary import Vocabulary

ROOT = Path(__file__).parents[1]
IMAGES = 1_000_000
LATENCY = 0.05
"""Time until a storage of objects begins to answer [s]: an assumption."""
BANDWIDTH = 50e6
"""Bytes that a node reads in a second: an assumption, a fraction of what such nodes have."""
QUEUED = 4
"""Shards that wait for a worker before its readers wait; what Ray Data hands an actor ahead."""
LIFE = 24 * 3600.0
"""Mean time until a node is lost [s]: an assumption, for spot instances."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A kind of node."""

    name: str
    cores: int
    """Of the hardware; c5 counts each twice."""
    dollars: float
    """An hour of it [$]."""
    page: str
    """What states the price."""


INSTANCES = (
    Instance(
        name="c5.4xlarge",
        cores=8,
        dollars=0.68,
        page="https://docs.amazonaws.cn/en_us/autoscaling/ec2/userguide/weights-spot-price-per-unit-hour-example.html",
    ),
    Instance(
        name="m7g.large",
        cores=2,
        dollars=0.0816,
        page="https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What an image takes, in bytes."""

    image: float
    row: float
    record: float


def measured_sizes() -> Sizes:
    """Sizes of the sample photographs and of their results."""
    words = Path(__file__).with_name("coco_panoptic_words.txt").read_text(encoding="utf-8").split("\n")[:133]
    batch = Batch(source=str(ROOT / "samples"), out="unused", words=Vocabulary(words), load=open_tiny)
    source = find_source(batch.source, kind="images")
    facts = find_facts(batch.labeling)
    assert isinstance(facts, ModelFacts)
    stems = result_stems(source, place_of(batch.out), in_files=False)
    (container,) = in_groups(source.units, stems, batch.limits)
    (shard,) = read_shards(source, container, batch.limits)
    assert isinstance(shard, Shard)
    labeled = ShardLabeler(batch.labeling, batch.form, facts).label(shard)
    assert isinstance(labeled, Labeled)
    number = len(shard.images)
    return Sizes(
        image=sum(len(image.content) for image in shard.images) / number,
        row=sum(len(content) for _, content in labeled.files) / number,
        record=len(labeled.record.to_json(batch.settings(facts, source))) / number,
    )


def simulated(nodes: int, rate: float, sizes: Sizes, limits: ShardLimits, seed: int = 0) -> dict[str, float]:
    """A run on some nodes, of which now and then one is lost and replaced.

    Args:
        nodes: how many.
        rate: images that a node labels in a second.
        sizes: of images and results.
        limits: of shards.
        seed: of the moments at which nodes are lost.

    Returns:
        "hours", "lost" (nodes), "again" (shards done twice), "idle" (share of the time that nodes wait), and
        "store" (bytes in a node's object store at most).
    """
    draw = random.Random(seed)
    in_shard = int(min(limits.images, limits.bytes // sizes.image))
    left = -(-IMAGES // in_shard)
    reading = in_shard * LATENCY / 16 + in_shard * sizes.image / BANDWIDTH
    labeling = in_shard / rate
    read = [[0.0] * QUEUED for _ in range(nodes)]  # when the shards that a node has are there
    dies = [draw.expovariate(1 / LIFE) for _ in range(nodes)]
    heap = [(0.0, node) for node in range(nodes)]  # when a node is free
    heapq.heapify(heap)
    for node in range(nodes):
        read[node] = [reading * (turn + 1) for turn in range(QUEUED)]
    waited, again, lost, end = 0.0, 0, 0, 0.0
    while left:
        free, node = heapq.heappop(heap)
        start = max(free, read[node].pop(0))
        done = start + labeling
        if dies[node] < done:  # what it was labeling, and what waited there, is done by others or its successor
            lost, again = lost + 1, again + 1
            back = dies[node] + 180.0
            dies[node] = back + draw.expovariate(1 / LIFE)
            read[node] = [back + reading * (turn + 1) for turn in range(QUEUED)]
            heapq.heappush(heap, (back, node))
            continue
        waited += start - free
        read[node].append(max(done, read[node][-1]) + reading)
        left, end = left - 1, max(end, done)
        heapq.heappush(heap, (done, node))
    store = (QUEUED + 2) * in_shard * sizes.image + 2 * in_shard * sizes.row
    return {"hours": end / 3600, "lost": lost, "again": again, "idle": waited / (end * nodes), "store": store}


def page(sizes: Sizes, seconds: float, cores: int, share: float) -> str:
    """The page."""
    limits = ShardLimits()
    per_core = share / seconds / cores
    in_shard = int(min(limits.images, limits.bytes // sizes.image))
    shards = -(-IMAGES // in_shard)
    rows = []
    for instance in INSTANCES:
        for nodes in (1, 16, 64):
            run = simulated(nodes, per_core * instance.cores, sizes, limits)
            rows.append(
                f"| {nodes} × {instance.name} | {per_core * instance.cores * nodes:,.1f} | {run['hours']:,.1f} "
                f"| {run['lost']:.0f} | {run['again']:.0f} | {run['idle']:.1%} | {run['store'] / 1e6:,.0f} MB "
                f"| ${run['hours'] * nodes * instance.dollars:,.0f} |"
            )
    sources = "\n".join(f"- {one.name}: ${one.dollars} an hour, as stated by <{one.page}>." for one in INSTANCES)
    table = "\n".join(rows)
    return f"""# A million images

What `segvoc batch` takes for 1,000,000 images with `tiny`, 133 words and rows of Parquet. `python -m benchmarks.scale`
makes this page: sizes and rates are measured, the run is simulated, prices are assumptions.

## Measured

| what | value | from |
|---|---|---|
| an image | {sizes.image / 1e3:,.0f} kB | the photographs of `samples/` |
| its row in Parquet, with masks | {sizes.row / 1e3:,.1f} kB | the same, 133 words |
| its share of the record of a shard | {sizes.record:,.0f} bytes | the same |
| the model's time for an image | {seconds:.3f} s on {cores} cores | `benchmarks/results/tiny_speed.json` |
| share of the model's rate that Ray keeps | {share:.0%} | `benchmarks/results/batch.json`: one worker |

## Planned

| what | value |
|---|---|
| source | {IMAGES * sizes.image / 1e9:,.0f} GB |
| results | {IMAGES * sizes.row / 1e9:,.1f} GB of Parquet, and {IMAGES * sizes.record / 1e6:,.0f} MB of records |
| shards | {shards:,} of {in_shard} images, {in_shard * sizes.image / 1e6:,.0f} MB each |
| requests to read a folder of images | {IMAGES:,}; of tars of {in_shard} images {shards:,} |
| requests to write | {2 * shards:,}: a file and a record for each shard |
| requests to go on | {shards:,} records, and the listings |

A shard is what a lost worker may have to do again: {in_shard / per_core / 16:,.0f} s of 16 cores. A folder of images
costs a request and about {LATENCY * 1e3:.0f} ms for each, of which 16 are under way at a time; tars and Parquet are
read in a few long requests, so they are the form for far more than a million. Records name every image of a folder,
but only the tar or row group of the others, so a hundred million images in tars have records of a few hundred bytes
for each shard.

## Simulated

Each node labels with all of its cores. Readers fetch ahead {QUEUED} shards for a node, at {BANDWIDTH / 1e6:.0f} MB/s
and {LATENCY * 1e3:.0f} ms for a request. A node is lost every {LIFE / 3600:.0f} hours on average, as spot instances
are, and its successor is there 3 minutes later. "Store" is what a node's object store holds at most, next to one
worker; Ray gives it 30 % of the memory by default.

| nodes | images a second | hours | nodes lost | shards done again | waiting | store | a million images |
|---|---|---|---|---|---|---|---|
{table}

The rate of a node is that of the measured cores times its own, hyperthreads not counted. Other cores differ: measure
yours with [`segvoc bench`](how_to/bench.md), and scale the hours.
Prices are assumptions, on demand and without the storage's requests and traffic:

{sources}
"""


def main() -> None:
    """Measure, simulate, and write the page."""
    speed = json.loads((RESULTS / "tiny_speed.json").read_text(encoding="utf-8"))
    photos = [row["seconds"] for row in speed["rows"] if row["what"].endswith(".jpg, 133 words")]
    kept: dict[str, Any] = json.loads((RESULTS / "batch.json").read_text(encoding="utf-8"))
    share = next(row["share_of_rate"] for row in kept["rows"] if row["name"] == "rate")
    text = page(measured_sizes(), sum(photos) / len(photos), speed["machine"]["threads"], share)
    (ROOT / "docs" / "scale.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
