/// Makes a trace of the published orders of a Brazilian marketplace.
///
/// Every row of every file gets its place in the trace: in the events that it leads to, or in a
/// `refused` event with a reason. docs/OLIST.md has the mapping and every rule. The same files give the
/// same bytes.
package struct OlistImport {
  package struct Options: Equatable, Sendable {
    /// How much of what is ordered of a SKU is put on hand before the start, in thousandths, rounded
    /// down. Below 1,000 some orders must be refused for lack of stock.
    package var stockPerMille: Int64

    package init(stockPerMille: Int64 = 1_000) {
      self.stockPerMille = stockPerMille
    }
  }

  /// Why a row is refused at import.
  package enum Reason: String, CaseIterable, Sendable {
    /// The id is not 32 hex digits, or would be 0.
    case malformedID = "malformed_id"
    case malformedTime = "malformed_time"
    case malformedAmount = "malformed_amount"
    case negativeAmount = "negative_amount"
    case malformedNumber = "malformed_number"
    /// An earlier row of the file has the same key.
    case duplicateID = "duplicate_id"
    /// Another id has the same first 15 digits.
    case idCollision = "id_collision"
    /// The row names one that has no row, or whose row was refused.
    case unknownCustomer = "unknown_customer"
    case unknownShop = "unknown_shop"
    case unknownOrder = "unknown_order"
    /// The order has no lines, so nothing can be placed, and nothing paid.
    case noLines = "no_lines"
    /// More lines in a shop's order than one command takes.
    case tooManyLines = "too_many_lines"
    /// The row only describes what no event needs.
    case referenceOnly = "reference_only"
    case ratingsNotSupportedYet = "ratings_not_supported_yet"
  }

  /// Why an event is not at the time that the data give.
  package enum Move: String, CaseIterable, Sendable {
    /// No time of approval: paid when it was ordered.
    case approvalMissing = "approval_missing"
    case approvalBeforeOrder = "approval_before_order"
    case shipmentBeforePayment = "shipment_before_payment"
    /// Delivered without a time of shipment: shipped when it was delivered.
    case shipmentMissing = "shipment_missing"
    case deliveryBeforeShipment = "delivery_before_shipment"
  }

  /// What is odd, and taken as it is.
  package enum Note: String, CaseIterable, Sendable {
    /// Of all orders' rows, and of those with lines, whose reservation may run out before the payment.
    case approvalOver24Hours = "approval_over_24_hours"
    case approvalOver24HoursPlaced = "approval_over_24_hours_placed"
    case cancelledAfterDelivery = "cancelled_after_delivery"
    case categoryUnlisted = "category_unlisted"
    case checkoutOfSeveralShops = "checkout_of_several_shops"
    case checkoutOverpaid = "checkout_overpaid"
    case checkoutOffByOverACent = "checkout_off_by_over_a_cent"
    case checkoutUnderpaid = "checkout_underpaid"
    case checkoutUnpaid = "checkout_unpaid"
    case cityCut = "city_cut"
    case cityEmail = "city_email"
    case cityPostalCode = "city_postal_code"
    case deliveredWithoutDates = "delivered_without_dates"
    case orderWithoutLinesPaid = "order_without_lines_paid"
    case paymentOfZero = "payment_of_zero"
    case paymentTypeUnknown = "payment_type_unknown"
    case productUnlisted = "product_unlisted"
    case reviewIDTwice = "review_id_twice"
    case reviewOfUndelivered = "review_of_undelivered"
    case statusUnknown = "status_unknown"
  }

  package enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
    /// A file is missing or is not the CSV that it should be.
    case file(CSVError)
    /// `stockPerMille` is not within 0 and 1,000,000.
    case stockPerMille(Int64)

    package var description: String {
      switch self {
      case .file(let error): "\(error)"
      case .stockPerMille(let value):
        "the stock is \(value) per mille. Give 0 to 1000000; 1000 is just what is ordered"
      }
    }
  }

  static let provider = "olist"
  static let source = "olist"
  static let currency = "BRL"
  /// What comes before the first order.
  static let setupMilliseconds: Int64 = 60_000
  /// How long a buyer may complain after the delivery.
  static let complaintMilliseconds: Int64 = 7 * 86_400_000
  static let cancelMilliseconds: Int64 = 1_000
  static let placeBytesMax = 64
  /// So that no event outgrows a line of the trace.
  static let itemRowsPerOrderMax = 10_000

  let directory: String
  let options: Options

  // What was read. Dictionaries are for finding only: what is written follows the arrays.
  var rowCounts: [OlistFile: Int] = [:]
  var shops: [Shop] = []
  var shopPlaces: [OlistID: Int] = [:]
  var customers: [OlistID: Customer] = [:]
  var products: [OlistID: Product] = [:]
  var categories: [String: Category] = [:]
  var orders: [Order] = []
  var orderPlaces: [OlistID: Int] = [:]
  var itemCents: Int64 = 0
  var paymentCents: Int64 = 0

  // What came of it.
  var events: [TraceEvent] = []
  var refusals: [TraceAction.Refused] = []
  var carried: [OlistFile: Set<Int>] = [:]
  var moved: [Move: Int] = [:]
  var noted: [Note: Int] = [:]

  /// Reads the files of a folder and makes a trace of them, in memory.
  package static func run(
    directory: String, options: Options = Options()
  ) throws(Failure) -> ImportedTrace {
    guard (0...1_000_000).contains(options.stockPerMille) else {
      throw .stockPerMille(options.stockPerMille)
    }
    var importer = OlistImport(directory: directory, options: options)
    // Each needs those before it.
    try importer.readCategories()
    try importer.readProducts()
    try importer.readSellers()
    try importer.readCustomers()
    try importer.readOrders()
    try importer.readItems()
    try importer.readPayments()
    try importer.readReviews()
    importer.refuseOrdersThatCannotBePlaced()
    importer.makeSetup()
    importer.makeOrders()
    importer.refuseReferenceOnly()
    return importer.finished()
  }

  private init(directory: String, options: Options) {
    self.directory = directory
    self.options = options
  }

  // MARK: Bookkeeping

  mutating func refuse(_ file: OlistFile, _ row: Int, _ reason: Reason, cents: Int64 = 0) {
    refusals.append(
      TraceAction.Refused(file: file.rawValue, row: row, reason: reason.rawValue, cents: cents))
  }

  mutating func note(_ note: Note) { noted[note, default: 0] += 1 }

  mutating func add(_ at: Int64, _ action: TraceAction, _ rows: [OlistFile: [Int]]) {
    var parts: [TraceRows] = []
    for file in OlistFile.allCases {
      guard let numbers = rows[file], !numbers.isEmpty else { continue }
      parts.append(TraceRows(file.rawValue, numbers))
      carried[file, default: []].formUnion(numbers)
    }
    events.append(TraceEvent(at: at, action: action, rows: parts))
  }

  /// The rows that only describe, and that no event came to need.
  private mutating func refuseReferenceOnly() {
    for file in [OlistFile.categories, .customers, .products] {
      let refused = Set(refusals.lazy.filter { $0.file == file.rawValue }.map(\.row))
      for row in 1..<(rowCounts[file, default: 0] + 1) {
        if carried[file]?.contains(row) != true && !refused.contains(row) {
          refuse(file, row, .referenceOnly)
        }
      }
    }
  }

  // MARK: The end

  /// Before the first order.
  var setupAt: Int64 {
    max(0, (orders.lazy.map(\.purchasedAt).min() ?? 0) - OlistImport.setupMilliseconds)
  }

  private consuming func finished() -> ImportedTrace {
    refusals.sort { ($0.file, $0.row) < ($1.file, $1.row) }
    let setupAt = setupAt
    var all = refusals.map { TraceEvent(at: setupAt, action: .refused($0), rows: []) } + events
    let ranks = Dictionary(
      uniqueKeysWithValues: TraceAction.Kind.allCases.enumerated().map { ($1, $0) })
    // By time, then cause before effect, then as they were made: no two events are equal in all three.
    let order = all.indices.sorted {
      (all[$0].at, ranks[all[$0].action.kind]!, $0) < (all[$1].at, ranks[all[$1].action.kind]!, $1)
    }
    all = order.map { all[$0] }
    let header = TraceHeader(
      source: OlistImport.source, currency: OlistImport.currency, events: all.count,
      startsAt: all.first { !$0.action.isSetup }?.at ?? setupAt, endsAt: all.last?.at ?? setupAt,
      files: OlistFile.allCases.map {
        TraceFile(file: $0.rawValue, path: $0.path, rows: rowCounts[$0, default: 0])
      },
      refused: sums(of: refusals),
      moved: Move.allCases.map { TraceCount(name: $0.rawValue, count: moved[$0, default: 0]) })
    var account = TraceAccount(header)
    for event in all { account.record(event) }
    precondition(account.isComplete, "a row of the source has no place in the trace")
    return ImportedTrace(
      header: header, events: all,
      report: ImportReport(
        header, all, account.totals(),
        noted: Note.allCases.map { TraceCount(name: $0.rawValue, count: noted[$0, default: 0]) },
        itemCents: itemCents, paymentCents: paymentCents,
        buyers: Set(customers.values.map(\.buyer)).count))
  }

  private func sums(of refusals: [TraceAction.Refused]) -> [TraceRefusal] {
    struct Key: Hashable {
      let file: String
      let reason: String
    }
    var sums: [Key: TraceRefusal] = [:]
    for refusal in refusals {
      let none = TraceRefusal(file: refusal.file, reason: refusal.reason, rows: 0, cents: 0)
      let key = Key(file: refusal.file, reason: refusal.reason)
      sums[key, default: none].rows += 1
      sums[key, default: none].cents += refusal.cents
    }
    return sums.values.sorted { ($0.file, $0.reason) < ($1.file, $1.reason) }
  }
}

/// A trace in memory, with what was made of the source's rows.
package struct ImportedTrace: Equatable, Sendable {
  package let header: TraceHeader
  package let events: [TraceEvent]
  package let report: ImportReport

  /// Writes it to a file, which appears when it is complete.
  package func write(path: String) throws(TraceError) {
    var writer = try TraceWriter(path: path, header: header)
    for event in events { try writer.write(event) }
    try writer.finish()
  }
}
