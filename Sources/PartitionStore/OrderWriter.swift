import Cluster
import Marketplace
import SQLite
import WorkerCore

/// Writes rows of orders: most of what a checkpoint does.
///
/// Nearly all of them are new, and nothing happened to them since they were placed. Half of such a row is the
/// same in all, so it stands in the statement, and one statement writes several: two thirds of the instructions
/// of a row at a time.
struct OrderWriter: ~Copyable {
  /// Rows of one statement; more save no more.
  private static let together = 8
  private static let columns = 24
  private let placed, new, any: Statement

  init(_ database: borrowing Database) throws(SQLiteError) {
    let placed = try database.prepare(
      "INSERT INTO orders VALUES "
        + (0..<Self.together).map { Self.placedValues(from: Int32($0 * 12 + 1)) }.joined(separator: ","))
    let values = "(\((1...Self.columns).map { "?\($0)" }.joined(separator: ",")))"
    // Replacing costs a third more, also where there is nothing to replace.
    let new = try database.prepare("INSERT INTO orders VALUES \(values)")
    let any = try database.prepare("INSERT OR REPLACE INTO orders VALUES \(values)")
    self.placed = placed
    self.new = new
    self.any = any
  }

  /// A row of an order that was only placed, with 12 parameters from `first` on.
  private static func placedValues(from first: Int32) -> String {
    func parameters(_ range: Range<Int32>) -> String { range.map { "?\(first + $0)" }.joined(separator: ",") }
    return """
      (\(parameters(0..<6)),'\(OrderState.placed.spelling)',\(parameters(6..<10)),0,0,0,0,0,\
      \(parameters(10..<12)),0,0,0,0,'','')
      """
  }

  /// - Parameter held: the file has orders up to this entry; an order is known by the entry that placed it.
  /// - Returns: the reservations of new orders that wait to be paid.
  func write(_ orders: [Order], after held: SequenceNumber) throws(SQLiteError) -> [Reservations.Item] {
    var waiting: [Reservations.Item] = []
    var untouched: [Int] = []
    untouched.reserveCapacity(Self.together)
    for place in PartitionWriter.inOrder(orders, by: { $0.id.sequenceNumber }) {
      let order = orders[place]
      guard order.id.sequenceNumber > held.rawValue else {
        try write(order, by: any)
        continue
      }
      if order.state == .placed {
        waiting.append(.init(at: order.expiresAt, sequenceNumber: order.id.sequenceNumber))
      }
      guard order.isOnlyPlaced else {
        try write(order, by: new)
        continue
      }
      untouched.append(place)
      if untouched.count == Self.together {
        try writePlaced(untouched, of: orders)
        untouched.removeAll(keepingCapacity: true)
      }
    }
    for place in untouched { try write(orders[place], by: new) }
    return waiting
  }

  private func writePlaced(_ places: [Int], of orders: [Order]) throws(SQLiteError) {
    var first: Int32 = 1
    for place in places {
      let order = orders[place]
      placed.bind(first, order.id.sequenceNumber)
      placed.bind(first + 1, high: order.id.high, low: order.id.low)
      placed.bind(first + 2, order.shop)
      placed.bind(first + 3, order.buyer)
      placed.bind(first + 4, order.channel)
      placed.bind(first + 5, order.reference)
      LinesText.withText(of: order.lines) { placed.bind(first + 6, text: $0) }
      placed.bind(first + 7, order.goods)
      placed.bind(first + 8, order.shippingFee)
      placed.bind(first + 9, order.total)
      placed.bind(first + 10, order.placedAt)
      placed.bind(first + 11, order.expiresAt)
      first += 12
    }
    try placed.run()
  }

  private func write(_ order: Order, by statement: borrowing Statement) throws(SQLiteError) {
    statement.bind(1, order.id.sequenceNumber)
    statement.bind(2, high: order.id.high, low: order.id.low)
    statement.bind(3, order.shop)
    statement.bind(4, order.buyer)
    statement.bind(5, order.channel)
    statement.bind(6, order.reference)
    statement.bind(7, order.state.spelling)
    LinesText.withText(of: order.lines) { statement.bind(8, text: $0) }
    statement.bind(9, order.goods)
    statement.bind(10, order.shippingFee)
    statement.bind(11, order.total)
    statement.bind(12, order.received)
    statement.bind(13, order.held)
    statement.bind(14, order.refunded)
    statement.bind(15, order.released)
    statement.bind(16, order.fee)
    statement.bind(17, order.placedAt)
    statement.bind(18, order.expiresAt)
    statement.bind(19, order.paidAt)
    statement.bind(20, order.shippedAt)
    statement.bind(21, order.deliveredAt)
    statement.bind(22, order.endedAt)
    statement.bind(23, order.state == .cancelled ? order.cancelledBy.spelling : "")
    statement.bind(24, order.cancelReason)
    try statement.run()
  }
}

extension Order {
  /// Nothing happened to it since it was placed.
  fileprivate var isOnlyPlaced: Bool {
    state == .placed && received | held | refunded | released | fee == 0
      && paidAt | shippedAt | deliveredAt | endedAt == 0 && cancelReason.isEmpty
  }
}
