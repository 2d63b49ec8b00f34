import Cluster
import ConfigurationManager
import Foundation
import Logging
import NodeProtocol
import NodeSupport
import Synchronization

/// The configuration store, on a thread of its own: it may be slow, or away, and who serves requests never
/// waits for it. It is told what to do, and reports what came of it.
///
/// It also keeps this dispatcher registered, campaigns for it, and looks for what others changed.
final class StoreThread: Sendable {
  enum Order: Sendable {
    case claim(node: String, folder: String)
    /// Refused where this dispatcher is not the controller, as what it asks a group for.
    case change(GroupChange)
    case ask(GroupProposal?, why: String, PartitionID, ifEpoch: Epoch)
    case open(PartitionID)
    /// A member's; `known` is the group as it was seen last.
    case question(ConfigurationQuestion, from: [UInt8], known: GroupRecord)
    /// A move has come about.
    case end(Move)
    /// An operator's.
    case operators(OperatorOrder, ticket: Int)
    /// Somebody knows of a later epoch.
    case look
  }

  enum Report: Sendable {
    /// nil: it could not be learnt.
    case claimed(node: String, folder: String, isOurs: Bool?)
    /// What holds now, and whether it is what was wanted. nil: the controller is another.
    case settled(PartitionID, GroupRecord?, isMade: Bool)
    case opened(PartitionID, Bool)
    /// Groups that changed.
    case seen([GroupRecord])
    /// To the connection that asked, and what the store was seen to hold.
    case answered(ConfigurationAnswer, to: [UInt8], GroupRecord?)
    case operators(OperatorOutcome, ticket: Int)
    /// What operators want, where it is not what it was.
    case plans(Plans)
    /// Up to when this dispatcher is the controller, on the steady clock; 0: it is not.
    case controller(until: Int64)
  }

  private static let leaseMilliseconds: Int64 = 5_000
  private static let lookMilliseconds: Int64 = 500
  private static let campaignMilliseconds: Int64 = 500
  private static let retryMilliseconds: Int64 = 250

  private struct Mailbox {
    var orders: [Order] = []
    var reports: [Report] = []
    var isStopping = false
  }

  private let mailbox = Mutex(Mailbox())
  private let hasReports = Atomic(false)
  private let wake = DispatchSemaphore(value: 0)
  private let thread = Mutex<NodeThread?>(nil)
  private let logger: Logger

  /// - Parameters:
  ///   - store: the thread's alone from now on.
  ///   - revision: up to which its groups are known.
  init(_ store: any ConfigurationManager, revision: UInt64, node: NodeRecord, logger: Logger) {
    self.logger = logger
    let box = Box(store)
    let thread = NodeThread("configuration") { [self] in
      let work = Work(store: box.store, node: node, revision: revision)
      run(work)
    }
    self.thread.withLock { $0 = thread }
  }

  /// Carries the store over to its thread.
  private struct Box: @unchecked Sendable {
    let store: any ConfigurationManager
    init(_ store: any ConfigurationManager) { self.store = store }
  }

  func tell(_ order: Order) {
    mailbox.withLock { $0.orders.append(order) }
    wake.signal()
  }

  /// What came of orders since it was asked last. Costs nothing where there is nothing.
  func reports() -> [Report] {
    guard hasReports.exchange(false, ordering: .acquiringAndReleasing) else { return [] }
    return mailbox.withLock { mailbox in
      defer { mailbox.reports.removeAll(keepingCapacity: true) }
      return mailbox.reports
    }
  }

  /// Gives up what it holds, and ends; within the store's bound on a few calls.
  func stop() {
    mailbox.withLock { $0.isStopping = true }
    wake.signal()
    thread.withLock { $0 }?.join()
  }

  // MARK: On the thread

  private final class Work {
    let store: any ConfigurationManager
    let node: NodeRecord
    var revision: UInt64
    var session: Session?
    var leadership: Leadership?
    var keepAliveAt: Int64 = 0
    var campaignAt: Int64 = 0
    var lookAt: Int64 = 0
    /// Changes of which nobody knows whether they were made.
    var unsettled: [PartitionID] = []
    var settleAt: Int64 = 0
    var isAway = false
    var plans: Plans?
    /// The objection that was logged last: who asks again and again fills no disk.
    var objection = ""

    init(store: any ConfigurationManager, node: NodeRecord, revision: UInt64) {
      self.store = store
      self.node = node
      self.revision = revision
    }

    /// Of a controller whose lease surely holds.
    var leads: Leadership? {
      guard let session, let leadership, leadership.session == session.id,
        SteadyClock.milliseconds() < session.expiresAt
      else { return nil }
      return leadership
    }
  }

