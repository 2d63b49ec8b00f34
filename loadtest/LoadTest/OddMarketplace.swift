import Foundation

/// A made-up marketplace in the files and with the oddities of the published one, for where that one
/// is not at hand. The same seed and size give the same bytes.
///
/// It keeps its own books while it writes (`Truth`), so that an import can be held against them.
package struct OddMarketplace: Sendable {
  /// What is true of the files, counted while they were made and not by reading them.
  package struct Truth: Equatable, Sendable {
    package var rows: [OlistFile: Int] = [:]
    package var itemCents: Int64 = 0
    package var paymentCents: Int64 = 0
    package var ordersWithoutLines = 0
    package var paymentsWithoutLines = 0
    package var centsWithoutLines: Int64 = 0
    /// One per shop of a checkout.
    package var shopOrders = 0
    package var severalShops = 0
    package var shipped = 0
    package var delivered = 0
    package var completed = 0
    package var cancelled = 0
    package var cancelledAfterDelivery = 0
    package var shippedBeforeApproved = 0
    package var deliveredBeforeShipped = 0
    package var approvalsMissing = 0
    package var approvalsLate = 0
    package var overpaid = 0
    package var underpaid = 0
    package var unpaid = 0
    package var zeroPayments = 0
    package var reviewIDsTwice = 0
    package var emailCities = 0
    package var postalCodeCities = 0
  }

  /// What can be odd about an order.
  package enum Oddity: CaseIterable, Sendable {
    case paidWithoutLines, unavailableWithoutLines, severalPaymentsWithoutLines
    case zeroPayment, severalPayments, paymentMissesTotal, paymentExceedsTotal, paymentOffByACent, unpaid
    case shippedBeforeApproved, deliveredBeforeShipped, approvalMissing, approvalLate
    case deliveredWithoutDates, neverShipped, neverDelivered
    case severalShops, severalShopsSeveralPayments, severalPieces
    case cancelled, cancelledAfterDelivery, unavailable
    case reviewIDTwice, reviewWithBreaksAndQuotes

    /// Of 1,000 orders, beyond the first of its kind. The published set's, rounded up.
    fileprivate var perMille: UInt64 {
      switch self {
      case .approvalLate: 170
      case .severalPieces, .neverDelivered: 40
      case .severalPayments, .neverShipped, .unavailableWithoutLines: 30
      case .cancelled, .reviewWithBreaksAndQuotes: 15
      case .severalShops: 7
      case .paidWithoutLines, .paymentExceedsTotal: 4
      case .severalShopsSeveralPayments, .severalPaymentsWithoutLines, .shippedBeforeApproved: 2
      default: 1
      }
    }
  }

  /// SplitMix64. Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
  package struct Random: Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var word = state
      word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
      word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
      return word ^ (word >> 31)
    }

    /// 0 to `limit - 1`, as even as 64 bits allow.
    package mutating func below(_ limit: Int) -> Int {
      precondition(limit > 0)
      return Int(next().multipliedFullWidth(by: UInt64(limit)).high)
    }

    /// The same, but small numbers far more often than large ones: some shops sell most.
    package mutating func skewed(below limit: Int) -> Int {
      let place = below(limit)
      return Int(UInt64(place).multipliedFullWidth(by: UInt64(place)).low / UInt64(limit))
    }
  }

  package let truth: Truth
  /// Each file's bytes.
  package let files: [OlistFile: [UInt8]]

  /// - Parameter orders: how many checkouts, at least one; with 24 or more, every oddity is there.
  package init(seed: UInt64, orders: Int) {
    precondition(orders > 0)
    var maker = OddMarketplaceMaker(seed: seed, orders: orders)
    for place in 0..<orders { maker.makeOrder(place) }
    (files, truth) = maker.finished()
  }

  /// Writes the files into a folder, which is made if it is not there.
  package func write(directory: String) throws {
    let folder = URL(fileURLWithPath: directory, isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for file in OlistFile.allCases {
      try Data(files[file] ?? []).write(to: folder.appendingPathComponent(file.path))
    }
  }
}

