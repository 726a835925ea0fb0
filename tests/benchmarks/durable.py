"""Other people's engines that keep jobs in SQLite, in this process, as their users have them.

Neither narrates, traces or counts: a job is a function that does nothing, kept from its submission
to its result. They do not know how they are timed.
"""

from pathlib import Path
from typing import Any, Final

from dbos import DBOS, DBOSConfig
from huey import SqliteHuey

from tests.benchmarks.engines import BATCH

APPLICATION: Final = "bench"


class Huey:
    """huey: tasks go into the file's queue, and this thread takes and runs them: nobody polls."""

    def __init__(self, folder: Path) -> None:
        self._huey: Any = SqliteHuey(APPLICATION, filename=str(folder / "huey.db"))

        def noop() -> int:
            """Give something to be kept: None is not."""
            return 1

        self._noop = self._huey.task()(noop)

    def run(self, jobs: int) -> None:
        """Run so many jobs, and read their results."""
        for _ in range(jobs // BATCH):
            results = [self._noop() for _ in range(BATCH)]
            while (task := self._huey.dequeue()) is not None:
                self._huey.execute(task)
            assert [each.get() for each in results] == [1] * BATCH

    def close(self) -> None:
        """Stop."""
        self._huey.storage.close()


class Dbos:
    """DBOS: workflows without steps, on its own threads."""

    def __init__(self, folder: Path) -> None:
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": f"sqlite:///{folder / 'dbos.db'}",
            "log_level": "ERROR",
        }
        DBOS(config=config)

        @DBOS.workflow(name="noop")
        def noop() -> int:
            return 1

        self._noop = noop
        DBOS.launch()

    def run(self, jobs: int) -> None:
        """Run so many jobs, and wait for their results."""
        for _ in range(jobs // BATCH):
            handles = [DBOS.start_workflow(self._noop) for _ in range(BATCH)]
            assert [each.get_result() for each in handles] == [1] * BATCH

    def close(self) -> None:
        """Stop."""
        DBOS.destroy(destroy_registry=True)
