import Foundation

import LoadTest

/// A folder that goes when its last user does.
final class OlistTestFolder: Sendable {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("laris-olist-\(UUID())")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  /// With files of these rows below the headers that an import needs; the others have no rows.
  convenience init(_ rows: [OlistFile: [String]]) throws {
    try self.init()
    for file in OlistFile.allCases {
      let text = ([OlistTestFolder.heads[file]!] + rows[file, default: []]).joined(separator: "\n")
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(file.path)"))
    }
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  private static let heads: [OlistFile: String] = [
    .categories: "product_category_name,product_category_name_english",
    .customers: "customer_id,customer_unique_id",
    .items: "order_id,order_item_id,product_id,seller_id,price,freight_value",
    .orders:
      "order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,order_delivered_carrier_date,order_delivered_customer_date",
    .payments: "order_id,payment_sequential,payment_type,payment_installments,payment_value",
    .products: "product_id,product_category_name",
    .reviews: "review_id,order_id",
    .sellers: "seller_id,seller_city,seller_state",
  ]
}
