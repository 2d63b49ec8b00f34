"""Sells something through Laris: registers a shop, puts SKUs, places and settles an order, reads it back.

Run it with ./run.sh, which generates laris_pb2.py first. How to speak to Laris is in laris_client.py.

Exit codes: 0 done, 1 the answer was no, 3 unknown what happened, 64 usage,
69 no dispatcher there, 75 not executed, try again.
"""

import argparse
import secrets
import sys
import uuid

try:
    import zmq
    from laris.v1 import laris_pb2 as laris
except ImportError as error:
    sys.exit(f"place_order.py: {error}; start this with run.sh, which sees to that")

from laris_client import Client, Fate, Options, Outcome, describe, name, uuid7

EXIT_NO, EXIT_UNKNOWN, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_NOT_EXECUTED = 1, 3, 64, 69, 75


class Stop(Exception):
    def __init__(self, exit_code: int, sentence: str):
        super().__init__(sentence)
        self.exit_code = exit_code


def answer(outcome: Outcome) -> "laris.Reply":
    """The final reply, DONE or NO, or what kept us from it."""
    if outcome.fate in (Fate.DONE, Fate.NO):
        return outcome.reply
    if outcome.fate == Fate.UNKNOWN:
        raise Stop(EXIT_UNKNOWN, f"nobody can tell yet what request {uuid.UUID(bytes=outcome.request_id)} did: "
                                 f"{describe(outcome.reply)}")
    if outcome.reply is None:
        raise Stop(EXIT_UNREACHABLE, "no dispatcher could be reached: is one running? Start one with: laris up")
    raise Stop(EXIT_NOT_EXECUTED, f"not executed: {describe(outcome.reply)}")


def done(outcome: Outcome) -> "laris.Reply":
    reply = answer(outcome)
    if reply.outcome == laris.NO:
        raise Stop(EXIT_NO, f"the answer is {describe(reply)}")
    return reply


def check(condition: bool, what: str):
    if not condition:
        raise Stop(EXIT_NO, f"this should be so, and is not: {what}")


def rupiah(amount: int) -> str:
    return f"Rp {amount:,}".replace(",", ".")


def sell(client: Client):
    # Callers choose shop, SKU and buyer ids: any uint64 but 0. Random, so that
    # the program can run again and again against one cluster.
    shop, buyer = secrets.randbits(63) | 1, secrets.randbits(63) | 1
    coffee, cloth = 1, 2

    done(client.submit(client.request(register_shop=laris.RegisterShop(
        shop_id=shop, name="Warung Kopi Ibu Sari", city="Bandung", province="Jawa Barat",
        category="food"))))
    print(f"registered    shop {shop}")

    # Several requests in one message: each has its own id and its own outcome.
    goods = [(coffee, 45_000, 100, "Kopi Gayo 250 g"), (cloth, 120_000, 10, "Batik cap")]
    puts = [client.request(put_sku=laris.PutSku(shop_id=shop, sku_id=sku, price=price, on_hand=on_hand, name=label))
            for sku, price, on_hand, label in goods]
    for (sku, _, _, label), outcome in zip(goods, client.submit_all(puts)):
        stock = done(outcome).stock_changed
        print(f"put           SKU {sku}, {label}: {rupiah(stock.price)}, {stock.on_hand} on hand")

    # More than there is: the rules say no, and name every line that is short.
    reply = answer(client.submit(client.request(place_order=laris.PlaceOrder(
        shop_id=shop, buyer_id=buyer,
        lines=[laris.Line(sku_id=coffee, quantity=1), laris.Line(sku_id=cloth, quantity=11)]))))
    check(reply.code == laris.OUT_OF_STOCK, f"11 of 10 are out of stock, not {describe(reply)}")
    for line in reply.lines:
        print(f"refused       line {line.index}: wanted {line.wanted} of SKU {line.sku_id}, "
              f"{line.available} on hand ({name(laris.Code, reply.code)})")

    # A service stores these bytes before it sends them.
    request = client.request(place_order=laris.PlaceOrder(
        shop_id=shop, buyer_id=buyer, shipping_fee=18_000, reference="python-example",
        lines=[laris.Line(sku_id=coffee, quantity=2), laris.Line(sku_id=cloth, quantity=1)]))
    first = done(client.submit(request))
    placed = first.order_placed
    print(f"placed        order {placed.order_id.hex()}, {rupiah(placed.total)} to pay")

    check(done(client.submit(request)) == first, "the same request gets the same answer")
    print("sent again    the same id: the same order, nothing done twice")

    settled = done(client.submit(client.request(settle_payment=laris.SettlePayment(
        order_id=placed.order_id, provider="bank", reference=uuid.uuid4().hex,
        amount=placed.total, method=laris.BANK_TRANSFER)))).payment_settled
    print(f"settled       {name(laris.Settlement, settled.settlement)}: {rupiah(settled.held)} held in escrow, "
          f"{rupiah(settled.outstanding)} outstanding")

    order = done(client.submit(client.request(get_order=laris.GetOrder(order_id=placed.order_id)))).order
    print(f"read back     order is {name(laris.OrderState, order.state)}: {len(order.lines)} lines, "
          f"total {rupiah(order.total)}, received {rupiah(order.received)}")

    sku = done(client.submit(client.request(get_sku=laris.GetSku(shop_id=shop, sku_id=coffee)))).sku
    print(f"read back     SKU {sku.sku_id}: {sku.on_hand} on hand, {sku.reserved} reserved")

    # What to do where an outcome was unknown and the answer is needed now.
    fate = done(client.resolve(laris.Request.FromString(request).request_id, shop_id=shop))
    check(fate.order_placed == placed, "resolving tells what was answered")
    print(f"resolved      the request placed order {fate.order_placed.order_id.hex()}")
    fate = answer(client.resolve(uuid7(), shop_id=shop))
    check(fate.code == laris.REQUEST_SEALED, "a request that never came is sealed")
    print(f"sealed        a request that never came ({name(laris.Code, fate.code)})")

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
    parser.add_argument("--dispatcher", action="append", metavar="ADDR",
                        help="where a dispatcher listens for services; repeat it for more (default: tcp://127.0.0.1:12120)")
    parser.add_argument("--channel", default="python-example", help="the name we sell under (default: %(default)s)")
    parser.add_argument("--deadline", type=int, default=2_000, metavar="MS",
                        help="how long to wait for each answer, in milliseconds (default: %(default)s)")
    parser.add_argument("--connect-deadline", type=float, default=3, metavar="S",
                        help="how long a dispatcher may take to be there, in seconds (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=30, metavar="S",
                        help="how long to go on asking, in seconds (default: %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.deadline <= 600_000:
        parser.error("--deadline is 1 to 600000 milliseconds")
    dispatchers = arguments.dispatcher or ["tcp://127.0.0.1:12120"]
    options = Options(channel=arguments.channel, connect_deadline_s=arguments.connect_deadline,
                      budget_s=arguments.patience, deadline_ms=arguments.deadline)
    try:
        client = Client(dispatchers, options, say=lambda line: print(f"    {line}"))
    except zmq.ZMQError as error:
        parser.error(f"--dispatcher {', '.join(dispatchers)}: {error}")
    try:
        sell(client)
    except Stop as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
