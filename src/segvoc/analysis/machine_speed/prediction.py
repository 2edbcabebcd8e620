"""How long a case will take, from the rows that are measured already."""

from collections.abc import Mapping, Sequence

import numpy as np

from segvoc.analysis.machine_speed.rows import Case, Dtype, SpeedRow, measured_rows


def predicted_seconds(case: Case, rows: Sequence[SpeedRow], rates: Mapping[Dtype, float]) -> float | None:
    """Time of one call [s]; None if nothing of the model has been measured yet.

    Time is linear between numbers of words and beyond them; with a single row it grows with their square root, since
    much of the work doesn't depend on them. Fewer threads are taken to be as slow as they can be, batches to save
    nothing.

    Args:
        case: the case.
        rows: the rows so far.
        rates: rate of a matrix product in each dtype, by which the first row of a dtype is predicted.
    """
    plain = measured_rows(rows, case.model, is_plain=True)
    if not plain:
        return None
    threads = max(row.case.threads for row in plain)
    own, other = {}, {}
    for row in plain:
        if row.case.threads == threads:
            (own if row.case.dtype == case.dtype else other)[row.case.words] = row.seconds or 0.0
    common = own.keys() & other.keys()
    if common:
        slower = own[max(common)] / other[max(common)]
    else:
        (other_dtype,) = rates.keys() - {case.dtype}
        slower = rates[other_dtype] / rates[case.dtype]
    known = {words: slower * seconds for words, seconds in other.items()} | own
    # dropped words are only compared with the image
    words = min(case.words, case.refined + case.words // 10)
    return _at(words, known) * case.batch * threads / case.threads


def _at(words: int, known: Mapping[int, float]) -> float:
    """Time for a number of words [s], between the numbers that are known, or beyond them."""
    numbers = sorted(known)
    largest = numbers[-1]
    if words <= largest:
        return float(np.interp(words, numbers, [known[number] for number in numbers]))
    if len(numbers) == 1:
        return known[largest] * (words / largest) ** 0.5
    before = numbers[-2]
    slope = (known[largest] - known[before]) / (largest - before)
    return known[largest] + max(0.0, slope) * (words - largest)
