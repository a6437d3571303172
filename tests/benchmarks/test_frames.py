import pytest

from benchmarks import frames
from benchmarks.frames import BINARY, TEXT, ReplyFrame


def unmasked(frame: bytes, head: int) -> bytes:
    return frames.masked(frame[head:])


def test_masking_is_undone_by_masking():
    assert frames.masked(frames.masked(b"hello world")) == b"hello world"
    assert frames.masked(b"40") == bytes((0x34 ^ 0x37, 0x30 ^ 0xFA))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_header_of_a_server_frame(length, expected):
    assert frames.header(TEXT, length).hex() == expected


def test_client_frame_carries_the_mask():
    frame = frames.client_frame(b"hello")
    assert frame[:2] == b"\x81\x85"
    assert frame[2:6] == frames.MASK
    assert unmasked(frame, 6) == b"hello"


def test_events_as_text():
    assert frames.event("echo", "hi").text == b'42["echo","hi"]'
    assert frames.event("ack", "hi", ack_id=7).text == b'427["ack","hi"]'
    assert frames.acknowledgement(7, "hi").text == b'437["hi"]'


def test_bytes_travel_as_attachments():
    event = frames.event("echo", b"\x01\x02")
    assert event.text == b'451-["echo",{"_placeholder":true,"num":0}]'
    assert event.attachments == (b"\x01\x02",)
    text_size = 2 + 4 + len(event.text)
    assert event.client_bytes()[text_size] == BINARY


def test_reply_of_an_event_has_one_exact_length():
    event = frames.event("echo", "x" * 16_384)
    (frame,) = frames.reply_frames(event)
    assert frame == ReplyFrame(TEXT, len(event.text), len(event.text), event.text)


def test_reply_with_attachment_is_two_frames():
    event = frames.event("echo", b"\x01" * 100)
    assert [(frame.first_byte, frame.minimum) for frame in frames.reply_frames(event)] == [
        (TEXT, len(event.text)),
        (BINARY, 100),
    ]


def test_logged_reply_leaves_room_for_an_offset():
    event = frames.event("echo", "hi")
    (frame,) = frames.reply_frames(event, with_offset=True)
    logged = b'42["echo","hi","abc.123"]'
    assert frame.minimum <= len(logged) <= frame.maximum
    assert logged.startswith(frame.prefix)
    assert not (frame.minimum <= len(event.text))


@pytest.mark.parametrize(
    ("request_event", "reply"),
    [
        (frames.event("echo", "hi"), frames.event("echo", "hi")),
        (frames.event("echo", "x" * 70_000), frames.event("echo", "x" * 70_000)),
        (frames.event("ack", "hi", ack_id=12), frames.acknowledgement(12, "hi")),
        (frames.event("echo", b"\x01" * 300), frames.event("echo", b"\x01" * 300)),
    ],
    ids=["echo", "long", "ack", "binary"],
)
def test_the_bare_server_learns_the_reply_the_generator_expects(request_event, reply):
    sent = request_event.client_bytes()
    expected = frames.server_frame(reply.text)
    expected += b"".join(frames.server_frame(part, BINARY) for part in reply.attachments)
    assert frames.answer(sent * 3) == (len(sent), expected)
    assert frames.answer(sent[:-1]) is None
    assert frames.answer(sent[:1]) is None
