"""Which settings to take, in plain sentences; each names the measured figures that it rests on."""

from collections.abc import Sequence

from segvoc.analysis.machine_speed.rows import DTYPES, Dtype, SpeedRow, count_text, measured_rows, rounded

NOTICEABLE = 1.1
"""Ratio of two rates from which on a setting is worth its name."""

MANY = 1_000_000
"""Images whose time is told."""


def fastest_dtype(rows: Sequence[SpeedRow], model: str) -> Dtype | None:
    """The dtype in which a model is fastest, with the most words that all dtypes were measured with.

    Returns:
        The dtype, float32 unless another is noticeably faster; the only one that was measured if there is no other;
        None if none was.
    """
    measured: dict[Dtype, dict[int, SpeedRow]] = {}
    for dtype in DTYPES:
        if found := _by_words(rows, model, dtype):
            measured[dtype] = found
    common = set.intersection(*map(set, measured.values())) if measured else set()
    if not common:
        return next(iter(measured), None)
    rates: dict[Dtype, float] = {dtype: found[max(common)].rate for dtype, found in measured.items()}
    usual = next(iter(rates))
    best = max(rates, key=lambda dtype: rates[dtype])
    return best if rates[best] >= NOTICEABLE * rates[usual] else usual


def advice_from(rows: Sequence[SpeedRow]) -> list[str]:
    """Sentences about the settings of each model in turn, and about the models among themselves."""
    models = list(dict.fromkeys(row.case.model for row in rows))
    topics = (_on_dtype, _on_keeping, _on_threads, _on_processes, _on_batches, _on_many_images)
    told = [f"{model}: {line}" for model in models for topic in topics if (line := topic(rows, model)) is not None]
    return told + _on_models(rows, models)


def _on_dtype(rows: Sequence[SpeedRow], model: str) -> str | None:
    full, half = (_by_words(rows, model, dtype) for dtype in DTYPES)
    common = full.keys() & half.keys()
    if not common:
        return None
    words = max(common)
    ratio = half[words].rate / full[words].rate
    figures = (
        f"{_time(full[words])} an image in float32, {_time(half[words])} in bfloat16, with {count_text(words, 'word')}"
    )
    if ratio >= NOTICEABLE:
        return f"take --dtype bfloat16, {ratio:.1f} times as fast ({figures}), if a few other labels don't matter"
    if ratio <= 1 / NOTICEABLE:
        return f"take --dtype float32, {1 / ratio:.1f} times as fast as bfloat16 ({figures})"
    return f"take --dtype float32, since bfloat16 is about as fast ({figures})"


def _on_keeping(rows: Sequence[SpeedRow], model: str) -> str | None:
    kept = [row for row in measured_rows(rows, model, batch=1, processes=1) if row.case.keeps_few]
    if not kept:
        return None
    row = kept[-1]
    case = row.case
    what = f"--keep-classes {case.refined}"
    with_it = f"{_time(row)} an image with {count_text(case.words, 'word')} in {case.dtype}"
    all_words = _by_words(rows, model, case.dtype).get(case.words)
    if all_words is None:
        return f"with {what} it takes {with_it}; without it there was no time to measure that"
    ratio = row.rate / all_words.rate
    if ratio >= NOTICEABLE:
        return f"with many words take {what}, {ratio:.1f} times as fast ({with_it}, {_time(all_words)} without it)"
    return f"leave out {what}, which hardly saves time ({with_it}, {_time(all_words)} without it)"


def _on_threads(rows: Sequence[SpeedRow], model: str) -> str | None:
    fewer = [row for row in measured_rows(rows, model, is_plain=True) if row.case.threads < _threads(rows, model)]
    if not fewer:
        return None
    case = fewer[0].case
    compared = measured_rows(rows, model, is_plain=True, words=case.words, dtype=case.dtype)
    best = max(row.rate for row in compared)
    enough = min((row for row in compared if row.rate * NOTICEABLE >= best), key=lambda row: row.case.threads)
    times = ", ".join(f"{_time(row)} with {row.case.threads}" for row in compared)
    figures = f"{times}; {count_text(case.words, 'word')}, {case.dtype}"
    threads = enough.case.threads
    if threads == _threads(rows, model):
        return f"one process is fastest with all {threads} threads ({figures})"
    return f"one process needs no more than OMP_NUM_THREADS={threads} ({figures})"


