"""The console of a server that asks for keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Request, expect

from app.access.keys_file import Scope
from tests.clients.keyed import Keyed, keyed
from tests.console.conftest import OPERATIONS, Look
from tests.console.operations import HOSTILE
from tests.console.test_page import AXE, LOOKS, RULES, assert_harmless

pytestmark = pytest.mark.browser

STORED = """() => [...Object.values(sessionStorage), ...Object.values(localStorage)]
  .filter((each) => each.includes('nk_'))"""
SHOWN = """() => [
  location.href, JSON.stringify(history.state), document.documentElement.outerHTML, document.cookie,
  ...Array.from(document.querySelectorAll('input'), (each) => each.value),
  ...Object.values(localStorage), ...performance.getEntries().map((each) => each.name),
].join('\\n')"""


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server that asks for keys, with the operations of `operations.py`."""
    with keyed(tmp_path_factory.mktemp("keys"), [OPERATIONS], heartbeat_s=0.5) as started:
        yield started


def field(page: Page) -> Locator:
    """Where the key is entered."""
    return page.get_by_role("textbox", name="Key")


def enter(page: Page, key: str) -> Page:
    """Enter a key and wait until it is taken."""
    field(page).fill(key)
    field(page).press("Enter")
    expect(page.get_by_role("button", name="Forget key")).to_be_visible()
    expect(field(page)).to_have_count(0)
    return page


def notice(page: Page) -> Locator:
    """What is shown at the foot of the page."""
    return page.locator(".notice.bad")


# --- entering it ----------------------------------------------------------------------------------


def test_a_closed_server_is_opened_by_a_key_and_the_page_is_live(look: Look, closed: Keyed) -> None:
    page = look("/", base=closed.server.url)
    expect(field(page)).to_be_focused()
    expect(page.get_by_text("This server is closed")).to_be_visible()
    assert field(page).get_attribute("type") == "password"
    assert field(page).get_attribute("autocomplete") == "off"
    assert field(page).get_attribute("name") is None

    enter(page, closed.keys["reader"])

    expect(page.locator("main")).to_be_focused()
    expect(page.locator(".live.live", has_text="live")).to_be_visible()
    job = closed.server.submit("quick", tags={"seen": "live"})
    row = page.locator("table.jobs tr", has=page.get_by_text(job["id"][:8]))
    expect(row.locator(".state.completed")).to_be_visible()


def test_the_key_is_in_no_address_no_document_and_no_storage_but_the_tabs_own(
    look: Look, closed: Keyed
) -> None:
    key = closed.keys["worker"]
    page = look("/run?operation=quick", base=closed.server.url)
    expect(field(page)).to_be_visible()
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)

    page.on("request", note)
    enter(page, key)
    page.get_by_role("button", name="Run quick").click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator(".live.ended")).to_be_visible()

    secret = key.split("_", 2)[2]
    assert secret not in page.evaluate(SHOWN)
    assert page.evaluate(STORED) == [key]
    calls = [each for each in asked if "/v1/" in each.url]
    assert any(each.url.endswith("/stream") for each in calls)
    assert {each.all_headers().get("authorization") for each in calls} == {f"Bearer {key}"}
    assert [each.url for each in asked if secret in each.url] == []


def test_a_key_that_the_server_does_not_take_is_told_beside_the_emptied_field(
    look: Look, closed: Keyed
) -> None:
    page = look("/", base=closed.server.url)
    for given, told in (
        ("", "Enter a key."),
        ("nk_ü", "a character that no key has"),
        (closed.keys["reader"] + "x", "does not take this key"),
    ):
        field(page).fill(given)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_contain_text(told)
        expect(field(page)).to_have_value("")
        expect(field(page)).to_be_focused()
        expect(field(page)).to_have_attribute("aria-invalid", "true")

    assert page.evaluate(STORED) == []


def test_the_key_lasts_in_its_tab_and_is_in_no_other(look: Look, closed: Keyed) -> None:
    page = enter(look("/", base=closed.server.url), closed.keys["reader"])
    page.reload()
    expect(page.locator(".live.live", has_text="live")).to_be_visible()

    other = page.context.new_page()
    other.goto("/")
    expect(field(other)).to_be_visible()


