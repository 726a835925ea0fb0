from hypothesis import given
from hypothesis import strategies as st

from app.jobs.retention import Retention


def retention(*, age_s: float = 100, max_jobs: int = 100, max_bytes: int = 1000) -> Retention:
    return Retention(age_s=age_s, max_jobs=max_jobs, max_bytes=max_bytes)


def test_nothing_goes_while_all_limits_hold() -> None:
    kept = retention()
    kept.add("a", size=10, now_mono=0)

    assert kept.surplus(99.9) == []
    assert (kept.jobs, kept.bytes) == (1, 10)


def test_the_old_go_by_age() -> None:
    kept = retention(age_s=10)
    for number in range(3):
        kept.add(f"j{number}", size=1, now_mono=float(number))

    assert kept.surplus(11.0) == ["j0", "j1"]


def test_the_oldest_finished_go_first_by_count() -> None:
    kept = retention(max_jobs=2)
    for job_id in ("c", "a", "b", "d"):
        kept.add(job_id, size=1, now_mono=0)

    assert kept.surplus(0) == ["c", "a"]


def test_as_many_go_as_bring_the_bytes_within_the_limit() -> None:
    kept = retention(max_bytes=100)
    for job_id, size in (("a", 10), ("b", 80), ("c", 60), ("d", 30)):
        kept.add(job_id, size=size, now_mono=0)

    assert kept.surplus(0) == ["a", "b"]


def test_the_newest_is_kept_whatever_its_size() -> None:
    kept = retention(max_bytes=100)
    kept.add("a", size=1, now_mono=0)
    kept.add("huge", size=1000, now_mono=0)

    assert kept.surplus(0) == ["a"]


def test_with_room_for_none_every_job_goes_at_once() -> None:
    kept = retention(max_jobs=0)
    kept.add("a", size=1, now_mono=0)

    assert kept.surplus(0) == ["a"]


def test_a_new_size_replaces_the_old_one_and_keeps_the_place() -> None:
    kept = retention(age_s=10)
    kept.add("a", size=10, now_mono=0)
    kept.add("b", size=5, now_mono=1)
    kept.add("a", size=20, now_mono=5)

    assert (kept.jobs, kept.bytes) == (2, 25)
    assert kept.surplus(10) == ["a"]


def test_removing_what_is_not_kept_is_no_error() -> None:
    kept = retention()
    kept.remove("a")

    assert (kept.jobs, kept.bytes) == (0, 0)


@given(
    sizes=st.lists(st.integers(0, 50), max_size=20),
    max_jobs=st.integers(0, 10),
    max_bytes=st.integers(0, 200),
    now=st.floats(0, 40),
)
def test_what_is_left_is_within_every_limit_and_no_more_goes_than_must(
    sizes: list[int], max_jobs: int, max_bytes: int, now: float
) -> None:
    kept = Retention(age_s=15, max_jobs=max_jobs, max_bytes=max_bytes)
    for number, size in enumerate(sizes):
        kept.add(str(number), size=size, now_mono=float(number))

    gone = kept.surplus(now)
    for job_id in gone:
        kept.remove(job_id)

    assert gone == [str(number) for number in range(len(gone))]
    assert kept.surplus(now) == []
    assert kept.jobs <= max_jobs
    assert kept.bytes == sum(sizes[len(gone) :])
    assert kept.bytes <= max_bytes or kept.jobs == 1
    if gone:
        last = len(gone) - 1
        assert now - last >= 15 or len(sizes) - last > max_jobs or sum(sizes[last:]) > max_bytes


def test_what_is_too_much_is_taken_from_the_tenant_that_holds_the_most() -> None:
    retention = Retention(age_s=100, max_jobs=4, max_bytes=1000)
    for number in range(2):
        retention.add(f"acme-{number}", size=10, now_mono=0, tenant="acme")
    for number in range(6):
        retention.add(f"evil-{number}", size=10, now_mono=1, tenant="evil")

    assert retention.surplus(2) == [f"evil-{number}" for number in range(4)]


def test_what_is_too_big_is_taken_from_the_tenant_whose_jobs_are_the_biggest() -> None:
    retention = Retention(age_s=100, max_jobs=100, max_bytes=100)
    for number in range(5):
        retention.add(f"acme-{number}", size=10, now_mono=0, tenant="acme")
    for number in range(3):
        retention.add(f"evil-{number}", size=40, now_mono=1, tenant="evil")

    assert retention.surplus(2) == ["evil-0", "evil-1"]
    assert retention.surplus(100) == [
        *(f"acme-{number}" for number in range(5)),
        "evil-0",
    ]
