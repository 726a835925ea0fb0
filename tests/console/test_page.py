"""What holds on every view: access, safety, and where it gets its files from."""

import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.clients.server import ServerProcess
from tests.console.conftest import Look
from tests.console.operations import HOSTILE

pytestmark = pytest.mark.browser

AXE = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"
CONSOLE = Path(__file__).parents[2] / "app" / "console"
PHONE = {"width": 390, "height": 844}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS: list[dict[str, Any]] = [
    {"color_scheme": "light"},
    {"color_scheme": "dark"},
    {"color_scheme": "light", "viewport": PHONE},
]


@pytest.mark.parametrize("options", LOOKS, ids=["light", "dark", "phone"])
def test_no_view_breaks_a_rule_of_accessibility(
    look: Look, server: ServerProcess, options: dict[str, Any]
) -> None:
    """axe-core's rules for WCAG 2.2 A and AA, contrast among them."""
    failed = server.submit("fails", tags={"team": "red"})
    server.ended(failed["id"])
    waiting = server.submit("flaky")
    views = {
        "/": "table.jobs tr:not(.spacer) td",
        f"/jobs/{failed['id']}?level=debug": ".span",
        f"/jobs/{waiting['id']}": "[role=timer]",
        "/run?operation=form": "form",
    }
    # The policy of the page lets no script in: axe is let in by this browser, for this test.
    for path, there in views.items():
        page = look(path, bypass_csp=True, **options)
        expect(page.locator(there).first).to_be_visible()
        page.add_script_tag(path=AXE)
        found = page.evaluate("rules => axe.run({runOnly: rules})", RULES)
        assert [
            (each["id"], [node["target"] for node in each["nodes"]]) for each in found["violations"]
        ] == [], path
        width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"{path} is {width} pixels too wide"
    server.client.post(f"/v1/jobs/{waiting['id']}/cancel")


def assert_harmless(page: Page) -> None:
    """Nothing that was said has become an element, or has run."""
    page.wait_for_timeout(200)  # an image that fails to load would call its handler by now
    assert page.locator("main img, main script, main b").count() == 0
    assert not page.title().startswith("owned")


def test_what_a_job_says_is_never_code(look: Look, server: ServerProcess) -> None:
    """Story, output, progress, spans and result; tags and metadata."""
    job = server.submit("hostile", tags={"<b>x</b>": "<script>1</script>"}, metadata={"a": "<i>"})
    server.ended(job["id"])
    for path in ("/", f"/jobs/{job['id']}", f"/jobs/{job['id']}?mode=cute&level=trace"):
        page = look(path)
        expect(page.locator("main").get_by_text("hostile", exact=True).last).to_be_visible()
        if path != "/":
            expect(page.locator(".panel", has_text="Result")).to_contain_text(HOSTILE[:30])
        assert_harmless(page)


def test_what_an_operation_says_of_itself_and_how_it_fails_is_never_code(
    look: Look, server: ServerProcess
) -> None:
    """Its description, its params and their defaults, the message of a failure; tags."""
    job = server.submit("hostile_failure", tags={HOSTILE[:40]: HOSTILE})
    server.ended(job["id"])
    for path in (f"/jobs/{job['id']}", "/run?operation=hostile_failure"):
        page = look(path)
        expect(page.locator("main").get_by_text(HOSTILE[:20]).first).to_be_visible()
        assert_harmless(page)
    page = look(f"/run?again={job['id']}")
    expect(page.get_by_label("tags")).to_have_value(f"{HOSTILE[:40]}:{HOSTILE}")
    assert_harmless(page)


def test_what_an_address_says_is_never_code(look: Look) -> None:
    image = HOSTILE.partition("<script>")[0]  # a slash would be another path
    for path in (
        f"/jobs/{quote(image)}",
        f"/run?operation={quote(HOSTILE + '?', safe='')}",
        f"/?text={quote(HOSTILE)}&operation={quote(HOSTILE)}&tag={quote(HOSTILE)}&state=<b>",
    ):
        page = look(path)
        expect(page.locator("main")).not_to_be_empty()
        assert_harmless(page)


def test_the_page_asks_nobody_else_for_anything(look: Look, server: ServerProcess) -> None:
    page = look()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    job = server.submit("quick")
    for path in ("/", "/run", f"/jobs/{job['id']}"):
        page.goto(path)
        expect(page.locator("main")).not_to_be_empty()

    assert asked != []
    assert [url for url in asked if not url.startswith(server.url + "/")] == []


def test_the_page_says_what_it_allows(server: ServerProcess) -> None:
    for path in ("/", "/run", "/jobs/x", "/assets/main.js"):
        headers = server.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_an_unchanged_file_is_not_sent_again(server: ServerProcess) -> None:
    first = server.client.get("/assets/console.css")
    again = server.client.get(
        "/assets/console.css", headers={"if-none-match": first.headers["etag"]}
    )

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert server.client.get("/assets/../service.py").status_code == 404
    assert server.client.get("/assets/index.html").status_code == 404


def test_every_key_is_in_the_list_of_keys(look: Look, server: ServerProcess) -> None:
    job = server.submit("quick")
    page = look(f"/jobs/{job['id']}")
    expect(page.locator(".head")).to_be_visible()
    page.keyboard.press("?")

    dialog = page.get_by_role("dialog")
    for key in ("j", "k", "x", "r", "a", "p", "/", "f", "m", "e", "c", "J", "R", "1", "5", "?"):
        expect(dialog.locator("kbd", has_text=key).first).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_it_can_be_used_with_the_keyboard_alone(look: Look, server: ServerProcess) -> None:
    page = look("/run?operation=quick")
    expect(page.get_by_label("number")).to_be_visible()
    page.keyboard.press("i")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    expect(page.locator(".panel", has_text="Result")).to_contain_text("7")
    expect(page.locator(".span").first).to_be_visible()
    page.locator(".span").first.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".span")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Span job quick")).to_be_visible()
    outline = page.locator(".span").first.evaluate("row => getComputedStyle(row).outlineStyle")
    assert outline == "solid"


def test_nothing_moves_for_who_wants_it_still(
    look: Look, server: ServerProcess, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate)})
    page = look(f"/jobs/{job['id']}", reduced_motion="reduce")
    growing = page.locator(".growing").first
    expect(growing).to_be_visible()
    assert growing.evaluate("mark => getComputedStyle(mark).animationName") == "none"
    gate.touch()
    server.ended(job["id"])


def test_the_vendored_library_is_what_its_package_lock_makes(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", "preact.entry.js"):
        (tmp_path / name).write_bytes((CONSOLE / name).read_bytes())
    for command in (
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        ["npm", "run", "vendor"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)

    made = (tmp_path / "assets" / "preact.js").read_bytes()
    assert made == (files("app.console") / "assets" / "preact.js").read_bytes()
