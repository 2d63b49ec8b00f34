import Cluster
import Foundation
import LarisProtocol
import Marketplace
import Wire
import TestSupport

/// Values of every size, sometimes the ends of their range.
struct RandomValues {
  var random: SplitMix64
  init(seed: UInt64) { random = SplitMix64(seed: seed) }

  mutating func unsigned() -> UInt64 {
    switch random.pick(0...9) {
    case 0: 0
    case 1: .max
    default: random.next() >> UInt64(random.pick(0...63))
    }
  }

  mutating func signed() -> Int64 { Int64(bitPattern: unsigned()) }
  mutating func small() -> UInt32 { UInt32(truncatingIfNeeded: unsigned()) }

  /// At most `bytesMax` bytes of UTF-8, of one to four bytes a scalar.
  mutating func text(_ bytesMax: Int) -> String {
    var text = ""
    let wanted = random.pick([0, 1, bytesMax / 2, bytesMax, bytesMax])
    while text.utf8.count < wanted {
      let scalar = random.pick(["a", "Z", "\0", "é", "€", "𝄞", "e\u{301}"])
      if (text + scalar).utf8.count > bytesMax { return text }
      text.unicodeScalars.append(contentsOf: scalar.unicodeScalars)
    }
    return text
  }

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(random.pick(0...255)) } }

  mutating func order() -> OrderID { OrderID(high: random.next(), low: random.next()) }

  mutating func command() -> Command {
    switch random.pick(0...8) {
    case 0:
      var it = Command.RegisterShop()
      it.shop = unsigned()
      it.name = text(128)
      it.city = text(64)
      it.province = text(64)
      it.market = text(64)
      it.category = text(64)
      it.origin = random.pick([.domestic, .crossBorder])
      it.ownerHash = bytes(random.pick([0, 1, 32]))
      return .registerShop(it)
    case 1:
      var it = Command.PutSKU()
      it.shop = unsigned()
      it.sku = unsigned()
      it.price = signed()
      it.onHand = random.chance(50) ? signed() : nil
      it.name = text(128)
      return .putSKU(it)
    case 2:
      var it = Command.AdjustStock()
      it.shop = unsigned()
      it.sku = unsigned()
      it.delta = signed()
      return .adjustStock(it)
    case 3:
      var it = Command.PlaceOrder()
      it.shop = unsigned()
      it.buyer = unsigned()
      for _ in 0..<random.pick([0, 1, 3, 20]) {
        it.lines.append(
          .init(sku: unsigned(), quantity: small(), unitPrice: random.chance(50) ? signed() : nil))
      }
      it.shippingFee = signed()
      it.reference = text(64)
      it.reserveMilliseconds = unsigned()
      return .placeOrder(it)
    case 4:
      var it = Command.SettlePayment()
      it.order = order()
      it.provider = text(32)
      it.reference = text(64)
      it.amount = signed()
      it.method = PaymentMethod(rawValue: UInt8(random.pick(0...6))) ?? .unspecified
      it.instalments = small()
      it.rejectedReason = text(128)
      return .settlePayment(it)
    case 5:
      var it = Command.CancelOrder()
      it.order = order()
      it.by = random.pick([.buyer, .shop, .platform])
      it.reason = text(128)
      return .cancelOrder(it)
    case 6: return .shipOrder(order())
    case 7: return .deliverOrder(order())
    default: return .completeOrder(order())
    }
  }

  mutating func query() -> Query {
    switch random.pick(0...3) {
    case 0: .order(order())
    case 1: .sku(SKUKey(shop: unsigned(), sku: unsigned()))
    case 2: .shop(ShopID(unsigned()))
    default: .payment(order: order(), PaymentKey(provider: text(32), reference: text(64)))
    }
  }
}

/// A request in our words, and the same in SwiftProtobuf's.
struct Meant {
  var id: RequestID
  var channel: String
  var deadlineMilliseconds: UInt32
  var body: DecodedRequest.Body
  var partition: UInt32 = 0
  var place = RequestEncoder.Place.shop(1)

  init(_ values: inout RandomValues) {
    id = RequestID(high: values.random.next(), low: values.random.next())
    channel = values.text(32)
    deadlineMilliseconds = values.small()
    switch values.random.pick(0...19) {
    case 0:
      body = .audit
      partition = values.small()
    case 1...5: body = .query(values.query())
    case 6, 7:
      body = .fate(
        of: RequestID(high: values.unsigned(), low: values.unsigned()), sealing: values.random.chance(50))
      switch values.random.pick(0...2) {
      case 0: place = .shop(max(1, values.unsigned()))
      case 1: place = .order(values.order())
      default: place = .partition(values.small())
      }
    default: body = .command(values.command())
    }
  }

