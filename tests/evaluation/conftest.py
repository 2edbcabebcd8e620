"""What the tests of evaluations share."""

from tests.cli.conftest import segvoc_command as segvoc_command