  private func report(_ report: Report) {
    mailbox.withLock { $0.reports.append(report) }
    hasReports.store(true, ordering: .releasing)
  }

  private func run(_ work: Work) {
    while true {
      keepUp(work)
      let (orders, isStopping) = mailbox.withLock { mailbox in
        defer { mailbox.orders.removeAll() }
        return (mailbox.orders, mailbox.isStopping)
      }
      if isStopping { break }
      // Who serves waits for the members' questions.
      for order in orders.filter(\.isQuestion) + orders.filter({ !$0.isQuestion }) {
        carryOut(order, work)
        if mailbox.withLock({ $0.isStopping }) { break }
        // A lease does not wait for a long list.
        keepUp(work)
      }
      if orders.isEmpty { _ = wake.wait(timeout: .now() + .milliseconds(100)) }
    }
    if let session = work.session { try? work.store.end(session) }
  }

  /// What is due: the lease first.
  private func keepUp(_ work: Work) {
    let now = SteadyClock.milliseconds()
    if now >= work.keepAliveAt {
      work.keepAliveAt = now + Self.leaseMilliseconds / 3
      let isKept: Void? = attempt(work) { () throws(ConfigurationError) in try keepAlive(work) }
      if isKept == nil { work.keepAliveAt = now + Self.retryMilliseconds }
      // What is away is asked for one thing at a time.
      guard isKept != nil else { return }
    }
    if let session = work.session, now >= work.campaignAt {
      work.campaignAt = now + Self.campaignMilliseconds
      let isTold: Void? = attempt(work) { () throws(ConfigurationError) in try campaign(work, session) }
      guard isTold != nil else { return }
    }
    if now >= work.lookAt {
      work.lookAt = now + Self.lookMilliseconds
      let isSeen: Void? = attempt(work) { () throws(ConfigurationError) in try look(work) }
      guard isSeen != nil else { return }
    }
    if !work.unsettled.isEmpty, now >= work.settleAt {
      work.settleAt = now + Self.retryMilliseconds
      for partition in work.unsettled {
        settle(partition, work)
        if work.isAway { break }
      }
    }
  }

  /// - Returns: nil where the store said nothing.
  private func attempt<Value>(_ work: Work, _ body: () throws(ConfigurationError) -> Value) -> Value? {
    do {
      let value = try body()
      if work.isAway { logger.info("the cluster's configuration is in reach again") }
      work.isAway = false
      return value
    } catch {
      noteTrouble(error.description, work)
      return nil
    }
  }

  private func noteTrouble(_ why: String, _ work: Work) {
    guard !work.isAway else { return }
    work.isAway = true
    work.lookAt = min(work.lookAt, SteadyClock.milliseconds() + Self.retryMilliseconds)
    logger.warning("the cluster's configuration is out of reach; what serves goes on: \(why)")
  }

  private func keepAlive(_ work: Work) throws(ConfigurationError) {
    if let session = work.session {
      work.session = try work.store.keepAlive(session)
    }
    if work.session == nil {
      work.session = try work.store.register(work.node, milliseconds: Self.leaseMilliseconds)
      work.campaignAt = 0
    }
    if work.leads != nil { report(.controller(until: work.session!.expiresAt)) }
  }

  private func campaign(_ work: Work, _ session: Session) throws(ConfigurationError) {
    let had = work.leadership
    let present = try work.store.campaign(session, life: work.node.life)
    work.leadership = present?.session == session.id ? present : nil
    if work.leadership != nil, had == nil {
      logger.info("this dispatcher is the controller", metadata: ["revision": "\(present!.revision)"])
    } else if work.leadership == nil, had != nil {
      logger.info("this dispatcher is not the controller any more; that is \(present?.life ?? "nobody")")
    }
    if work.leadership != nil || had != nil {
      report(.controller(until: work.leads == nil ? 0 : session.expiresAt))
    }
  }

  private func look(_ work: Work) throws(ConfigurationError) {
    let view = try work.store.groups(since: work.revision)
    work.revision = view.revision
    if !view.groups.isEmpty { report(.seen(view.groups)) }
    let plans = try work.store.plans()
    if plans != work.plans { report(.plans(plans)) }
    work.plans = plans
  }

