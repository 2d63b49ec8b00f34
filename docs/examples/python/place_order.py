#!/usr/bin/env python3
"""Sells something through Laris with nothing but pyzmq and the published protos.

Registers a shop, puts two SKUs, places an order over a REQ socket, settles it
and reads it back. Run it with ./run.sh, which generates laris_pb2.py first.

Exit codes: 0 done, 1 the answer was no, 3 unknown what happened, 64 usage,
69 no dispatcher there, 75 not executed, try again.
"""

import argparse
import random
import secrets
import sys
import time
import uuid

try:
    import zmq
    from laris.v1 import laris_pb2 as laris
except ImportError as error:
    sys.exit(f"place_order.py: {error}; start this with run.sh, which sees to that")

EXIT_NO, EXIT_UNKNOWN, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_NOT_EXECUTED = 1, 3, 64, 69, 75


class Refused(Exception):
    """The answer is no. Final: the same id would get the same answer."""


class NotExecuted(Exception):
    """Nothing happened, and we are done trying."""


class FateUnknown(Exception):
    """An attempt may or may not have taken effect, and we are done asking."""


class Unreachable(Exception):
    """No dispatcher has ever answered us, so nothing can have happened."""


def uuid7() -> bytes:
    """16 bytes: 48 bits of milliseconds, version 7, 12 random bits, variant 10, 62 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return value.to_bytes(16, "big")


def rupiah(amount: int) -> str:
    return f"Rp {amount:,}".replace(",", ".")


class Client:
    """One REQ socket. A request that got no answer is sent again with the same id."""

    def __init__(self, dispatcher: str, channel: str, deadline_ms: int, patience_s: float):
        self.dispatcher, self.channel = dispatcher, channel
        self.deadline_ms, self.patience_s = deadline_ms, patience_s
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.REQ_RELAXED, 1)  # may send again without a reply,
        self.socket.setsockopt(zmq.REQ_CORRELATE, 1)  # and drops replies to what it gave up on
        self.socket.setsockopt(zmq.IMMEDIATE, 1)  # queue only for a dispatcher that is there
        self.socket.setsockopt(zmq.SNDTIMEO, 1_000)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(dispatcher)

    def request(self, **command) -> bytes:
        """The bytes of a new request. Keep them: a retry sends the very same."""
        return laris.Request(
            request_id=uuid7(), channel=self.channel, deadline_milliseconds=self.deadline_ms, **command
        ).SerializeToString()

    def submit(self, request: bytes) -> laris.Reply:
        """Returns the final answer, DONE or NO, or raises what kept us from it."""
        request_id = laris.Request.FromString(request).request_id
        give_up_at = time.monotonic() + self.patience_s
        backoff_ms = 50
        open_attempt = False  # did any attempt end without a word on its effect?
        while True:
            wait_ms, why = 0, ""
            try:
                self.socket.send(request)
            except zmq.Again:
                # IMMEDIATE: there is no connection, so this attempt never left.
                why = f"no dispatcher at {self.dispatcher}"
                stop = Unreachable
            else:
                reply = self.receive(request_id)
                if reply is None:
                    # Lost on its way there or back: nobody knows which.
                    open_attempt, stop, why = True, FateUnknown, "no reply"
                elif reply.outcome in (laris.DONE, laris.NO):
                    return reply
                elif reply.outcome == laris.NOT_EXECUTED:
                    # True of this attempt only, so `open_attempt` stays as it is.
                    stop, why = NotExecuted, describe(reply)
                    wait_ms = reply.retry_after_milliseconds
                    if wait_ms == 0:  # a retry can't help
                        give_up_at = 0
                else:  # UNKNOWN, and outcomes that a later version may add
                    open_attempt, stop, why = True, FateUnknown, describe(reply)
                    wait_ms = reply.retry_after_milliseconds
                    if reply.code == laris.REQUEST_ID_TOO_OLD:  # nobody will ever know
                        give_up_at = 0

            wait_s = max(wait_ms, backoff_ms) / 1_000 * random.uniform(1.0, 1.5)
            if time.monotonic() + wait_s > give_up_at:
                if open_attempt:
                    raise FateUnknown(f"request {uuid.UUID(bytes=request_id)}: {why}")
                raise stop(why)
            print(f"    {why}; asking again with the same id in {wait_s * 1_000:.0f} ms")
            time.sleep(wait_s)
            backoff_ms = min(backoff_ms * 2, 2_000)

    def receive(self, request_id: bytes):
        """The reply to this request, or None if it did not come in time."""
        # A second more than the deadline, so that the dispatcher's own word arrives first.
        until = time.monotonic() + self.deadline_ms / 1_000 + 1
        while (left := until - time.monotonic()) > 0:
            if self.socket.poll(left * 1_000, zmq.POLLIN):
                reply = laris.Reply.FromString(self.socket.recv())
                # An empty id: the dispatcher could not read ours. It still is our answer.
                if reply.request_id in (request_id, b""):
                    return reply
        return None


def name(enum, value: int) -> str:
    """The name of an enum's value, or its number where a later version added it."""
    return enum.Name(value) if value in enum.values() else str(value)


