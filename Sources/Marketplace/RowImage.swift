/// A row, or anything else that is made of words and texts, as one number.
///
/// Cheap, as every order makes some: two multiplications a word. Each step is a bijection of what came before and of
/// the word, so two rows that differ in one word never have the same image, and others have it by chance only.
/// No defence against who looks for two that have.
package struct RowImage {
  private var state: UInt64 = 0x5851_F42D_4C95_7F2D

  package init() {}

  @inline(__always)
  package mutating func add(_ word: UInt64) {
    // A round of XXH64. With one multiplication the upper bits of a word would be undone by some of the next.
    let sum = state &+ word &* 0xC2B2_AE3D_27D4_EB4F
    state = (sum << 31 | sum >> 33) &* 0x9E37_79B1_85EB_CA87
  }

  @inline(__always)
  package mutating func add(_ number: Int64) { add(UInt64(bitPattern: number)) }

  /// The length, then eight bytes a word, and the rest in one.
  package mutating func add(_ bytes: UnsafeRawBufferPointer) {
    add(UInt64(truncatingIfNeeded: bytes.count))
    var offset = 0
    while offset &+ 8 <= bytes.count {
      add(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      offset &+= 8
    }
    let rest = bytes.count & 7
    guard rest > 0 else { return }
    var word: UInt64 = 0
    if rest & 4 != 0 {
      word = UInt64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
      offset &+= 4
    }
    if rest & 2 != 0 {
      let two = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
      word = word << 16 | UInt64(two)
      offset &+= 2
    }
    if rest & 1 != 0 { word = word << 8 | UInt64(bytes[offset]) }
    add(word)
  }

  @inline(__always)
  package mutating func add(_ text: String) {
    // Most texts of an order are.
    guard !text.isEmpty else { return add(0 as UInt64) }
    addBytes(of: text)
  }

  private mutating func addBytes(of text: String) {
    var text = text
    text.withUTF8 { add(UnsafeRawBufferPointer($0)) }
  }

  /// A bijection too.
  @inline(__always)
  package var bits: UInt64 { mixed(state) }
}

/// A row of a ``RowTable``.
package protocol ImagedRow {
  /// Adds every field, in an order that never changes.
  func add(to image: inout RowImage)
}

extension ImagedRow {
  @inline(__always)
  package var image: UInt64 {
    var image = RowImage()
    add(to: &image)
    return image.bits
  }
}

extension Shop: ImagedRow {
  package func add(to image: inout RowImage) {
    image.add(id)
    image.add(name)
    image.add(city)
    image.add(province)
    image.add(market)
    image.add(category)
    image.add(UInt64(origin.rawValue) | UInt64(status.rawValue) << 8)
    ownerHash.withUnsafeBytes { image.add($0) }
    image.add(registeredAt)
  }
}

extension SKU: ImagedRow {
  @inline(__always)
  package func add(to image: inout RowImage) {
    image.add(shop)
    image.add(sku)
    image.add(name)
    image.add(price)
    image.add(onHand)
    image.add(reserved)
    image.add(consumed)
    image.add(writtenOff)
    image.add(given)
  }
}

extension Order: ImagedRow {
  @inline(__always)
  package func add(to image: inout RowImage) {
    image.add(id.high)
    image.add(id.low)
    image.add(shop)
    image.add(buyer)
    image.add(channel)
    image.add(reference)
    image.add(UInt64(state.rawValue) | UInt64(cancelledBy.rawValue) << 8 | UInt64(lines.count) << 16)
    for line in lines {
      image.add(line.sku)
      image.add(UInt64(line.quantity))
      image.add(line.unitPrice)
    }
    image.add(goods)
    image.add(shippingFee)
    image.add(total)
    image.add(received)
    image.add(held)
    image.add(refunded)
    image.add(released)
    image.add(fee)
    image.add(placedAt)
    image.add(expiresAt)
    image.add(paidAt)
    image.add(shippedAt)
    image.add(deliveredAt)
    image.add(endedAt)
    image.add(cancelReason)
  }
}

extension Payment: ImagedRow {
  package func add(to image: inout RowImage) {
    image.add(provider)
    image.add(reference)
    image.add(order.high)
    image.add(order.low)
    image.add(amount)
    image.add(
      UInt64(method.rawValue) | UInt64(settlement.rawValue) << 8 | UInt64(stateAfter.rawValue) << 16
        | UInt64(instalments) << 32)
    image.add(rejectedReason)
    image.add(settledAt)
    image.add(held)
    image.add(refunded)
    image.add(outstanding)
  }
}

extension Account: ImagedRow {
  @inline(__always)
  package func add(to image: inout RowImage) {
    image.add(UInt64(key.kind.rawValue))
    image.add(key.owner)
    image.add(balance)
  }
}

extension Transfer: ImagedRow {
  @inline(__always)
  package func add(to image: inout RowImage) {
    image.add(sequenceNumber)
    image.add(
      UInt64(number) | UInt64(debit.kind.rawValue) << 32 | UInt64(credit.kind.rawValue) << 40
        | UInt64(why.rawValue) << 48)
    image.add(debit.owner)
    image.add(credit.owner)
    image.add(amount)
    image.add(order.high)
    image.add(order.low)
    image.add(at)
  }
}
