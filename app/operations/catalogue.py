"""The built-in operation `catalogue`: read a folder, hash its files, find duplicates.

Real work, written as a user would write it: a thread handler with threads of its own, an
instrumented database, child spans, narration and progress. It does not know the engine.
"""

import contextvars
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

from opentelemetry import trace
from pydantic import Field

from app import JobContext, Reject, operation
from app.operations.folder import (
    AllowedRoots,
    Digest,
    OutsideError,
    Stopped,
    digest_of,
    files_of,
    shown,
)
from app.operations.records import Duplicates, ForeignFileError, Records, open_records
from narration import narrate

EXCLUDED: Final = (".venv", "node_modules", "__pycache__", ".*_cache", ".hypothesis")
"""What is left out by default: what tools make, and can make again."""
THREADS: Final = min(4, os.cpu_count() or 1)
BATCH: Final = 500
"""Files that are hashed between two writes to the catalogue; also what is in memory of them."""
TOLD_SKIPS: Final = 20
"""Skipped files that are narrated one by one."""
TOLD_DUPLICATES: Final = 5
MAX_GROUPS: Final = 30
MAX_PATHS: Final = 5
LARGE_BYTES: Final = 64 << 20
"""From this size a file is narrated when it is read: it takes a while."""
_THOUSAND: Final = 1000


@dataclass(slots=True)
class _Count:
    """What was found so far: files, their bytes, and what could not be read."""

    files: int = 0
    size: int = 0
    skipped: int = 0

    def skip(self, path: bytes, error: OSError) -> None:
        """Count what cannot be read, and tell the first of them."""
        self.skipped += 1
        if self.skipped <= TOLD_SKIPS:
            narrate(
                "skip",
                "Skipping {path}: {why}",
                level="warn",
                path=shown(path),
                why=error.strerror or str(error),
                cute="{path} would rather not be read ({why}) 🙈",
                story="But {path} kept its secret. “{why},” it said.",
            )
        elif self.skipped == TOLD_SKIPS + 1:
            narrate("skip", "More files are skipped; the result counts them", level="warn")


@operation(concurrency=4, disclose=("db.system", "db.statement"))
def catalogue(
    path: Path | None = None,
    *,
    exclude: Annotated[tuple[str, ...], Field(max_length=100)] = EXCLUDED,
    database: Path | None = None,
    job: JobContext,
    roots: AllowedRoots,
) -> dict[str, Any]:
    """Read a folder, hash its files and find duplicates.

    `path` is a folder within the server's allowed roots, by default the first of them. Names that
    match a pattern of `exclude` are left out, and `.git` always; symbolic links are not followed.
    The catalogue is an SQLite file: `database`, within the roots, is kept; without it the file is
    temporary. The result counts files, bytes and what could not be read, and lists the duplicates
    that waste most.
    """
    folder = _folder(roots, path)
    count = _Count()
    with _records(roots, database) as records:
        _find(folder, exclude, records, count, job)
        _hash(folder, records, count, job)
        duplicates = _compare(records)
    _conclude(count, duplicates)
    return {
        "path": str(folder),
        "files": count.files,
        "bytes": count.size,
        "skipped": count.skipped,
        "duplicate_groups": duplicates.count,
        "wasted_bytes": duplicates.wasted,
        "duplicates": [asdict(group) for group in duplicates.groups],
    }


def size_text(size: int) -> str:
    """`size` bytes for a reader, in powers of 1000.

    >>> size_text(0), size_text(1_234), size_text(5_600_000)
    ('0 B', '1.2 kB', '5.6 MB')
    """
    if size < _THOUSAND:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= _THOUSAND
        if value < _THOUSAND:
            return f"{value:.1f} {unit}"
    return f"{value / _THOUSAND:.1f} TB"


def _folder(roots: AllowedRoots, path: Path | None) -> Path:
    try:
        folder = roots.resolve(path)
    except OutsideError as error:
        raise Reject(str(error)) from None
    if not folder.is_dir():
        raise Reject(f"{folder} is no folder")
    return folder


@contextmanager
def _records(roots: AllowedRoots, database: Path | None) -> Iterator[Records]:
    try:
        place = None if database is None else roots.resolve(database)
        if place is not None and not place.parent.is_dir():
            raise Reject(f"{place.parent} is no folder")
        with open_records(place) as records:
            yield records
    except (OutsideError, ForeignFileError) as error:
        raise Reject(str(error)) from None