def test_a_key_is_forgotten_when_asked(look: Look, closed: Keyed) -> None:
    page = enter(look("/", base=closed.server.url), closed.keys["reader"])
    page.get_by_role("button", name="Forget key").click()

    expect(page.get_by_text("The key is forgotten")).to_be_visible()
    expect(page.get_by_role("button", name="Forget key")).to_have_count(0)
    assert page.evaluate(STORED) == []
    page.reload()
    expect(field(page)).to_be_visible()


def test_a_server_that_asks_for_no_key_asks_for_none(look: Look, server: Keyed) -> None:
    page = look("/")
    expect(page.locator(".live.live", has_text="live")).to_be_visible()

    assert page.locator("input[type=password]").count() == 0
    assert page.get_by_role("button", name="Forget key").count() == 0


# --- losing it ------------------------------------------------------------------------------------


def test_a_key_that_is_revoked_is_asked_for_again_and_the_view_goes_on(
    look: Look, closed: Keyed, gate: Path
) -> None:
    key = closed.new_key(Scope.READ)
    job = closed.server.submit("gated", params={"gate": str(gate)})
    page = enter(look(f"/jobs/{job['id']}", base=closed.server.url), key)
    expect(page.get_by_text("line 2").first).to_be_visible()
    closed.revoke(key)

    expect(page.get_by_text("The server does not take the key any more")).to_be_visible()
    assert page.evaluate(STORED) == []
    enter(page, closed.keys["reader"])
    gate.touch()
    expect(page.get_by_text("after the gate").first).to_be_visible()


def test_what_was_typed_stays_while_another_key_is_entered(look: Look, closed: Keyed) -> None:
    key = closed.new_key(Scope.READ, Scope.SUBMIT)
    page = enter(look("/run?operation=quick", base=closed.server.url), key)
    page.get_by_label("number").fill("41")
    closed.revoke(key)
    page.get_by_role("button", name="Run quick").click()
    enter(page, closed.keys["worker"])

    expect(page.get_by_label("number")).to_have_value("41")
    page.get_by_role("button", name="Run quick").click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator(".panel", has_text="Result")).to_contain_text("41")


# --- what it does not allow -----------------------------------------------------------------------


def test_a_button_that_the_key_does_not_allow_says_what_is_missing(
    look: Look, closed: Keyed, gate: Path
) -> None:
    job = closed.server.submit("gated", params={"gate": str(gate)})
    page = enter(look(f"/jobs/{job['id']}", base=closed.server.url), closed.keys["reader"])
    page.get_by_role("button", name="Cancel").click()
    expect(notice(page)).to_contain_text("'cancel'")
    gate.touch()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(notice(page)).to_contain_text("'submit'")

    page.get_by_role("link", name="Run").click()
    page.get_by_role("link", name="quick").click()
    page.get_by_role("button", name="Run quick").click()
    expect(page.locator(".wrong", has_text="'submit'")).to_be_visible()

    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("checkbox", name="Select all that are loaded").check()
    page.get_by_role("group", name="Selected jobs").get_by_role("button", name="Retry").click()
    expect(notice(page)).to_contain_text("refused: This needs a key with the scope 'submit'")


def test_a_key_that_may_not_read_says_so_on_every_view_and_does_not_ask_on(
    look: Look, closed: Keyed
) -> None:
    job = closed.server.submit("quick")
    page = enter(look("/", base=closed.server.url), closed.keys["submitter"])
    for path in ("/", "/run", f"/jobs/{job['id']}"):
        page.goto(path)
        expect(page.get_by_text("This needs a key with the scope 'read'").first).to_be_visible()
        assert page.locator(".broken").count() == 0

    asked: list[str] = []
    page.goto("/")
    expect(page.get_by_role("alert").first).to_be_visible()
    page.on("request", lambda each: asked.append(each.url))
    page.wait_for_timeout(2_500)  # longer than between two looks at the list
    assert [each for each in asked if "/v1/jobs" in each or "/v1/stream" in each] == []