private struct OddMarketplaceMaker {
  private struct Product {
    let id: String
    let shop: Int
    let cents: Int64
  }

  private typealias Item = (product: Int, freight: Int64)

  private static let hour: Int64 = 3_600_000
  private static let categories = [
    ("beleza_saude", "health_beauty"), ("informatica_acessorios", "computers_accessories"),
    ("automotivo", "auto"), ("cama_mesa_banho", "bed_bath_table"), ("seguros_e_servicos", "security"),
  ]
  private static let cities = [
    "vendas@loja.example", "04482255", "mogi das cruzes / sp", "santa barbara d´oeste",
    "arraial d'ajuda (porto seguro)", "sao paulo", "campinas", "curitiba",
  ]

  private var random: OddMarketplace.Random
  private var truth = OddMarketplace.Truth()
  private var tables: [OlistFile: [UInt8]] = [:]
  private var shops: [String] = []
  private var products: [Product] = []
  private var buyers: [String] = []
  private var lastReview = ""
  private var now = OlistTime.milliseconds("2016-09-04 21:15:19")!

  init(seed: UInt64, orders: Int) {
    random = OddMarketplace.Random(seed: seed)
    // The header of the published file is misspelt so, and its categories begin with a mark.
    tables[.categories] = [0xEF, 0xBB, 0xBF]
    head(.categories, "product_category_name,product_category_name_english")
    head(.customers, "customer_id,customer_unique_id,customer_zip_code_prefix,customer_city,customer_state")
    head(
      .items, "order_id,order_item_id,product_id,seller_id,shipping_limit_date,price,freight_value")
    head(
      .orders,
      "order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,"
        + "order_delivered_carrier_date,order_delivered_customer_date,order_estimated_delivery_date")
    head(
      .payments, "order_id,payment_sequential,payment_type,payment_installments,payment_value")
    head(
      .products,
      "product_id,product_category_name,product_name_lenght,product_description_lenght,"
        + "product_photos_qty,product_weight_g,product_length_cm,product_height_cm,product_width_cm")
    head(
      .reviews,
      "review_id,order_id,review_score,review_comment_title,review_comment_message,"
        + "review_creation_date,review_answer_timestamp")
    head(.sellers, "seller_id,seller_zip_code_prefix,seller_city,seller_state")

    for (name, english) in OddMarketplaceMaker.categories { row(.categories, [name, english]) }
    for place in 0..<max(10, orders / 9) {
      shops.append(id())
      let city = OddMarketplaceMaker.cities[place < 8 ? place : 5 + random.below(3)]
      row(.sellers, [shops[place], "13023", city, "SP"])
    }
    truth.emailCities = 1
    truth.postalCodeCities = 1
    for place in 0..<max(20, orders / 2) {
      products.append(
        // Each of the first two shops has a product, so that there are two to choose from.
        Product(
          id: id(), shop: place < 2 ? place : random.skewed(below: shops.count),
          cents: Int64(990 + random.skewed(below: 90_000))))
      // The last category has none, and some products have no category or one that is not listed.
      let category =
        switch place % 50 {
        case 3: ""
        case 4: "pc_gamer"
        default: OddMarketplaceMaker.categories[random.below(4)].0
        }
      row(.products, [products[place].id, category, "57", "163", "1", "400", "27", "13", "17"])
    }
  }

  consuming func finished() -> ([OlistFile: [UInt8]], OddMarketplace.Truth) { (tables, truth) }

  // MARK: Orders

  mutating func makeOrder(_ place: Int) {
    let oddity = oddity(place)
    let order = id()
    now += Int64(random.below(7_000_000)) / 1_000 * 1_000

    let items = makeItems(of: order, oddity)
    let owed = items.reduce(0) { $0 + products[$1.product].cents + $1.freight }
    let shopOrders = Set(items.map { products[$0.product].shop }).count
    truth.itemCents += owed
    truth.shopOrders += shopOrders
    if shopOrders > 1 { truth.severalShops += 1 }
    makePayments(of: order, owed, oddity, shopOrders)
    makeRow(of: order, oddity, shopOrders)
    makeReview(of: order, oddity)
  }