  private func carryOut(_ order: Order, _ work: Work) {
    switch order {
    case .claim(let node, let folder):
      // What is away won't be there for the next one of the list either.
      let isOurs =
        work.isAway
        ? nil
        : attempt(work) { () throws(ConfigurationError) in
          try work.store.claim(node: node, folder: folder)
        }
      report(.claimed(node: node, folder: folder, isOurs: isOurs))
    case .open(let partition):
      let isOpened: Void? =
        work.isAway
        ? nil : attempt(work) { () throws(ConfigurationError) in try work.store.markOpened(partition) }
      report(.opened(partition, isOpened != nil))
    case .look: work.lookAt = 0
    case .question(let question, let connection, let known):
      let (outcome, present) = answer(question, known: known, work)
      let answer = ConfigurationAnswer(
        number: question.number, partition: question.partition, outcome: outcome)
      report(.answered(answer, to: connection, present))
    case .operators(let wanted, let ticket):
      let outcome = carryOut(wanted, work)
      work.lookAt = 0
      switch outcome {
      // Whoever asks here after the answer sees what was done.
      case .done, .doneAt: keepUp(work)
      case .no, .history, .overtaken, .notAsked, .unknown: break
      }
      report(.operators(outcome, ticket: ticket))
    case .end(let move):
      _ =
        work.isAway
        ? nil
        : attempt(work) { () throws(ConfigurationError) in
          try work.store.setMove(nil, of: move.partition, insteadOf: move)
        }
      // Whatever became of it, what is planned is told again.
      work.plans = nil
      work.lookAt = min(work.lookAt, SteadyClock.milliseconds() + Self.retryMilliseconds)
    case .change(let change):
      settled(change.record.partition, work) { leadership in work.store.change(change, as: leadership) }
    case .ask(let proposal, let why, let partition, let epoch):
      settled(partition, work) { leadership in
        work.store.propose(proposal, why: why, to: partition, ifEpoch: epoch, as: leadership)
      }
    }
  }

  // MARK: Operators

  private func carryOut(_ order: OperatorOrder, _ work: Work) -> OperatorOutcome {
    guard !work.isAway else { return .notAsked }
    switch order {
    case .history(let partition, let epoch):
      let changes = attempt(work) { () throws(ConfigurationError) in
        try work.store.history(of: partition, before: epoch)
      }
      return changes.map { .history($0) } ?? .notAsked
    case .ask(let proposal, let partition, let epoch):
      switch work.store.propose(proposal, to: partition, ifEpoch: epoch, as: nil) {
      case .accepted: return .done
      case .refused, .deposed: return .overtaken
      case .unknown(let why):
        noteTrouble(why, work)
        return .unknown
      }
    case .plan(let plan, let node):
      let isSet: Void? = attempt(work) { () throws(ConfigurationError) in
        try work.store.setPlan(plan, for: node)
      }
      return isSet == nil ? .unknown : .done
    case .restart(let wanted): return restart(wanted, work)
    case .move(let move, let present): return plan(move, insteadOf: present, work) { $0 == move }
    case .takeBack(let move):
      return plan(move.undone, insteadOf: move, work) { $0 == nil || $0 == move.undone }
    }
  }

  /// - Parameter isDone: whether it is, where this is planned.
  private func plan(
    _ move: Move, insteadOf present: Move?, _ work: Work, isDone: (Move?) -> Bool
  ) -> OperatorOutcome {
    let planned = attempt(work) { () throws(ConfigurationError) in
      try work.store.setMove(move, of: move.partition, insteadOf: present)
    }
    guard let planned else { return .unknown }
    return isDone(planned) ? .done : .overtaken
  }

  private func restart(_ wanted: GroupRestart, _ work: Work) -> OperatorOutcome {
    let partition = wanted.present.partition
    guard
      let history = attempt(work, { () throws(ConfigurationError) in try work.store.history(of: partition) })
    else { return .notAsked }
    let committed = history.map(\.commitPoint).reduce(wanted.committed, max)
    guard wanted.isAccepted else {
      let number = partition.rawValue
      return .no(
        "\(wanted.node) has partition \(number) up to entry \(wanted.last) as far as is known, and entry \(committed) "
          + "was known to be committed: \(wanted.loss(committed)), with all that was answered in them. No member of "
          + "the group (\(wanted.present.members.joined(separator: ", "))) may come back with them later. If that is "
          + "so and there is no better copy: laris partition restart-from \(number) --node \(wanted.node) "
          + "--accept-loss \(number)")
    }
    let change = wanted.change(committed: committed, at: Clock.wallMilliseconds())
    switch work.store.change(change, as: nil) {
    case .accepted:
      logger.warning(
        "partition \(change.record.partition.rawValue): \(change.why)",
        metadata: ["epoch": "\(change.record.epoch.rawValue)"])
      return .doneAt(
        "partition \(partition.rawValue) goes on from \(wanted.node), which has entry \(wanted.last): "
          + "\(wanted.loss(committed)); its history keeps this")
    case .refused, .deposed: return .overtaken
    case .unknown(let why):
      noteTrouble(why, work)
      return .unknown
    }
  }