# --- links ----------------------------------------------------------------------------------------


def beside(context: BrowserContext, link: Locator) -> Page:
    """The page that a link opens."""
    with context.expect_page() as opened:
        link.click()
    opened.value.wait_for_load_state()
    return opened.value


def test_links_to_what_is_closed_open_with_the_key_and_without_it_in_their_address(
    look: Look, closed: Keyed
) -> None:
    key = closed.keys["admin"]
    job = closed.server.submit("quick", params={"number": 7})
    closed.server.ended(job["id"])
    page = enter(look(f"/jobs/{job['id']}", base=closed.server.url), key)

    for name, told in (
        ("record", '"result":7'),
        ("spans", '"job quick"'),
        ("story so far", '"epoch"'),
        ("raw stream", "[DONE]"),
        ("Metrics", "narrator_jobs"),
        ("API", '"openapi"'),
    ):
        other = beside(page.context, page.get_by_role("link", name=name, exact=True))
        expect(other.locator("body")).to_contain_text(told)
        assert key not in other.url
        other.close()
    with page.expect_download() as file:
        page.get_by_role("link", name="file in OTLP").click()
    assert "resourceSpans" in file.value.path().read_text()
    assert (
        page.locator(".command code")
        .inner_text()
        .startswith('curl -N -H "Authorization: Bearer $NARRATOR_KEY" \'')
    )


def test_a_link_that_the_key_does_not_allow_says_so(look: Look, closed: Keyed) -> None:
    page = enter(look("/", base=closed.server.url), closed.keys["reader"])
    page.get_by_role("link", name="Metrics").click()

    expect(notice(page)).to_contain_text("'admin'")


# --- what holds on every view ---------------------------------------------------------------------


@pytest.mark.parametrize("options", LOOKS, ids=["light", "dark", "phone"])
def test_no_rule_of_accessibility_is_broken_with_and_without_a_key(
    look: Look, closed: Keyed, options: dict[str, object]
) -> None:
    page = look("/", base=closed.server.url, bypass_csp=True, **options)
    page.add_script_tag(path=AXE)
    expect(field(page)).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter a key.")
    assert_accessible(page)
    enter(page, closed.keys["submitter"])
    expect(page.get_by_text("This needs a key").first).to_be_visible()
    assert_accessible(page)


def assert_accessible(page: Page) -> None:
    """No rule of axe-core's is broken, and nothing is wider than the screen."""
    found = page.evaluate("rules => axe.run({runOnly: rules})", RULES)
    assert [
        (each["id"], [node["target"] for node in each["nodes"]]) for each in found["violations"]
    ] == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_what_another_tenant_says_is_nowhere(look: Look, closed: Keyed) -> None:
    key = closed.new_key(Scope.ADMIN, tenant="other")
    headers = {"authorization": f"Bearer {key}"}
    theirs = closed.server.client.post(
        "/v1/jobs", json={"operation": "quick", "tags": {"whose": "theirs"}}, headers=headers
    ).json()
    ours = closed.server.submit("quick")
    page = enter(look("/", base=closed.server.url), closed.keys["admin"])
    expect(page.get_by_text(ours["id"][:8])).to_be_visible()

    assert page.get_by_text(theirs["id"][:8]).count() == 0
    page.goto(f"/jobs/{theirs['id']}")
    expect(page.get_by_text("There is no job")).to_be_visible()


def test_what_a_refusal_says_is_never_code(look: Look, closed: Keyed) -> None:
    page = look("/", base=closed.server.url)
    page.route(
        "**/v1/**",
        lambda route: route.fulfill(
            status=401, json={"detail": HOSTILE}, content_type="application/problem+json"
        ),
    )
    page.evaluate("sessionStorage.setItem('narrator-key /', 'nk_x')")
    page.reload()

    expect(page.locator("main").get_by_text(HOSTILE[:30])).to_be_visible()
    assert_harmless(page)
