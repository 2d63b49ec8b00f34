import TestSupport

/// A decoder, or a chain of them, and what must be true of it whatever bytes it gets.
package protocol FuzzTarget: Sendable {
  /// As the command line and the corpus' folders have it.
  var name: String { get }
  /// In a line: what it covers.
  var about: String { get }
  /// Valid inputs, from which the others are made.
  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]]
  /// Words that mean something in this format.
  var words: [[UInt8]] { get }
  /// Makes checksums and the like right after a mutation, so that what lies behind them is reached.
  func repair(_ bytes: inout [UInt8], _ random: inout SplitMix64)
  /// Decodes the bytes and checks what must be true.
  ///
  /// - Returns: what came of it, in a few words: an input with a new outcome is kept and mutated further.
  /// - Throws: ``Finding``, and nothing else. A trap or a signal is a finding too.
  func run(_ bytes: UnsafeRawBufferPointer) throws -> String
}

extension FuzzTarget {
  package var words: [[UInt8]] { [] }
  package func repair(_ bytes: inout [UInt8], _ random: inout SplitMix64) {}

  package func run(_ bytes: [UInt8]) throws -> String {
    try bytes.withUnsafeBytes { try run($0) }
  }
}

/// A property that does not hold.
package struct Finding: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// - Throws: ``Finding`` where `condition` is false.
package func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
  guard condition else { throw Finding(what()) }
}

/// An error's words as an outcome, without what differs from input to input. They must say something
/// and be bounded: whoever sends garbage must not fill a log with it.
package func outcome(of error: any Error, folder: String = "") throws -> String {
  let text = "\(error)"
  try require(!text.isEmpty, "an error says nothing")
  try require(text.utf8.count <= 1_024, "an error has \(text.utf8.count) bytes: \(text.prefix(200))…")
  var shape = "!"
  var isQuoted = false
  var previous: Character = " "
  for character in text.prefix(160) {
    // Not what is quoted of the input.
    if character == "'" { isQuoted.toggle() }
    if isQuoted { continue }
    let next: Character = character.isNumber ? "#" : character.isASCII ? character : "?"
    if next != previous || next != "#" { shape.append(next) }
    previous = next
  }
  return shape
}

/// How large a number is, roughly: outcomes that differ in it are different.
package func size(_ number: some BinaryInteger) -> String { "\(number.magnitude.bitWidthUsed)" }

extension BinaryInteger {
  fileprivate var bitWidthUsed: Int {
    var (bits, rest) = (0, self)
    while rest > 0 { (bits, rest) = (bits + 1, rest >> 1) }
    return bits
  }
}

package enum FuzzTargets {
  /// All there are.
  package static let all: [any FuzzTarget] = [
    RequestTarget(), ReplyTarget(), FramesTarget(), DispatcherTarget(), PartitionTarget(), EntriesTarget(),
    SegmentTarget(), LZ4Target(), PartitionFileTarget(), PartitionRowsTarget(), ClusterFileTarget(),
    ClusterRowsTarget(), EpochTarget(), SyncedMarkTarget(), IdentityTarget(), CSVTarget(), OlistTarget(),
    TraceTarget(), SubmitTarget(), NodeMessagesTarget(), PeerMessagesTarget(), ReplicasTarget(),
  ]

  package static func named(_ name: String) -> (any FuzzTarget)? { all.first { $0.name == name } }
}
