"""The command line, one file per command; each is imported only when it is called."""

import errno
import io
import os
import sys
import traceback
import warnings
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

import click

from segvoc.cli.output import echo, show_hints
from segvoc.errors import LabelingWarning, SegvocError, UsageError, install_line, naming_torch
from segvoc.runtime import process_settings
from segvoc.runtime.suggestions import did_you_mean, option_meant
from segvoc.runtime.version import __version__

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of the output, not of the call."""

COMMANDS = {
    "batch": "Label large image collections on one machine or a cluster.",
    "click": "Segment the object under a click or in a box.",
    "convert": "Convert an official checkpoint to a segvoc file.",
    "doctor": "Print what a bug report needs.",
    "evaluate": "Score a model on a benchmark, or on your own labeled images.",
    "export": "Export a model to ONNX Runtime or Triton.",
    "fetch": "Download published weights ahead of time.",
    "info": "Show a model's components, parameters and weights.",
    "models": "List the models.",
    "prepare": "Convert a benchmark's original download to label maps.",
    "push": "Share a model on the Hugging Face hub.",
    "segment": "Label every pixel of images or videos with words.",
    "serve": "Serve a model over HTTP.",
    "teach": "Learn words from labeled images, in seconds.",
    "train": "Train by a paper's recipe, or fine-tune on your own images.",
}
"""The commands, each in the file of the same name, with its line in the help."""

ADDED = "segvoc.commands"
"""The entry-point group in which other distributions add commands."""

_KNOWN = {
    "annotate": "Label, correct and teach the images of a project in your browser.",
    "page": "Write a web page that labels in the browser.",
    "project": "Import into a project, export from it, and see what is done.",
}
"""The commands of segvoc-annotate."""

_MEANT = {
    **dict.fromkeys(("predict", "detect", "infer", "label", "run"), "segment"),
    **dict.fromkeys(("eval", "val", "score", "test", "compare", "benchmark"), "evaluate"),
    **dict.fromkeys(("finetune", "fine-tune", "fit"), "train"),
    **dict.fromkeys(("download", "pull"), "fetch"),
    **dict.fromkeys(("upload", "share"), "push"),
    "list": "models",
}
"""Names of commands in other tools."""


_NOT_NEEDED = {
    **dict.fromkeys(
        ("imgsz", "image-size", "img-size", "size", "resize"),
        "images may have any size, the model resizes them (--window fine sees smaller things)",
    ),
    **dict.fromkeys(("batch-size", "batch"), "images are batched as the device allows"),
    **dict.fromkeys(("show", "view", "plot", "visualize"), "pictures are written: see out/*.overlay.png"),
    **dict.fromkeys(("progress", "verbose"), "a bar is shown on terminals, and elsewhere a line now and then"),
}
"""Options of other tools that segvoc does without, and why."""


class Commands(click.Group):
    """The commands, each imported only when it is called, so that `--help` is fast.

    "segment" is `segment_command` in `segment.py`; "click" is in `click_.py`, since `click` is the library.
    Other distributions add commands through the entry-point group `ADDED`, named after the commands.
    """

    @cached_property
    def entries(self) -> Mapping[str, EntryPoint]:
        """Commands of other distributions, not imported yet."""
        return {entry.name: entry for entry in entry_points(group=ADDED) if entry.name not in COMMANDS}

    @cached_property
    def lines(self) -> Mapping[str, str]:
        """The installed commands, each with its line in the help."""
        added = {name: _KNOWN.get(name, f"({entry.value})") for name, entry in self.entries.items()}
        return dict(sorted({**COMMANDS, **added}.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; "help", "help segment" and "version" are the options of these names."""
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, ["--version"] if args == ["version"] else args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the commands, in order."""
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if it doesn't exist."""
        if cmd_name in self.entries:
            return self.entries[cmd_name].load()
        if cmd_name not in COMMANDS:
            return None
        module = "click_" if cmd_name == "click" else cmd_name
        return getattr(import_module(f"segvoc.cli.{module}"), f"{cmd_name}_command")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; the error for an unknown name suggests a close one."""
        (name, *_) = args
        if name in _KNOWN and name not in self.lines:
            raise UsageError(f"segvoc {name} needs segvoc-annotate: {install_line('annotate')}")
        if name not in self.lines and not name.startswith("-") and not ctx.resilient_parsing:
            meant = (
                f" (did you mean {_MEANT[name]}?)" if name in _MEANT else did_you_mean(name, {**self.lines, **_KNOWN})
            )
            if os.path.exists(name) or os.path.splitext(name)[1]:
                meant = f'; to label an image: segvoc segment {name} --words "cat, sofa, wall"'
            ctx.fail(f"No such command {name!r}{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))
        if missing := [(name, line) for name, line in _KNOWN.items() if name not in self.lines]:
            with formatter.section(f"After {install_line('annotate')}"):
                formatter.write_dl(missing)


@click.group(
    cls=Commands, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(__version__, prog_name="segvoc")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command_line(debug: bool) -> None:
    """Label every pixel of an image with words that you choose.

    For example: segvoc segment photo.jpg --words "cat, sofa, wall"
    """


def main() -> None:
    """Run the command line; see `run_command`."""
    run_command(command_line, "segvoc")


def run_command(command: click.Command, name: str) -> None:
    """Run a command, of this name in help and errors, with the program's arguments, and print errors as one line.

    Exit codes: 0 all done, 1 some inputs failed, 2 the call was wrong, 130 interrupted.
    """
    process_settings.for_own_process()
    warnings.showwarning = _one_line_warning
    process_settings.ignore_warnings_of_image_libraries()
    warnings.simplefilter("ignore", LabelingWarning)  # but for commands that label images
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a file name that the terminal can't encode must not stop the remaining images
        sys.stdout.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    if debug:
        # also accepted after the command
        sys.argv = [sys.argv[0], "--debug", *(argument for argument in sys.argv[1:] if argument != "--debug")]
    try:
        with naming_torch():
            sys.exit(command(prog_name=name, standalone_mode=False))
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        usage = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else name
        if isinstance(error, click.BadOptionUsage) and isinstance(command, Commands) and usage == name:
            usage = " ".join([name, *[word for word in sys.argv[1:] if word in COMMANDS][:1]])
        _fail(f"{_with_suggestion(error)} (see {usage} --help)", 2, debug)
    except SegvocError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1, debug)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; results written so far are complete", 130, debug=False)
    except BrokenPipeError:  # the reader closed the pipe
        _drop_output()
        sys.exit(1)
    except Exception as error:
        _fail(_described(error), 1, debug)


def _with_suggestion(error: click.ClickException) -> str:
    """The message of a wrong call, with the option or value that was probably meant."""
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [option for parameter in error.ctx.command.params for option in parameter.opts]
        longs = [option.removeprefix("--") for option in known if option.startswith("--")]
        meant = did_you_mean(error.option_name.lstrip("-"), longs).replace("mean ", "mean --")
        if ours := option_meant(error.option_name, known):
            are = f"{ours} {'are' if ours[-1] == 's' else 'is'} named without an option"
            meant = f" (did you mean {ours}?)" if ours[0] == "-" else f" ({are})"
        if not meant and isinstance(error.ctx.command, Commands):
            meant = f"; options follow a command, for example segvoc segment photo.jpg {error.option_name}"
        if not meant and error.option_name.lstrip("-") in _NOT_NEEDED:
            meant = f"; {_NOT_NEEDED[error.option_name.lstrip('-')]}"
        return f"No such option: {error.option_name}{meant}"
    if isinstance(error, click.BadParameter) and isinstance(kind := getattr(error.param, "type", None), click.Choice):
        return f"{message.rstrip('.')}{did_you_mean(error.message.split(chr(39))[1], kind.choices, 2)}"
    return message


def _drop_output() -> None:
    """Write what is left in the buffer of stdout nowhere; Python would raise again when it closes stdout."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _described(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        _drop_output()
        return f"standard output can't be written ({error.strerror}); free space, or send it elsewhere"
    first_line = (str(error).splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {first_line} (--debug shows where)"


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    echo(f"segvoc: error: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _one_line_warning(message: Warning | str, *_: object, **__: object) -> None:
    if isinstance(message, LabelingWarning):
        show_hints([message])
    else:
        echo(f"segvoc: warning: {' '.join(str(message).split())}", err=True)
