"""Writes the tables of docs/explanation/robustness.md from benchmarks/results/hardening_*.json."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "robustness.md"
NOT_RUN = "Not run yet."


def results(name: str) -> dict[str, Any] | None:
    """The stored figures of a run; None if there are none."""
    path = ROOT / "benchmarks" / "results" / f"hardening_{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def fuzz_table(found: dict[str, Any] | None) -> str:
    """The families of bad inputs."""
    if found is None:
        return NOT_RUN
    lines = ["| family | distinct inputs | refused | accepted | defects | scale |", "|---|---:|---:|---:|---:|---:|"]
    for row in [*found["rows"], {"family": "**all**", "scale": "", **found["all"]}]:
        lines.append("| {family} | {cases} | {refused} | {accepted} | {defects} | {scale} |".format(**row))
    told = f"Seed {found['seed']}, {found['seconds']} s on two shared cores."
    return "\n".join([*lines, "", told])


def kills_table(found: dict[str, Any] | None) -> str:
    """The commands that were ended."""
    if found is None:
        return NOT_RUN
    lines = ["| command | writes of a run | kills | failing writes | losses |", "|---|---:|---:|---:|---:|"]
    for row in found["rows"]:
        lines.append(
            f"| {row['command']} | {row['writes']} | {row.get('kills', 0)} | {row.get('failing writes', 0)} | "
            f"{row['losses']} |"
        )
    return "\n".join([*lines, "", f"Seed {found['seed']}, {found['seconds']} s on two shared cores."])


def soak_table(found: dict[str, Any] | None) -> str:
    """Growth in a long run."""
    if found is None:
        return NOT_RUN
    lines = ["| | after the first tenth | at the end | growth an hour |", "|---|---:|---:|---:|"]
    for name, growth in found["growth_percent_an_hour"].items():
        lines.append(f"| {name} | {found['first'][name]:g} | {found['last'][name]:g} | {growth:g} % |")
    work = ", ".join(f"{count} {name}" for name, count in found["work"].items())
    return "\n".join([*lines, "", f"{found['minutes']:g} minutes: {work}; {len(found['errors'])} errors."])


def peers_table(found: dict[str, Any] | None) -> str:
    """Images of other projects' tests."""
    if found is None:
        return NOT_RUN
    lines = ["| project | suffix | files | readings refused | accepted | defects |", "|---|---|---:|---:|---:|---:|"]
    for row in found["rows"]:
        lines.append("| {project} | {suffix} | {files} | {refused} | {accepted} | {defects} |".format(**row))
    return "\n".join(lines)


def corpora_table(found: dict[str, Any] | None) -> str:
    """Folders of other projects, put through in one call each."""
    if found is None:
        return NOT_RUN
    lines = [
        "| project | commit | options | files | labeled | named | counted | unexpected |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["corpora"]:
        options = f"`{row['options']}`" if row["options"] else ""
        about = f"{row['name']} | {row['commit']} | {options}"
        counts = " | ".join(str(row[name]) for name in ("files", "labeled", "named", "counted"))
        lines.append(f"| {about} | {counts} | {len(row['unexpected'])} |")
    return "\n".join(lines)


TABLES = (
    ("fuzz", fuzz_table),
    ("peers", peers_table),
    ("corpora", corpora_table),
    ("kills", kills_table),
    ("soak", soak_table),
)


def main() -> None:
    """Write the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES:
        new = f"<!-- {name} -->\n{table(results(name))}\n<!-- /{name} -->"
        text = re.sub(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _, new=new: new, text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
