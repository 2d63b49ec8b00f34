import Bytes
import TestSupport

/// Changes bytes the way damage, old programs and enemies do. Seeded.
package struct Mutator {
  package var random: SplitMix64
  private let words: [[UInt8]]
  private static let bytesMax = 96 << 10

  package init(seed: UInt64, words: [[UInt8]]) {
    random = SplitMix64(seed: seed)
    self.words = words
  }

  /// A new input out of those that there are.
  package mutating func input(from pool: [[UInt8]]) -> [UInt8] {
    if random.chance(2) { return random.bytes(random.pick(0...64)) }
    var bytes = random.pick(pool)
    // Mostly little, so that what is deep is reached; sometimes much.
    let steps = random.chance(60) ? 1 : random.pick(2...random.pick([3, 3, 8, 32]))
    for _ in 0..<steps { mutate(&bytes, pool) }
    if bytes.count > Self.bytesMax { bytes.removeLast(bytes.count - Self.bytesMax) }
    return bytes
  }

  private mutating func mutate(_ bytes: inout [UInt8], _ pool: [[UInt8]]) {
    guard !bytes.isEmpty else { return bytes = random.bytes(random.pick(1...16)) }
    let at = random.pick(0...bytes.count - 1)
    switch random.pick(0...15) {
    case 0, 1: bytes[at] ^= 1 << UInt8(random.pick(0...7))
    case 2: bytes[at] = random.pick([0, 1, 0x7F, 0x80, 0xFF, UInt8(random.pick(0...255))])
    case 3: bytes.removeSubrange(at..<min(bytes.count, at + run()))
    case 4: bytes.removeLast(bytes.count - at)
    case 5: bytes.insert(contentsOf: random.bytes(run()), at: at)
    case 6:
      // A piece again, where it stands or elsewhere.
      let piece = Array(bytes[at..<min(bytes.count, at + run())])
      bytes.insert(contentsOf: piece, at: random.chance(50) ? at : random.pick(0...bytes.count))
    case 7:
      let piece = Array(bytes[at..<min(bytes.count, at + run())])
      let to = random.pick(0...bytes.count - piece.count)
      bytes.replaceSubrange(to..<to + piece.count, with: piece)
    case 8:
      let other = random.pick(pool)
      guard !other.isEmpty else { return }
      let from = random.pick(0...other.count - 1)
      let piece = other[from..<min(other.count, from + run() * 4)]
      bytes.replaceSubrange(at..<min(bytes.count, at + (random.chance(50) ? piece.count : 0)), with: piece)
    case 9:
      let other = random.pick(pool)
      guard !other.isEmpty else { return }
      bytes = Array(bytes[..<at]) + other[random.pick(0...other.count - 1)...]
    case 10, 11: number(&bytes, at)
    case 12, 13: varint(&bytes, at)
    case 14 where !words.isEmpty:
      let word = random.pick(words)
      bytes.replaceSubrange(at..<min(bytes.count, at + (random.chance(60) ? word.count : 0)), with: word)
    default: digits(&bytes, at)
    }
  }

  private mutating func run() -> Int { random.pick(1...random.pick([1, 4, 16, 64, 400])) }

  /// A fixed-size number, little or big endian: an end of a range, or one beside what is there.
  private mutating func number(_ bytes: inout [UInt8], _ at: Int) {
    let width = random.pick([2, 4, 4, 8, 8])
    guard at + width <= bytes.count else { return }
    var value: UInt64 = 0
    for place in 0..<width { value |= UInt64(bytes[at + place]) << UInt64(8 * place) }
    value = random.chance(40) ? value &+ UInt64(bitPattern: Int64(random.pick(-9...9))) : interesting()
    let isBig = random.chance(25)
    for place in 0..<width {
      let shift = UInt64(8 * (isBig ? width - 1 - place : place))
      bytes[at + place] = UInt8(truncatingIfNeeded: value >> shift)
    }
  }

  /// A protobuf varint that begins here, or that could, replaced by another.
  private mutating func varint(_ bytes: inout [UInt8], _ at: Int) {
    var end = at
    while end < bytes.count, end - at < 10, bytes[end] >= 0x80 { end += 1 }
    end = min(bytes.count, end + 1)
    var value: UInt64 = 0
    for (place, byte) in bytes[at..<end].enumerated() where place < 10 {
      value |= UInt64(byte & 0x7F) << UInt64(7 * place)
    }
    value = random.chance(50) ? value &+ UInt64(bitPattern: Int64(random.pick(-9...9))) : interesting()
    var writer = ByteWriter(capacity: 16)
    writer.append(varint: value)
    var new = Array(writer.bytes)
    // Longer than it need be.
    if random.chance(10) {
      new[new.count - 1] |= 0x80
      new += [UInt8](repeating: 0x80, count: random.pick(0...9)) + [0]
    }
    bytes.replaceSubrange(at..<end, with: new)
  }

  /// A number in digits, where there is one.
  private mutating func digits(_ bytes: inout [UInt8], _ at: Int) {
    let isDigit = { (byte: UInt8) in (48...57).contains(byte) }
    guard let start = bytes[at...].firstIndex(where: isDigit) else { return }
    let end = bytes[start...].firstIndex { !isDigit($0) } ?? bytes.count
    let value = interesting()
    let text = random.chance(30) ? "\(Int64(bitPattern: value))" : "\(value)"
    bytes.replaceSubrange(start..<end, with: random.chance(10) ? Array("-0.5e400".utf8) : Array(text.utf8))
  }

  private mutating func interesting() -> UInt64 {
    let power = UInt64(1) << UInt64(random.pick(0...63))
    return switch random.pick(0...5) {
    case 0: 0
    case 1: .max
    case 2: power
    case 3: power - 1
    case 4: power &+ 1
    default: random.next() >> UInt64(random.pick(0...63))
    }
  }
}
