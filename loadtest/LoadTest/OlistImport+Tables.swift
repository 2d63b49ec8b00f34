// Reading the files: each row is checked by itself, and against the rows that it names.

extension OlistImport {
  struct Shop {
    let row: Int
    let id: OlistID
    let city: String
    let province: String
  }

  struct Customer {
    let row: Int
    let buyer: UInt64
  }

  struct Product {
    let row: Int
    let category: String
  }

  struct Category {
    let row: Int
    let english: String
  }

  struct Order {
    let row: Int
    let id: OlistID
    let customer: Customer
    let status: String
    let purchasedAt: Int64
    let approvedAt: Int64?
    let shippedAt: Int64?
    let deliveredAt: Int64?
    /// In the order of their first rows.
    var shopOrders: [ShopOrder] = []
    var payments: [Payment] = []

    var isCancelled: Bool { status == "canceled" || status == "unavailable" }
    var isApprovedLate: Bool { approvedAt.map { $0 - purchasedAt > 86_400_000 } ?? false }
  }

  /// What one order asks of one shop.
  struct ShopOrder {
    let shop: OlistID
    var items: [(row: Int, cents: Int64)] = []
    /// In the order of their first rows.
    var lines: [Line] = []
    var shippingCents: Int64 = 0
    var totalCents: Int64 = 0
  }

  struct Line {
    let product: OlistID
    let price: Int64
    var quantity: UInt32
  }

  struct Payment {
    let row: Int
    let sequential: Int
    let method: TraceAction.Method
    let instalments: UInt32
    let cents: Int64
  }

  private static let statuses: Set = [
    "created", "approved", "invoiced", "processing", "shipped", "delivered", "canceled", "unavailable",
  ]

  private func open(_ file: OlistFile, _ columns: [String]) throws(Failure) -> CSVReader {
    do throws(CSVError) {
      return try CSVReader.open(path: "\(directory)/\(file.path)", columns: columns)
    } catch {
      throw .file(error)
    }
  }

  /// The next row, which it counts.
  private mutating func next(_ file: OlistFile, _ reader: inout CSVReader) throws(Failure) -> CSVRow? {
    do throws(CSVError) {
      let row = try reader.next()
      rowCounts[file, default: 0] += row == nil ? 0 : 1
      return row
    } catch {
      throw .file(error)
    }
  }

  // MARK: Reference

  mutating func readCategories() throws(Failure) {
    var reader = try open(.categories, ["product_category_name", "product_category_name_english"])
    while let row = try next(.categories, &reader) {
      guard categories[row.fields[0]] == nil else {
        refuse(.categories, row.number, .duplicateID)
        continue
      }
      categories[row.fields[0]] = Category(row: row.number, english: row.fields[1])
    }
  }

  mutating func readProducts() throws(Failure) {
    var reader = try open(.products, ["product_id", "product_category_name"])
    while let row = try next(.products, &reader) {
      guard let id = OlistID(row.fields[0]) else {
        refuse(.products, row.number, .malformedID)
        continue
      }
      guard products[id] == nil else {
        refuse(.products, row.number, .duplicateID)
        continue
      }
      products[id] = Product(row: row.number, category: row.fields[1])
    }
  }

  mutating func readSellers() throws(Failure) {
    var numbers: Set<UInt64> = []
    var reader = try open(.sellers, ["seller_id", "seller_city", "seller_state"])
    while let row = try next(.sellers, &reader) {
      guard let id = OlistID(row.fields[0]) else {
        refuse(.sellers, row.number, .malformedID)
        continue
      }
      guard shopPlaces[id] == nil else {
        refuse(.sellers, row.number, .duplicateID)
        continue
      }
      guard numbers.insert(id.number).inserted else {
        refuse(.sellers, row.number, .idCollision)
        continue
      }
      shopPlaces[id] = shops.count
      shops.append(
        Shop(
          row: row.number, id: id, city: placeName(row.fields[1]), province: placeName(row.fields[2])))
    }
  }