  /// The first orders are odd in each way; the others by chance.
  private mutating func oddity(_ place: Int) -> OddMarketplace.Oddity? {
    let all = OddMarketplace.Oddity.allCases
    if place < all.count { return all[place] }
    var ticket = UInt64(random.below(1_000))
    for oddity in all {
      if ticket < oddity.perMille { return oddity }
      ticket -= oddity.perMille
    }
    return nil
  }

  private mutating func makeItems(of order: String, _ oddity: OddMarketplace.Oddity?) -> [Item] {
    var items: [Item] = []
    let first = random.below(products.count)
    func item(_ product: Int, _ freight: Int) -> Item { (product, Int64(freight)) }
    switch oddity {
    case .paidWithoutLines, .unavailableWithoutLines, .severalPaymentsWithoutLines:
      truth.ordersWithoutLines += 1
    case .severalShops, .severalShopsSeveralPayments:
      let other = products[first].shop == products[0].shop ? 1 : 0
      // Of the first shop, the other one, and the first again.
      items = [first, other, first].map { item($0, random.below(3_000)) }
    case .severalPieces:
      items = (0..<(2 + random.below(19))).map { _ in item(first, 700) }
      // And something else, maybe of another shop.
      items.append(item(random.below(products.count), 0))
    default: items = [item(first, 700 + random.below(5_000))]
    }
    for (place, item) in items.enumerated() {
      let product = products[item.product]
      row(
        .items,
        [
          order, "\(place + 1)", product.id, shops[product.shop],
          OlistTime.text(now + 96 * OddMarketplaceMaker.hour), OlistMoney.text(product.cents),
          OlistMoney.text(item.freight),
        ])
    }
    return items
  }

  private mutating func makePayments(
    of order: String, _ owed: Int64, _ oddity: OddMarketplace.Oddity?, _ shopOrders: Int
  ) {
    var amounts = [owed]
    switch oddity {
    case .paidWithoutLines, .unavailableWithoutLines: amounts = [Int64(1_000 + random.below(40_000))]
    case .severalPaymentsWithoutLines: amounts = [Int64(1_000 + random.below(40_000)), 777]
    case .zeroPayment: amounts = [owed, 0]
    case .severalPayments, .severalShopsSeveralPayments:
      let voucher = 1 + Int64(random.below(Int(owed) - 2))
      amounts = [voucher, owed - voucher]
    case .paymentMissesTotal: amounts = [owed - 1 - Int64(random.below(Int(owed) / 2))]
    case .paymentExceedsTotal: amounts = [owed + 2 + Int64(random.below(9_000))]
    case .paymentOffByACent: amounts = [owed + 1]
    case .unpaid: amounts = []
    default: break
    }
    let paid = amounts.reduce(0, +)
    truth.paymentCents += paid
    truth.zeroPayments += amounts.filter { $0 == 0 }.count
    if shopOrders == 0 {
      truth.paymentsWithoutLines += amounts.count
      truth.centsWithoutLines += paid
    } else if amounts.isEmpty {
      truth.unpaid += 1
    } else if paid != owed {
      if paid > owed { truth.overpaid += 1 } else { truth.underpaid += 1 }
    }
    // The rows of one order are not in their order.
    for (place, amount) in amounts.enumerated().reversed() {
      let type =
        amounts.count > 1 && place == 0 || amount == 0
        ? "voucher" : ["credit_card", "credit_card", "boleto", "debit_card", "not_defined"][random.below(5)]
      let instalments = type == "credit_card" ? random.below(11) : 1
      row(.payments, [order, "\(place + 1)", type, "\(instalments)", OlistMoney.text(amount)])
    }
  }

