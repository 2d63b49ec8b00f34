import Cluster
import DurablePartition
import Logging
import PartitionStore

/// A secondary's part of a comparison: it holds its checkpoints back, writes one of the entry that the primary names,
/// and says what its tables hold. Its partition's thread's.
struct AuditStand {
  private enum State {
    case idle
    case holding
    /// For the entry to be in SQLite.
    case waiting(SequenceNumber)
    case reading(BackgroundReading<TablesDigest>)
    case over(AuditMessage.Told)
  }

  /// How long it is held still for a primary that says nothing more.
  private static let patienceMilliseconds: Int64 = 3_000

  private let setup: DurablePartition.Setup
  private let logger: Logger
  private var state = State.idle
  private var round: UInt64 = 0
  private var primary = ""
  private var heardAt: Int64 = .min / 2

  init(_ setup: DurablePartition.Setup, logger: Logger) {
    self.setup = setup
    self.logger = logger
  }

  /// Something is to be done soon.
  var isBusy: Bool {
    switch state {
    case .idle, .over: false
    case .holding, .waiting, .reading: true
    }
  }

  private var isIdle: Bool { if case .idle = state { true } else { false } }

  /// No checkpoint may be begun but the one that was asked for.
  var holdsCheckpoints: Bool {
    switch state {
    case .idle, .over: false
    case .holding, .waiting: true
    case .reading(let reading): !reading.isBegun
    }
  }

  /// - Returns: the answer; nil: none yet.
  mutating func hear(
    _ message: AuditMessage, from node: String, _ durable: inout DurablePartition, now: Int64
  ) -> AuditMessage? {
    switch message {
    case .hold(let number):
      if number != round || isIdle {
        durable.freezeNoMore()
        state = .holding
        round = number
        primary = node
      }
      heardAt = now
      return durable.isCheckpointing ? nil : .holds(round: number)
    case .compare(let number, let sn):
      guard number == round else { return .told(round: number, .missed) }
      heardAt = now
      switch state {
      case .idle: state = .over(.missed)
      case .holding:
        let mayStop = !durable.isCheckpointing && !durable.needsRebuild && durable.freeze(at: sn)
        state = mayStop ? .waiting(sn) : .over(.missed)
      case .waiting, .reading, .over: break
      }
      return .told(round: round, told)
    case .holds, .told: return nil
    }
  }

  private var told: AuditMessage.Told {
    switch state {
    case .idle, .holding, .waiting, .reading: .working
    case .over(let told): told
    }
  }

  /// Goes on with what was asked.
  ///
  /// - Returns: what is to be sent to the primary, if anything.
  mutating func turn(
    _ durable: inout DurablePartition, now: Int64
  ) -> (node: String, message: AuditMessage)? {
    switch state {
    case .idle, .over: return nil
    case .holding:
      if now - heardAt >= Self.patienceMilliseconds { state = .idle }
      return nil
    case .waiting(let sn):
      if durable.checkpointed == sn, !durable.isCheckpointing {
        let (path, window, files) = (setup.databasePath, setup.windowMilliseconds, setup.files)
        state = .reading(
          BackgroundReading("audit") {
            try TablesDigest(path: path, windowMilliseconds: window, files: files, began: $0, mayGoOn: $1)
          })
      } else if durable.checkpointed > sn || now - heardAt >= Self.patienceMilliseconds {
        durable.freezeNoMore()
        state = .over(.missed)
      }
      return nil
    case .reading(let reading):
      switch reading.result {
      case nil: return nil
      case .success(let digest)?: state = .over(.found(digest))
      case .failure(let error)?:
        logger.error("partition \(setup.partition.rawValue): its tables can't be compared: \(error)")
        state = .over(.failed)
      }
      return (primary, .told(round: round, told))
    }
  }
}