  var message: Laris_Request {
    var message = Laris_Request()
    message.requestID = Data(id.bytes)
    message.channel = channel
    message.deadlineMilliseconds = deadlineMilliseconds
    switch body {
    case .audit: message.auditPartition.partition = partition
    case .fate(let target, true):
      switch place {
      case .shop(let shop): message.resolve.shopID = shop
      case .order(let order): message.resolve.orderID = Data(order.bytes)
      case .partition(let partition): message.resolve.partition = partition
      }
      message.resolve.requestID = Data(target.bytes)
    case .fate(let target, false):
      switch place {
      case .shop(let shop): message.getRequest.shopID = shop
      case .order(let order): message.getRequest.orderID = Data(order.bytes)
      case .partition(let partition): message.getRequest.partition = partition
      }
      message.getRequest.requestID = Data(target.bytes)
    case .query(.order(let order)): message.getOrder.orderID = Data(order.bytes)
    case .query(.sku(let key)):
      message.getSku.shopID = key.shop
      message.getSku.skuID = key.sku
    case .query(.shop(let id)): message.getShop.shopID = id.rawValue
    case .query(.payment(let order, let key)):
      message.getPayment.orderID = Data(order.bytes)
      message.getPayment.provider = key.provider
      message.getPayment.reference = key.reference
    case .command(.shipOrder(let order)): message.shipOrder.orderID = Data(order.bytes)
    case .command(.deliverOrder(let order)): message.deliverOrder.orderID = Data(order.bytes)
    case .command(.completeOrder(let order)): message.completeOrder.orderID = Data(order.bytes)
    case .command(.cancelOrder(let it)):
      message.cancelOrder.orderID = Data(it.order.bytes)
      message.cancelOrder.by = Laris_Actor(rawValue: Int(it.by.rawValue))!
      message.cancelOrder.reason = it.reason
    case .command(.settlePayment(let it)):
      message.settlePayment.orderID = Data(it.order.bytes)
      message.settlePayment.provider = it.provider
      message.settlePayment.reference = it.reference
      message.settlePayment.amount = it.amount
      message.settlePayment.method = Laris_PaymentMethod(rawValue: Int(it.method.rawValue))!
      message.settlePayment.instalments = it.instalments
      message.settlePayment.rejectedReason = it.rejectedReason
    case .command(.adjustStock(let it)):
      message.adjustStock.shopID = it.shop
      message.adjustStock.skuID = it.sku
      message.adjustStock.delta = it.delta
    case .command(.putSKU(let it)):
      message.putSku.shopID = it.shop
      message.putSku.skuID = it.sku
      message.putSku.price = it.price
      if let onHand = it.onHand { message.putSku.onHand = onHand }
      message.putSku.name = it.name
    case .command(.registerShop(let it)):
      message.registerShop.shopID = it.shop
      message.registerShop.name = it.name
      message.registerShop.city = it.city
      message.registerShop.province = it.province
      message.registerShop.market = it.market
      message.registerShop.category = it.category
      message.registerShop.origin = Laris_Origin(rawValue: Int(it.origin.rawValue))!
      message.registerShop.ownerHash = Data(it.ownerHash)
    case .command(.placeOrder(let it)):
      message.placeOrder.shopID = it.shop
      message.placeOrder.buyerID = it.buyer
      message.placeOrder.lines = it.lines.map { line in
        var message = Laris_Line()
        message.skuID = line.sku
        message.quantity = line.quantity
        if let price = line.unitPrice { message.unitPrice = price }
        return message
      }
      message.placeOrder.shippingFee = it.shippingFee
      message.placeOrder.reference = it.reference
      message.placeOrder.reserveMilliseconds = it.reserveMilliseconds
    }
    return message
  }

  var target: RequestPeek.Target {
    switch body {
    case .audit: .audit(partition)
    case .fate:
      switch place {
      case .shop(let shop): .shop(shop)
      case .order(let order): .order(order)
      case .partition(let partition): .partition(partition)
      }
    case .query(.order(let order)), .query(.payment(let order, _)): .order(order)
    case .query(.sku(let key)): .shop(key.shop)
    case .query(.shop(let id)): .shop(id.rawValue)
    case .command(.shipOrder(let order)), .command(.deliverOrder(let order)),
      .command(.completeOrder(let order)):
      .order(order)
    case .command(.cancelOrder(let it)): .order(it.order)
    case .command(.settlePayment(let it)): .order(it.order)
    case .command(.adjustStock(let it)): .shop(it.shop)
    case .command(.putSKU(let it)): .shop(it.shop)
    case .command(.registerShop(let it)): .shop(it.shop)
    case .command(.placeOrder(let it)): .shop(it.shop)
    }
  }
}

/// What a message of SwiftProtobuf means to us.
extension Meant {
  private static func target(_ data: Data) -> RequestID? {
    data.count == 16 ? Array(data).withUnsafeBytes { RequestID(bigEndian: $0) } : nil
  }

  /// The order goes first, then the shop.
  private static func place(_ shop: UInt64, _ order: Data, _ partition: UInt32?) -> RequestEncoder.Place? {
    if !order.isEmpty {
      guard order.count == 16 else { return nil }
      return .order(Array(order).withUnsafeBytes { OrderID(bigEndian: $0) })
    }
    return shop != 0 ? .shop(shop) : partition.map { .partition($0) }
  }

