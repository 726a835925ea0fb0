"""The view of all jobs."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.clients.server import ServerProcess, until
from tests.console.conftest import Look

pytestmark = pytest.mark.browser

MANY = 2_500
"""Jobs of a long list: several pages of the API, and far more than the rows that there may be."""


def row(page: Page, job: dict[str, str]) -> str:
    return f"table.jobs tr:has(code:text-is('{job['id'][:8]}'))"


def test_a_job_appears_and_changes_where_it_stands_without_being_drawn_anew(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    page = look()
    job = server.submit("gated", params={"gate": str(gate)}, tags={"team": "red"})
    there = page.locator(row(page, job))
    expect(there).to_contain_text("running")
    expect(there).to_contain_text("team:red")
    expect(there.locator("progress")).to_have_attribute("value", "1")
    there.evaluate("row => { row.kept = true; }")

    gate.touch()

    expect(there).to_contain_text("completed")
    assert there.evaluate("row => row.kept") is True


def test_filters_are_in_the_address_and_hold_when_it_is_opened_again(
    look: Look, server: ServerProcess
) -> None:
    good = server.submit("quick", tags={"set": "filters"})
    bad = server.submit("fails", tags={"set": "filters"})
    for job in (good, bad):
        server.ended(job["id"])
    page = look()
    page.get_by_role("button", name="failed").click()
    page.get_by_label("Tag").fill("set:filters")
    page.get_by_label("Tag").press("Enter")

    expect(page.locator(row(page, bad))).to_be_visible()
    expect(page.locator(row(page, good))).to_have_count(0)
    assert "state=failed" in page.url
    assert "tag=set" in page.url

    again = look(page.url)
    expect(again.locator(row(again, bad))).to_be_visible()
    expect(again.locator(row(again, good))).to_have_count(0)
    expect(again.get_by_role("button", name="failed")).to_have_attribute("aria-pressed", "true")


def test_text_finds_jobs_by_their_params(look: Look, server: ServerProcess) -> None:
    found = server.submit("quick", params={"number": 987_654_321})
    other = server.submit("quick", params={"number": 1})
    page = look()
    page.keyboard.press("/")
    page.keyboard.type("987654321")
    page.keyboard.press("Enter")

    expect(page.locator(row(page, found))).to_be_visible()
    expect(page.locator(row(page, other))).to_have_count(0)


def test_selected_jobs_are_cancelled_and_run_again_together(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    jobs = [
        server.submit("gated", params={"gate": str(gate)}, tags={"set": "bulk"}) for _ in range(6)
    ]
    page = look("/?tag=set:bulk")
    expect(page.locator("table.jobs tbody tr:not(.spacer)")).to_have_count(6)
    page.get_by_label("Select all that are loaded").check()
    page.get_by_role("button", name="Cancel 6").click()

    for job in jobs:
        assert server.ended(job["id"])["state"] == "cancelled"
    expect(page.locator(".notice")).to_contain_text("6 asked to stop")

    gate.touch()
    page.get_by_label("Select all that are loaded").check()
    page.get_by_role("button", name="Retry 6").click()
    expect(page.locator("table.jobs tbody tr:not(.spacer)")).to_have_count(12)
    expect(page.locator("table.jobs .state.completed")).to_have_count(6)


def test_the_queue_is_shown_by_priority(look: Look, server: ServerProcess, gate: Path) -> None:
    jobs = [
        server.submit("gated", params={"gate": str(gate)}, priority=priority)
        for priority in ["normal"] * 4 + ["critical"] * 2
    ]
    page = look()

    expect(page.locator(".tile", has_text="critical")).to_contain_text("2 queued")
    expect(page.locator(".tile", has_text="Running")).to_contain_text("4 of 4 slots")
    expect(page.get_by_role("img", name="Depth of critical: 2")).to_be_visible()
    gate.touch()
    for job in jobs:
        server.ended(job["id"])
    expect(page.locator(".tile", has_text="critical")).to_contain_text("0 queued")


def test_keys_walk_the_list_and_open_a_job(look: Look, server: ServerProcess) -> None:
    jobs = [server.submit("quick", tags={"set": "keys"}) for _ in range(3)]
    page = look("/?tag=set:keys")
    expect(page.locator("table.jobs tbody tr:not(.spacer)")).to_have_count(3)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr.at")).to_contain_text(jobs[1]["id"][:8])
    page.keyboard.press("Enter")
    head = page.locator(".head h1")
    expect(head).to_contain_text(jobs[1]["id"][:8])
    page.keyboard.press("j")
    expect(head).to_contain_text(jobs[0]["id"][:8])
    page.keyboard.press("k")
    expect(head).to_contain_text(jobs[1]["id"][:8])
    page.go_back()
    expect(head).to_contain_text(jobs[0]["id"][:8])


@pytest.mark.slow
def test_thousands_of_jobs_are_listed_with_few_rows_in_the_page(
    look: Look, server: ServerProcess
) -> None:
    job = {"operation": "quick", "tags": {"set": "many"}}
    for _ in range(MANY):
        assert server.client.post("/v1/jobs", json=job).status_code == 202
    until(lambda: server.client.get("/v1/overview").json()["queue"]["normal"]["depth"] == 0)
    page = look("/?tag=set:many")
    expect(page.locator(".above")).to_contain_text(f"{MANY:,} jobs")
    rows = page.locator("table.jobs tbody tr:not(.spacer)")
    last = page.locator(f"tr[aria-rowindex='{MANY}']")

    def at_the_end() -> bool:
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(20)
        assert rows.count() < 150
        return last.count() == 1

    until(at_the_end, what="the last row")
    expect(last).to_be_visible()
