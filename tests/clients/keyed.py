"""A real server that asks for keys, with keys of each kind."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.access import keys_edit
from app.access.key_text import id_of
from app.access.keys_file import Scope
from tests.clients.server import OPERATIONS, ServerProcess, serving, until

KINDS: Mapping[str, tuple[Scope, ...]] = {
    "admin": (Scope.ADMIN,),
    "reader": (Scope.READ,),
    "submitter": (Scope.SUBMIT,),
    "worker": (Scope.SUBMIT, Scope.READ),
}
"""What each of the keys may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """The server, and its keys by their kind; `server.client` has that of the admin."""

    server: ServerProcess
    file: Path
    keys: Mapping[str, str]

    def new_key(self, *scopes: Scope, tenant: str = "default") -> str:
        """Another key, which the server knows by now."""
        key, _ = keys_edit.create(self.file, tenant=tenant, scopes=scopes, random=os.urandom)
        until(lambda: self._status(key) != 401, what="the new key")
        return key

    def revoke(self, key: str) -> None:
        """Take a key away; the server knows that by now."""
        assert keys_edit.revoke(self.file, id_of(key) or "")
        until(lambda: self._status(key) == 401, what="the end of the key")

    def _status(self, key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return self.server.client.get("/v1/overview", headers=headers).status_code


@contextlib.contextmanager
def keyed(
    folder: Path, targets: Sequence[str | Path] = (OPERATIONS,), **settings: Any
) -> Iterator[Keyed]:
    """Serve with a keys file in `folder` until the block ends."""
    file = folder / "keys.toml"
    keys = {
        kind: keys_edit.create(file, tenant="default", scopes=scopes, random=os.urandom)[0]
        for kind, scopes in KINDS.items()
    }
    with serving(targets, keys=file, **settings) as server:
        server.client.headers["authorization"] = f"Bearer {keys['admin']}"
        yield Keyed(server=server, file=file, keys=keys)
        for key in keys.values():
            assert key.split("_", 2)[2] not in server.complaints