  private mutating func makeRow(of order: String, _ oddity: OddMarketplace.Oddity?, _ shopOrders: Int) {
    let hour = OddMarketplaceMaker.hour
    var status = "delivered"
    var approved: Int64? = now + Int64(random.below(20)) * hour
    var shipped: Int64? = approved! + Int64(30 + random.below(90)) * hour
    var delivered: Int64? = shipped! + Int64(24 + random.below(300)) * hour
    switch oddity {
    case .paidWithoutLines: (status, shipped, delivered) = ("canceled", nil, nil)
    case .unavailableWithoutLines, .severalPaymentsWithoutLines, .unavailable:
      (status, shipped, delivered) = ("unavailable", nil, nil)
    case .cancelled: (status, shipped, delivered) = ("canceled", nil, nil)
    case .cancelledAfterDelivery: status = "canceled"
    case .shippedBeforeApproved: shipped = approved! - hour
    case .deliveredBeforeShipped: delivered = shipped! - hour
    case .approvalMissing: approved = nil
    case .approvalLate: approved = now + Int64(25 + random.below(4)) * hour
    case .deliveredWithoutDates: (shipped, delivered) = (nil, nil)
    case .neverShipped, .unpaid: (status, shipped, delivered) = ("processing", nil, nil)
    case .neverDelivered: (status, delivered) = ("shipped", nil)
    default: break
    }
    let customer = id()
    if buyers.isEmpty || random.below(80) != 0 { buyers.append(id()) }
    let buyer = random.below(80) == 0 ? buyers[random.below(buyers.count)] : buyers[buyers.count - 1]
    row(.customers, [customer, buyer, "82820", "curitiba", "PR"])
    func text(_ time: Int64?) -> String { time.map(OlistTime.text) ?? "" }
    row(
      .orders,
      [
        order, customer, status, text(now), text(approved), text(shipped), text(delivered),
        text(now + 480 * hour),
      ])

    if let approved, approved - now > 24 * hour { truth.approvalsLate += 1 }
    if shipped != nil { truth.shipped += shopOrders }
    if delivered != nil { truth.delivered += shopOrders }
    if status == "canceled" || status == "unavailable" {
      truth.cancelled += shopOrders
      if delivered != nil && shopOrders > 0 { truth.cancelledAfterDelivery += 1 }
    } else if delivered != nil {
      truth.completed += shopOrders
    }
    if oddity == .shippedBeforeApproved { truth.shippedBeforeApproved += shopOrders }
    if oddity == .deliveredBeforeShipped { truth.deliveredBeforeShipped += shopOrders }
    if oddity == .approvalMissing { truth.approvalsMissing += shopOrders }
  }

  private mutating func makeReview(of order: String, _ oddity: OddMarketplace.Oddity?) {
    var review = id()
    var text = "Produto de qualidade"
    switch oddity {
    case .reviewIDTwice where !lastReview.isEmpty:
      review = lastReview
      truth.reviewIDsTwice += 1
    case .reviewWithBreaksAndQuotes: text = "Chegou, \"enfim\"\r\ndepois\n\nde \"\"semanas\"\", ótimo"
    default: break
    }
    lastReview = review
    let time = OlistTime.text(now + 500 * OddMarketplaceMaker.hour)
    row(.reviews, [review, order, "\(1 + random.below(5))", "", text, time, time])
  }

  // MARK: Text

  private mutating func id() -> String {
    [random.next(), random.next()].map { word in
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }

  private mutating func head(_ file: OlistFile, _ names: String) {
    tables[file, default: []] += Array(names.utf8) + [UInt8(ascii: "\n")]
    truth.rows[file] = 0
  }

  private mutating func row(_ file: OlistFile, _ fields: [String]) {
    let quoted = fields.map { field in
      // As scalars: CR LF is one character.
      let isPlain = !field.unicodeScalars.contains { ",\"\r\n".unicodeScalars.contains($0) }
      return isPlain
        ? field
        : "\"" + field.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"")
          + "\""
    }
    tables[file, default: []] += Array(quoted.joined(separator: ",").utf8) + [UInt8(ascii: "\n")]
    truth.rows[file, default: 0] += 1
  }
}
