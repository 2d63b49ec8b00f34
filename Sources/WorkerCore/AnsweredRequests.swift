import Bytes
import Cluster
import Marketplace

/// The requests that were answered lately, with their answers: what makes a retry harmless.
///
/// Entries come in generations, bounded in number and in bytes. When there are too many, the oldest goes,
/// once a checkpoint holds it; what is not found here and is older than ``horizon`` must be
/// looked up in SQLite. So memory is bounded and the guarantee is not.
package struct AnsweredRequests: ~Copyable {
  package struct Entry {
    package let sequenceNumber: UInt64
    package let fingerprint: UInt64
    /// nil: logged, its answer is still being made.
    package let answer: (code: UInt8, body: UnsafeRawBufferPointer)?
  }

  private var generations: [Generation]
  /// Of SQLite, for the group in hand.
  private var loaded: [RequestID: Loaded] = [:]
  private var loadedBodies = ByteWriter(capacity: 1024)
  private let entriesPerGeneration: Int
  private let generationsMax: Int
  /// Where the next freeze begins: a generation and an entry in it.
  private var unfrozen: (generation: Int, entry: Int) = (0, 0)
  /// Where the freeze that is under way ends, and what of it was copied.
  private var freezeEnd: (generation: Int, entry: Int) = (0, 0)
  private var frozen = FrozenRequests()
  /// Generations that were dropped: `generations[0]` has this number.
  private var dropped = 0
  /// Ids with an earlier time may be in SQLite only.
  package private(set) var horizon: Int64
  /// The sum of the images of what was answered since ``takeImages()``.
  private var images: UInt64 = 0

  private struct Loaded {
    let sequenceNumber: UInt64
    let fingerprint: UInt64
    let code: UInt8
    let body: Range<Int>
  }

  /// - Parameter horizon: see ``horizon``; what SQLite holds is earlier.
  package init(entriesPerGeneration: Int = 65_536, generationsMax: Int = 4, horizon: Int64 = 0) {
    precondition(entriesPerGeneration > 0)
    precondition(generationsMax > 1)
    self.entriesPerGeneration = entriesPerGeneration
    self.generationsMax = generationsMax
    self.horizon = horizon
    generations = [Generation(capacity: entriesPerGeneration)]
  }

  package var count: Int { generations.reduce(0) { $0 + $1.count } }

  package func find(_ id: RequestID) -> Entry? {
    let hash = XXH64.hash(id.low, seed: id.high)
    for generation in generations.reversed() {
      if let entry = generation.find(id, hash) { return generation.entry(entry) }
    }
    return loaded[id].map { row in
      Entry(
        sequenceNumber: row.sequenceNumber, fingerprint: row.fingerprint,
        answer: (row.code, UnsafeRawBufferPointer(rebasing: loadedBodies.bytes[row.body])))
    }
  }

  /// Remembers a request whose answer follows.
  ///
  /// - Returns: for ``setAnswer(_:code:body:)``, valid until the next freeze.
  package mutating func insert(_ id: RequestID, fingerprint: UInt64, sequenceNumber: UInt64) -> Reference {
    let last = generations[generations.count - 1]
    if last.isFull {
      // As large as the last one became: growing copies all of it at once.
      generations.append(
        Generation(capacity: entriesPerGeneration, bodyBytes: last.bodyBytes + last.bodyBytes / 8))
    }
    let generation = generations[generations.count - 1]
    let entry = generation.insert(
      id, XXH64.hash(id.low, seed: id.high), fingerprint: fingerprint, sequenceNumber: sequenceNumber)
    return Reference(generation: dropped + generations.count - 1, entry: entry)
  }

  package struct Reference {
    fileprivate let generation: Int
    fileprivate let entry: Int
  }

  package mutating func setAnswer(_ reference: Reference, code: UInt8, body: UnsafeRawBufferPointer) {
    images &+= generations[reference.generation - dropped].setAnswer(
      reference.entry, code: code, body: body)
  }

  /// What was answered since the last call, in whatever order.
  package mutating func takeImages() -> UInt64 {
    defer { images = 0 }
    return images
  }

  /// Adds what SQLite holds, until ``forgetLoaded()``.
  package mutating func insertLoaded(
    _ id: RequestID, fingerprint: UInt64, sequenceNumber: UInt64, code: UInt8, body: UnsafeRawBufferPointer
  ) {
    let start = loadedBodies.count
    loadedBodies.append(body)
    loaded[id] = Loaded(
      sequenceNumber: sequenceNumber, fingerprint: fingerprint, code: code,
      body: start..<loadedBodies.count)
  }

  /// What was loaded was for one group, and stays in SQLite.
  package mutating func forgetLoaded() {
    guard !loaded.isEmpty else { return }
    loaded.removeAll()
    loadedBodies.removeAll()
  }

  /// Freezes what came since the last freeze; ``copyFrozen(atMost:)`` copies it. Every answer must
  /// have been set, and never changes.
  package mutating func freeze() {
    freezeEnd = (dropped + generations.count - 1, generations[generations.count - 1].count)
    // Growing on the way would copy all of it at once.
    var (rows, bytes) = (0, 0)
    for number in unfrozen.generation...freezeEnd.generation {
      let generation = generations[number - dropped]
      let first = number == unfrozen.generation ? unfrozen.entry : 0
      rows += generation.count - first
      bytes += generation.bodyBytes(from: first)
    }
    frozen.rows.reserveCapacity(rows)
    frozen.bodies.reserveCapacity(bytes)
  }

  /// Copies the next of what was frozen.
  ///
  /// - Returns: how many; less than `limit`: there are no more.
  package mutating func copyFrozen(atMost limit: Int) -> Int {
    var left = limit
    while left > 0, unfrozen.generation <= freezeEnd.generation {
      let generation = generations[unfrozen.generation - dropped]
      let end = unfrozen.generation == freezeEnd.generation ? freezeEnd.entry : generation.count
      if unfrozen.entry == end {
        guard unfrozen.generation < freezeEnd.generation else { break }
        unfrozen = (unfrozen.generation + 1, 0)
      } else {
        generation.copy(unfrozen.entry, to: &frozen)
        unfrozen.entry += 1
        left -= 1
      }
    }
    return limit - left
  }

  /// What was frozen, all of which must have been copied.
  package mutating func takeFrozen() -> FrozenRequests {
    precondition(unfrozen == freezeEnd, "a frozen request was not copied")
    defer { frozen = FrozenRequests() }
    return frozen
  }

  /// What ``freeze()`` returned is in SQLite: whole generations of it may go.
  ///
  /// - Parameter sequenceNumber: the last that is written.
  package mutating func written(through sequenceNumber: UInt64) {
    while generations.count > generationsMax, generations[0].sequenceNumberMax <= sequenceNumber,
      unfrozen.generation > dropped
    {
      horizon = max(horizon, generations[0].millisecondsMax + 1)
      generations.removeFirst()
      dropped += 1
    }
  }
}