  mutating func readCustomers() throws(Failure) {
    var buyers: [UInt64: OlistID] = [:]
    var reader = try open(.customers, ["customer_id", "customer_unique_id"])
    while let row = try next(.customers, &reader) {
      guard let id = OlistID(row.fields[0]), let unique = OlistID(row.fields[1]) else {
        refuse(.customers, row.number, .malformedID)
        continue
      }
      guard customers[id] == nil else {
        refuse(.customers, row.number, .duplicateID)
        continue
      }
      guard buyers[unique.number, default: unique] == unique else {
        refuse(.customers, row.number, .idCollision)
        continue
      }
      buyers[unique.number] = unique
      customers[id] = Customer(row: row.number, buyer: unique.number)
    }
  }

  /// A city or province as it is, but for what is none. An e-mail address is somebody's: it goes.
  mutating func placeName(_ text: String) -> String {
    if text.utf8.contains(UInt8(ascii: "@")) {
      note(.cityEmail)
      return ""
    }
    if !text.isEmpty && !text.unicodeScalars.contains(where: \.properties.isAlphabetic) {
      note(.cityPostalCode)
      return ""
    }
    let name = OlistImport.cut(text, bytesMax: OlistImport.placeBytesMax)
    if name != text { note(.cityCut) }
    return name
  }

  /// The longest beginning of whole characters that fits.
  static func cut(_ text: String, bytesMax: Int) -> String {
    guard text.utf8.count > bytesMax else { return text }
    var bytes = 0
    return String(
      text.prefix {
        bytes += $0.utf8.count
        return bytes <= bytesMax
      })
  }

  // MARK: Orders

  mutating func readOrders() throws(Failure) {
    var seen: Set<OlistID> = []
    var reader = try open(
      .orders,
      [
        "order_id", "customer_id", "order_status", "order_purchase_timestamp", "order_approved_at",
        "order_delivered_carrier_date", "order_delivered_customer_date",
      ])
    while let row = try next(.orders, &reader) {
      guard let id = OlistID(row.fields[0]), let customerID = OlistID(row.fields[1]) else {
        refuse(.orders, row.number, .malformedID)
        continue
      }
      guard seen.insert(id).inserted else {
        refuse(.orders, row.number, .duplicateID)
        continue
      }
      // The first must be there, the others may be empty.
      let times = row.fields[3...6].map { $0.isEmpty ? nil : OlistTime.milliseconds($0) }
      guard let purchasedAt = times[0], zip(times, row.fields[3...6]).allSatisfy({ $0 != nil || $1.isEmpty })
      else {
        refuse(.orders, row.number, .malformedTime)
        continue
      }
      guard let customer = customers[customerID] else {
        refuse(.orders, row.number, .unknownCustomer)
        continue
      }
      if !OlistImport.statuses.contains(row.fields[2]) { note(.statusUnknown) }
      orderPlaces[id] = orders.count
      orders.append(
        Order(
          row: row.number, id: id, customer: customer, status: row.fields[2], purchasedAt: purchasedAt,
          approvedAt: times[1], shippedAt: times[2], deliveredAt: times[3]))
      if orders[orders.count - 1].isApprovedLate { note(.approvalOver24Hours) }
    }
  }

  mutating func readItems() throws(Failure) {
    struct Key: Hashable {
      let id: OlistID
      let number: Int
    }
    struct SkuKey: Hashable {
      let shop: OlistID
      let number: UInt64
    }
    var seen: Set<Key> = []
    var skus: [SkuKey: OlistID] = [:]
    var reader = try open(
      .items, ["order_id", "order_item_id", "product_id", "seller_id", "price", "freight_value"])
    while let row = try next(.items, &reader) {
      guard let price = OlistMoney.cents(row.fields[4]), let shipping = OlistMoney.cents(row.fields[5])
      else {
        refuse(.items, row.number, .malformedAmount)
        continue
      }
      let cents = price + shipping
      itemCents += cents
      guard price >= 0, shipping >= 0 else {
        refuse(.items, row.number, .negativeAmount, cents: cents)
        continue
      }
      guard let id = OlistID(row.fields[0]), let product = OlistID(row.fields[2]),
        let shop = OlistID(row.fields[3])
      else {
        refuse(.items, row.number, .malformedID, cents: cents)
        continue
      }
      guard let number = Int(row.fields[1]), (1...1_000_000_000).contains(number) else {
        refuse(.items, row.number, .malformedNumber, cents: cents)
        continue
      }
      guard let place = orderPlaces[id] else {
        refuse(.items, row.number, .unknownOrder, cents: cents)
        continue
      }
      guard shopPlaces[shop] != nil else {
        refuse(.items, row.number, .unknownShop, cents: cents)
        continue
      }
      guard seen.insert(Key(id: id, number: number)).inserted else {
        refuse(.items, row.number, .duplicateID, cents: cents)
        continue
      }
      guard skus[SkuKey(shop: shop, number: product.number), default: product] == product else {
        refuse(.items, row.number, .idCollision, cents: cents)
        continue
      }
      skus[SkuKey(shop: shop, number: product.number)] = product
      orders[place].add(product, price: price, shipping: shipping, of: shop, row: row.number)
    }
  }

