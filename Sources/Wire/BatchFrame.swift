import Bytes
import Cluster

/// The frames between a dispatcher and a partition. Little endian; every one begins with
/// `kind u8 | version u8 | partition u16`, but for those in protobuf: `kind u8 | version u8 | message`.
///
/// | name | sender | receiver | when |
/// | --- | --- | --- | --- |
/// | beacon | worker | dispatcher | at its start and some times a second (protobuf, `Beacon`) |
/// | assignment | dispatcher | worker | in answer (protobuf, `Assignment`) |
/// | hello | partition | dispatcher | when it begins to serve, and some times a second |
/// | batch | dispatcher | partition | when requests wait and the partition has credit |
/// | answers | partition | dispatcher | when what it answers is durable |
/// | stale | partition | dispatcher | a batch came with a lower epoch than its own |
/// | configuration request | partition | dispatcher | it reads or changes its group (protobuf) |
/// | configuration reply | dispatcher | partition | in answer (protobuf) |
package enum FrameKind: UInt8 {
  case hello = 3
  case batch = 1
  case answers = 2
  case stale = 4
  case beacon = 16
  case assignment = 17
  case configurationRequest = 18
  case configurationReply = 19

  package static let version: UInt8 = 1
}

/// Why a frame between nodes can't be read.
package enum FrameError: Error, Equatable {
  case truncated
  case unknownKind(UInt8)
  case unsupportedVersion(UInt8)
  case countTooLarge(UInt32)
}

/// hello: `epoch u64 | incarnation u64 | credit u32 | node length u16, UTF-8`.
package struct HelloFrame: Equatable {
  package var partition: PartitionID
  package var epoch: Epoch
  package var incarnation: Incarnation
  /// Batches that the partition takes before it has answered one.
  package var credit: UInt32
  package var node: String

  package init(
    partition: PartitionID, epoch: Epoch, incarnation: Incarnation, credit: UInt32, node: String
  ) {
    self.partition = partition
    self.epoch = epoch
    self.incarnation = incarnation
    self.credit = credit
    self.node = node
  }

  package func write(into writer: inout ByteWriter) {
    writer.header(.hello, partition)
    writer.append(littleEndian: epoch.rawValue)
    writer.append(littleEndian: incarnation.rawValue)
    writer.append(littleEndian: credit)
    writer.append(littleEndian: UInt16(node.utf8.count))
    writer.append(utf8: node)
  }

  package init(_ bytes: UnsafeRawBufferPointer) throws(FrameError) {
    var reader = ByteReader(bytes)
    partition = try reader.header()
    do {
      epoch = Epoch(try reader.number())
      incarnation = Incarnation(try reader.number())
      credit = try reader.number()
      let length: UInt16 = try reader.number()
      node = String(decoding: try reader.slice(Int(length)), as: UTF8.self)
    } catch { throw .truncated }
  }
}

/// What batches and their answers have in common:
/// `count u32 | epoch u64 | dispatcher incarnation u64 | batch number u64 | after u64`, then the items.
package struct BatchHeader: Equatable {
  package var partition: PartitionID
  package var epoch: Epoch
  package var dispatcher: Incarnation
  package var number: UInt64
  /// The batch that was in flight before this one, or 0. A partition that has not received it
  /// drops this one: both come again, in order.
  package var after: UInt64 = 0

  package init(partition: PartitionID, epoch: Epoch, dispatcher: Incarnation, number: UInt64) {
    self.partition = partition
    self.epoch = epoch
    self.dispatcher = dispatcher
    self.number = number
  }

  private static let countOffset = 4
  private static let epochOffset = 8
  private static let afterOffset = 32
  /// A bit of the number of batches that stand in no order with others: audits.
  package static let unordered: UInt64 = 1 << 63
  /// Bytes of all before the items.
  package static let size = 40
  package static let itemsMax = 1 << 16

  /// - Parameter kind: ``FrameKind/batch`` or ``FrameKind/answers``.
  package func write(_ kind: FrameKind, into writer: inout ByteWriter) {
    writer.header(kind, partition)
    writer.append(littleEndian: UInt32(0))
    writer.append(littleEndian: epoch.rawValue)
    writer.append(littleEndian: dispatcher.rawValue)
    writer.append(littleEndian: number)
    writer.append(littleEndian: after)
  }

  /// Puts the number of items in, once it is known.
  package static func setCount(_ count: Int, in writer: inout ByteWriter) {
    writer.patch(UInt32(count), at: countOffset)
  }

  /// For a batch that is sent now, maybe again in a later epoch.
  package static func set(_ epoch: Epoch, after: UInt64, in writer: inout ByteWriter) {
    writer.patch(epoch.rawValue, at: epochOffset)
    writer.patch(after, at: afterOffset)
  }

  /// - Returns: the header, how many items there are, and a reader at the first.
  package static func read(_ bytes: UnsafeRawBufferPointer) throws(FrameError) -> (
    header: BatchHeader, count: Int, items: ByteReader
  ) {
    var reader = ByteReader(bytes)
    let partition = try reader.header()
    do {
      let count: UInt32 = try reader.number()
      guard count <= UInt32(itemsMax) else { throw FrameError.countTooLarge(count) }
      var header = BatchHeader(
        partition: partition, epoch: Epoch(try reader.number()),
        dispatcher: Incarnation(try reader.number()), number: try reader.number())
      header.after = try reader.number()
      return (header, Int(count), reader)
    } catch let error as FrameError {
      throw error
    } catch { throw .truncated }
  }
}

