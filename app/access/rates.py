"""How often each tenant may: a token bucket of each, kept as one time (GCRA, ITU-T I.371).

It knows neither what is done nor the time, and keeps one number for each tenant: there are few.
"""

import math


class Rates:
    """At most `per_s` a second, and `burst` at once (0: as many as in a second, at least one).

    With a `per_s` of 0 nobody is limited. Times are seconds of one monotonic clock.
    """

    def __init__(self, per_s: float, *, burst: int = 0) -> None:
        self._interval_s = 1 / per_s if per_s else 0.0
        self._burst_s = (burst or max(1, math.ceil(per_s))) * self._interval_s
        self._full_at: dict[str, float] = {}
        """When each bucket will be full again, if nothing more is taken."""

    def take(self, tenant: str, now_mono: float) -> float:
        """Take one: 0.0 if there was one, else the seconds until there will be."""
        if not self._interval_s:
            return 0.0
        full_at = max(self._full_at.get(tenant, now_mono), now_mono) + self._interval_s
        wait_s = full_at - now_mono - self._burst_s
        if wait_s > _ROUNDING_S:
            return wait_s
        self._full_at[tenant] = full_at
        return 0.0


_ROUNDING_S = 1e-9
"""What sums of floats may be off by."""
