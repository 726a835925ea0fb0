"""A process that writes batches to a store and says which are there, until it is killed.

    python -m tests.store.writing PATH

Batch N makes the jobs `N-a` and `N-b`, each with an attempt, a span and N mod 7 + 1 events, and
tells `0-a` one more event.
"""

import sys
from itertools import count
from pathlib import Path

from app.jobs.model import AttemptRecord
from app.store.protocol import Batch
from app.store.sqlite import SqliteStore
from telemetry.names import State
from tests.store.values import making, plain_job, saying


def batch_of(number: int) -> Batch:
    """The batch of that number, from 0."""
    jobs = [
        plain_job(
            2 * number + place + 1,
            id=f"{number}-{name}",
            state=State.RUNNING,
            attempt=1,
            attempts=(AttemptRecord(number=1, started_ns=number),),
        )
        for place, name in enumerate("ab")
    ]
    batch = making(*jobs)
    batch.told = {job.id: saying(1, *["x"] * (number % 7 + 1)) for job in jobs}
    batch.spans = {job.id: [b"x" * 3000] for job in jobs}
    if number:
        batch.told["0-a"] = saying(number + 1, str(number))
    return batch


def main() -> None:
    """Write until killed."""
    store = SqliteStore(Path(sys.argv[1]))
    for number in count():
        store.write(batch_of(number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
