// One payment may pay for several shops, but every order is paid by itself.

extension OlistImport {
  /// What one payment brings to one shop's order.
  struct Share {
    let payment: Payment
    let reference: String
    let cents: Int64
  }

  /// Splits an amount by weights, exactly: rounded down, and the cents left go to the largest
  /// remainders, the earlier one of equals.
  /// - Parameters:
  ///   - amount: 0 or more.
  ///   - weights: none negative; their sum is more than 0 and fits.
  package static func split(_ amount: Int64, by weights: [Int64]) -> [Int64] {
    let sum = weights.reduce(0, +)
    precondition(amount >= 0)
    precondition(sum > 0)
    var parts: [Int64] = []
    var remainders: [Int64] = []
    for weight in weights {
      precondition(weight >= 0)
      // The quotient fits, because no weight is more than the sum.
      let (part, remainder) = sum.dividingFullWidth(amount.multipliedFullWidth(by: weight))
      parts.append(part)
      remainders.append(remainder)
    }
    let left = Int(amount - parts.reduce(0, +))
    let order = weights.indices.sorted { (remainders[$1], $0) < (remainders[$0], $1) }
    for place in order.prefix(left) { parts[place] += 1 }
    precondition(parts.reduce(0, +) == amount)
    return parts
  }

  /// Splits a payment over orders: pro rata to what they still lack; what is more than that, pro rata
  /// to their totals.
  ///
  /// Why not each payment by the totals: each would be rounded by itself, and an order of a checkout that is
  /// paid to the cent could end up a cent short, which keeps it from being shipped.
  package static func shares(of amount: Int64, lacking: [Int64], totals: [Int64]) -> [Int64] {
    let lack = lacking.reduce(0, +)
    if amount <= lack && lack > 0 { return split(amount, by: lacking) }
    // Orders that cost nothing: the first takes it.
    let isFree = totals.allSatisfy { $0 == 0 }
    let weights = isFree ? totals.indices.map { $0 == 0 ? 1 : 0 } : totals
    return zip(lacking, split(amount - lack, by: weights)).map(+)
  }
}

extension OlistImport.Order {
  /// What each shop's order gets of each payment, in the order of the payments.
  func shares() -> [[OlistImport.Share]] {
    let totals = shopOrders.map(\.totalCents)
    var lacking = totals
    var shares = [[OlistImport.Share]](repeating: [], count: shopOrders.count)
    for payment in payments.sorted(by: { $0.sequential < $1.sequential }) {
      let parts = OlistImport.shares(of: payment.cents, lacking: lacking, totals: totals)
      for (place, part) in parts.enumerated() {
        // A split makes no zero payments; one that is zero itself goes to the first order.
        guard part > 0 || (payment.cents == 0 && place == 0) else { continue }
        lacking[place] -= min(part, lacking[place])
        let suffix = shopOrders.count > 1 ? "/\(place + 1)" : ""
        shares[place].append(
          OlistImport.Share(
            payment: payment, reference: "\(id.text)-\(payment.sequential)\(suffix)", cents: part))
      }
    }
    return shares
  }
}
