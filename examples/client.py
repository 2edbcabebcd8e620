"""Label a folder of photographs by a service (`segvoc serve`), and write each label map as soon as it comes.

    python examples/client.py http://127.0.0.1:8000 photos "cat, sofa, wall" out

Four photographs are sent at a time. Requests are repeated if a connection or an answer breaks off, and, if the service
is busy (429, 503), after the time in Retry-After. Photographs with a result in `out` are skipped. The key is
SEGVOC_API_KEY.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, RequestException
from urllib3.util import Retry

IN_FLIGHT, BREAKS = 4, 5
RETRIES = Retry(
    total=20, backoff_factor=0.5, backoff_max=30, status_forcelist=(429, 502, 503), allowed_methods=None
)  # of all methods: labeling an image twice does no harm


def main(address: str, folder: str, words: str, out: str) -> int:
    """Label all photographs of a folder; the exit code is 1 if one was refused."""
    session = requests.Session()
    session.mount(address, HTTPAdapter(pool_maxsize=IN_FLIGHT, max_retries=RETRIES))
    session.headers["Accept"] = "image/png"
    if key := os.environ.get("SEGVOC_API_KEY"):
        session.headers["Authorization"] = f"Bearer {key}"

    def answered(photo: Path) -> requests.Response:
        form = {"files": {"image": (photo.name, photo.read_bytes())}, "data": {"words": words}}
        for _ in range(BREAKS):
            with suppress(ChunkedEncodingError):
                return session.post(f"{address}/v1/segment", **form, timeout=600)
        raise ValueError(f"{photo.name}: the answer broke off {BREAKS} times; try again later")

    def label(photo: Path) -> str:
        result = Path(out, f"{photo.stem}.png")
        if result.exists():
            return f"{photo.name}: done before"
        answer = answered(photo)
        if answer.status_code != 200:
            raise ValueError(f"{photo.name}: {answer.json()['error']['message']}")
        part = result.with_suffix(".part")  # a result is whole or not there
        part.write_bytes(answer.content)
        part.replace(result)
        return f"{photo.name}: {answer.headers['X-Segvoc-Model']}"

    Path(out).mkdir(parents=True, exist_ok=True)
    refused = 0
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        for future in [threads.submit(label, photo) for photo in sorted(Path(folder).glob("*.[jp][pn]g"))]:
            try:
                print(future.result())
            except (ValueError, RequestException) as error:
                print(error, file=sys.stderr)
                refused += 1
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