/// An item of a batch: `length u32 | deadline u32 (milliseconds left) | bytes of the Request`.
package struct BatchItem {
  package var deadlineMilliseconds: UInt32
  package var request: UnsafeRawBufferPointer

  package static let overhead = 8

  package static func write(
    _ request: UnsafeRawBufferPointer, deadlineMilliseconds: UInt32, into writer: inout ByteWriter
  ) {
    writer.append(littleEndian: UInt32(request.count))
    writer.append(littleEndian: deadlineMilliseconds)
    writer.append(request)
  }

  package init(_ reader: inout ByteReader) throws(FrameError) {
    do {
      let length: UInt32 = try reader.number()
      deadlineMilliseconds = try reader.number()
      request = try reader.slice(Int(length))
    } catch { throw .truncated }
  }
}

/// An item of answers: `index u32 (in the batch) | length u32 | outcome u8 | bytes of the Reply`.
package struct AnswerItem {
  package var index: UInt32
  package var outcome: UInt8
  package var reply: UnsafeRawBufferPointer

  /// Writes all but the reply, whose length is set by ``endWrite(at:into:)``.
  package static func beginWrite(index: UInt32, outcome: Outcome, into writer: inout ByteWriter) -> Int {
    writer.append(littleEndian: index)
    let at = writer.count
    writer.append(littleEndian: UInt32(0))
    writer.append(outcome.rawValue)
    return at
  }

  package static func endWrite(at: Int, into writer: inout ByteWriter) {
    writer.patch(UInt32(writer.count - at - 5), at: at)
  }

  package init(_ reader: inout ByteReader) throws(FrameError) {
    do {
      index = try reader.number()
      let length: UInt32 = try reader.number()
      outcome = try reader.number()
      reply = try reader.slice(Int(length))
    } catch { throw .truncated }
  }
}

/// stale: `epoch u64`, the partition's own.
package struct StaleFrame: Equatable {
  package var partition: PartitionID
  package var epoch: Epoch

  package init(partition: PartitionID, epoch: Epoch) {
    self.partition = partition
    self.epoch = epoch
  }

  package func write(into writer: inout ByteWriter) {
    writer.header(.stale, partition)
    writer.append(littleEndian: epoch.rawValue)
  }

  package init(_ bytes: UnsafeRawBufferPointer) throws(FrameError) {
    var reader = ByteReader(bytes)
    partition = try reader.header()
    do { epoch = Epoch(try reader.number()) } catch { throw .truncated }
  }
}

extension ByteWriter {
  package mutating func header(_ kind: FrameKind, _ partition: PartitionID) {
    append(kind.rawValue)
    append(FrameKind.version)
    append(littleEndian: partition.rawValue)
  }
}

extension ByteReader {
  /// Kind was looked at before; checks the version.
  fileprivate mutating func header() throws(FrameError) -> PartitionID {
    do {
      let _: UInt8 = try number()
      let version: UInt8 = try number()
      guard version == FrameKind.version else { throw FrameError.unsupportedVersion(version) }
      return PartitionID(try number())
    } catch let error as FrameError {
      throw error
    } catch { throw .truncated }
  }
}
