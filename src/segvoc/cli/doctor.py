"""`segvoc doctor`: what a bug report needs, and the usual problems."""

import json

import click

from segvoc.cli.output import echo


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the installation, and print what a bug report needs.

    Prints versions, processor, GPUs, threads, folders with their free space, and environment variables that affect
    segvoc, but no secrets, and labels a small image with the shipped model. The exit code is 1 if it finds a problem;
    a machine that is busy is only a warning.
    """
    from segvoc.diagnosis.diagnosis import diagnose  # here, since it imports both engines

    found = diagnose()
    if as_json:
        echo(json.dumps(found.to_json()))
    else:
        for section, facts in found.facts.items():
            width = max(map(len, facts), default=0)
            lines = [f"  {name:{width}}  {value}" for name, value in facts.items()] or ["  none"]
            echo("\n".join([section, *lines, ""]))
        for kind, lines in (("warnings", found.warnings), ("problems", found.problems)):
            if lines or kind == "problems":
                echo("\n".join([f"{kind}: {len(lines)}", *(f"  - {line}" for line in lines)]))
    if found.problems:
        context.exit(1)
