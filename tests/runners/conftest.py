import logging
from collections.abc import Iterator

import pytest

from narration.logs import NarrationHandler


@pytest.fixture(autouse=True)
def narrated_logs() -> Iterator[None]:
    """Log records are narrated, as a server has it."""
    handler = NarrationHandler()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)
