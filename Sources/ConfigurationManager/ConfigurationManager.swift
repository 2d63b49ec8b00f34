import Cluster

/// Where a cluster's configuration is the truth: a linearizable read and a compare-and-swap.
/// Never on the data path. Opened for one cluster, which never changes; used by one thread at a time.
///
/// Every call ends within the store's own bound on time, whatever is wrong with it. Every call but a
/// read may be made again after it failed: once done it is done, and says so again.
package protocol ConfigurationManager: AnyObject {
  var cluster: ClusterRecord { get }

  /// Groups as they are now. With a revision: those that changed after it, and maybe others.
  func groups(since revision: UInt64?) throws(ConfigurationError) -> GroupsView
  func group(_ partition: PartitionID) throws(ConfigurationError) -> GroupRecord

  /// Replaces a group's record if its epoch is still the one before, and keeps who, why and when.
  ///
  /// - Parameters:
  ///   - change: sound: ``GroupChange/problem`` is nil, and the cluster has its partition.
  ///   - controller: whoever asks as the controller; nil: as a member of the group.
  func change(_ change: GroupChange, as controller: Leadership?) -> ChangeOutcome

  /// Asks a group's primary for something, or for nothing any more, while its epoch is `epoch`.
  ///
  /// - Parameter why: at most ``GroupChange/textBytesMax`` bytes.
  func propose(
    _ proposal: GroupProposal?, why: String, to partition: PartitionID, ifEpoch epoch: Epoch,
    as controller: Leadership?
  ) -> ChangeOutcome

  /// Rule 7: every change of a group is kept. The latest ones before `epoch`, or of all, the oldest first, at most
  /// ``GroupChange/historyPage``.
  func history(
    of partition: PartitionID, before epoch: Epoch?
  ) throws(ConfigurationError) -> [GroupChange]

  /// Notes that a partition serves, before it gets its first request: its data exists from now on.
  func markOpened(_ partition: PartitionID) throws(ConfigurationError)

  /// Gives a node's name to a data folder, for ever, if nobody has it yet.
  ///
  /// - Returns: whether the name is this folder's.
  func claim(node: String, folder: String) throws(ConfigurationError) -> Bool

  // MARK: What operators want

  func plans() throws(ConfigurationError) -> Plans

  /// What is to become of a worker, instead of what was planned for it. Its name is sound.
  func setPlan(_ plan: Plans.Worker?, for node: String) throws(ConfigurationError)

  /// Plans a move, or none any more, if `present` is what is planned.
  ///
  /// - Returns: what is planned then: `move`, unless somebody else planned otherwise.
  func setMove(
    _ move: Move?, of partition: PartitionID, insteadOf present: Move?
  ) throws(ConfigurationError) -> Move?

  // MARK: Who is there

  /// A node says that it is there, until the lease runs out. A later one of the same kind and name
  /// takes its place.
  func register(_ node: NodeRecord, milliseconds: Int64) throws(ConfigurationError) -> Session
  /// - Returns: nil where the lease has run out: register again.
  func keepAlive(_ session: Session) throws(ConfigurationError) -> Session?
  /// Gives the lease up, and what stands under it.
  func end(_ session: Session) throws(ConfigurationError)
  /// By kind and name.
  func nodes() throws(ConfigurationError) -> [NodeRecord]

  /// Wants to be the controller.
  ///
  /// - Returns: who is: maybe another. nil: nobody, because the session has run out.
  func campaign(_ session: Session, life: String) throws(ConfigurationError) -> Leadership?
  func controller() throws(ConfigurationError) -> Leadership?
  func resign(_ leadership: Leadership) throws(ConfigurationError)
}

extension ConfigurationManager {
  /// The latest changes.
  package func history(of partition: PartitionID) throws(ConfigurationError) -> [GroupChange] {
    try history(of: partition, before: nil)
  }

  package func propose(
    _ proposal: GroupProposal?, to partition: PartitionID, ifEpoch epoch: Epoch, as controller: Leadership?
  ) -> ChangeOutcome {
    propose(proposal, why: "", to: partition, ifEpoch: epoch, as: controller)
  }

  /// All groups, by partition.
  package func groups() throws(ConfigurationError) -> [GroupRecord] { try groups(since: nil).groups }
}
