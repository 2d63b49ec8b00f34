import Cluster
import DispatcherCore

/// A dispatcher's machine, and the process that runs there or does not.
final class Dispatcher {
  let name: String
  let place: Int
  var process: DispatcherProcess?
  var incarnation: UInt64
  var pausedUntil: Int64 = 0
  /// Until then the manager is out of its reach.
  var cutOffUntil: Int64 = 0

  init(name: String, place: Int) {
    self.name = name
    self.place = place
    incarnation = UInt64(place + 101) << 32
  }
}

/// One life of a dispatcher: the production cores, and what its threads keep besides.
final class DispatcherProcess {
  struct Heard {
    let incarnation: UInt64
    let at: Int64
    let holds: Bool
  }

  let node: NodeRecord
  var core: DispatcherCore
  /// The group as it was seen last, and up to where that was looked.
  var group = GroupRecord.unplaced(Process.partition)
  var revision: UInt64?
  var plans: Plans?
  /// By place, of workers that said something.
  var workers: [Heard?]
  var controller: Controller
  var session: Session?
  var leadership: Leadership?
  /// Something was asked of the manager for the group, and nothing is known of it yet.
  var isChanging = false
  var lookedAt: Int64 = 0

  init(
    _ node: NodeRecord, workers: Int, _ terms: Controller.Terms, limits: DispatcherCore.Limits
  ) {
    self.node = node
    core = DispatcherCore(partitions: 1, incarnation: node.incarnation, limits: limits)
    self.workers = Array(repeating: nil, count: workers)
    controller = Controller(terms)
  }

  /// Of a controller whose lease surely holds.
  func leads(now: Int64) -> Leadership? {
    guard let session, let leadership, leadership.session == session.id, now < session.expiresAt else {
      return nil
    }
    return leadership
  }
}

/// The connection between a dispatcher and a worker's partition.
struct Line {
  /// Grows with every one that is made: what was on its way over an earlier one is lost.
  var number: UInt64 = 0
  /// Until then there is none.
  var upAt: Int64 = 0
  /// What is sent is taken, and never comes.
  var isCut = false
  /// Nothing overtakes.
  var freeAt: Int64 = 0
  var freeBackAt: Int64 = 0
}

/// What a worker says to a dispatcher.
enum WorkerFrame {
  /// Hello, answers, stale: as they are on the wire.
  case bytes([UInt8])
  /// Of the process: it is there.
  case beacon(holds: Bool)
  case question(Question)
}

/// What a replica asks of the configuration manager.
struct Question {
  enum What {
    case read
    case change(GroupRecord, why: String, committed: SequenceNumber)
  }
  let node: String
  let incarnation: Incarnation
  let number: UInt64
  let what: What
}

/// What a dispatcher says to a worker's partition.
enum DispatcherFrame {
  case batch([UInt8])
  case told(GroupRecord)
  case answer(UInt64, Answer)

  enum Answer {
    case read(GroupRecord)
    case accepted
    case refused(GroupRecord)
    case unknown
    case notAsked
  }
}

/// What a dispatcher's second thread asks of the manager.
enum StoreOrder {
  /// Its lease, whether it is the controller, and what others changed.
  case keepUp
  case look
  /// What became of a change of unknown outcome.
  case settle
  case open
  case step(Controller.Step)
  case end(Move)
  case question(Question, worker: Int)
}