  /// As long as a reason may be.
  private static func cut(_ why: String) -> String {
    guard why.utf8.count > GroupChange.textBytesMax else { return why }
    var why = why
    while why.utf8.count > GroupChange.textBytesMax { why.removeLast() }
    return why
  }

  // MARK: Members' questions

  /// - Returns: what a member is told, and what the store was seen to hold.
  private func answer(
    _ question: ConfigurationQuestion, known: GroupRecord, _ work: Work
  ) -> (ConfigurationAnswer.Outcome, GroupRecord?) {
    guard !work.isAway else { return (.notAsked, nil) }
    func read() -> GroupRecord? {
      attempt(work) { () throws(ConfigurationError) in try work.store.group(question.partition) }
    }
    guard case .change(let record, let why, let committed) = question.what else {
      guard let present = read() else { return (.unknown, nil) }
      return (.read(present), present)
    }
    // What was seen last will do, unless it speaks against the change: it may be old.
    var present = known
    if objection(to: record, of: present, question) != nil {
      guard let read = read() else { return (.notAsked, nil) }
      present = read
      if let objection = objection(to: record, of: present, question) {
        noteRefusal(objection, of: record, present, question, work)
        return (.refused(present), present)
      }
    }
    let isHandover = present.primary == question.node && record.primary != question.node
    // Why it was asked to is in the store, and what was seen last may be older.
    if isHandover, present.proposal == nil { present = read() ?? present }
    var story = why
    if isHandover, !present.proposalWhy.isEmpty, present.proposal == record.primary.map({ .switchover($0) }) {
      story = Self.cut("\(why); \(present.proposalWhy)")
    }
    let change = GroupChange(
      record, why: story, by: question.life, commitPoint: committed, at: Clock.wallMilliseconds())
    switch work.store.change(change, as: nil) {
    case .accepted:
      var made = record
      made.isOpened = present.isOpened
      logger.info(
        "partition \(record.partition.rawValue): \(story)",
        metadata: ["epoch": "\(record.epoch.rawValue)", "by": "\(question.node)"])
      return (.accepted(made), made)
    case .refused(let present): return (.refused(present), present)
    case .unknown(let why):
      noteTrouble(why, work)
      return (.unknown, nil)
    case .deposed: return (.unknown, nil)
    }
  }

  /// After a failover several want to be the primary, and one comes first: the others' refusal is no fault.
  private func noteRefusal(
    _ objection: String, of record: GroupRecord, _ present: GroupRecord, _ question: ConfigurationQuestion,
    _ work: Work
  ) {
    guard objection != work.objection else { return }
    work.objection = objection
    guard present.epoch >= record.epoch else {
      return logger.warning("a change was refused: \(objection)")
    }
    logger.info(
      """
      partition \(record.partition.rawValue): \(question.node) came too late with a change to epoch \(record.epoch.rawValue); \
      the primary is \(present.primary ?? "nobody")
      """, metadata: ["epoch": "\(present.epoch.rawValue)"])
  }

  private func objection(
    to record: GroupRecord, of present: GroupRecord, _ question: ConfigurationQuestion
  ) -> String? {
    present.objection(to: record, by: question.node, question.incarnation)
  }

  // MARK: The controller

  private func settled(_ partition: PartitionID, _ work: Work, _ body: (Leadership) -> ChangeOutcome) {
    guard let leadership = work.leads else { return report(.settled(partition, nil, isMade: false)) }
    // It may come back meanwhile; whoever wants this still wants it then.
    guard !work.isAway else { return work.unsettled.append(partition) }
    switch body(leadership) {
    case .accepted:
      // Whether it is opened, and what it is asked for, is not the change's to say.
      if let present = attempt(work, { () throws(ConfigurationError) in try work.store.group(partition) }) {
        report(.settled(partition, present, isMade: true))
      } else {
        work.unsettled.append(partition)
      }
    case .refused(let present): report(.settled(partition, present, isMade: false))
    case .deposed:
      work.leadership = nil
      work.campaignAt = 0
      report(.controller(until: 0))
      report(.settled(partition, nil, isMade: false))
    case .unknown(let why):
      noteTrouble(why, work)
      settle(partition, work)
    }
  }

  /// Nothing else is done with the group until it was read (rule 7).
  private func settle(_ partition: PartitionID, _ work: Work) {
    work.unsettled.removeAll { $0 == partition }
    guard let present = attempt(work, { () throws(ConfigurationError) in try work.store.group(partition) })
    else {
      work.unsettled.append(partition)
      work.settleAt = SteadyClock.milliseconds() + Self.retryMilliseconds
      return
    }
    report(.settled(partition, present, isMade: false))
  }
}

extension StoreThread.Order {
  fileprivate var isQuestion: Bool { if case .question = self { true } else { false } }
}
