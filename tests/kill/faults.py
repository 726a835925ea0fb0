"""Writes that fail and a clock that jumps, in another process: `shim.c`, built and driven."""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_name("shim.c")
DAY_S: Final = 86_400.0


class Faults:
    """The faults of the programs that are started with `environment`; none at first.

    Writes to files whose path begins with `on` can be made to fail.
    """

    def __init__(self, directory: Path, on: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None or os.uname().sysname != "Linux":
            pytest.skip("needs Linux and a C compiler (gcc)")
        library = directory / "shim.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True
        )
        self._file = directory / "faults"
        self._error, self._jump_ns = 0, 0
        self._write()
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTS": str(self._file),
            "FAULTS_ON": str(on),
        }

    def fail(self, error: int) -> None:
        """From now on writes fail with this number of `errno`; with 0, they work again."""
        self._error = error
        self._write()

    def jump(self, seconds: float) -> None:
        """Put the wall clock forward, or back."""
        self._jump_ns += int(seconds * 1e9)
        self._write()

    def _write(self) -> None:
        # In place, since it is shared memory.
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, struct.pack("=qq", self._error, self._jump_ns), 0)
        finally:
            os.close(descriptor)
