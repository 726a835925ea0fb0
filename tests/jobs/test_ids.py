"""Ids of jobs."""

import uuid

from app.jobs.ids import new_job_id


def test_an_id_is_a_random_uuid_in_its_canonical_form() -> None:
    ids = {new_job_id() for _ in range(500)}

    assert len(ids) == 500
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)
