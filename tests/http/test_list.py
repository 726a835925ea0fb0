"""Lists of jobs over HTTP: filters and pages."""

from typing import Any

import pytest

from tests.http.operations import OPERATIONS, Run, Serve, refused


def test_jobs_are_listed_newest_first_in_pages(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            ids = [(await served.submit("add", params={"a": n}))["id"] for n in range(5)]
            listed: list[str] = []
            query: dict[str, Any] = {"limit": 2}
            while True:
                page = (await served.client.get("/v1/jobs", params=query)).json()
                assert page["total"] == 5
                listed += [job["id"] for job in page["jobs"]]
                if page["next"] is None:
                    break
                query["cursor"] = page["next"]

            assert listed == ids[::-1]

    run(test())


def test_jobs_are_found_by_state_operation_tag_and_time(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            done = await served.submit("add", params={"a": 1}, tags={"team": "blue"})
            await served.ended(done["id"])
            busy = await served.submit("forever", tags={"team": "red"})
            await served.until(busy["id"], "running")

            async def found(**query: Any) -> list[str]:
                page = (await served.client.get("/v1/jobs", params=query)).json()
                return [job["id"] for job in page["jobs"]]

            assert await found(state="completed") == [done["id"]]
            assert await found(state=["completed", "running"]) == [busy["id"], done["id"]]
            assert await found(operation="forever") == [busy["id"]]
            assert await found(tag="team:red") == [busy["id"]]
            assert await found(text='"A":1') == [done["id"]]
            assert await found(tag="team") == [busy["id"], done["id"]]
            assert await found(since=busy["created_at"]) == [busy["id"]]
            assert await found(until=busy["created_at"]) == [done["id"]]
            assert await found(operation="none") == []

    run(test())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "done"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "9" * 5000),
        ("cursor", "mine"),
        ("cursor", "é\x00"),
        ("since", "yesterday"),
        ("since", "2026-01-01T00:00:00"),
        ("until", "99999-01-01T00:00:00Z"),
        ("colour", "red"),
    ],
)
def test_an_illegal_filter_is_a_422(serve: Serve, run: Run, name: str, value: str) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            await refused(await served.client.get("/v1/jobs", params={name: value}), 422)

    run(test())


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00Z"]
)
def test_the_ends_of_time_are_legal(serve: Serve, run: Run, time: str) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.get("/v1/jobs", params={"since": time, "until": time})

            assert (answer.status_code, answer.json()["total"]) == (200, 0)

    run(test())
