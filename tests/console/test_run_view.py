"""The view that runs an operation."""

import pytest
from playwright.sync_api import expect

from tests.clients.server import ServerProcess
from tests.console.conftest import Look

pytestmark = pytest.mark.browser


def test_the_form_is_made_of_the_schema(look: Look) -> None:
    page = look("/run?operation=form")
    name, colour, count = (page.get_by_label(each) for each in ("name", "colour", "count"))

    expect(page.get_by_text("Whose it is.")).to_be_visible()
    expect(page.locator(".description code")).to_have_text("name")
    expect(name).to_have_attribute("required", "")
    expect(colour.locator("option")).to_have_text(["red (default)", "red", "blue"])
    expect(count).to_have_attribute("max", "9")
    expect(count).to_have_attribute("placeholder", "3")


def test_what_is_filled_in_arrives_and_the_page_lands_on_the_job(
    look: Look, server: ServerProcess
) -> None:
    page = look("/run?operation=form")
    page.get_by_label("name").fill("Ada")
    page.get_by_label("colour").select_option("blue")
    page.get_by_label("share").fill("0.25")
    page.get_by_label("loud").select_option("true")
    page.get_by_label("words").fill("one\ntwo words")
    page.get_by_label("extra").fill('{"a": 1}')
    page.get_by_text("Options").click()
    page.get_by_label("priority").select_option("high")
    page.get_by_label("tags").fill("team:red flag")
    page.get_by_role("button", name="Run form").click()
    page.wait_for_url("**/jobs/*")

    record = server.ended(page.url.rpartition("/")[2])
    assert record["result"] == {
        "name": "Ada", "colour": "blue", "count": 3, "share": 0.25, "loud": True,
        "words": ["one", "two words"], "extra": {"a": 1},
    }  # fmt: skip
    assert (record["priority"], record["tags"]) == ("high", {"team": "red", "flag": ""})


def test_what_the_server_refuses_is_said_beside_its_field(look: Look) -> None:
    page = look("/run?operation=form")
    page.get_by_label("name").fill("A")
    page.get_by_label("count").fill("10")
    page.get_by_role("button", name="Run form").click()

    expect(page.locator("#param-name-error")).to_contain_text("at least 2 characters")
    expect(page.locator("#param-count-error")).to_contain_text("less than or equal to 9")
    expect(page.get_by_label("name")).to_be_focused()
    expect(page.get_by_label("name")).to_have_attribute("aria-invalid", "true")


def test_what_is_no_json_is_said_before_it_is_sent(look: Look) -> None:
    page = look("/run?operation=form")
    page.get_by_label("name").fill("Ada")
    page.get_by_label("extra").fill("{")
    page.get_by_role("button", name="Run form").click()

    expect(page.locator("#param-extra-error")).to_contain_text("This is not JSON")
    assert page.url.endswith("/run?operation=form")


def test_another_operation_is_chosen(look: Look) -> None:
    page = look("/run")
    page.get_by_role("navigation", name="Operations").get_by_role("link", name="quick").click()

    expect(page.get_by_role("heading", name="quick")).to_be_visible()
    expect(page.get_by_label("number")).to_be_visible()


def test_an_operation_that_is_not_there_is_told(look: Look) -> None:
    expect(look("/run?operation=nothing").get_by_role("alert")).to_contain_text(
        "no operation nothing"
    )