def _find(
    folder: Path, exclude: tuple[str, ...], records: Records, count: _Count, job: JobContext
) -> None:
    """Note every file in the catalogue."""
    with _tracer().start_as_current_span("catalogue.find") as span:
        narrate(
            "find",
            "Looking for files in {folder}",
            folder=str(folder),
            cute="Peeking into every drawer of {folder} 🔦",
            story="A lantern was lit, and someone stepped into {folder}.",
        )
        found = files_of(folder, exclude=exclude, skip=count.skip)
        while batch := list(islice(found, BATCH)):
            job.raise_if_cancelled()
            records.add(batch)
            count.files += len(batch)
            count.size += sum(file.size for file in batch)
        span.set_attributes({"files": count.files, "bytes": count.size})


def _hash(folder: Path, records: Records, count: _Count, job: JobContext) -> None:
    """Read every file in threads; correct the count by what was really read."""
    total, count.files, count.size = count.files, 0, 0
    done, last = 0, b""
    with _tracer().start_as_current_span("catalogue.hash", attributes={"files": total}):
        narrate(
            "hash",
            "Hashing {files} files with {threads} threads",
            files=total,
            threads=THREADS,
            cute="{threads} busy bees sniff {files} files 🐝",
            story="{threads} readers sat down before {files} books and began.",
        )
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="catalogue")
        try:
            while batch := records.after(last, BATCH):
                digests = []
                for path, digest in _digests(pool, folder, batch, count, job):
                    done += 1
                    if digest is not None:
                        digests.append((path, digest))
                        count.files += 1
                        count.size += digest.size
                    job.progress(done, total, "files hashed")
                records.complete(digests)
                last = batch[-1]
        finally:
            pool.shutdown(cancel_futures=True)


def _digests(
    pool: ThreadPoolExecutor, folder: Path, batch: list[bytes], count: _Count, job: JobContext
) -> Iterator[tuple[bytes, Digest | None]]:
    """The digest of each file of `batch` as it is done; None for one that cannot be read."""
    reading: dict[Future[Digest], bytes] = {
        # A pool's threads inherit no context: each call takes a copy of the job's.
        pool.submit(contextvars.copy_context().run, _read, folder, path, job): path
        for path in batch
    }
    for future in as_completed(reading):
        job.raise_if_cancelled()
        try:
            yield reading[future], future.result()
        except OSError as error:
            count.skip(reading[future], error)
            yield reading[future], None


def _read(folder: Path, path: bytes, job: JobContext) -> Digest:
    """Runs in a thread of the pool."""
    size = (folder / os.fsdecode(path)).lstat().st_size
    if size >= LARGE_BYTES:
        narrate("read", "Reading {path}, {size}", path=shown(path), size=size_text(size))
    try:
        return digest_of(folder, path, stopped=job.token.is_set)
    except Stopped:
        job.raise_if_cancelled()
        raise


def _compare(records: Records) -> Duplicates:
    """Find the files that have the same content, and tell the worst."""
    with _tracer().start_as_current_span("catalogue.compare") as span:
        narrate(
            "compare",
            "Looking for files with the same content",
            cute="Who wears the same sweater? 👯",
            story="Then the pages were laid side by side.",
        )
        duplicates = records.duplicates(groups=MAX_GROUPS, paths=MAX_PATHS)
        span.set_attributes({"groups": duplicates.count, "wasted": duplicates.wasted})
        for group in duplicates.groups[:TOLD_DUPLICATES]:
            narrate(
                "duplicate",
                "{path} is there {copies} times, {size} each",
                path=group.paths[0],
                copies=group.copies,
                size=size_text(group.size),
                cute="{path} has {copies} look-alikes 🪞",
                story="“We are {copies},” said {path}, “and all the same.”",
            )
    return duplicates


def _conclude(count: _Count, duplicates: Duplicates) -> None:
    """Tell what came out."""
    if duplicates.count:
        wasted = size_text(duplicates.wasted)
        found = f"{duplicates.count} contents are there more than once and waste {wasted}"
    else:
        found = "no two have the same content"
    narrate(
        "done",
        "Catalogued {files} files, {size}: {found}",
        files=count.files,
        size=size_text(count.size),
        found=found,
        cute="All {files} files are tucked in, {size} of them: {found} 🧺",
        story="So all {files} were known by name, and it was written: {found}.",
    )


def _tracer() -> trace.Tracer:
    return trace.get_tracer(__name__)
