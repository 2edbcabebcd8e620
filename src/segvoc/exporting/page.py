"""The web page around an exported model: a folder that any static server can serve."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path

from segvoc.errors import UsageError

MODEL_FOLDER = "model"
"""Name of the page's folder that holds the exported model."""

CLICKS_FOLDER = "clicks"
"""Name of its folder that holds the network of clicks."""

_WEB = Path(__file__).parent.parent / "web"
"""The built front end; its sources are the repository's folder `web`."""

_DESCRIPTION = "runtime.json"
"""Names the WebAssembly file that the front end was built for; not part of the page."""


def write_web_page(folder: Path, runtime: Path | None = None) -> None:
    """Write the page's own files, all but the folders `model`, an exported model, and `clicks`.

    Args:
        folder: the page's folder, which exists.
        runtime: the npm package onnxruntime-web, or the folder of its WebAssembly file; None: the file beside the built
            front end, which wheels carry and `make web` writes.

    Raises:
        UsageError: the WebAssembly file is missing, or isn't the one that the front end was built for.
    """
    description = json.loads((_WEB / _DESCRIPTION).read_text(encoding="utf-8"))
    packed = f"{description['file']}.gz"
    content = _runtime(description, packed, runtime)
    for path in _WEB.iterdir():
        if path.name not in (_DESCRIPTION, packed):
            shutil.copyfile(path, folder / path.name)
    # a quarter of its size on its way to the browser, whatever the server does
    (folder / packed).write_bytes(gzip.compress(content, mtime=0))


def _runtime(description: dict[str, str], packed: str, folder: Path | None) -> bytes:
    name, package = description["file"], description["package"]
    if folder is None:
        path = _WEB / packed
        how = f"run 'make web', or 'npm install {package.replace(' ', '@')}' and give its folder as --runtime"
    else:
        inside = folder / "dist" / name
        path = inside if inside.is_file() else folder / name
        how = f"give the folder of npm's {package}"
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read ({error})"
        raise UsageError(f"the page needs ONNX Runtime's file {name}: {str(path)!r} {reason}; {how}") from None
    if hashlib.sha256(content).hexdigest() != description["sha256"]:
        raise UsageError(f"{str(path)!r} is not the file of {package}, for which the page was built; {how}")
    return content
