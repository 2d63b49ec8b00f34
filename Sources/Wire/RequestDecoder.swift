import Bytes
import Cluster
import Marketplace

/// A whole request, decoded without SwiftProtobuf.
///
/// Reads what the contract's `Request` reads: any field order, unknown fields passed over,
/// the last of a field that stands twice, parts of a command merged. Property tests hold
/// the two against each other.
package struct DecodedRequest: Equatable {
  package enum Body: Equatable, Sendable {
    case command(Command)
    case query(Query)
    case audit
    /// The fate of another request: settled for good, or only told.
    case fate(of: RequestID, sealing: Bool)
  }

  package var id: RequestID
  package var channel: String
  package var body: Body
  /// Of the command's bytes and the channel: two requests with one id are the same if these are.
  package var fingerprint: UInt64

  package init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    guard bytes.count <= WireLimits.requestBytesMax else {
      throw .tooLong(field: "request", limit: WireLimits.requestBytesMax)
    }
    var reader = ProtobufReader(bytes)
    var id: RequestID?
    var channel = ""
    var draft: Draft?
    var hash: UInt64 = 0
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.length):
        let slice = try reader.slice()
        id = slice.count == 16 ? RequestID(bigEndian: slice) : nil
      case (2, Tag.length):
        channel = try reader.string("channel", max: WireLimits.channel)
      case (let field, Tag.length):
        guard let known = CommandField(rawValue: field) else {
          try reader.skip(tag)
          continue
        }
        if draft?.field != known {
          draft = Draft(known)
          hash = UInt64(known.rawValue)
        }
        let slice = try reader.slice()
        hash = XXH64.hash(slice, seed: hash)
        try draft!.merge(slice)
      default:
        try reader.skip(tag)
      }
    }
    guard let id else { throw .badValue(field: "request_id") }
    guard let draft else { throw .noCommand }
    self.id = id
    self.channel = channel
    body = try draft.finished()
    fingerprint = channel.isEmpty ? hash : XXH64.hash(channel, seed: hash)
  }
}

/// A command while its fields come in.
private enum Draft {
  case placeOrder(Command.PlaceOrder)
  case settlePayment(Command.SettlePayment, OrderID?)
  case adjustStock(Command.AdjustStock)
  case putSKU(Command.PutSKU)
  case registerShop(Command.RegisterShop)
  case cancelOrder(Command.CancelOrder, OrderID?)
  /// Those that are an order's id and no more.
  case orderStep(CommandField, OrderID?)
  case getSKU(shop: UInt64, sku: UInt64)
  case getShop(UInt64)
  case getPayment(OrderID?, provider: String, reference: String)
  case audit
  /// `hasShop`, `hasOther`: it says where to look, by a shop that is not 0 or by another field.
  case fate(CommandField, RequestID?, hasShop: Bool, hasOther: Bool)
  /// Of the dispatchers: no partition executes it.
  case dispatchers(CommandField)

  init(_ field: CommandField) {
    switch field {
    case .placeOrder: self = .placeOrder(.init())
    case .settlePayment: self = .settlePayment(.init(), nil)
    case .adjustStock: self = .adjustStock(.init())
    case .putSKU: self = .putSKU(.init())
    case .registerShop: self = .registerShop(.init())
    case .cancelOrder: self = .cancelOrder(.init(), nil)
    case .shipOrder, .deliverOrder, .completeOrder, .getOrder: self = .orderStep(field, nil)
    case .getSKU: self = .getSKU(shop: 0, sku: 0)
    case .getShop: self = .getShop(0)
    case .getPayment: self = .getPayment(nil, provider: "", reference: "")
    case .auditPartition: self = .audit
    case .resolve, .getRequest: self = .fate(field, nil, hasShop: false, hasOther: false)
    case .getStatus, .getGroupHistory, .switchPrimary, .moveReplica, .drainWorker, .removeWorker,
      .restartGroup:
      self = .dispatchers(field)
    }
  }

  var field: CommandField {
    switch self {
    case .placeOrder: .placeOrder
    case .settlePayment: .settlePayment
    case .adjustStock: .adjustStock
    case .putSKU: .putSKU
    case .registerShop: .registerShop
    case .cancelOrder: .cancelOrder
    case .orderStep(let field, _): field
    case .getSKU: .getSKU
    case .getShop: .getShop
    case .getPayment: .getPayment
    case .audit: .auditPartition
    case .fate(let field, _, _, _): field
    case .dispatchers(let field): field
    }
  }

