"""The page with a service behind it."""

import numpy as np
import pytest

from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.fake_service import FakeService
from annotate.tests.web.site import Site, in_python


@pytest.mark.usefixtures("by_tiny")
@pytest.mark.parametrize("screen", SCREENS)
def test_the_service_labels_images_until_the_page_does_it_itself(served: Site, service: FakeService):
    served.open_and_label("coffee.jpg", "cup = mug, table")
    assert service.forms[-1] == {"words": '["cup, mug","table"]'}
    result = in_python(served.photos / "coffee.jpg", ["cup", "table"])
    assert (served.labels() == result.labels).mean() > 0.999
    assert "on the service" in served.tab.get_by_role("status").filter(has_text="labeled").inner_text()
    asked = len(service.forms)
    served.tab.get_by_role("radio", name="On this device").check(force=True)
    served.tab.get_by_role("status").filter(has_text="on this device").wait_for()
    assert len(service.forms) == asked
    assert served.complaints == []
    assert all(request.startswith((served.address, "blob:", "data:")) for request in served.requests)


@pytest.mark.usefixtures("by_tiny")
def test_parts_are_asked_for_shown_and_explained(served: Site, service: FakeService):
    served.open_and_label("chelsea.jpg", "cat, wall")
    field = served.tab.get_by_label("Parts of objects")
    field.fill("cat head")
    served.tab.get_by_role("alert").filter(has_text="no colon").wait_for()
    served.tab.get_by_text("How to write parts").click()
    assert served.tab.get_by_text("A star stands for every word").is_visible()
    field.fill("cat: head, ear")
    field.press("Enter")
    served.tab.get_by_role("list", name="Parts", exact=True).wait_for()
    assert service.forms[-1]["parts"] == "cat: head, ear"
    result = in_python(served.photos / "chelsea.jpg", ["cat", "wall"], parts={"cat": ["head", "ear"]})
    places = np.argwhere(result.part_labels == 0)
    row, column = places[len(places) // 2]
    height, width = result.part_labels.shape
    served.tab.mouse.move(*served.place((column + 0.5) / width, (row + 0.5) / height))
    assert served.reading().startswith("cat, head")
    served.press("Remove cat’s ear")
    served.done()
    assert (service.forms[-1]["parts"], field.input_value()) == ("cat: head", "cat: head")


def test_a_service_asks_for_a_key_is_busy_and_refuses(served: Site, service: FakeService):
    service.key, service.busy = "s3cret", 1
    served.tab.goto(served.address)
    served.tab.get_by_role("alert").filter(has_text="asks for an API key").wait_for()
    served.tab.get_by_label("API key").fill("s3cret")
    served.press("Use it")
    served.shows("The model is ready")
    # a busy service is asked again
    served.label(served.photos / "coffee.jpg", "cup, table")
    assert service.busy == 0
    # the window keeps the key
    served.tab.reload()
    served.done()
    served.type("teapot")
    served.tab.get_by_role("alert").filter(has_text="this is no word for a teapot").wait_for()
    served.remove_word("teapot")
    served.done()
    assert served.tab.get_by_role("alert").count() == 0
