"""Which tests a worker runs together: what costs much to start, or to keep in memory, is in few workers."""

from xdist.scheduler import LoadScopeScheduling

GROUPS = {"annotate/tests/web": "Chromium", "tests/labeling/batch": "Ray", "tests/serving/test_ray_app.py": "Ray"}
"""Folders and files that belong together; every other file is a group by itself."""

LONGEST = (
    "annotate/tests/web",
    *(f"tests/{name}" for name in "models exporting inference networks training cli".split()),
)
"""Where a run begins, so that all workers end at about the same time."""


def start_order(path: str) -> tuple[int, str]:
    """The place in a run of a test file, by its path below the repository."""
    return next((at for at, start in enumerate(LONGEST) if path.startswith(start)), len(LONGEST)), group_of(path)


def group_of(path: str) -> str:
    """The group of a test file, by its path below the repository."""
    return next((group for start, group in GROUPS.items() if path.startswith(start)), path)


class GroupScheduling(LoadScopeScheduling):
    """Gives workers whole groups, in the order of collection; `--dist loadgroup` would change the names of tests."""

    def __init__(self, config, log) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])
