import Bytes
import Cluster
import Marketplace
import Referee
import TestSupport
import Testing
import Wire

struct LoggedRequestTests {
  private static func bytes(_ command: Command) -> [UInt8] {
    var writer = ByteWriter()
    RequestEncoder.write(
      id: RequestID(high: 1 << 16 | 0x7000, low: 2 << 62 | 1), channel: "app", deadlineMilliseconds: 500,
      command,
      into: &writer)
    return Array(writer.bytes)
  }

  private static func read(_ bytes: [UInt8]) -> Command? {
    bytes.withUnsafeBytes { LoggedRequest.command($0) }
  }

  /// What the model goes by, of every kind, with numbers from all of their range.
  private static func commands(_ random: inout SplitMix64) -> [Command] {
    func number() -> UInt64 { random.next() >> UInt64(random.pick(0...63)) }
    func amount() -> Int64 { Int64(bitPattern: random.next() >> UInt64(random.pick(1...60))) }
    let order = OrderID(high: random.next(), low: random.next())
    var register = Command.RegisterShop()
    register.shop = number()
    var put = Command.PutSKU()
    (put.shop, put.sku, put.price) = (number(), number(), amount())
    put.onHand = random.chance(50) ? nil : amount()
    var adjust = Command.AdjustStock()
    (adjust.shop, adjust.sku, adjust.delta) = (number(), number(), random.chance(50) ? amount() : -amount())
    var place = Command.PlaceOrder()
    (place.shop, place.buyer, place.shippingFee) = (number(), number(), amount())
    place.reserveMilliseconds = random.chance(50) ? 0 : number()
    place.lines = (0..<random.pick(1...5)).map { _ in
      .init(
        sku: number(), quantity: UInt32(truncatingIfNeeded: random.next()),
        unitPrice: random.chance(50) ? nil : amount())
    }
    var settle = Command.SettlePayment()
    (settle.order, settle.provider, settle.reference, settle.amount) = (order, "bank", "é-1", amount())
    settle.rejectedReason = random.chance(50) ? "" : "no funds"
    var cancel = Command.CancelOrder()
    (cancel.order, cancel.by) = (order, random.pick([.buyer, .shop, .platform]))
    return [
      .registerShop(register), .putSKU(put), .adjustStock(adjust), .placeOrder(place), .settlePayment(settle),
      .cancelOrder(cancel), .shipOrder(order), .deliverOrder(order), .completeOrder(order),
    ]
  }

  @Test func `a command is read as it was written`() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SplitMix64(seed: seed)
    for _ in 0..<200 {
      for command in Self.commands(&random) {
        #expect(Self.read(Self.bytes(command)) == command, "seed \(seed)")
      }
    }
  }

  @Test func `what was cut off is another command or none, and nothing is read beyond it`() {
    var random = SplitMix64(seed: 1)
    for command in Self.commands(&random) {
      let bytes = Self.bytes(command)
      for count in 0..<bytes.count { #expect(Self.read(Array(bytes.prefix(count))) != command) }
    }
  }

  @Test func `a read is no command`() {
    var writer = ByteWriter()
    RequestEncoder.write(
      id: RequestID(high: 1, low: 2), channel: "app", deadlineMilliseconds: 0, .sku(SKUKey(shop: 1, sku: 2)),
      into: &writer)
    #expect(Self.read(Array(writer.bytes)) == nil)
  }
}
