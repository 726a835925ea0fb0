"""The tables of a store, and how a file of any older version becomes one of this.

The schema's version is the number of migrations that a file has seen (`PRAGMA user_version`). A
migration that has been released is never changed: another one is added. The comments are part of
the tables, for whoever opens the file in the sqlite3 shell. It does not know what a job is.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

Migration = Sequence[str]
"""Statements that lead from one version to the next, in one transaction."""

APPLICATION_ID: Final = 0x4A4E5354
"""Marks the file as ours ("JNST"; SQLite's `PRAGMA application_id`)."""

_FIRST: Final[Migration] = (
    """\
CREATE TABLE job (  -- what changes in the life of a job, and what it is found by
  number INTEGER PRIMARY KEY CHECK (number > 0),  -- its place in the order of making
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  operation TEXT NOT NULL,
  priority TEXT NOT NULL,
  created_ns INTEGER NOT NULL,  -- this and the other times: nanoseconds since 1970, UTC
  trace_id TEXT,
  span_id TEXT,
  retry_of TEXT,  -- the id of the job that it repeats
  idempotency_key TEXT,
  state TEXT NOT NULL,
  reason TEXT,  -- why it failed
  deferred INTEGER NOT NULL,  -- waits for its first stream
  queued_ns INTEGER,  -- while it is in the queue
  started_ns INTEGER,
  finished_ns INTEGER,
  next_retry_ns INTEGER,
  attempt INTEGER NOT NULL,  -- the number of the last one
  postponed INTEGER NOT NULL,  -- attempts that spent none of those it may have
  progress TEXT,  -- this and what follows: JSON
  cancel TEXT,
  failure TEXT,
  result TEXT
) STRICT""",
    """\
CREATE TABLE secret (  -- what servers seal with that have this file, one after the other
  bytes BLOB NOT NULL
) STRICT""",
    "INSERT INTO secret VALUES (randomblob(32))",
    """\
CREATE TABLE submission (  -- what is written once: JSON
  job INTEGER PRIMARY KEY REFERENCES job ON DELETE CASCADE,
  params TEXT NOT NULL,
  metadata TEXT NOT NULL,
  tags TEXT NOT NULL,
  asked TEXT NOT NULL,  -- what the submission said of policy and start
  policy TEXT NOT NULL,  -- what holds
  carrier TEXT NOT NULL,  -- the caller's trace context, as headers
  trace_flags INTEGER NOT NULL,
  repeated TEXT,  -- the span of the job that it repeats: trace id, span id, flags
  body_hash TEXT
) STRICT""",
    """\
CREATE TABLE attempt (
  job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
  number INTEGER NOT NULL,
  started_ns INTEGER NOT NULL,
  finished_ns INTEGER,
  outcome TEXT,
  error_type TEXT,
  error_message TEXT,
  span_id TEXT,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID""",
    """\
CREATE TABLE checkpoint (  -- what the last attempt left for the next one
  job INTEGER PRIMARY KEY REFERENCES job ON DELETE CASCADE,
  value TEXT NOT NULL  -- JSON
) STRICT""",
    """\
CREATE TABLE narration (  -- a run of events; `narrator store export` shows them
  job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
  start INTEGER NOT NULL,  -- the sequence of the run's first event
  next INTEGER NOT NULL,  -- the sequence after its last
  first INTEGER NOT NULL,  -- the oldest event that the log kept at the time
  events BLOB NOT NULL,  -- MessagePack: [[name, level, JSON], ...]
  PRIMARY KEY (job, start)
) STRICT""",
    """\
CREATE TABLE span (
  job INTEGER PRIMARY KEY REFERENCES job ON DELETE CASCADE,
  records BLOB NOT NULL  -- MessagePack: a list of records
) STRICT""",
)

MIGRATIONS: Final[Sequence[Migration]] = (_FIRST,)
"""Each leads one version on; there are as many as this version's number."""


def version_of(connection: sqlite3.Connection) -> int | None:
    """The file's version; 0 if it is empty, None if it is a database of something else."""
    application_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application_id == APPLICATION_ID:
        return version
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return None if application_id or version or tables else 0


def migrate(connection: sqlite3.Connection, version: int, migrations: Sequence[Migration]) -> None:
    """Bring a file of `version` up to date, each step in a transaction of its own.

    Foreign keys must not be enforced yet: a step may make a table again.

    Raises:
        sqlite3.Error: the steps before the one that failed are done, and the file is whole.

    """
    for number, statements in enumerate(migrations[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
