"""Commands that `torchrun` starts: their options."""

import pytest
from torch.distributed.run import get_args_parser

from papers.reproduce import reproduce
from segvoc.cli.evaluate import evaluate_command
from segvoc.cli.train import train_command


@pytest.mark.parametrize("command", [reproduce, train_command, evaluate_command], ids=lambda c: c.name)
def test_no_option_looks_to_torchrun_like_one_of_its_own(command) -> None:
    """It takes the beginning of an option of its own as that option, even behind the program's name."""
    own = [name for action in get_args_parser()._actions for name in action.option_strings]
    ours = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert ours and not {name: option for name in ours for option in own if option.startswith(name)}
