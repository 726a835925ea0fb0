"""Clients of a server that is killed all the time: they submit, read, stream, cancel and retry.

They ask again until they are answered, as a client of such a server has to, and write down what
they were told. A submission is asked for again with the same key. They judge nothing.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.kill.frames import Frames
from tests.kill.told import Told

PAUSE_S: Final = 0.05
QUEUE_LIMIT: Final = {"queue_timeout_s": 1.0}
_FINISHED: Final = ("completed", "failed", "cancelled")
_BUSY: Final = (429, 503)


@dataclass(slots=True, kw_only=True)
class Clients:
    """Some clients at once, each with a job at a time."""

    told: Told
    http: httpx.AsyncClient
    random: random.Random
    unexpected: list[str] = field(default_factory=list)
    """Answers that no client should be given."""
    resumed: int = 0
    """Streams that were taken up again after a cut."""
    made: int = 0
    stopping: bool = False

    async def one(self) -> None:
        """A client: one job after the other, until it is told to stop."""
        while not self.stopping:
            await self.job()
            await asyncio.sleep(self.random.uniform(0.0, 0.2))

    async def job(self) -> None:
        """Submit one job, and do with it what clients do."""
        body = some_job(self.random)
        record = await self.submit(body)
        deferred = body.get("start") == "on_stream" and "attach_timeout_s" not in body
        doing = [self.follow(record["id"])] if deferred or self.random.random() < 0.6 else []
        doing += [self.follow(record["id"])] if self.random.random() < 0.15 else []
        if self.random.random() < 0.15:
            doing.append(self.cancel(record["id"], self.random.uniform(0, 0.6)))
        if self.random.random() < 0.5:
            doing.append(self.look(record["id"]))
        await asyncio.gather(*doing)
        if self.random.random() < 0.4:
            record = await self.ended(record["id"])
            if self.random.random() < 0.25:
                await self.retry(record["id"])
            elif self.random.random() < 0.15:
                await self.delete(record["id"])

    # --- calls --------------------------------------------------------------------------------

    async def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        """Submit until it is acknowledged; sometimes once more, with the same key."""
        key = self._new_key()
        body = {**body, "metadata": {"key": key}}
        for _ in range(2 if self.random.random() < 0.1 else 1):
            record = await self._accepted("/v1/jobs", body, key)
        return record

    async def retry(self, job_id: str) -> None:
        """Run it again; until it is acknowledged, with one key."""
        key = self._new_key()
        await self._accepted(f"/v1/jobs/{job_id}/retry", {"metadata": {"key": key}}, key)

    async def cancel(self, job_id: str, delay_s: float) -> None:
        """Ask for a cancellation once, later."""
        await asyncio.sleep(delay_s)
        sent = time.monotonic()
        answer = await self._once("POST", f"/v1/jobs/{job_id}/cancel")
        if answer is None:
            return
        status = self._expected(answer, 202, 404, 409, *_BUSY)
        if status == 202:
            self.told.accepted(answer.json(), sent, None)
        elif status == 409:
            words = answer.json()["detail"].partition(" is already ")[2]
            self.told.ended_as(job_id, words.partition(";")[0])

    async def delete(self, job_id: str) -> None:
        """Have it forgotten; what is not answered may have been done or not."""
        self.told.jobs[job_id].delete_asked = True
        answer = await self._once("DELETE", f"/v1/jobs/{job_id}")
        if answer is not None and self._expected(answer, 204, 404, *_BUSY) == 204:
            self.told.deleted(job_id)

    async def look(self, job_id: str) -> None:
        """Read the record a few times."""
        for _ in range(self.random.randrange(1, 4)):
            await asyncio.sleep(self.random.uniform(0, 0.3))
            await self.read(job_id)

    async def read(self, job_id: str, **query: float) -> dict[str, Any] | None:
        """Its record; None where there was no answer, or there is no such job."""
        sent = time.monotonic()
        answer = await self._once("GET", f"/v1/jobs/{job_id}", params=query)
        if answer is None:
            return None
        gone = self.told.jobs[job_id].delete_asked
        legal = (200, 404, *_BUSY) if gone else (200, *_BUSY)
        if self._expected(answer, *legal) != 200:
            return None
        record: dict[str, Any] = answer.json()
        self.told.record(record, sent)
        return record

    async def ended(self, job_id: str) -> dict[str, Any]:
        """Its record once it has finished."""
        while True:
            record = await self.read(job_id, wait=5.0)
            if record is not None and record["state"] in _FINISHED:
                return record
            await asyncio.sleep(PAUSE_S)

    async def listed(self) -> list[dict[str, Any]]:
        """All records, page by page; each try begins anew."""
        while True:
            records, cursor = [], None
            while True:
                sent = time.monotonic()
                query = {"limit": 500, **({"cursor": cursor} if cursor else {})}
                answer = await self._once("GET", "/v1/jobs", params=query)
                if answer is None or self._expected(answer, 200, *_BUSY) != 200:
                    break
                page = answer.json()
                for record in page["jobs"]:
                    self.told.record(record, sent)
                records += page["jobs"]
                cursor = page["next"]
                if cursor is None:
                    return records
            await asyncio.sleep(PAUSE_S)

    # --- a stream -----------------------------------------------------------------------------

    async def follow(self, job_id: str, *, follow: bool = True) -> None:
        """Follow the story to its end, over as many connections as it takes."""
        last: str | None = None
        while True:
            try:
                last, over = await self._follow(job_id, last, follow=follow)
            except httpx.TransportError:
                over = False
            if over:
                return
            await asyncio.sleep(PAUSE_S)

    async def _follow(
        self, job_id: str, last: str | None, *, follow: bool
    ) -> tuple[str | None, bool]:
        """One connection: the last id that came, and whether the story is over."""
        headers = {"last-event-id": last} if last else {}
        query = {} if follow else {"follow": "false"}
        before = 0 if last is None else int(last.partition(".")[2])
        address = f"/v1/jobs/{job_id}/stream"
        async with self.http.stream("GET", address, headers=headers, params=query) as answer:
            if self._expected(answer, 200, 204, *_BUSY) != 200:
                return last, answer.status_code == 204
            frames = Frames()
            self.resumed += last is not None
            try:
                async for data in answer.aiter_raw():
                    for frame in frames.feed(data):
                        if frame.id is None:
                            if frame.event == "gap":
                                self.unexpected.append(f"{job_id}: a gap after {last}")
                            continue
                        number = self.told.frame(job_id, frame.id, frame.raw)
                        if number != before + 1:
                            self.unexpected.append(f"{job_id}: {frame.id} came after {last}")
                        last, before = frame.id, number
                        if frame.event == "end":
                            return last, True
            except httpx.TransportError:
                return last, False
        return last, not follow

    # --- the wire -----------------------------------------------------------------------------

    def _new_key(self) -> str:
        self.made += 1
        return f"key-{self.made}"

    async def _accepted(self, address: str, body: object, key: str) -> dict[str, Any]:
        while True:
            sent = time.monotonic()
            answer = await self._once("POST", address, body, {"idempotency-key": key})
            if answer is not None and self._expected(answer, 202, *_BUSY) == 202:
                record: dict[str, Any] = answer.json()
                self.told.accepted(record, sent, key)
                return record
            await asyncio.sleep(PAUSE_S)

    async def _once(
        self,
        method: str,
        address: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        params: dict[str, Any] | None = None,
    ) -> httpx.Response | None:
        """The answer; None where there was none."""
        try:
            return await self.http.request(
                method, address, json=body, headers=headers, params=params
            )
        except httpx.TransportError:
            return None

    def _expected(self, answer: httpx.Response, *legal: int) -> int:
        if answer.status_code not in legal:
            said = answer.text if answer.is_closed else ""
            self.unexpected.append(f"{answer.request.url}: {answer.status_code} {said}")
        return answer.status_code


def some_job(random: random.Random) -> dict[str, Any]:
    """A submission of some kind."""
    beats, key = random.choice((1, 5, 20, 60)), random.choice(("red", "blue"))
    bodies: list[dict[str, Any]] = [
        _body("quick", number=random.randrange(1000)),
        _body("slow", beats=beats),
        _body("threaded", beats=beats),
        _body("child", beats=beats),
        _body("failing", times=random.randrange(1, 4)),
        _body("postponed", times=random.randrange(1, 3)),
        _body("once", beats=beats),
        _body("counting", to=2 * beats),
        _body("counting_thread", to=3 * beats),
        {**_body("keyed", beats=beats), "concurrency_key": key, "tags": {"key": key}},
        {**_body("slow", beats=5), "start": "on_stream"},
        {**_body("slow", beats=5), "start": "on_stream", "attach_timeout_s": 2.0},
        {**_body("keyed", beats=5), "concurrency_key": key, "tags": {"key": key}, **QUEUE_LIMIT},
        {**_body("slow", beats=2000), "deadline_s": random.uniform(0.5, 6)},
        {**_body("slow", beats=2000), "timeout_s": 0.5, "retry": {"max_attempts": 3}},
    ]
    body = random.choice(bodies)
    if random.random() < 0.1:
        body["priority"] = random.choice(("low", "high", "critical"))
    return body


def _body(operation: str, **params: int) -> dict[str, Any]:
    return {"operation": operation, "params": params}
