"""Runs `segvoc` as the tests of its commands do."""

from tests.cli.conftest import segvoc_command

__all__ = ["segvoc_command"]
