"""The view of one job."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.clients.server import ServerProcess, until
from tests.console.conftest import Look

pytestmark = pytest.mark.browser


def lines(page: Page) -> list[str]:
    return page.locator(".line .text").all_text_contents()


def test_the_story_and_the_spans_are_shown_while_the_job_runs(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate)})
    page = look(f"/jobs/{job['id']}")

    expect(page.get_by_text("line 2")).to_be_visible()
    expect(page.locator(".span", has_text="inner").locator(".growing")).to_be_visible()
    expect(page.locator(".bigprogress")).to_contain_text("1 of 2 50 % half way")
    expect(page.locator(".output")).to_have_text("first chunk\n")
    width = "track => track.getBoundingClientRect().width"
    outer = page.locator(".span", has_text="outer").locator(".took")
    first = outer.text_content()
    expect(outer).not_to_have_text(first or "")  # it grows
    assert page.locator(".span", has_text="inner").locator(".mark").evaluate(width) > 0

    gate.touch()
    expect(page.locator(".head .state")).to_contain_text("completed")
    expect(page.get_by_text("after the gate")).to_be_visible()
    expect(page.locator(".output")).to_have_text("first chunk\nsecond chunk\n")
    expect(page.locator(".growing")).to_have_count(0)
    expect(page.locator("[aria-live=polite]").first).to_contain_text("completed")
    expect(page.locator(".panel", has_text="Result")).to_contain_text('"lines": 3')


def test_a_line_lights_its_span_and_a_span_its_lines(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    gate.touch()
    job = server.submit("gated", params={"gate": str(gate)})
    server.ended(job["id"])
    page = look(f"/jobs/{job['id']}")
    outer = page.locator(".span", has_text="outer")
    expect(outer).to_be_visible()

    page.get_by_text("line 1").hover()
    expect(outer).to_have_class("span lit")
    expect(page.locator(".cursor")).to_have_count(1)

    outer.hover()
    expect(page.locator(".line.lit")).to_have_count(5)  # its start and its end too

    outer.click()
    expect(page.get_by_role("region", name="Span outer")).to_contain_text("span")


def test_voices_and_levels_are_switched_by_hand_and_by_key(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    gate.touch()
    job = server.submit("gated", params={"gate": str(gate)})
    server.ended(job["id"])
    page = look(f"/jobs/{job['id']}")
    expect(page.get_by_text("line 1")).to_be_visible()

    page.get_by_text("cute", exact=True).click()
    expect(page.get_by_text("hop 1")).to_be_visible()
    page.keyboard.press("m")
    expect(page.get_by_text("Once 1")).to_be_visible()
    assert "mode=story" in page.url

    page.keyboard.press("2")
    expect(page.get_by_text("outer started")).to_be_visible()
    page.keyboard.press("5")
    expect(page.get_by_text("Nothing at this level yet")).to_be_visible()
    assert "level=error" in page.url


def test_a_story_is_searched(look: Look, server: ServerProcess, gate: Path) -> None:
    gate.touch()
    job = server.submit("gated", params={"gate": str(gate), "lines": 300})
    server.ended(job["id"])
    page = look(f"/jobs/{job['id']}")
    expect(page.get_by_text("line 299")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("line 17")

    expect(page.locator(".line")).to_have_count(11)
    expect(page.locator("mark").first).to_have_text("line 17")


def test_a_paused_story_says_how_many_lines_have_come(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate), "lines": 100})
    page = look(f"/jobs/{job['id']}")
    expect(page.get_by_text("line 99")).to_be_visible()
    page.keyboard.press("p")
    gate.touch()

    more = page.locator("button.more")
    expect(more).to_contain_text("new lines")
    more.click()
    expect(more).to_have_count(0)
    expect(page.locator(".line.end")).to_be_in_viewport()


def test_a_failure_is_shown_with_its_traceback_and_the_key_finds_it(
    look: Look, server: ServerProcess
) -> None:
    job = server.submit("fails")
    server.ended(job["id"])
    page = look(f"/jobs/{job['id']}")
    failure = page.locator(".panel", has_text="Failure")

    expect(failure).to_contain_text("the well is dry")
    expect(failure.locator("pre")).to_contain_text("raise RuntimeError")
    expect(page.locator(".panel", has_text="Attempts")).to_contain_text("RuntimeError")
    page.keyboard.press("f")
    expect(page.locator("li.error").first).to_be_focused()


def test_a_backoff_counts_down(look: Look, server: ServerProcess) -> None:
    job = server.submit("flaky")
    page = look(f"/jobs/{job['id']}")
    countdown = page.get_by_role("timer")

    expect(countdown).to_contain_text("attempt 2 in")
    said = countdown.text_content() or ""
    expect(countdown).not_to_have_text(said)
    expect(page.locator(".mark.backoff")).to_be_visible()

    page.keyboard.press("x")
    expect(page.locator(".head .state")).to_contain_text("cancelled")
    expect(page.locator(".panel", has_text="Cancelled")).to_contain_text("client")


def test_a_finished_job_is_run_again_as_it_was_and_with_edits(
    look: Look, server: ServerProcess
) -> None:
    job = server.submit("quick", params={"number": 41})
    server.ended(job["id"])
    page = look(f"/jobs/{job['id']}")
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator(".panel", has_text="Result")).to_contain_text("41")
    expect(page.locator(".head")).to_contain_text(f"repeats {job['id'][:8]}")

    page.get_by_role("link", name="Retry with edits").click()
    number = page.get_by_label("number")
    expect(number).to_have_value("41")
    number.fill("42")
    page.get_by_role("button", name="Run again").click()
    expect(page.locator(".panel", has_text="Result")).to_contain_text("42")


def test_a_stream_that_breaks_is_resumed_without_loss_or_repeat(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate)})
    page = look()
    broken: list[str | None] = []

    def cut(route: Route) -> None:
        broken.append(route.request.headers.get("last-event-id"))
        answer = server.client.get(f"/v1/jobs/{job['id']}/stream?follow=false")
        if len(broken) == 1:  # half of the story, cut in the middle of an event
            body = answer.text
            route.fulfill(status=200, content_type="text/event-stream", body=body[: len(body) // 2])
        else:
            route.continue_()

    page.route("**/stream", cut)
    page.goto(f"/jobs/{job['id']}")
    expect(page.get_by_text("line 2")).to_be_visible()
    gate.touch()
    expect(page.locator(".live", has_text="complete")).to_be_visible()

    assert len(broken) == 2
    assert broken[1] is not None
    told = lines(page)
    assert len(told) == len(set(told))
    assert [each for each in told if each.startswith("line ")] == ["line 0", "line 1", "line 2"]
    assert told[-1] == "[DONE]"


def test_where_no_stream_gets_through_the_story_is_polled_and_the_page_says_so(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate)})
    page = look()
    page.route("**/stream", lambda route: route.abort())
    page.goto(f"/jobs/{job['id']}")

    expect(page.get_by_text("polled every two seconds")).to_be_visible()
    expect(page.get_by_text("line 2")).to_be_visible()
    gate.touch()
    expect(page.locator(".line.end .text")).to_have_text("[DONE]")
    told = lines(page)
    assert len(told) == len(set(told))


def test_a_gap_is_shown_as_a_gap(look: Look, gate: Path) -> None:
    from tests.clients.server import serving  # noqa: PLC0415 — only here
    from tests.console.conftest import OPERATIONS  # noqa: PLC0415 — only here

    gate.touch()
    with serving([OPERATIONS], log_limit=20) as small:
        job = small.submit("gated", params={"gate": str(gate), "lines": 100})
        small.ended(job["id"])
        page = look(f"/jobs/{job['id']}", base=small.url)
        expect(page.locator(".line.gap")).to_contain_text("are missing")
        expect(page.locator(".line.end")).to_be_visible()


def test_looking_at_a_job_that_waits_for_its_first_reader_does_not_start_it(
    look: Look, server: ServerProcess
) -> None:
    job = server.submit("quick", start="on_stream")
    page = look(f"/jobs/{job['id']}")
    expect(page.get_by_text("This job begins with its first reader")).to_be_visible()
    assert server.record(job["id"])["state"] == "queued"

    page.get_by_role("button", name="Start it and follow").click()
    expect(page.locator(".head .state")).to_contain_text("completed")


def test_a_job_that_is_not_there_is_told_plainly(look: Look, server: ServerProcess) -> None:
    page = look("/jobs/nothing")

    expect(page.get_by_role("alert")).to_contain_text("There is no job nothing")


def test_a_page_holds_one_stream_and_lets_it_go(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate)})
    until(lambda: server.streams() == 0, what="no stream")
    page = look()
    until(lambda: server.streams() == 1, what="one stream of all jobs")
    page.goto(f"/jobs/{job['id']}")
    expect(page.get_by_text("line 2")).to_be_visible()
    until(lambda: server.streams() == 1, what="one stream of the job")
    page.get_by_role("link", name="Run").click()
    until(lambda: server.streams() == 0, what="no stream")
    gate.touch()
    server.ended(job["id"])
