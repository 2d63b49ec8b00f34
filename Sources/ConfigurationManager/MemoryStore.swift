import Cluster
import Synchronization

/// A configuration that is gone with the process: for simulations and tests. Its clock is an argument.
package final class MemoryStore: ConfigurationManager {
  /// What several of them share, as processes share a store.
  package final class Content: Sendable {
    fileprivate let state: Mutex<ConfigurationState>
    package init(_ cluster: ClusterRecord) { state = Mutex(ConfigurationState(cluster)) }
  }

  package let cluster: ClusterRecord
  private let content: Content
  private let now: () -> Int64

  package init(_ content: Content, now: @escaping () -> Int64) {
    self.content = content
    self.now = now
    cluster = content.state.withLock { $0.cluster }
  }

  package func groups(since revision: UInt64?) -> GroupsView {
    content.state.withLock { $0.groups(since: revision) }
  }
  package func group(_ partition: PartitionID) -> GroupRecord {
    content.state.withLock { $0.group(partition) }
  }
  package func history(of partition: PartitionID, before epoch: Epoch?) -> [GroupChange] {
    content.state.withLock { $0.history(of: partition, before: epoch) }
  }

  package func change(_ change: GroupChange, as controller: Leadership?) -> ChangeOutcome {
    let now = now()
    return content.state.withLock { $0.change(change, as: controller, now: now) }
  }
  package func propose(
    _ proposal: GroupProposal?, why: String, to partition: PartitionID, ifEpoch epoch: Epoch,
    as controller: Leadership?
  ) -> ChangeOutcome {
    let now = now()
    return content.state.withLock {
      $0.propose(proposal, why: why, to: partition, ifEpoch: epoch, as: controller, now: now)
    }
  }

  package func markOpened(_ partition: PartitionID) { content.state.withLock { $0.markOpened(partition) } }
  package func claim(node: String, folder: String) -> Bool {
    content.state.withLock { $0.claim(node: node, folder: folder) }
  }

  package func plans() -> Plans { content.state.withLock { $0.plans } }
  package func setPlan(_ plan: Plans.Worker?, for node: String) {
    content.state.withLock { $0.setPlan(plan, for: node) }
  }
  package func setMove(_ move: Move?, of partition: PartitionID, insteadOf present: Move?) -> Move? {
    content.state.withLock { $0.setMove(move, of: partition, insteadOf: present) }
  }

  package func register(_ node: NodeRecord, milliseconds: Int64) -> Session {
    let now = now()
    return content.state.withLock { $0.register(node, milliseconds: milliseconds, now: now) }
  }
  package func keepAlive(_ session: Session) -> Session? {
    let now = now()
    return content.state.withLock { $0.keepAlive(session, now: now) }
  }
  package func end(_ session: Session) { content.state.withLock { $0.end(session) } }
  package func nodes() -> [NodeRecord] {
    let now = now()
    return content.state.withLock { $0.nodes(now: now) }
  }
  package func campaign(_ session: Session, life: String) -> Leadership? {
    let now = now()
    return content.state.withLock { $0.campaign(session, life: life, now: now) }
  }
  package func controller() -> Leadership? {
    let now = now()
    return content.state.withLock { $0.controller(now: now) }
  }
  package func resign(_ leadership: Leadership) { content.state.withLock { $0.resign(leadership) } }
}
