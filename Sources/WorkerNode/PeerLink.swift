import Cluster
import ZeroMQ

/// A partition's way to its peers. Its thread's only.
package final class PeerLink {
  private let partition: PartitionID
  private let hub: PeerHub
  private let inbox: PeerInbox

  /// What comes for the partition from now on is this link's.
  package init(partition: PartitionID, hub: PeerHub) {
    self.partition = partition
    self.hub = hub
    inbox = PeerInbox(desk: PeerDesk(whenOpened: hub.wake.set))
    hub.register(inbox, partition)
  }

  deinit {
    inbox.desk.close()
    hub.remove(inbox, partition)
  }

  /// Sends a message, or drops it: where the node is not known or not connected, or does not read.
  /// `PeerHub.counts` says which. Never waits.
  package func send(_ bytes: UnsafeRawBufferPointer, to node: String) { hub.send(bytes, to: node) }

  /// What waits next; nil: nothing does. A message is in `frame` then.
  package func receive(into frame: PeerFrame) -> PeerEvent? { inbox.take(into: frame) }

  /// What stands in for the thread while it waits for its disk, once it makes its steps there.
  package var desk: PeerDesk { inbox.desk }

  /// For `Socket.wait`: has input as long as something waits.
  package var pollItem: PollItem { PollItem(descriptor: inbox.descriptor) }
}
