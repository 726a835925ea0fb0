import contextvars
import logging
import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider

from narration.capture import capture
from narration.events import OutputEvent, ProgressEvent
from narration.logs import NarrationHandler
from narration.masking import MASK
from narration.narrate import narrate
from narration.scope import current_scope


def test_what_is_said_in_the_block_is_captured_in_order() -> None:
    narrate("a", "before")
    with capture() as captured:
        narrate("b", "first")
        narrate("c", "second")
    narrate("d", "after")

    assert captured.texts == ["first", "second"]
    assert [event.seq for event in captured.events] == [1, 2]


def test_captures_side_by_side_keep_apart() -> None:
    texts: dict[str, list[str]] = {}

    def one(word: str) -> None:
        with capture() as captured:
            both.wait()
            for _ in range(50):
                narrate("say", word)
                logging.getLogger("jobs").warning(word)
            both.wait()
        texts[word] = captured.texts

    both = threading.Barrier(2)
    threads = [threading.Thread(target=one, args=(word,)) for word in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert texts == {"one": ["one"] * 100, "two": ["two"] * 100}


def test_whatever_inherits_the_context_is_captured() -> None:
    with capture() as captured:
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(narrate, "load", "from a thread")
        )
        thread.start()
        thread.join()

    assert captured.texts == ["from a thread"]


def test_log_records_are_captured_unless_unwanted() -> None:
    with capture() as captured:
        logging.getLogger("jobs").warning("heard")
    with capture(logs=False) as deaf:
        logging.getLogger("jobs").warning("unheard")

    assert captured.texts == ["heard"]
    assert deaf.texts == []
    assert not [h for h in logging.getLogger().handlers if isinstance(h, NarrationHandler)]


def test_a_record_is_captured_once_where_the_application_narrates_its_logs() -> None:
    handler = NarrationHandler()
    logging.getLogger().addHandler(handler)
    with capture() as captured:
        logging.getLogger("jobs").warning("heard")
    logging.getLogger().removeHandler(handler)

    assert captured.texts == ["heard"]


def test_spans_and_their_events_are_captured_with_a_provider() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("jobs")
    with (
        capture(provider=provider, first_party=["jobs"]) as captured,
        tracer.start_as_current_span("work") as span,
    ):
        span.add_event("saved", {"n": 1})
    provider.shutdown()

    assert [said.kind for said in captured.messages] == ["span_start", "event", "span_end"]
    assert [span.name for span in captured.spans] == ["work"]


def test_output_and_progress_are_captured_apart() -> None:
    with capture() as captured:
        scope = current_scope()
        assert scope is not None
        scope.story.put(lambda: OutputEvent(at="", chunk={"a": 1}))
        scope.story.put(lambda: ProgressEvent(at="", done=1, total=2))

    assert captured.outputs == [{"a": 1}]
    assert [(step.done, step.total) for step in captured.progress] == [(1, 2)]
    assert captured.messages == []


def test_configured_secrets_are_masked() -> None:
    with capture(secrets=["s3cret"]) as captured:
        narrate("load", "with s3cret")

    assert captured.texts == [f"with {MASK}"]


def test_a_mask_of_ones_own_replaces_masking() -> None:
    with capture(mask=str.upper) as captured:
        narrate("load", "password=x")

    assert captured.texts == ["PASSWORD=X"]


def test_messages_are_found_by_attribute_and_by_field() -> None:
    with capture() as captured:
        narrate("load", "Loading barn", scene="barn")
        narrate("load", "Loading farm", scene="farm", level="warn")

    assert [said.text for said in captured.find(scene="farm")] == ["Loading farm"]
    assert [said.text for said in captured.find("Loading", level="info")] == ["Loading barn"]
    assert captured.find(action="save") == []


def test_what_was_said_can_be_asserted() -> None:
    with capture() as captured:
        narrate("load", "Loading barn")

    assert captured.assert_said("barn", action="load").text == "Loading barn"


def test_a_failed_assertion_tells_what_was_said() -> None:
    with capture() as captured:
        narrate("load", "Loading barn")

    with pytest.raises(AssertionError) as raised:
        captured.assert_said("farm", action="load")

    assert "nothing was said with 'farm', action='load'" in str(raised.value)
    assert "narrate info captured load: Loading barn" in str(raised.value)


def test_a_failed_assertion_on_silence_says_so() -> None:
    with capture() as captured:
        pass

    with pytest.raises(AssertionError, match=r"nothing$"):
        captured.assert_said()


def test_the_scope_ends_with_the_block() -> None:
    with capture():
        assert current_scope() is not None

    assert current_scope() is None
