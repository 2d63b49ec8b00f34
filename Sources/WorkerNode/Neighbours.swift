import Bytes
import Cluster
import DurablePartition
import Logging
import NodeProtocol
import NodeSupport
import Replication
import Wire
import ZeroMQ

/// Whom a partition's replica talks to: other replicas, and the configuration manager through any dispatcher.
/// Its thread's only.
final class Neighbours: Surroundings {
  let links: [DispatcherLink]
  let peers: PeerLink
  private let setup: PartitionNode.Setup
  private let logger: Logger

  /// What the manager has said, for the replica to hear.
  enum News {
    case read(GroupRecord)
    case changeEnded(GroupRecord, Replica.SwapOutcome)
  }
  private var news: [News] = []
  private var questions: UInt64 = 0
  /// Of the last read, and of changes that were asked for lately.
  private var reading: UInt64 = 0
  private var changes: [(number: UInt64, record: GroupRecord)] = []
  /// Which dispatcher is asked first: the one that took the last question, as long as it answers.
  private var preferred = 0
  /// The last question that was not answered yet; 0: none.
  private var unanswered: UInt64 = 0
  private var unansweredSince: Int64 = 0
  /// Less than the replica waits before it looks at what became of a change.
  private static let patienceMilliseconds: Int64 = 250

  private(set) var activity: Replica.Activity = .inactive(.configurationUnknown)
  /// The activity is another than it was when this was looked at.
  var hasActivityChanged = true
  private(set) var snapshotsOffered: [String] = []
  private(set) var snapshotWantedFrom: String?
  /// What somebody must look at; stays until the process ends.
  private(set) var lastAlarm = ""

  init(_ setup: PartitionNode.Setup, links: [DispatcherLink], peers: PeerLink, logger: Logger) {
    self.setup = setup
    self.links = links
    self.peers = peers
    self.logger = logger
  }

  private var partition: PartitionID { setup.partition.partition }

  // MARK: Surroundings

  var now: Int64 { Clock.steadyMilliseconds() }

  func step<Result: Sendable>(_ replica: inout Replica, _ body: (inout Replica) -> Result) -> Result {
    peers.desk.step(&replica, body)
  }

  func send(_ message: UnsafeRawBufferPointer, to node: String) { peers.send(message, to: node) }

  func readConfiguration() {
    questions += 1
    if ask(.read) { reading = questions }
  }

  func compareAndSwap(_ record: GroupRecord, why: String, committed: SequenceNumber) {
    questions += 1
    guard ask(.change(record, why: why, committed: committed)) else {
      return news.append(.changeEnded(record, .notAsked))
    }
    changes.append((questions, record))
    if changes.count > 8 { changes.removeFirst() }
  }

  func activityChanged(_ activity: Replica.Activity) {
    self.activity = activity
    hasActivityChanged = true
  }

  func alarm(_ alarm: Replica.Alarm) {
    lastAlarm = alarm.sentence
    logger.critical("partition \(partition.rawValue): \(alarm.sentence)")
  }

  func offerSnapshot(to node: String) { snapshotsOffered.append(node) }
  func wantSnapshot(from node: String) { snapshotWantedFrom = node }

  func takeSnapshotsOffered() -> [String] {
    defer { snapshotsOffered.removeAll() }
    return snapshotsOffered
  }

  func takeSnapshotWanted() -> String? {
    defer { snapshotWantedFrom = nil }
    return snapshotWantedFrom
  }

  // MARK: The configuration manager

  /// - Returns: whether a dispatcher took the question.
  private func ask(_ what: ConfigurationQuestion.What) -> Bool {
    let question = ConfigurationQuestion(
      cluster: setup.partition.cluster, node: setup.partition.node, incarnation: setup.partition.incarnation,
      number: questions, partition: partition, what: what)
    // A link takes messages long before it is known to be broken, so one that stays silent is the wrong one.
    if unanswered != 0, now - unansweredSince >= Self.patienceMilliseconds {
      preferred = (preferred + 1) % links.count
    }
    do {
      let frame = try question.frame()
      for offset in links.indices {
        let place = (preferred + offset) % links.count
        if try frame.withUnsafeBytes({ try links[place].send($0) }) {
          preferred = place
          unanswered = questions
          unansweredSince = now
          return true
        }
      }
    } catch {
      logger.error("partition \(partition.rawValue): the configuration could not be asked for: \(error)")
    }
    return false
  }

  /// A dispatcher's frame of the kind.
  func hear(_ frame: UnsafeRawBufferPointer, from link: Int) {
    do {
      let answer = try ConfigurationAnswer(frame)
      guard answer.partition == partition else { return }
      if answer.number == unanswered { unanswered = 0 }
      if answer.number == reading, case .read(let record) = answer.outcome {
        reading = 0
        return news.append(.read(record))
      }
      guard let place = changes.firstIndex(where: { $0.number == answer.number }) else {
        // A dispatcher that is of no use now; another may be.
        if answer.number == reading { preferred = (link + 1) % links.count }
        return
      }
      let record = changes.remove(at: place).record
      switch answer.outcome {
      case .accepted: news.append(.changeEnded(record, .accepted))
      case .refused(let present?): news.append(.changeEnded(record, .refused(present)))
      case .notAsked:
        preferred = (link + 1) % links.count
        news.append(.changeEnded(record, .notAsked))
      case .refused(nil), .unknown, .read: news.append(.changeEnded(record, .unknown))
      }
    } catch {
      logger.warning("a dispatcher's reply about the configuration was dropped: \(error)")
    }
  }

  func takeNews() -> [News] {
    defer { news.removeAll(keepingCapacity: true) }
    return news
  }
}

extension Replica.Alarm {
  /// What a person must know.
  var sentence: String {
    switch self {
    case .divergence(let sn):
      "entry \(sn) is committed here and is another one in the group: this replica stops, its files stay as "
        + "they are"
    case .quarantined(let sn):
      "entry \(sn) was committed here and is another one in the group: what is here is set aside"
    case .digest(let sn):
      "the same entries up to \(sn) made other rows here than at the primary: this replica stops, its files stay "
        + "as they are until the worker is started again; laris audit says where others differ"
    case .clockAhead(let milliseconds):
      "the primary's clock is \(milliseconds) ms ahead of this one; set the machines' clocks"
    case .foreignCluster(let node): "\(node) sends messages of another cluster"
    case .configurationLost(let epoch):
      "the configuration store is at \(epoch), behind this replica: it is not the store that it followed"
    case .epochNotDurable(let epoch): "\(epoch) could not be written to the disk"
    }
  }
}

extension Replica.Activity {
  /// For a status.
  var sentence: String {
    switch self {
    case .active: ""
    case .suspended(let why): why.rawValue
    case .following, .learning: ""
    case .inactive(let why): why.rawValue
    }
  }
}

extension Replica {
  /// For a status.
  var roleName: String {
    switch role {
    case .primary: "primary"
    case .secondary: "secondary"
    case .learner: "learner"
    case .inactive: "inactive"
    }
  }
}
