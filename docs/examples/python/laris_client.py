"""A client of Laris in one file: copy it into your service, and change what you like.

Its rules are those of docs/PROTOCOL.md:

- Every attempt of a request sends the same bytes, so the same id: it takes effect once.
- Between attempts it rests as long as the replies ask for, plus a pause that begins as long, doubles
  and is half drawn at random. It gives up when its budget is over.
- NOT_EXECUTED is true of one attempt. So a request is "not executed" only if every attempt was
  answered so; if one ended in UNKNOWN or in silence, its fate is unknown.
- One dispatcher has the connection. If it can't be reached or says nothing, the next one of the list
  is sent what has no answer yet, in the same order.
"""

import dataclasses
import enum
import random
import secrets
import time

import zmq
from laris.v1 import laris_pb2 as laris

REQUESTS_PER_MESSAGE, MESSAGE_BYTES, REQUEST_BYTES = 1_024, 8 << 20, 1 << 20


def uuid7() -> bytes:
    """16 bytes: 48 bits of milliseconds, version 7, 12 random bits, variant 10, 62 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return value.to_bytes(16, "big")


class Fate(enum.Enum):
    DONE = "done"  # it took effect
    NO = "no"  # the rules said no
    NOT_EXECUTED = "not executed"  # no attempt had an effect; without a reply: no dispatcher was reached
    UNKNOWN = "unknown"  # an attempt may have had one: ask again with the same id, or resolve


@dataclasses.dataclass
class Outcome:
    fate: Fate
    request_id: bytes
    reply: "laris.Reply | None"


@dataclasses.dataclass
class Options:
    channel: str = ""
    connect_deadline_s: float = 3  # until a dispatcher takes a connection
    budget_s: float = 30  # for all attempts together
    deadline_ms: int = 2_000  # the dispatcher's, for one attempt
    backoff_ms: int = 50  # the first pause, where the reply asks for no longer one; it doubles
    backoff_max_ms: int = 2_000


class Attempts:
    """What is known of one request so far."""

    def __init__(self, request: bytes):
        self.bytes = request
        self.id = laris.Request.FromString(request).request_id
        self.sent = self.denied = 0
        self.reply = self.outcome = None
        if len(request) > REQUEST_BYTES:  # never sent: it would be refused
            self.reply = laris.Reply(request_id=self.id, outcome=laris.NOT_EXECUTED, code=laris.TOO_LARGE)
            self.end(Fate.NOT_EXECUTED)

    def end(self, fate: Fate):
        self.outcome = Outcome(fate, self.id, self.reply)

    def give_up(self):
        self.end(Fate.NOT_EXECUTED if self.denied == self.sent else Fate.UNKNOWN)

    def hear(self, reply: laris.Reply) -> int:
        """Takes a reply. Returns how long it asks to wait before the next attempt, in milliseconds."""
        self.reply = reply
        if reply.outcome == laris.DONE:
            self.end(Fate.DONE)
        elif reply.outcome == laris.NO:
            self.end(Fate.NO)
        elif reply.outcome == laris.NOT_EXECUTED:
            self.denied += 1
            if reply.retry_after_milliseconds == 0:  # a retry can't help
                self.give_up()
        elif reply.code == laris.REQUEST_ID_TOO_OLD:  # nobody will ever know
            self.end(Fate.UNKNOWN)
        # Else UNKNOWN, or an outcome that a later version added: ask again.
        return reply.retry_after_milliseconds


class Client:
    """One REQ socket, so one message at a time. Used by one thread."""

    def __init__(self, dispatchers: "list[str]", options: Options = None, say=lambda line: None):
        self.dispatchers, self.options, self.say = dispatchers, options or Options(), say
        self.current, self.socket = -1, None
        for _ in range(len(dispatchers) + 1):  # a wrong address shows here; the last is the first again
            self.move_on()

    def move_on(self):
        """Connects to the next dispatcher of the list. Replies to what was sent before never come."""
        if self.socket:
            self.socket.close()
        self.current = (self.current + 1) % len(self.dispatchers)
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.REQ_RELAXED, 1)  # may send again without a reply,
        self.socket.setsockopt(zmq.REQ_CORRELATE, 1)  # and drops replies to what it gave up on
        self.socket.setsockopt(zmq.IMMEDIATE, 1)  # queue only for a dispatcher that is there
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(self.dispatchers[self.current])

    def request(self, **command) -> bytes:
        """The bytes of a new request. Keep them: a retry sends the very same."""
        return laris.Request(
            request_id=uuid7(), channel=self.options.channel, deadline_milliseconds=self.options.deadline_ms,
            **command
        ).SerializeToString()

    def submit(self, request: bytes) -> Outcome:
        return self.submit_all([request])[0]

    def submit_all(self, requests: "list[bytes]") -> "list[Outcome]":
        """One outcome for each request, in their order.

        A message goes when all before it are answered, and takes the budget at most; where no dispatcher
        could be reached for one, the rest is not tried any more.
        """
        attempts = [Attempts(request) for request in requests]
        waiting = [each for each in attempts if not each.outcome]
        while waiting:
            message, ids, size = [], set(), 0
            for each in waiting[:REQUESTS_PER_MESSAGE]:
                if message and (size + len(each.bytes) > MESSAGE_BYTES or each.id in ids):
                    break
                message.append(each)
                ids.add(each.id)
                size += len(each.bytes)
            self.exchange(message)
            waiting = waiting[len(message):]
            if not any(each.sent for each in message):
                break
        for each in waiting:
            each.give_up()
        return [each.outcome for each in attempts]

    def resolve(self, request_id: bytes, shop_id: int = 0, order_id: bytes = b"", partition: int = None) -> Outcome:
        """What a request did, or that it never will do anything (NO, REQUEST_SEALED).

        Give what its command was routed by: its shop, or its order; a partition where neither is known.
        """
        asked = self.submit(self.request(resolve=laris.Resolve(
            request_id=request_id, shop_id=shop_id, order_id=order_id, partition=partition)))
        if asked.fate != Fate.DONE:
            return Outcome(Fate.UNKNOWN, request_id, asked.reply)
        reply = asked.reply.resolved.reply
        return Outcome({laris.DONE: Fate.DONE, laris.NO: Fate.NO}.get(reply.outcome, Fate.UNKNOWN), request_id, reply)

    def exchange(self, message: "list[Attempts]"):
        began = time.monotonic()
        give_up_at = began + self.options.budget_s
        connect_until = began + min(self.options.connect_deadline_s, self.options.budget_s)
        rests = 0
        while True:
            pending = [each for each in message if not each.outcome]
            if not pending:
                return
            now = time.monotonic()
            is_reached = any(each.sent for each in message)
            if now >= (give_up_at if is_reached else connect_until):
                break
            turn_s = min(1.0, self.options.connect_deadline_s / len(self.dispatchers))
            turn_s = max(0.01, min(turn_s, (give_up_at if is_reached else connect_until) - now))
            self.socket.setsockopt(zmq.SNDTIMEO, int(turn_s * 1_000))
            try:
                self.socket.send_multipart([each.bytes for each in pending])
            except zmq.Again:  # IMMEDIATE: there is no connection, so this attempt never left
                self.say(f"no dispatcher at {self.dispatchers[self.current]}")
                self.move_on()
                continue
            for each in pending:
                each.sent += 1
            asked_ms = self.hear(pending)
            if asked_ms is None:
                self.say(f"no reply from {self.dispatchers[self.current]}")
                self.move_on()
                continue
            wait_s = self.wait_s(asked_ms, rests)
            again = [each for each in pending if not each.outcome]
            if not again:
                return
            if time.monotonic() + wait_s >= give_up_at:
                break
            self.say(f"{describe(again[0].reply)}; asking again with the same id in {wait_s * 1_000:.0f} ms")
            time.sleep(wait_s)
            rests += 1
        for each in message:
            if not each.outcome:
                each.give_up()

    def wait_s(self, asked_ms: int, rests: int) -> float:
        """How long to wait after so many waits before: what was asked for, and a pause that grows."""
        first_ms = max(self.options.backoff_ms, asked_ms)
        whole_ms = min(self.options.backoff_max_ms, first_ms << min(rests, 20))
        return (asked_ms + whole_ms / 2 + random.uniform(0, whole_ms / 2)) / 1_000

    def hear(self, pending: "list[Attempts]"):
        """Takes the replies to a message. Returns the longest wait that one asks for; None: none came."""
        # Half a second more than the deadline, so that the dispatcher's own word arrives first.
        longest_ms = max(laris.Request.FromString(each.bytes).deadline_milliseconds for each in pending)
        if not self.socket.poll((longest_ms or 5_000) + 500, zmq.POLLIN):
            return None
        waits = [0]
        for each, frame in zip(pending, self.socket.recv_multipart()):  # in the order of the requests
            try:
                reply = laris.Reply.FromString(frame)
            except Exception:  # no Reply at all: as if it had not come
                continue
            # An empty id: the dispatcher could not read ours. It still is our answer.
            if reply.request_id in (each.id, b""):
                wait_ms = each.hear(reply)
                if not each.outcome:
                    waits.append(wait_ms)
        return max(waits)


def name(enum_type, value: int) -> str:
    """The name of an enum's value, or its number where a later version added it."""
    return enum_type.Name(value) if value in enum_type.values() else str(value)


def describe(reply: "laris.Reply | None") -> str:
    if reply is None:
        return "no reply"
    text = f"{name(laris.Outcome, reply.outcome)} {name(laris.Code, reply.code)}"
    return f"{text}: {reply.message}" if reply.message else text