/// Answered requests on their way to SQLite.
package struct FrozenRequests: Sendable {
  package struct Row: Sendable {
    package var id: RequestID
    package var sequenceNumber: UInt64
    package var fingerprint: UInt64
    package var code: UInt8
    package var bodyStart: Int
    package var bodyEnd: Int

    package init(
      id: RequestID, sequenceNumber: UInt64, fingerprint: UInt64, code: UInt8, bodyStart: Int, bodyEnd: Int
    ) {
      self.id = id
      self.sequenceNumber = sequenceNumber
      self.fingerprint = fingerprint
      self.code = code
      self.bodyStart = bodyStart
      self.bodyEnd = bodyEnd
    }
  }
  package var rows: [Row] = []
  package var bodies: [UInt8] = []
  package init() {}
}

/// A fixed number of entries, filled in order.
private final class Generation {
  let capacity: Int
  private(set) var count = 0
  private(set) var millisecondsMax: Int64 = 0
  private(set) var sequenceNumberMax: UInt64 = 0
  private let indexMask: Int
  private let index: UnsafeMutablePointer<UInt32>
  private let records: UnsafeMutablePointer<Record>
  private var bodies: ByteWriter

  private struct Record {
    var id: RequestID
    var fingerprint: UInt64
    var sequenceNumber: UInt64
    var bodyStart: Int
    var bodyCount: Int32  // -1: not answered yet
    var code: UInt8
  }