  mutating func readPayments() throws(Failure) {
    struct Key: Hashable {
      let id: OlistID
      let sequential: Int
    }
    var seen: Set<Key> = []
    var reader = try open(
      .payments,
      ["order_id", "payment_sequential", "payment_type", "payment_installments", "payment_value"])
    while let row = try next(.payments, &reader) {
      guard let cents = OlistMoney.cents(row.fields[4]) else {
        refuse(.payments, row.number, .malformedAmount)
        continue
      }
      paymentCents += cents
      guard cents >= 0 else {
        refuse(.payments, row.number, .negativeAmount, cents: cents)
        continue
      }
      guard let id = OlistID(row.fields[0]) else {
        refuse(.payments, row.number, .malformedID, cents: cents)
        continue
      }
      guard let sequential = Int(row.fields[1]), (1...1_000_000_000).contains(sequential),
        let instalments = UInt32(row.fields[3])
      else {
        refuse(.payments, row.number, .malformedNumber, cents: cents)
        continue
      }
      guard let place = orderPlaces[id] else {
        refuse(.payments, row.number, .unknownOrder, cents: cents)
        continue
      }
      guard seen.insert(Key(id: id, sequential: sequential)).inserted else {
        refuse(.payments, row.number, .duplicateID, cents: cents)
        continue
      }
      orders[place].payments.append(
        Payment(
          row: row.number, sequential: sequential, method: method(row.fields[2]),
          instalments: instalments, cents: cents))
    }
  }

  private mutating func method(_ type: String) -> TraceAction.Method {
    switch type {
    case "credit_card", "debit_card": return .card
    case "boleto": return .bankTransfer
    case "voucher": return .voucherBalance
    case "not_defined": return .unspecified
    default:
      note(.paymentTypeUnknown)
      return .unspecified
    }
  }

  mutating func readReviews() throws(Failure) {
    var seen: Set<String> = []
    var reader = try open(.reviews, ["review_id", "order_id"])
    while let row = try next(.reviews, &reader) {
      if !seen.insert(row.fields[0]).inserted { note(.reviewIDTwice) }
      let place = OlistID(row.fields[1]).flatMap { orderPlaces[$0] }
      if place.map({ orders[$0].deliveredAt == nil }) ?? true { note(.reviewOfUndelivered) }
      refuse(.reviews, row.number, .ratingsNotSupportedYet)
    }
  }
}

extension OlistImport.Order {
  /// Adds a row of items: to the line of the same product and price, if there is one.
  fileprivate mutating func add(
    _ product: OlistID, price: Int64, shipping: Int64, of shop: OlistID, row: Int
  ) {
    let place: Int
    if let found = shopOrders.firstIndex(where: { $0.shop == shop }) {
      place = found
    } else {
      place = shopOrders.count
      shopOrders.append(OlistImport.ShopOrder(shop: shop))
    }
    let cents = price + shipping
    shopOrders[place].items.append((row, cents))
    shopOrders[place].shippingCents += shipping
    shopOrders[place].totalCents += cents
    if let line = shopOrders[place].lines.firstIndex(where: { $0.product == product && $0.price == price }) {
      shopOrders[place].lines[line].quantity += 1
    } else {
      shopOrders[place].lines.append(OlistImport.Line(product: product, price: price, quantity: 1))
    }
  }
}