def _on_processes(rows: Sequence[SpeedRow], model: str) -> str | None:
    several = [row for row in measured_rows(rows, model) if row.case.processes > 1]
    if not several:
        return None
    row = several[-1]
    case = row.case
    alone = max(
        measured_rows(rows, model, is_plain=True, words=case.words, dtype=case.dtype),
        key=lambda row: row.rate,
    )
    ratio = row.rate / alone.rate
    figures = f"{rounded(row.rate)} images per second in {row.memory_gb:.1f} GB, {rounded(alone.rate)} from one process"
    what = f"{case.processes} processes of {count_text(case.threads, 'thread')} each"
    if ratio >= NOTICEABLE:
        return f"for many images run {what}, which label {ratio:.1f} times as many ({figures})"
    return f"run one process, since {what} hardly label more images ({figures})"


def _on_batches(rows: Sequence[SpeedRow], model: str) -> str | None:
    batches = [row for row in measured_rows(rows, model) if row.case.batch > 1]
    if not batches:
        return None
    case = batches[0].case
    (alone,) = measured_rows(rows, model, is_plain=True, words=case.words, dtype=case.dtype)
    compared = [alone, *batches]
    best = max(row.rate for row in compared)
    enough = min((row for row in compared if row.rate * NOTICEABLE >= best), key=lambda row: row.case.batch)
    rates = ", ".join(f"{rounded(row.rate)} images per second with {row.case.batch}" for row in compared)
    figures = f"{rates}; {count_text(case.words, 'word')}, {case.dtype}"
    if enough is alone:
        return f"batches bring nothing ({figures})"
    ratio = enough.rate / alone.rate
    return f"give lists of images and set model.batch = {enough.case.batch}, {ratio:.1f} times as fast ({figures})"


def _on_many_images(rows: Sequence[SpeedRow], model: str) -> str | None:
    measured = measured_rows(rows, model, keeps_few=False)
    if not measured:
        return None
    numbers = sorted({row.case.words for row in measured})
    words = numbers[len(numbers) // 2]
    ways = [row for row in measured if row.case.words == words]
    advised = fastest_dtype(rows, model)
    ways = [row for row in ways if row.case.dtype == advised] or ways
    most = max(row.rate for row in ways)
    # what the other lines advise: nothing that isn't noticeably faster
    enough = (row for row in ways if row.rate * NOTICEABLE >= most)
    best = min(enough, key=lambda row: (row.case.processes, row.case.batch, row.case.threads))
    case = best.case
    settings = ", ".join(filter(None, [case.dtype, case.settings, count_text(case.threads, "thread")]))
    return (
        f"a million such images with {count_text(words, 'word')} take about {_long_time(MANY / best.rate)} "
        f"({rounded(best.rate)} per second: {settings})"
    )


def _on_models(rows: Sequence[SpeedRow], models: Sequence[str]) -> list[str]:
    """Models beside one another, each in its fastest dtype."""
    by_words = {}
    for model in models:
        dtype = fastest_dtype(rows, model)
        if dtype is not None:
            by_words[model] = _by_words(rows, model, dtype)
    common = set.intersection(*map(set, by_words.values())) if len(by_words) > 1 else set()
    if not common:
        return []
    words = max(common)
    fastest_first = sorted(by_words, key=lambda model: -by_words[model][words].rate)
    figures = ", ".join(f"{model} {_time(by_words[model][words])}" for model in fastest_first)
    return [f"the models beside one another, an image with {count_text(words, 'word')}: {figures}"]


def _by_words(rows: Sequence[SpeedRow], model: str, dtype: Dtype) -> dict[int, SpeedRow]:
    """Rows with all threads and no further setting, by words."""
    plain = measured_rows(rows, model, dtype=dtype, is_plain=True, threads=_threads(rows, model))
    return {row.case.words: row for row in plain}


def _threads(rows: Sequence[SpeedRow], model: str) -> int:
    """The threads that are measured unless a row says otherwise."""
    return max((row.case.threads for row in rows if row.case.model == model), default=0)


def _time(row: SpeedRow) -> str:
    return f"{rounded(row.seconds)} s"


def _long_time(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{rounded(seconds / unit)} {name}"
    return f"{rounded(seconds)} seconds"
