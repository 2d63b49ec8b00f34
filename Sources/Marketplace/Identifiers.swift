/// Minor units of the cluster's one currency. Never wraps: sums are checked.
package typealias Money = Int64

/// Milliseconds since the Unix epoch, as stamped on the entry.
package typealias Milliseconds = Int64

/// A shop, chosen by a caller, unique in the cluster; never 0.
package struct ShopID: Hashable, Sendable, RowKey {
  package let rawValue: UInt64
  package init(_ rawValue: UInt64) { self.rawValue = rawValue }
  package var hashBits: UInt64 { mixed(rawValue) }
}

/// A SKU, unique within its shop; neither part is 0.
package struct SKUKey: Hashable, Sendable, RowKey {
  package let shop: UInt64
  package let sku: UInt64
  package init(shop: UInt64, sku: UInt64) {
    self.shop = shop
    self.sku = sku
  }
  package var hashBits: UInt64 { mixed(mixed(shop) ^ sku) }
}

/// An order: 16 bytes in the shape of a UUIDv7, so that orders sort by time and route by themselves.
///
/// Layout, big endian: 48 bits milliseconds of the entry | 7 | kind (4 bits, 1 = order) |
/// 8 bits 0 | 2 bits `10` | partition (16 bits) | sequence number of its entry (46 bits).
package struct OrderID: Hashable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// - Parameter sequenceNumber: below 2^46.
  package init(at time: Milliseconds, partition: UInt16, sequenceNumber: UInt64) {
    precondition(sequenceNumber < 1 << 46)
    high = UInt64(bitPattern: time) << 16 | 0x7 << 12 | 0x1 << 8
    low = 2 << 62 | UInt64(partition) << 46 | sequenceNumber
  }

  /// Whether this has the shape of an order's id. The order may still not exist.
  package var isWellFormed: Bool { high & 0xFFFF == 0x7100 && low >> 62 == 2 }
  package var partition: UInt16 { UInt16(truncatingIfNeeded: low >> 46) }
  package var sequenceNumber: UInt64 { low & (1 << 46 - 1) }

  package var description: String {
    let digits = "0123456789abcdef".utf8.map { $0 }
    var text: [UInt8] = []
    for word in [high, low] {
      for shift in stride(from: 60, through: 0, by: -4) {
        text.append(digits[Int(word >> UInt64(shift) & 0xF)])
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}

/// Where an order's row is found: the sequence number of the entry that placed it.
package struct OrderKey: Hashable, Sendable, RowKey {
  package let sequenceNumber: UInt64
  package init(_ sequenceNumber: UInt64) { self.sequenceNumber = sequenceNumber }
  package var hashBits: UInt64 { mixed(sequenceNumber) }
}

/// A payment, under its provider's own reference.
package struct PaymentKey: Hashable, Sendable, RowKey {
  package let provider: String
  package let reference: String
  package init(provider: String, reference: String) {
    self.provider = provider
    self.reference = reference
  }

  /// Byte for byte, as providers and SQLite compare; Swift's strings are equal when they look alike.
  package static func == (a: PaymentKey, b: PaymentKey) -> Bool {
    a.provider.utf8.elementsEqual(b.provider.utf8) && a.reference.utf8.elementsEqual(b.reference.utf8)
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(hashBits) }

  package var hashBits: UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in provider.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    hash = (hash ^ 0xFF) &* 0x100_0000_01B3
    for byte in reference.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return mixed(hash)
  }
}

/// An account of a partition's ledger.
package struct AccountKey: Hashable, Sendable, RowKey {
  package enum Kind: UInt8, Sendable, CaseIterable {
    /// Money that payment providers hold for us. Its balance is what came in, negative.
    case providerClearing = 1
    /// Of a shop: what its open orders hold.
    case escrow = 2
    /// Of a shop: what it may withdraw.
    case balance = 3
    /// The platform's.
    case fees = 4
    /// Of a buyer: what was refunded.
    case wallet = 5

    package var name: String {
      switch self {
      case .providerClearing: "provider_clearing"
      case .escrow: "escrow"
      case .balance: "balance"
      case .fees: "fees"
      case .wallet: "wallet"
      }
    }
  }

  package let kind: Kind
  /// The shop or buyer; 0 where the kind has one account only.
  package let owner: UInt64

  package init(_ kind: Kind, owner: UInt64 = 0) {
    self.kind = kind
    self.owner = owner
  }
  package var hashBits: UInt64 { mixed(mixed(owner) ^ UInt64(kind.rawValue)) }
}
