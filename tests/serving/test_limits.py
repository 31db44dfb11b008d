"""What a client may ask for: bytes are counted while they come, places are given back, and time runs out."""

import asyncio
import time

import pytest

pytest.importorskip("starlette", reason="needs the extra `serve`")
from modeling_distilwhisper.serving.errors import ApiError
from modeling_distilwhisper.serving.limits import AudioMemory, Body, Places


def body_of(chunks, most=100, seconds=None, pause=0.0):
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False

    async def receive():
        await asyncio.sleep(pause)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return Body(receive, most, seconds), messages


async def read(body) -> bytes | None:
    content = b""
    while True:
        message = await body.receive()
        if message["type"] == "http.disconnect":
            return None
        content += message["body"]
        if not message["more_body"]:
            return content


def test_a_body_that_grows_beyond_its_limit_is_not_read_further():
    body, messages = body_of([b"x" * 60] * 10)
    assert asyncio.run(read(body)) is None and body.is_too_long and len(messages) == 8
    assert (body.error().status, body.error().code) == (413, "file_too_large")
    body, _ = body_of([b"x" * 50] * 2)
    assert asyncio.run(read(body)) == b"x" * 100


def test_a_body_that_comes_too_slowly_is_not_waited_for():
    body, messages = body_of([b"x"] * 50, seconds=0.1, pause=0.03)
    assert asyncio.run(read(body)) is None and body.is_too_slow and messages
    assert (body.error().status, body.error().code) == (408, "upload_timeout")


def test_after_a_complete_body_a_client_may_wait_as_long_as_it_takes():
    async def wait():
        body, _ = body_of([b"x"], seconds=0.05)
        assert await read(body) == b"x"
        await asyncio.sleep(0.1)
        await body.gone()
        assert not body.is_too_slow

    asyncio.run(wait())


@pytest.mark.parametrize(("header", "status"), [("101", 413), ("9" * 5000, 413), ("-1", 400), ("1e3", 400), ("²", 400)])
def test_a_length_that_cannot_be_is_refused_before_the_body(header, status):
    body, _ = body_of([b"x"])
    with pytest.raises(ApiError) as error:
        body.check_length(header)
    assert error.value.status == status


def test_what_a_refused_client_has_sent_is_read_but_not_for_ever():
    body, messages = body_of([b"x" * 2**18] * 20)
    asyncio.run(body.drain())
    assert 10 < len(messages) < 20
    body, _ = body_of([b"x"] * 500, pause=0.1)
    begun = time.monotonic()
    asyncio.run(body.drain())
    assert time.monotonic() - begun < 5


def test_places_are_given_back_and_the_next_client_is_told_when_to_come_again():
    places = Places(2)
    with places.one(), places.one():
        with pytest.raises(ApiError) as error, places.one():
            pass
        assert error.value.status == 429 and 1 <= int(error.value.response().headers["retry-after"]) <= 60
    with pytest.raises(KeyError), places.one():
        raise KeyError
    assert places.taken == 0
    with places.one(), places.one():
        pass


def test_decoded_recordings_wait_for_memory_and_one_that_is_larger_has_its_turn_alone():
    async def hold():
        memory, order = AudioMemory(100), []

        async def one(name, samples):
            async with memory.hold(samples):
                order.append(name)
                assert memory.used <= 100 or memory.used == samples
                await asyncio.sleep(0.01)

        await asyncio.gather(one("a", 60), one("b", 60), one("huge", 500), one("c", 30))
        assert memory.used == 0
        return order

    assert sorted(asyncio.run(hold())) == ["a", "b", "c", "huge"]
