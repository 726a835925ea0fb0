import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.errors import IdempotencyConflict
from app.jobs.idempotency import Idempotency, body_hash, retry_hash

bodies = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans()), max_size=5)


@given(bodies)
def test_the_order_of_keys_and_the_spaces_do_not_matter(body: dict[str, object]) -> None:
    shuffled = json.loads(json.dumps(dict(reversed(body.items())), indent=3))

    assert body_hash(body) == body_hash(shuffled)


@given(bodies, bodies)
def test_other_bodies_have_other_hashes(one: dict[str, object], other: dict[str, object]) -> None:
    assert (body_hash(one) == body_hash(other)) == (one == other)


@given(bodies, bodies, st.text(), st.text())
def test_retries_are_the_same_by_job_and_body_and_never_a_submission(
    one: dict[str, object], other: dict[str, object], job: str, another: str
) -> None:
    same = (job, one) == (another, other)

    assert (retry_hash(job, one) == retry_hash(another, other)) == same
    assert retry_hash(job, None) == retry_hash(job, {})
    assert body_hash(one) != retry_hash(job, one)


def test_the_first_request_with_a_key_is_not_known() -> None:
    assert Idempotency().find("k", "h") is None


def test_the_same_request_again_leads_to_the_first_ones_job() -> None:
    keys = Idempotency()
    keys.remember("k", "h", job_id="j1", status=202)

    found = keys.find("k", "h")

    assert found is not None
    assert (found.job_id, found.status) == ("j1", 202)


def test_the_same_key_with_another_body_is_a_conflict() -> None:
    keys = Idempotency()
    keys.remember("k", "h", job_id="j1", status=202)

    with pytest.raises(IdempotencyConflict, match="j1") as caught:
        keys.find("k", "other")

    assert (caught.value.key, caught.value.job_id) == ("k", "j1")


def test_a_key_belongs_to_one_tenant() -> None:
    keys = Idempotency()
    keys.remember("k", "h", job_id="j1", status=202, tenant="a")

    assert keys.find("k", "other", tenant="b") is None
    assert keys.find("k", "h", tenant="a") is not None


def test_a_key_lives_as_long_as_its_job() -> None:
    keys = Idempotency()
    keys.remember("k", "h", job_id="j1", status=202)

    keys.forget("j1")
    keys.forget("a job without a key")

    assert keys.find("k", "other") is None
    assert len(keys) == 0
