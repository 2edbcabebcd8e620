"""Changes that the real service refuses, and scripts that can't be loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotate.tests.services import listening
from annotate.tests.web.conftest import OpenTab
from annotate.tests.web.fake_service import tiny
from annotate.tests.web.site import Site, check, has_line
from annotate.tests.web.test_shared_project import new_project
from segvoc_annotate.settings import WEB

KEY = "a" * 24


@pytest.fixture
def anna(tmp_path: Path, photos: Path, open_tab: OpenTab) -> Iterator[Site]:
    """The page of a service with a key, whose project has two photographs."""
    keys, street = tmp_path / "keys", new_project(tmp_path / "street", photos)
    keys.write_text(f"anna: {KEY} annotate\n", encoding="utf-8")
    with listening(tiny(), page=WEB, project=street, api_key_file=keys) as port:
        yield open_tab(f"http://127.0.0.1:{port}/")


def test_what_a_role_may_not_do_is_not_offered_and_a_refused_change_holds_up_no_other(anna: Site):
    def promoted(route: Any) -> None:
        """As if the key had lost the role since: its holder may remove images, as far as the page knows."""
        answer = route.fetch()
        project = answer.json() if route.request.method == "GET" and answer.ok else None
        route.fulfill(response=answer, **({} if project is None else {"json": {**project, "role": "administer"}}))

    anna.tab.goto(anna.address)
    anna.shows("Type your API key")
    anna.tab.keyboard.type(KEY)
    anna.press("Use it")
    anna.type("cup, table")
    anna.done()
    anna.all_saved()
    anna.tab.get_by_role("button", name="rocket.jpg").first.wait_for()
    assert not anna.tab.get_by_role("button", name="Remove rocket.jpg").count()
    anna.tab.route("**/v1/project", promoted)
    anna.tab.reload()
    anna.press("Remove rocket.jpg")
    anna.press("1 change refused")
    anna.shows("Removing “rocket.jpg”")
    anna.shows("this needs an API key with the role administer")
    check(anna, "a refused change")
    anna.press("Close")
    # it is there again, isn't offered any more, and nothing waits for it
    anna.tab.get_by_role("button", name="rocket.jpg, labeled").wait_for()
    assert not anna.tab.get_by_role("button", name="Remove rocket.jpg").count()
    anna.paint_line("table", 0.3)
    anna.all_saved()
    anna.tab.reload()
    anna.done()
    assert has_line(anna.labels(), 0.3, 1)
    anna.press("1 change refused")
    anna.press("Discard")
    anna.tab.get_by_role("button", name="1 change refused").wait_for(state="detached")


def test_changes_wait_while_a_script_of_the_page_cannot_be_loaded(anna: Site):
    anna.tab.route("**/work.js", lambda route: route.abort())
    anna.tab.goto(anna.address)
    anna.tab.get_by_label("API key of the service").fill(KEY)
    anna.press("Use it")
    anna.type("cup, table")
    anna.shows("wait for the service")
    assert not anna.tab.get_by_role("button", name="refused").count()
    anna.tab.unroute("**/work.js")
    anna.all_saved()