  /// - Parameter bodyBytes: of answers that are expected.
  init(capacity: Int, bodyBytes: Int = 0) {
    self.capacity = capacity
    var size = 16
    while size < capacity * 2 { size *= 2 }
    indexMask = size - 1
    index = .allocate(capacity: size)
    index.initialize(repeating: 0, count: size)
    records = .allocate(capacity: capacity)
    bodies = ByteWriter(capacity: max(bodyBytes, capacity * Self.bodyBytesExpected))
  }

  deinit {
    index.deallocate()
    records.deallocate()
  }

  /// In entries, or in bytes of answers.
  var isFull: Bool { count == capacity || bodies.count >= Self.bodyBytesMax }
  private static let bodyBytesMax = 32 << 20
  /// Of an answer to an order.
  private static let bodyBytesExpected = 64

  var bodyBytes: Int { bodies.count }

  /// Bytes of the answers from this entry on, where all are answered in their order; else about so many.
  func bodyBytes(from entry: Int) -> Int { entry < count ? bodies.count - records[entry].bodyStart : 0 }

  func find(_ id: RequestID, _ hash: UInt64) -> Int? {
    var place = Int(truncatingIfNeeded: hash) & indexMask
    while index[place] != 0 {
      let entry = Int(index[place]) - 1
      if records[entry].id == id { return entry }
      place = (place + 1) & indexMask
    }
    return nil
  }

  func insert(_ id: RequestID, _ hash: UInt64, fingerprint: UInt64, sequenceNumber: UInt64) -> Int {
    precondition(count < capacity)
    let entry = count
    (records + entry).initialize(
      to: Record(
        id: id, fingerprint: fingerprint, sequenceNumber: sequenceNumber, bodyStart: 0, bodyCount: -1,
        code: 0))
    count += 1
    millisecondsMax = max(millisecondsMax, id.milliseconds)
    sequenceNumberMax = max(sequenceNumberMax, sequenceNumber)
    var place = Int(truncatingIfNeeded: hash) & indexMask
    while index[place] != 0 { place = (place + 1) & indexMask }
    index[place] = UInt32(entry + 1)
    return entry
  }

  /// - Returns: the image of the request with its answer.
  func setAnswer(_ entry: Int, code: UInt8, body: UnsafeRawBufferPointer) -> UInt64 {
    records[entry].bodyStart = bodies.count
    records[entry].bodyCount = Int32(body.count)
    records[entry].code = code
    bodies.append(body)
    var image = RowImage()
    image.add(records[entry].id.high)
    image.add(records[entry].id.low)
    image.add(records[entry].fingerprint)
    image.add(records[entry].sequenceNumber)
    image.add(UInt64(code))
    image.add(body)
    return image.bits
  }

  private func body(_ record: Record) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      rebasing: bodies.bytes[record.bodyStart..<record.bodyStart + Int(record.bodyCount)])
  }

  func entry(_ entry: Int) -> AnsweredRequests.Entry {
    let record = records[entry]
    return AnsweredRequests.Entry(
      sequenceNumber: record.sequenceNumber, fingerprint: record.fingerprint,
      answer: record.bodyCount < 0 ? nil : (record.code, body(record)))
  }

  func copy(_ entry: Int, to frozen: inout FrozenRequests) {
    let record = records[entry]
    precondition(record.bodyCount >= 0, "a request was frozen before it was answered")
    let start = frozen.bodies.count
    frozen.bodies.append(contentsOf: body(record))
    frozen.rows.append(
      .init(
        id: record.id, sequenceNumber: record.sequenceNumber, fingerprint: record.fingerprint,
        code: record.code, bodyStart: start, bodyEnd: frozen.bodies.count))
  }
}
