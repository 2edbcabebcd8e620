"""Names on a terminal; apart from all that needs PyTorch, so that the help stays quick."""


def printable(text: str) -> str:
    """A name without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