  mutating func merge(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    switch self {
    case .placeOrder(var command):
      self = .dispatchers(.getStatus)  // Leaves `command` as the only owner of its lines.
      try command.merge(bytes)
      self = .placeOrder(command)
    case .settlePayment(var command, var order):
      try command.merge(bytes, order: &order)
      self = .settlePayment(command, order)
    case .adjustStock(var command):
      try command.merge(bytes)
      self = .adjustStock(command)
    case .putSKU(var command):
      try command.merge(bytes)
      self = .putSKU(command)
    case .registerShop(var command):
      try command.merge(bytes)
      self = .registerShop(command)
    case .cancelOrder(var command, var order):
      try command.merge(bytes, order: &order)
      self = .cancelOrder(command, order)
    case .orderStep(let field, var order):
      var reader = ProtobufReader(bytes)
      while let tag = try reader.tag() {
        if tag.field == 1, tag.wire == Tag.length {
          order = try reader.orderID()
        } else {
          try reader.skip(tag)
        }
      }
      self = .orderStep(field, order)
    case .getSKU(var shop, var sku):
      var reader = ProtobufReader(bytes)
      while let tag = try reader.tag() {
        switch (tag.field, tag.wire) {
        case (1, Tag.varint): shop = try reader.varint()
        case (2, Tag.varint): sku = try reader.varint()
        default: try reader.skip(tag)
        }
      }
      self = .getSKU(shop: shop, sku: sku)
    case .getShop(var shop):
      var reader = ProtobufReader(bytes)
      while let tag = try reader.tag() {
        if tag.field == 1, tag.wire == Tag.varint {
          shop = try reader.varint()
        } else {
          try reader.skip(tag)
        }
      }
      self = .getShop(shop)
    case .getPayment(var order, var provider, var reference):
      var reader = ProtobufReader(bytes)
      while let tag = try reader.tag() {
        switch (tag.field, tag.wire) {
        case (1, Tag.length): order = try reader.orderID()
        case (2, Tag.length): provider = try reader.string("provider", max: WireLimits.provider)
        case (3, Tag.length): reference = try reader.string("reference", max: WireLimits.reference)
        default: try reader.skip(tag)
        }
      }
      self = .getPayment(order, provider: provider, reference: reference)
    case .fate(let field, var target, var hasShop, var hasOther):
      var reader = ProtobufReader(bytes)
      while let tag = try reader.tag() {
        switch (tag.field, tag.wire) {
        case (1, Tag.varint): hasShop = try reader.varint() != 0
        case (2, Tag.length):
          _ = try reader.orderID()
          hasOther = true
        case (4, Tag.varint):
          _ = try reader.varint()
          hasOther = true
        case (3, Tag.length):
          let slice = try reader.slice()
          guard slice.count == 16 else { throw .badValue(field: "the request_id asked about") }
          target = RequestID(bigEndian: slice)
        default: try reader.skip(tag)
        }
      }
      self = .fate(field, target, hasShop: hasShop, hasOther: hasOther)
    case .audit, .dispatchers:
      var reader = ProtobufReader(bytes)
      while let tag = try reader.tag() { try reader.skip(tag) }
    }
  }

  func finished() throws(WireError) -> DecodedRequest.Body {
    func required(_ order: OrderID?) throws(WireError) -> OrderID {
      guard let order else { throw .badValue(field: "order_id") }
      return order
    }
    switch self {
    case .placeOrder(let command): return .command(.placeOrder(command))
    case .settlePayment(var command, let order):
      command.order = try required(order)
      return .command(.settlePayment(command))
    case .adjustStock(let command): return .command(.adjustStock(command))
    case .putSKU(let command): return .command(.putSKU(command))
    case .registerShop(let command): return .command(.registerShop(command))
    case .cancelOrder(var command, let order):
      command.order = try required(order)
      return .command(.cancelOrder(command))
    case .orderStep(let field, let order):
      let order = try required(order)
      switch field {
      case .shipOrder: return .command(.shipOrder(order))
      case .deliverOrder: return .command(.deliverOrder(order))
      case .completeOrder: return .command(.completeOrder(order))
      default: return .query(.order(order))
      }
    case .getSKU(let shop, let sku): return .query(.sku(SKUKey(shop: shop, sku: sku)))
    case .getShop(let shop): return .query(.shop(ShopID(shop)))
    case .getPayment(let order, let provider, let reference):
      return .query(
        .payment(order: try required(order), PaymentKey(provider: provider, reference: reference)))
    case .audit: return .audit
    case .fate(let field, let target, let hasShop, let hasOther):
      guard hasShop || hasOther else { throw .badValue(field: "shop_id, order_id or partition") }
      guard let target else { throw .badValue(field: "the request_id asked about") }
      return .fate(of: target, sealing: field == .resolve)
    case .dispatchers: throw .noCommand
    }
  }
}