  /// nil where it names no command or breaks a limit that the contract states.
  init?(_ message: Laris_Request) {
    guard message.requestID.count == 16, message.channel.utf8.count <= 32 else { return nil }
    id = Array(message.requestID).withUnsafeBytes { RequestID(bigEndian: $0) }
    channel = message.channel
    deadlineMilliseconds = message.deadlineMilliseconds
    func order(_ data: Data) -> OrderID? {
      data.count == 16 ? Array(data).withUnsafeBytes { OrderID(bigEndian: $0) } : nil
    }
    func fits(_ texts: [(String, Int)]) -> Bool { texts.allSatisfy { $0.0.utf8.count <= $0.1 } }
    switch message.command {
    case nil, .getStatus, .getGroupHistory, .switchPrimary, .moveReplica, .drainWorker, .removeWorker,
      .restartGroup:
      return nil
    case .auditPartition(let it):
      body = .audit
      partition = it.partition
    case .resolve(let it):
      guard let target = Self.target(it.requestID),
        let place = Self.place(it.shopID, it.orderID, it.hasPartition ? it.partition : nil)
      else { return nil }
      body = .fate(of: target, sealing: true)
      self.place = place
    case .getRequest(let it):
      guard let target = Self.target(it.requestID),
        let place = Self.place(it.shopID, it.orderID, it.hasPartition ? it.partition : nil)
      else { return nil }
      body = .fate(of: target, sealing: false)
      self.place = place
    case .getOrder(let it):
      guard let order = order(it.orderID) else { return nil }
      body = .query(.order(order))
    case .getSku(let it): body = .query(.sku(SKUKey(shop: it.shopID, sku: it.skuID)))
    case .getShop(let it): body = .query(.shop(ShopID(it.shopID)))
    case .getPayment(let it):
      guard let order = order(it.orderID), fits([(it.provider, 32), (it.reference, 64)]) else { return nil }
      body = .query(.payment(order: order, PaymentKey(provider: it.provider, reference: it.reference)))
    case .shipOrder(let it):
      guard let order = order(it.orderID) else { return nil }
      body = .command(.shipOrder(order))
    case .deliverOrder(let it):
      guard let order = order(it.orderID) else { return nil }
      body = .command(.deliverOrder(order))
    case .completeOrder(let it):
      guard let order = order(it.orderID) else { return nil }
      body = .command(.completeOrder(order))
    case .cancelOrder(let it):
      guard let order = order(it.orderID), let by = Actor(rawValue: UInt8(clamping: it.by.rawValue)),
        it.by.rawValue >= 0, fits([(it.reason, 128)])
      else { return nil }
      var command = Command.CancelOrder()
      (command.order, command.by, command.reason) = (order, by, it.reason)
      body = .command(.cancelOrder(command))
    case .settlePayment(let it):
      guard let order = order(it.orderID),
        let method = PaymentMethod(rawValue: UInt8(clamping: it.method.rawValue)), it.method.rawValue >= 0,
        fits([(it.provider, 32), (it.reference, 64), (it.rejectedReason, 128)])
      else { return nil }
      var command = Command.SettlePayment()
      (command.order, command.provider, command.reference) = (order, it.provider, it.reference)
      (command.amount, command.method, command.instalments) = (it.amount, method, it.instalments)
      command.rejectedReason = it.rejectedReason
      body = .command(.settlePayment(command))
    case .adjustStock(let it):
      var command = Command.AdjustStock()
      (command.shop, command.sku, command.delta) = (it.shopID, it.skuID, it.delta)
      body = .command(.adjustStock(command))
    case .putSku(let it):
      guard fits([(it.name, 128)]) else { return nil }
      var command = Command.PutSKU()
      (command.shop, command.sku, command.price, command.name) = (it.shopID, it.skuID, it.price, it.name)
      command.onHand = it.hasOnHand ? it.onHand : nil
      body = .command(.putSKU(command))
    case .registerShop(let it):
      guard let origin = Origin(rawValue: UInt8(clamping: it.origin.rawValue)), it.origin.rawValue >= 0,
        it.ownerHash.count <= 32,
        fits([(it.name, 128), (it.city, 64), (it.province, 64), (it.market, 64), (it.category, 64)])
      else { return nil }
      var command = Command.RegisterShop()
      (command.shop, command.name, command.city, command.province) = (
        it.shopID, it.name, it.city, it.province
      )
      (command.market, command.category, command.origin) = (it.market, it.category, origin)
      command.ownerHash = Array(it.ownerHash)
      body = .command(.registerShop(command))
    case .placeOrder(let it):
      guard it.lines.count <= 2_000, fits([(it.reference, 64)]) else { return nil }
      var command = Command.PlaceOrder()
      (command.shop, command.buyer, command.shippingFee) = (it.shopID, it.buyerID, it.shippingFee)
      (command.reference, command.reserveMilliseconds) = (it.reference, it.reserveMilliseconds)
      command.lines = it.lines.map {
        .init(sku: $0.skuID, quantity: $0.quantity, unitPrice: $0.hasUnitPrice ? $0.unitPrice : nil)
      }
      body = .command(.placeOrder(command))
    }
  }
}
