"""API keys with names: their file, which may change while the service runs, and how a given key is compared."""

import hashlib
import hmac
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.serving.failures import ServiceFailure
from segvoc.serving.logs import FIELDS, LOGGER

SHORTEST_KEY = 16
"""Characters of the shortest API key that is accepted."""

MOST_KEYS = 1000
"""Keys in a file: each is compared with the key of every request."""

DEFAULT_NAME = "default"
"""Name of a key that was given without one."""

LOOKING_SECONDS = 1.0
"""Time between two looks at the file of the keys [s]."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(r"(?P<name>[^:\s]+):\s+(?P<key>\S+)(?:\s+until\s+(?P<until>\S+))?")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class ApiKey:
    """A key, of which only the digest is kept."""

    name: str
    digest: bytes
    """SHA-256 of the key."""
    until: date | None = None
    """The last day on which it is valid, in UTC; None: it stays valid."""

    @property
    def expired(self) -> bool:
        """Whether the last day is over."""
        return self.until is not None and datetime.now(UTC).date() > self.until


def key_digest(key: str) -> bytes:
    """The SHA-256 of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def check_key(key: str) -> None:
    """Check that a key is long enough and can be sent.

    Raises:
        UsageError: it isn't or can't.
    """
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(
            f"the API key is not {SHORTEST_KEY} or more characters of ASCII without spaces; "
            "make one: openssl rand -hex 24"
        )


def parsed_keys(text: str) -> tuple[ApiKey, ...]:
    """The keys of a file: lines such as `anna: KEY until 2027-01-31`, or one key alone.

    In place of a key, a line may have its digest, `sha256:` and 64 hexadecimal digits. A name may have several keys.
    Lines that begin with # are comments.

    Raises:
        UsageError: a line isn't such a line, a key is weak or given twice, or there are no or too many keys.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if len(lines) == 1 and not _LINE.fullmatch(lines[0][1]):
        check_key(lines[0][1])
        return (ApiKey(DEFAULT_NAME, key_digest(lines[0][1])),)
    if not 0 < len(lines) <= MOST_KEYS:
        raise UsageError(f"it has {len(lines)} keys; write 1 to {MOST_KEYS} into it, one a line")
    keys = tuple(_parsed(number, line) for number, line in lines)
    if len({key.digest for key in keys}) < len(keys):
        raise UsageError("it has one key twice; make one for each line: openssl rand -hex 24")
    return keys


def _parsed(number: int, line: str) -> ApiKey:
    found = _LINE.fullmatch(line)
    if found is None:
        raise UsageError(f"line {number} is not 'NAME: KEY' or 'NAME: KEY until YYYY-MM-DD'; write it so")
    name, key, until = found["name"], found["key"], found["until"]
    _check_name(name)
    try:
        last = None if until is None else date.fromisoformat(until)
    except ValueError:
        raise UsageError(f"line {number}: {until!r} is no day; write it as in 2027-01-31") from None
    hashed = _DIGEST.fullmatch(key)
    if hashed is None:
        check_key(key)
    return ApiKey(name, key_digest(key) if hashed is None else bytes.fromhex(hashed[1]), last)


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name[:80]!r} can't be the name of a key; take up to 64 letters, digits, and any of . _ @ -")


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """The keys of a file.

    Raises:
        UsageError: it can't be read, or isn't such a file.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the file of the API keys, {str(file)!r}, can't be read: {reason}; check the path") from None
    try:
        return parsed_keys(text)
    except UsageError as error:
        raise UsageError(f"the file of the API keys, {str(file)!r}: {error}") from None


class ApiKeys:
    """The keys of a service; those of a file are read again when it changes.

    Args:
        key: one key without a file.
        file: a file of keys.

    Raises:
        UsageError: the file can't be read, or isn't a file of keys.
    """

    def __init__(self, key: str | None, file: Path | None) -> None:
        self._file, self._looked = file, time.monotonic()
        self._stamp = self._seen()
        self._keys: Sequence[ApiKey] = () if key is None else (ApiKey(DEFAULT_NAME, key_digest(key)),)
        if file is not None:
            self._keys = read_keys(file)
        self.demanded = bool(self._keys)
        """Whether requests have to show a key."""

    def named(self, given: str | None) -> ApiKey | None:
        """The key that was given, expired or not; None where it isn't one."""
        self._look()
        digest, found = key_digest(given or ""), None
        # all are compared, and each comparison takes equally long, so time tells nothing
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def check(self, given: str | None, scheme: str = "Bearer") -> str:
        """The name of the key that was given.

        Args:
            given: the key in the header Authorization, if any.
            scheme: how the caller is to send it: "Bearer", or "Basic" as the password.

        Raises:
            ServiceFailure: it is missing, wrong or expired.
        """
        key, headers = self.named(given), {"WWW-Authenticate": scheme}
        if key is None:
            how = "in the header 'Authorization: Bearer KEY'"
            if scheme == "Basic":
                how = "as the password, with any user name"
            raise ServiceFailure("unauthorized", f"the API key is missing or wrong; send it {how}", headers=headers)
        if key.expired:
            told = f"the API key {key.name!r} was valid until {key.until}; ask for a new one"
            raise ServiceFailure("unauthorized", told, headers=headers)
        return key.name

    def _look(self) -> None:
        if self._file is None or time.monotonic() - self._looked < LOOKING_SECONDS:
            return
        self._looked, seen = time.monotonic(), self._seen()
        if seen == self._stamp:
            return
        self._stamp = seen
        try:
            self._keys = read_keys(self._file)
        except UsageError as error:
            LOGGER.error("the API keys stay as they were", extra={FIELDS: {"problem": str(error)}})
        else:
            names = sorted({key.name for key in self._keys})
            LOGGER.info("the API keys were read again", extra={FIELDS: {"keys": names}})

    def _seen(self) -> tuple[int, ...] | None:
        if self._file is None:
            return None
        try:
            found = os.stat(self._file)
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino
