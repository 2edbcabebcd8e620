"""Names on a terminal; free of imports that need PyTorch, so that `--help` is fast."""


def printable(text: str) -> str:
    """A name without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