def describe(reply: laris.Reply) -> str:
    text = f"{name(laris.Outcome, reply.outcome)} {name(laris.Code, reply.code)}"
    if reply.message:
        text += f": {reply.message}"
    return text


def done(reply: laris.Reply) -> laris.Reply:
    if reply.outcome == laris.NO:
        raise Refused(f"the answer is {describe(reply)}")
    return reply


def check(condition: bool, what: str):
    if not condition:
        raise Refused(f"this should be so, and is not: {what}")


def sell(client: Client):
    # Callers choose shop, SKU and buyer ids: any uint64 but 0. Random, so that
    # the program can run again and again against one cluster.
    shop, buyer = secrets.randbits(63) | 1, secrets.randbits(63) | 1
    coffee, cloth = 1, 2

    done(client.submit(client.request(register_shop=laris.RegisterShop(
        shop_id=shop, name="Warung Kopi Ibu Sari", city="Bandung", province="Jawa Barat",
        category="food"))))
    print(f"registered    shop {shop}")

    for sku, price, on_hand, label in (
        (coffee, 45_000, 100, "Kopi Gayo 250 g"), (cloth, 120_000, 10, "Batik cap")):
        stock = done(client.submit(client.request(put_sku=laris.PutSku(
            shop_id=shop, sku_id=sku, price=price, on_hand=on_hand, name=label)))).stock_changed
        print(f"put           SKU {sku}, {label}: {rupiah(stock.price)}, {stock.on_hand} on hand")

    # More than there is: the rules say no, and name every line that is short.
    reply = client.submit(client.request(place_order=laris.PlaceOrder(
        shop_id=shop, buyer_id=buyer,
        lines=[laris.Line(sku_id=coffee, quantity=1), laris.Line(sku_id=cloth, quantity=11)])))
    check(reply.code == laris.OUT_OF_STOCK, f"11 of 10 are out of stock, not {describe(reply)}")
    for line in reply.lines:
        print(f"refused       line {line.index}: wanted {line.wanted} of SKU {line.sku_id}, "
              f"{line.available} on hand ({laris.Code.Name(reply.code)})")

    request = client.request(place_order=laris.PlaceOrder(
        shop_id=shop, buyer_id=buyer, shipping_fee=18_000, reference="python-example",
        lines=[laris.Line(sku_id=coffee, quantity=2), laris.Line(sku_id=cloth, quantity=1)]))
    first = done(client.submit(request))
    placed = first.order_placed
    print(f"placed        order {placed.order_id.hex()}, {rupiah(placed.total)} to pay")

    check(client.submit(request) == first, "the same request gets the same answer")
    print("sent again    the same id: the same order, nothing done twice")

    settled = done(client.submit(client.request(settle_payment=laris.SettlePayment(
        order_id=placed.order_id, provider="bank", reference=uuid.uuid4().hex,
        amount=placed.total, method=laris.BANK_TRANSFER)))).payment_settled
    print(f"settled       {laris.Settlement.Name(settled.settlement)}: {rupiah(settled.held)} held in escrow, "
          f"{rupiah(settled.outstanding)} outstanding")

    order = done(client.submit(client.request(get_order=laris.GetOrder(order_id=placed.order_id)))).order
    print(f"read back     order is {laris.OrderState.Name(order.state)}: {len(order.lines)} lines, "
          f"total {rupiah(order.total)}, received {rupiah(order.received)}")

    sku = done(client.submit(client.request(get_sku=laris.GetSku(shop_id=shop, sku_id=coffee)))).sku
    print(f"read back     SKU {sku.sku_id}: {sku.on_hand} on hand, {sku.reserved} reserved")

    check(settled.settlement == laris.EXACT, "the payment settles exactly")
    check(order.received == order.held == placed.total, "escrow holds what was paid")
    check((sku.on_hand, sku.reserved) == (98, 2), "two pieces are reserved")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)
    parser = Parser(description="Sells something through Laris, over a ZeroMQ REQ socket.")
    parser.add_argument("--dispatcher", default="tcp://127.0.0.1:12120", metavar="ADDR",
                        help="where the dispatcher listens for services (default: %(default)s)")
    parser.add_argument("--channel", default="python-example", help="the name we sell under (default: %(default)s)")
    parser.add_argument("--deadline", type=int, default=2_000, metavar="MS",
                        help="how long to wait for each answer, in milliseconds (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=30, metavar="S",
                        help="how long to go on asking, in seconds (default: %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.deadline <= 600_000:
        parser.error("--deadline is 1 to 600000 milliseconds")
    try:
        client = Client(arguments.dispatcher, arguments.channel, arguments.deadline, arguments.patience)
    except zmq.ZMQError as error:
        parser.error(f"--dispatcher {arguments.dispatcher}: {error}")

    try:
        sell(client)
    except Refused as no:
        print(no, file=sys.stderr)
        return EXIT_NO
    except FateUnknown as unknown:
        print(f"nobody can tell yet what happened: {unknown}", file=sys.stderr)
        return EXIT_UNKNOWN
    except NotExecuted as error:
        print(f"not executed: {error}", file=sys.stderr)
        return EXIT_NOT_EXECUTED
    except Unreachable as error:
        print(f"{error}: is it running? Start one with: laris up", file=sys.stderr)
        return EXIT_UNREACHABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
