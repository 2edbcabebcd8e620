"""`segvoc doctor`: what a bug report needs, and the usual mistakes."""

import json

import click

from segvoc.cli.output import echo


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Print what a bug report needs, and find the usual mistakes of an installation.

    Versions, processor, GPUs, threads, folders with their free space, and variables that change how segvoc runs; the
    shipped model labels a small image. Secrets are not among them. Exits with 1 if a mistake is found.
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
        mistakes = [f"  - {mistake}" for mistake in found.mistakes]
        echo("\n".join([f"mistakes: {len(mistakes)}", *mistakes]))
    if found.mistakes:
        context.exit(1)
