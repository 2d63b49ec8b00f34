import Bytes
import Cluster
import Files

/// What was synced, in a file beside the segments: written after each sync, and never synced itself.
///
/// It outlives the process, mostly not the power. So it may lag behind the truth, and is never ahead of it:
/// a log that ends before it has lost something. Whoever cuts a log on purpose must lower it first, durably.
///
/// One line: the sequence number in twenty digits, and their hash. It is overwritten in place.
package struct SyncedMark: ~Copyable {
  static let name = "synced"
  private static let digits = 20
  private static let size = digits + 1 + 16 + 1

  /// nil: the disk had no room for it. The log does without.
  private var file: (any File)?
  private var written: SequenceNumber?
  private var line = ByteWriter(capacity: size)

  /// The mark in `directory`; nothing is written yet.
  init(in directory: String, files: any FileSystem) throws(FileError) {
    file = try Self.open(directory + "/" + Self.name, files)
  }

  private static func open(_ path: String, _ files: any FileSystem) throws(FileError) -> (any File)? {
    do throws(FileError) {
      return try files.open(path, try files.exists(path) ? .update : .create)
    } catch {
      guard error.isDiskFull else { throw error }
      return nil
    }
  }

  /// Says that all up to `sequenceNumber` was synced, which must be so.
  mutating func write(_ sequenceNumber: SequenceNumber) throws(FileError) {
    guard sequenceNumber != written, let file else { return }
    do throws(FileError) {
      try put(sequenceNumber, in: file)
    } catch {
      guard error.isDiskFull else { throw error }
      self.file = nil
    }
  }

  /// Says that no more than `sequenceNumber` counts, durably: what is above is to be cut.
  ///
  /// - Throws: what it says now is not known; nothing may be cut.
  mutating func lower(to sequenceNumber: SequenceNumber) throws(FileError) {
    guard let file else { return }
    try put(sequenceNumber, in: file)
    try file.sync()
  }

  private mutating func put(_ sequenceNumber: SequenceNumber, in file: any File) throws(FileError) {
    line.removeAll()
    Self.append(sequenceNumber.rawValue, radix: 10, digits: Self.digits, to: &line)
    let hash = XXH64.hash(line.bytes)
    line.append(UInt8(ascii: " "))
    Self.append(hash, radix: 16, digits: 16, to: &line)
    line.append(UInt8(ascii: "\n"))
    try file.write(line.bytes, at: 0)
    written = sequenceNumber
  }

  private static func append(_ value: UInt64, radix: UInt64, digits: Int, to line: inout ByteWriter) {
    var divisor: UInt64 = 1
    for _ in 1..<digits { divisor *= radix }
    var rest = value
    while divisor > 0 {
      let digit = UInt8(rest / divisor)
      line.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
      rest %= divisor
      divisor /= radix
    }
  }

  /// What the mark in `directory` says; nil: there is none that can be read, which says nothing.
  package static func read(
    in directory: String, files: any FileSystem = SystemFiles()
  ) throws(FileError) -> SequenceNumber? {
    let path = directory + "/" + name
    guard try files.exists(path) else { return nil }
    let bytes = try files.open(path, .read).contents(to: size)
    return bytes.withUnsafeBytes { sequenceNumber(in: $0) }
  }

  /// - Parameter line: of any content.
  package static func sequenceNumber(in line: UnsafeRawBufferPointer) -> SequenceNumber? {
    guard line.count >= size, line[digits] == UInt8(ascii: " "), line[size - 1] == UInt8(ascii: "\n") else {
      return nil
    }
    let number = UnsafeRawBufferPointer(rebasing: line[..<digits])
    let hash = String(decoding: line[(digits + 1)..<(size - 1)], as: UTF8.self)
    guard let value = UInt64(String(decoding: number, as: UTF8.self)),
      UInt64(hash, radix: 16) == XXH64.hash(number)
    else { return nil }
    return SequenceNumber(value)
  }
}
