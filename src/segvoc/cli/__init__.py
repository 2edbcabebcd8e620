"""The command line, one file per command; each is imported only when it is called."""

import io
import os
import sys
import traceback
import warnings

import click

from segvoc import __version__, process_settings
from segvoc.cli.lazy_group import LazyGroup
from segvoc.errors import SegvocError, UsageError

COMMANDS = {
    "analyze": "Make a table or a figure of the papers.",
    "convert": "Write an official checkpoint as a file of segvoc.",
    "evaluate": "Score a model on a benchmark, or on labelled pictures of your own.",
    "info": "What a model is made of, and where its weights come from.",
    "models": "The models that can be named, a line each.",
    "prepare": "Make benchmarks' label maps out of their original downloads.",
    "segment": "Label every pixel of pictures with words.",
    "train": "Train a network by a paper's recipe, or on your own pictures.",
}
"""Every command, each in a file of its name, and its line in the help."""


@click.group(
    cls=LazyGroup,
    lines=COMMANDS,
    package="segvoc.cli",
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="segvoc")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def command_line(debug: bool) -> None:
    """Label every pixel of a picture with words that you choose.

    For example: segvoc segment photo.jpg --words "cat, sofa, wall"
    """


def main() -> None:
    """Run the command line: exit code 0 all done, 1 some inputs failed, 2 a wrong call; errors are one line."""
    process_settings.for_command_line()
    warnings.showwarning = _one_line_warning
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name that the terminal can't show must not cost the pictures behind it
        sys.stdout.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    if debug:
        # accepted behind the command as well
        sys.argv = [sys.argv[0], "--debug", *(argument for argument in sys.argv[1:] if argument != "--debug")]
    try:
        sys.exit(command_line(prog_name="segvoc", standalone_mode=False))
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        usage = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "segvoc"
        _fail(f"{error.format_message()} (see {usage} --help)", 2, debug)
    except SegvocError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1, debug)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped; results written so far are whole", 130, debug=False)
    except BrokenPipeError:
        # whoever read our output has left; Python would complain once more on closing it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        _fail(f"unexpected {type(error).__name__}: {first_line} (--debug shows where)", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"segvoc: error: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _one_line_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"segvoc: warning: {' '.join(str(message).split())}", err=True)