extension ProtobufReader {
  fileprivate mutating func orderID() throws(WireError) -> OrderID {
    let slice = try slice()
    guard slice.count == 16 else { throw .badValue(field: "order_id") }
    return OrderID(bigEndian: slice)
  }
}

extension Command.PlaceOrder {
  fileprivate mutating func merge(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.varint): shop = try reader.varint()
      case (2, Tag.varint): buyer = try reader.varint()
      case (3, Tag.length):
        guard lines.count < WireLimits.linesMax else {
          throw .tooLong(field: "lines", limit: WireLimits.linesMax)
        }
        var inner = ProtobufReader(try reader.slice())
        var line = Line()
        while let tag = try inner.tag() {
          switch (tag.field, tag.wire) {
          case (1, Tag.varint): line.sku = try inner.varint()
          case (2, Tag.varint): line.quantity = UInt32(truncatingIfNeeded: try inner.varint())
          case (3, Tag.varint): line.unitPrice = Int64(bitPattern: try inner.varint())
          default: try inner.skip(tag)
          }
        }
        if lines.isEmpty { lines.reserveCapacity(4) }  // One allocation for most orders, not three.
        lines.append(line)
      case (4, Tag.varint): shippingFee = Int64(bitPattern: try reader.varint())
      case (5, Tag.length): reference = try reader.string("reference", max: WireLimits.reference)
      case (6, Tag.varint): reserveMilliseconds = try reader.varint()
      default: try reader.skip(tag)
      }
    }
  }
}

extension Command.SettlePayment {
  fileprivate mutating func merge(_ bytes: UnsafeRawBufferPointer, order: inout OrderID?)
    throws(WireError)
  {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.length): order = try reader.orderID()
      case (2, Tag.length): provider = try reader.string("provider", max: WireLimits.provider)
      case (3, Tag.length): reference = try reader.string("reference", max: WireLimits.reference)
      case (4, Tag.varint): amount = Int64(bitPattern: try reader.varint())
      case (5, Tag.varint):
        guard let value = PaymentMethod(rawValue: UInt8(truncatingIfNeeded: min(255, try reader.varint())))
        else { throw .badValue(field: "method") }
        method = value
      case (6, Tag.varint): instalments = UInt32(truncatingIfNeeded: try reader.varint())
      case (7, Tag.length):
        rejectedReason = try reader.string("rejected_reason", max: WireLimits.reason)
      default: try reader.skip(tag)
      }
    }
  }
}

extension Command.AdjustStock {
  fileprivate mutating func merge(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.varint): shop = try reader.varint()
      case (2, Tag.varint): sku = try reader.varint()
      case (3, Tag.varint):
        let zigzag = try reader.varint()
        delta = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
      default: try reader.skip(tag)
      }
    }
  }
}

extension Command.PutSKU {
  fileprivate mutating func merge(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.varint): shop = try reader.varint()
      case (2, Tag.varint): sku = try reader.varint()
      case (3, Tag.varint): price = Int64(bitPattern: try reader.varint())
      case (4, Tag.varint): onHand = Int64(bitPattern: try reader.varint())
      case (5, Tag.length): name = try reader.string("name", max: WireLimits.name)
      default: try reader.skip(tag)
      }
    }
  }
}

extension Command.RegisterShop {
  fileprivate mutating func merge(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.varint): shop = try reader.varint()
      case (2, Tag.length): name = try reader.string("name", max: WireLimits.name)
      case (3, Tag.length): city = try reader.string("city", max: WireLimits.place)
      case (4, Tag.length): province = try reader.string("province", max: WireLimits.place)
      case (5, Tag.length): market = try reader.string("market", max: WireLimits.place)
      case (6, Tag.length): category = try reader.string("category", max: WireLimits.place)
      case (7, Tag.varint):
        guard let value = Origin(rawValue: UInt8(truncatingIfNeeded: min(255, try reader.varint())))
        else { throw .badValue(field: "origin") }
        origin = value
      case (8, Tag.length):
        let slice = try reader.slice()
        guard slice.count <= WireLimits.ownerHash else {
          throw .tooLong(field: "owner_hash", limit: WireLimits.ownerHash)
        }
        ownerHash = Array(slice)
      default: try reader.skip(tag)
      }
    }
  }
}

extension Command.CancelOrder {
  fileprivate mutating func merge(_ bytes: UnsafeRawBufferPointer, order: inout OrderID?)
    throws(WireError)
  {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.length): order = try reader.orderID()
      case (2, Tag.varint):
        guard let value = Actor(rawValue: UInt8(truncatingIfNeeded: min(255, try reader.varint())))
        else { throw .badValue(field: "by") }
        by = value
      case (3, Tag.length): reason = try reader.string("reason", max: WireLimits.reason)
      default: try reader.skip(tag)
      }
    }
  }
}
