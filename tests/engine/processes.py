"""Operations that run in a child process, which has to find them by name."""

import os
import signal
import sys

from app.handlers.context import JobContext
from app.handlers.operation import operation
from tests.engine.operations import speak


@operation(isolation="process")
def dies(times: int, *, job: JobContext) -> int:
    """Die of SIGKILL `times` times, and then return the number of the attempt."""
    if job.attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.attempt


@operation(isolation="process")
def ignores(*, job: JobContext) -> None:
    """Do not listen to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job.output(os.getpid())
    while True:
        signal.pause()


@operation(isolation="process")
def speaks_in_a_process(*, job: JobContext) -> str:
    """Say something in every way that there is."""
    sys.stdout.write("a line\n")
    return speak(job)
