"""The packages that segvoc asks for, and whether those that are installed fit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")

_HIDDEN_EXTRAS = frozenset(("all", "dev", "docs"))
"""Extras that users don't ask for one by one."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that segvoc, or one of its extras, asks for."""

    name: str
    """As pip calls it."""
    versions: str
    """Versions that fit, for example ">=2.6"."""
    extra: str
    """Extra that asks for it; "" for segvoc itself."""
    installed: str | None
    """Version that is installed, if any."""
    fits: bool
    """Whether that version is one of them."""

    @property
    def problem(self) -> str | None:
        """What is wrong with it, and the fix; None if nothing is, or if an extra is just not installed."""
        if self.installed is None:
            missing = f"{self.name} is missing, without which segvoc doesn't run; install it with: pip install segvoc"
            return None if self.extra else missing
        if self.fits:
            return None
        return (
            f"{self.name} {self.installed} is installed, but segvoc needs {self.versions}; install it with: "
            f'pip install "{self.name}{self.versions}"'
        )


def packages(distribution: str = "segvoc") -> list[Package]:
    """What a distribution and its extras ask for here, in its own order; each package once for each extra.

    Returns:
        The packages; none if the distribution isn't installed, for example where segvoc runs from PYTHONPATH.
    """
    try:
        asked = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    return [package for line in asked for package in _package(Requirement(line), distribution)]


def missing_of_extras(found: list[Package]) -> dict[str, list[str]]:
    """The packages that each extra lacks."""
    extras: dict[str, list[str]] = {}
    for package in found:
        if package.extra:
            lacking = extras.setdefault(package.extra, [])
            lacking += [package.name] if package.installed is None else []
    return extras


def _package(asked: Requirement, distribution: str) -> Iterator[Package]:
    named = _EXTRA.search(str(asked.marker or ""))
    extra = named.group(1) if named else ""
    here = asked.marker is None or asked.marker.evaluate({"extra": extra})
    if asked.name == distribution or extra in _HIDDEN_EXTRAS or not here:
        return
    installed = installed_version(asked.name)
    fits = installed is not None and asked.specifier.contains(installed, prereleases=True)
    yield Package(name=asked.name, versions=str(asked.specifier), extra=extra, installed=installed, fits=fits)


def installed_version(package: str) -> str | None:
    """Version of an installed package; None if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
