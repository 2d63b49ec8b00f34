import Foundation

/// What an import made of its source.
package struct ImportReport: Equatable, Sendable, Codable {
  package struct File: Equatable, Sendable, Codable {
    package var file: String
    package var path: String
    package var rows: Int
    /// Rows that stand in an event. `rows` = `carried` + `refused`.
    package var carried: Int
    package var refused: Int
  }

  package var source: String
  package var currency: String
  package var files: [File]
  /// By kind, in causal order.
  package var events: [TraceCount]
  package var refused: [TraceRefusal]
  /// Events whose time is not the source's, by rule.
  package var moved: [TraceCount]
  /// What is odd and was taken as it is.
  package var noted: [TraceCount]
  package var shops: Int
  package var skus: Int
  /// Different buyers in the customers' file, with or without an order that was placed.
  package var buyers: Int
  /// One per shop of a checkout.
  package var orders: Int
  /// Of all rows, refused or not: price and freight, payments.
  package var itemCents: Int64
  package var paymentCents: Int64
  /// Of the events: lines and shipping of the orders, amounts of the settlements.
  package var orderedCents: Int64
  package var settledCents: Int64
  package var startsAt: Int64
  package var endsAt: Int64

  init(
    _ header: TraceHeader, _ events: [TraceEvent], _ account: [TraceAccount.File], noted: [TraceCount],
    itemCents: Int64, paymentCents: Int64, buyers: Int
  ) {
    source = header.source
    currency = header.currency
    files = zip(header.files, account).map { file, account in
      File(
        file: file.file, path: file.path, rows: file.rows, carried: account.done,
        refused: account.refused.reduce(0) { $0 + $1.count })
    }
    var counts: [TraceAction.Kind: Int] = [:]
    orderedCents = 0
    settledCents = 0
    for event in events {
      counts[event.action.kind, default: 0] += 1
      switch event.action {
      case .placeOrder(let order):
        orderedCents += order.lines.reduce(order.shippingFee) { $0 + Int64($1.quantity) * $1.unitPrice }
      case .settlePayment(let payment): settledCents += payment.amount
      default: break
      }
    }
    self.events = TraceAction.Kind.allCases.map {
      TraceCount(name: $0.rawValue, count: counts[$0, default: 0])
    }
    refused = header.refused
    moved = header.moved
    self.noted = noted
    shops = counts[.registerShop, default: 0]
    skus = counts[.putSku, default: 0]
    orders = counts[.placeOrder, default: 0]
    self.buyers = buyers
    self.itemCents = itemCents
    self.paymentCents = paymentCents
    startsAt = header.startsAt
    endsAt = header.endsAt
  }

  package var rows: Int { files.reduce(0) { $0 + $1.rows } }

  /// Rows and money that were refused for a reason, in one file or all.
  package func refused(_ reason: String, file: String? = nil) -> (rows: Int, cents: Int64) {
    refused.lazy.filter { $0.reason == reason && (file == nil || $0.file == file) }
      .reduce((0, 0)) { ($0.0 + $1.rows, $0.1 + $1.cents) }
  }

  package func events(_ kind: TraceAction.Kind) -> Int {
    events.first { $0.name == kind.rawValue }?.count ?? 0
  }

  package func moved(_ rule: String) -> Int { moved.first { $0.name == rule }?.count ?? 0 }

  package func noted(_ note: String) -> Int { noted.first { $0.name == note }?.count ?? 0 }

  // MARK: For people and programs

  /// For a terminal: tables of left and right aligned columns. Rules that nothing fell under are left out.
  package var table: String {
    func some(_ counts: [TraceCount]) -> [[String]] {
      counts.filter { $0.count > 0 }.map { [$0.name, grouped($0.count)] }
    }
    var sections = [
      "\(source): \(OlistTime.text(startsAt)) to \(OlistTime.text(endsAt)) UTC, money in cents of \(currency)",
      text(
        ["FILE", "ROWS", "IN EVENTS", "REFUSED"],
        files.map { [$0.file, grouped($0.rows), grouped($0.carried), grouped($0.refused)] }),
      text(["EVENT", "COUNT"], events.map { [$0.name, grouped($0.count)] }),
      text(
        ["REFUSED IN", "WHY", "ROWS", "CENTS"],
        refused.map { [$0.file, $0.reason, grouped($0.rows), grouped($0.cents)] }, leftColumns: 2),
    ]
    sections.append(text(["MOVED IN TIME", "EVENTS"], some(moved)))
    sections.append(text(["ODD, TAKEN AS IT IS", "COUNT"], some(noted)))
    sections.append(
      text(
        ["TOTAL", ""],
        [
          ["shops", grouped(shops)], ["SKUs", grouped(skus)], ["buyers", grouped(buyers)],
          ["orders", grouped(orders)], ["rows", grouped(rows)],
          ["items' cents", grouped(itemCents)], ["of that ordered", grouped(orderedCents)],
          ["payments' cents", grouped(paymentCents)], ["of that settled", grouped(settledCents)],
        ]))
    return sections.joined(separator: "\n\n") + "\n"
  }

  package var json: String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(self) else {
      preconditionFailure("numbers and text can be encoded")
    }
    return String(decoding: data, as: UTF8.self)
  }

  private func text(_ head: [String], _ rows: [[String]], leftColumns: Int = 1) -> String {
    let widths = head.indices.map { column in ([head] + rows).map { $0[column].count }.max() ?? 0 }
    return ([head] + rows).map { row in
      row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column < leftColumns ? cell + padding : padding + cell
      }.joined(separator: "  ")
    }.joined(separator: "\n")
  }

  private func grouped(_ number: some BinaryInteger) -> String {
    var digits = Array(String(number))
    var place = digits.count - 3
    while place > (number < 0 ? 1 : 0) {
      digits.insert(",", at: place)
      place -= 3
    }
    return String(digits)
  }
}
