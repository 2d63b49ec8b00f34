import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Get: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A consistent read of one thing.",
    discussion: """
        laris get shop 42
        laris get sku 42 1
        laris get order 019341c2f8aa71008000000000000001
        laris get payment ORDER midtrans TRX-1
      """,
    subcommands: [Order.self, SKU.self, Shop.self, Payment.self])

  struct Output: ParsableArguments {
    @OptionGroup var cluster: ClusterOptions
    @Flag(help: "Print the reply as proto3 JSON.")
    var json = false

    func run(_ command: Laris_Request.OneOf_Command) throws {
      var request = Laris_Request()
      request.command = command
      let reply = try cluster.reply(to: request, by: try cluster.client())
      if json {
        Terminal.print(try reply.jsonString())
        return
      }
      for line in try Get.lines(reply) { Terminal.print(line) }
    }
  }

  struct Order: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "An order, its lines and its money.")
    @Argument(help: "The order's id: 32 hexadecimal digits, or base64 as in proto3 JSON.")
    var id: String
    @OptionGroup var output: Output
    func run() throws {
      try output.run(.getOrder(.with { $0.orderID = try! Get.orderID(id) }))
    }
    func validate() throws { _ = try Get.orderID(id) }
  }

  struct SKU: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "sku", abstract: "A SKU's price and stock.")
    @Argument(help: "The shop's id.") var shop: UInt64
    @Argument(help: "The SKU's id in that shop.") var sku: UInt64
    @OptionGroup var output: Output
    func run() throws {
      try output.run(
        .getSku(
          .with {
            $0.shopID = shop; $0.skuID = sku
          }))
    }
  }

  struct Shop: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A shop, its balance and its escrow.")
    @Argument(help: "The shop's id.") var id: UInt64
    @OptionGroup var output: Output
    func run() throws { try output.run(.getShop(.with { $0.shopID = id })) }
  }

  struct Payment: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A payment, by its provider's reference.")
    @Argument(help: "The order's id: 32 hexadecimal digits, or base64.") var order: String
    @Argument(help: "The provider.") var provider: String
    @Argument(help: "The provider's reference.") var reference: String
    @OptionGroup var output: Output
    func run() throws {
      let id = try Get.orderID(order)
      try output.run(
        .getPayment(
          .with {
            $0.orderID = id; $0.provider = provider; $0.reference = reference
          }))
    }
    func validate() throws { _ = try Get.orderID(order) }
  }

  static func orderID(_ text: String) throws -> Data { try id(text, of: "order") }

  /// 16 bytes, of an order or a request.
  static func id(_ text: String, of what: String) throws -> Data {
    let digits = text.filter { $0 != "-" }
    if digits.utf8.count == 32, digits.allSatisfy(\.isHexDigit) {
      var data = Data()
      var index = digits.startIndex
      while index < digits.endIndex {
        let next = digits.index(index, offsetBy: 2)
        data.append(UInt8(digits[index..<next], radix: 16) ?? 0)
        index = next
      }
      return data
    }
    if let data = Data(base64Encoded: text), data.count == 16 { return data }
    throw ValidationError(
      "'\(text)' is no \(what) id: it has 32 hexadecimal digits, or is base64 of 16 bytes")
  }

  static func hexadecimal(_ data: Data) -> String {
    data.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
  }

  private static func time(_ milliseconds: Int64) -> String {
    guard milliseconds > 0 else { return "-" }
    return ISO8601DateFormatter().string(from: Date(timeIntervalSince1970: Double(milliseconds) / 1_000))
  }

  private static func lines(_ reply: Laris_Reply) throws -> [String] {
    func field(_ name: String, _ value: String) -> String {
      name + String(repeating: " ", count: max(1, 14 - name.count)) + value
    }
    switch reply.result {
    case .order(let order)?:
      return [
        field("order", hexadecimal(order.orderID)), field("state", "\(order.state)"),
        field("shop", "\(order.shopID)"), field("buyer", "\(order.buyerID)"),
        field("channel", order.channel), field("reference", order.reference),
      ]
        + order.lines.map {
          field("line", "\($0.quantity) × SKU \($0.skuID) at \(Terminal.grouped($0.unitPrice))")
        }
        + [
          field("shipping fee", Terminal.grouped(order.shippingFee)),
          field("total", Terminal.grouped(order.total)), field("received", Terminal.grouped(order.received)),
          field("held", Terminal.grouped(order.held)), field("refunded", Terminal.grouped(order.refunded)),
          field("released", Terminal.grouped(order.released)), field("fee", Terminal.grouped(order.fee)),
          field("placed at", time(order.placedAt)), field("expires at", time(order.expiresAt)),
          field("paid at", time(order.paidAt)), field("shipped at", time(order.shippedAt)),
          field("delivered at", time(order.deliveredAt)), field("ended at", time(order.endedAt)),
        ]
        + (order.cancelReason.isEmpty
          ? [] : [field("cancelled", "\(order.cancelledBy): \(order.cancelReason)")])
    case .sku(let sku)?:
      return [
        field("SKU", "\(sku.shopID)/\(sku.skuID)"), field("name", sku.name),
        field("price", Terminal.grouped(sku.price)), field("on hand", Terminal.grouped(sku.onHand)),
        field("reserved", Terminal.grouped(sku.reserved)), field("consumed", Terminal.grouped(sku.consumed)),
        field("written off", Terminal.grouped(sku.writtenOff)), field("given", Terminal.grouped(sku.given)),
      ]
    case .shop(let shop)?:
      return [
        field("shop", "\(shop.shopID)"), field("name", shop.name), field("city", shop.city),
        field("province", shop.province), field("market", shop.market), field("category", shop.category),
        field("origin", "\(shop.origin)"), field("status", "\(shop.status)"),
        field("balance", Terminal.grouped(shop.balance)), field("escrow", Terminal.grouped(shop.escrow)),
        field("registered at", time(shop.registeredAt)),
      ]
    case .payment(let payment)?:
      return [
        field("payment", "\(payment.provider) \(payment.reference)"),
        field("order", hexadecimal(payment.orderID)), field("settlement", "\(payment.settlement)"),
        field("amount", Terminal.grouped(payment.amount)), field("held", Terminal.grouped(payment.held)),
        field("refunded", Terminal.grouped(payment.refunded)), field("method", "\(payment.method)"),
        field("settled at", time(payment.settledAt)),
      ]
        + (payment.rejectedReason.isEmpty ? [] : [field("rejected", payment.rejectedReason)])
    default: return [try reply.jsonString()]
    }
  }
}
