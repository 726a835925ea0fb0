"""How many streams of each tenant are open, and how many may be. It does not know what they are."""

from collections import Counter
from typing import Final

from app.jobs.errors import TenantStreams

RETRY_AFTER_S: Final = 5.0
"""When a refused stream may be asked for again, seconds."""


class OpenStreams:
    """Counts open streams; `limit` is how many each tenant may have, 0 for any number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def check(self, tenant: str) -> None:
        """Return if one more may be opened; `TenantStreams` if not."""
        if self._limit and self._open[tenant] >= self._limit:
            raise TenantStreams(self._limit, retry_after_s=RETRY_AFTER_S)

    def opened(self, tenant: str) -> None:
        """One was opened."""
        self._open[tenant] += 1

    def closed(self, tenant: str) -> None:
        """One was closed."""
        self._open[tenant] -= 1

    def count(self, tenant: str) -> int:
        """How many are open."""
        return self._open[tenant]
