import Bytes
import Foundation
import TestSupport

/// A run over one target in one process. A trap ends the process: ``Campaign`` looks after that.
package struct Session: ~Copyable {
  /// One input may not take more than this, in processor time and in memory.
  package static let secondsMax = 2.0
  package static let memoryMax = 192 << 20
  /// Of all address space: an allocation that a length in the input asks for fails then.
  package static let addressSpaceMax = UInt(4) << 30

  package struct Tally: Sendable {
    package var inputs = 0
    package var outcomes = 0
  }

  private let target: any FuzzTarget
  private let input = GuardedInput(count: 4 << 20)
  private let record: InputRecord?
  private var mutator: Mutator
  private var pool: [[UInt8]]
  private var outcomes: Set<String> = []
  package private(set) var tally = Tally()
  /// Told of every new outcome, with the input.
  package var onOutcome: ((String, [UInt8]) -> Void)?

  /// - Parameters:
  ///   - known: past findings and the like, which are run first.
  ///   - record: where each input is noted before it is run.
  package init(_ target: any FuzzTarget, seed: UInt64, known: [[UInt8]], record: InputRecord?) throws {
    self.target = target
    self.record = record
    var random = SplitMix64(seed: seed)
    pool = try target.seeds(&random) + known
    mutator = Mutator(seed: random.next(), words: target.words)
  }

  /// Runs what is known as it is, then mutations of it, until one of the two is reached.
  ///
  /// - Throws: ``Finding``.
  package mutating func run(inputs: Int?, seconds: Double?) throws {
    let end = seconds.map { Self.now(CLOCK_MONOTONIC) + $0 }
    for bytes in pool { try run(bytes) }
    while tally.inputs < inputs ?? .max {
      if let end, tally.inputs % 16 == 0, Self.now(CLOCK_MONOTONIC) >= end { break }
      var bytes = mutator.input(from: pool)
      target.repair(&bytes, &mutator.random)
      if try run(bytes), pool.count < 4_096 { pool.append(bytes) }
    }
  }

  /// - Returns: whether its outcome is a new one.
  @discardableResult
  package mutating func run(_ bytes: [UInt8]) throws -> Bool {
    record?.note(bytes)
    tally.inputs += 1
    let (memory, time) = (Self.peakMemory(), Self.now(CLOCK_THREAD_CPUTIME_ID))
    let outcome: String
    do {
      outcome = try input.with(bytes) { try target.run($0) }
    } catch let finding as Finding {
      throw finding
    } catch { throw Finding("an error that nobody expects: \(error)") }
    let seconds = Self.now(CLOCK_THREAD_CPUTIME_ID) - time
    guard seconds <= Self.secondsMax else { throw Finding("\(bytes.count) bytes took \(seconds) s") }
    let grown = Self.peakMemory() - memory
    guard grown <= Self.memoryMax else { throw Finding("\(bytes.count) bytes took \(grown >> 20) MiB") }
    guard outcomes.insert(outcome).inserted else { return false }
    tally.outcomes = outcomes.count
    onOutcome?(outcome, bytes)
    return true
  }

  private static func now(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// Bytes.
  private static func peakMemory() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss << 10
  }

  /// For the whole process.
  package static func limitMemory() {
    var limit = rlimit(rlim_cur: rlim_t(addressSpaceMax), rlim_max: rlim_t(addressSpaceMax))
    setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
    // A trap is a finding, not a file of gigabytes.
    limit = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
  }
}

/// The input that is being run, in a file that outlives its process: `number u64 | length u64 | bytes`.
package struct InputRecord {
  private static let room = 4 << 20
  private let base: UnsafeMutableRawPointer

  package init(path: String) throws {
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0, ftruncate(descriptor, off_t(Self.room)) == 0 else {
      throw Finding("\(path): \(String(cString: strerror(errno)))")
    }
    defer { _ = Foundation.close(descriptor) }
    let map = mmap(nil, Self.room, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let map, map != MAP_FAILED else { throw Finding("\(path): \(String(cString: strerror(errno)))") }
    base = map
  }

  func note(_ bytes: [UInt8]) {
    precondition(bytes.count <= Self.room - 16)
    base.storeBytes(of: UInt64(bytes.count), toByteOffset: 8, as: UInt64.self)
    bytes.withUnsafeBytes {
      if let from = $0.baseAddress { (base + 16).copyMemory(from: from, byteCount: $0.count) }
    }
    base.storeBytes(of: number + 1, as: UInt64.self)
  }

  /// How many inputs were noted.
  var number: UInt64 { base.load(as: UInt64.self) }

  var bytes: [UInt8] {
    let count = min(Int(base.load(fromByteOffset: 8, as: UInt64.self)), Self.room - 16)
    return Array(UnsafeRawBufferPointer(start: base + 16, count: count))
  }

  func close() { munmap(base, Self.room) }
}
