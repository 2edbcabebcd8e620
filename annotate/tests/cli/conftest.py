"""What the tests of commands share."""

from tests.cli.conftest import no_progress as no_progress
from tests.cli.conftest import segvoc_command as segvoc_command
from tests.cli.conftest import served as served
