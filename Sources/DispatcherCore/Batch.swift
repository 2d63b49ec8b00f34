import Bytes
import Cluster
import Wire

/// Requests for one partition that go together.
final class Batch {
  struct Item {
    /// Whose it is.
    let message: Int
    let index: Int
    let id: RequestID
    let deadline: Int64
    /// Of the channel, see ``Admission``.
    let slot: UInt8
    /// Where its deadline stands in the frame.
    let deadlineOffset: Int
    /// The client has its answer, or was told that there is none.
    var isAnswered = false
    /// The partition has answered.
    var isSettled = false
  }

  let number: UInt64
  var frame = ByteWriter(capacity: 4096)
  var items: [Item] = []
  var settled = 0
  /// The earliest of those that are not answered.
  var deadline = Int64.max
  var sentAt: Int64 = 0
  /// In which it was sent last, and how often it was sent in it.
  private(set) var epoch = Epoch(0)
  private(set) var copies = 0

  init(_ header: BatchHeader) {
    number = header.number
    header.write(.batch, into: &frame)
  }

  /// Of the requests alone.
  var requestBytes: Int { frame.count - BatchHeader.size - BatchItem.overhead * items.count }

  func add(
    _ bytes: UnsafeRawBufferPointer, message: Int, index: Int, id: RequestID, slot: Int, deadline: Int64
  ) {
    let offset = frame.count + 4
    BatchItem.write(bytes, deadlineMilliseconds: 0, into: &frame)
    items.append(
      Item(
        message: message, index: index, id: id, deadline: deadline, slot: UInt8(slot), deadlineOffset: offset)
    )
    self.deadline = min(self.deadline, deadline)
  }

  /// Makes the frame ready to be sent now, for the first time or again: what the caller has
  /// given up gets a deadline of 0, so that it is not begun any more.
  func seal(epoch: Epoch, after: UInt64, now: Int64) {
    copies = epoch == self.epoch ? copies + 1 : 1
    self.epoch = epoch
    BatchHeader.setCount(items.count, in: &frame)
    BatchHeader.set(epoch, after: after, in: &frame)
    for item in items {
      let left = item.isAnswered ? 0 : max(0, item.deadline - now)
      frame.patch(UInt32(min(left, Int64(UInt32.max))), at: item.deadlineOffset)
    }
    sentAt = now
  }
}
