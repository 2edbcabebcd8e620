"""Ten thousand bad inputs: `make soak` runs all, tests/hardening a few of each family.

python -m hardening.fuzz [--seed 0] [--scale 1] [--jobs 2] [--only images] [--keep]
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hardening.cases import Case, Finding
from hardening.corpus import corpus
from hardening.pool import run_cases

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def table(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """A row per family: distinct cases, how many were refused and accepted, defects."""
    rows = []
    for family in sorted({finding.family for finding in findings}):
        mine = [finding for finding in findings if finding.family == family]
        verdicts = Counter(finding.verdict for finding in mine)
        rows.append(
            {
                "family": family,
                "cases": len({finding.digest for finding in mine}),
                "refused": verdicts["refused"],
                "accepted": verdicts["accepted"],
                "defects": verdicts["defect"],
            }
        )
    return rows


def main() -> None:
    """Make the corpus, run it, print the table and the defects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="1: ten thousand cases")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="groups of families, with commas")
    parser.add_argument("--add", action="store_true", help="keep the stored rows of other families")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/hardening_fuzz.json")
    parser.add_argument("--show", default="", help="print all findings of this verdict")
    arguments = parser.parse_args()
    start = time.monotonic()
    cases: list[Case] = list(corpus(random.Random(arguments.seed), arguments.scale, arguments.only.split(",")))
    findings = run_cases(cases, jobs=arguments.jobs)
    rows = table(findings)
    seconds = round(time.monotonic() - start)
    for row in rows:
        print("{family:32} {cases:6} {refused:6} {accepted:6} {defects:6}".format(**row))
    total = {key: sum(int(str(row[key])) for row in rows) for key in ("cases", "refused", "accepted", "defects")}
    print(f"{'all':32} {total['cases']:6} {total['refused']:6} {total['accepted']:6} {total['defects']:6}  {seconds} s")
    for finding in findings:
        if finding.verdict in ("defect", arguments.show):
            print(f"{finding.reader} · {finding.what}: {finding.detail} ({finding.seconds} s)")
    if arguments.keep:
        rows = [{**row, "scale": arguments.scale} for row in rows]
        if arguments.add:
            earlier = json.loads((RESULTS / "hardening_fuzz.json").read_text(encoding="utf-8"))
            families = {row["family"] for row in rows}
            rows = [*(row for row in earlier["rows"] if row["family"] not in families), *rows]
            seconds += earlier["seconds"]
            total = {key: sum(int(str(row[key])) for row in rows) for key in total}
        kept = {"seed": arguments.seed, "seconds": seconds, "rows": rows, "all": total}
        (RESULTS / "hardening_fuzz.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if total["defects"] else 0)


if __name__ == "__main__":
    main()
