"""Who calls: a tenant, what it may do, and by which key. It does not know how that was found."""

from dataclasses import dataclass

from app.access.keys_file import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One who calls. `key_id` is None where nobody is asked for a key."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it has `scope`; `admin` has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes
