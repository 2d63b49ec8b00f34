import Cluster
import Foundation
import LarisProtocol
import SwiftProtobuf
import Wire

/// What a partition's replica asks of the configuration manager, through a dispatcher.
package struct ConfigurationQuestion: Equatable, Sendable {
  package enum What: Equatable, Sendable {
    /// A linearizable read.
    case read
    /// What is there must have the record's epoch - 1.
    case change(GroupRecord, why: String, committed: SequenceNumber)
  }

  package var cluster: String
  package var node: String
  package var incarnation: Incarnation
  /// The sender's own; the reply has it too.
  package var number: UInt64
  package var partition: PartitionID
  package var what: What

  package init(
    cluster: String, node: String, incarnation: Incarnation, number: UInt64, partition: PartitionID,
    what: What
  ) {
    self.cluster = cluster
    self.node = node
    self.incarnation = incarnation
    self.number = number
    self.partition = partition
    self.what = what
  }

  /// As it stands in a history: ``NodeRecord/life``.
  package var life: String { "\(node)@\(incarnation)" }

  /// Bytes of a frame that is read at all.
  package static let frameBytesMax = 64 << 10

  /// The frame: `kind | version | message`.
  package func frame() throws -> [UInt8] {
    var message = Laris_ConfigurationRequest()
    message.version = UInt32(FrameKind.version)
    message.clusterID = cluster
    message.node = node
    message.incarnation = incarnation.rawValue
    message.number = number
    message.partition = UInt32(partition.rawValue)
    switch what {
    case .read: message.read = .init()
    case .change(let record, let why, let committed):
      message.change.group = record.message
      message.change.why = why
      message.change.committed = committed.rawValue
    }
    return try NodeFrame.write(.configurationRequest, message)
  }

  package init(_ frame: UnsafeRawBufferPointer) throws(NodeProtocolError) {
    let message: Laris_ConfigurationRequest = try NodeFrame.read(
      .configurationRequest, frame, atMost: Self.frameBytesMax)
    guard NodeRecord.isName(message.node), message.incarnation != 0 else {
      throw NodeProtocolError("a configuration request names no process")
    }
    guard (1...64).contains(message.clusterID.utf8.count) else {
      throw NodeProtocolError("\(message.node)'s configuration request names no cluster")
    }
    guard let number = UInt16(exactly: message.partition), Int(number) < Routing.partitionsMax else {
      throw NodeProtocolError("\(message.node)'s configuration request is of partition \(message.partition)")
    }
    let what: What
    switch message.what {
    case .read: what = .read
    case .change(let change):
      let record = try GroupRecord(change.group)
      guard record.partition.rawValue == number else {
        throw NodeProtocolError("\(message.node)'s change of p\(number) has a record of \(record.partition)")
      }
      // What no configuration manager takes is refused here already.
      let asked = GroupChange(
        record, why: change.why, by: "\(message.node)@\(Incarnation(message.incarnation))",
        commitPoint: SequenceNumber(change.committed), at: 0)
      if let problem = asked.problem { throw NodeProtocolError("\(message.node)'s change: \(problem)") }
      what = .change(record, why: change.why, committed: SequenceNumber(change.committed))
    case nil: throw NodeProtocolError("\(message.node)'s configuration request asks for nothing")
    }
    self.init(
      cluster: message.clusterID, node: message.node, incarnation: Incarnation(message.incarnation),
      number: message.number, partition: PartitionID(number), what: what)
  }
}

/// What the configuration manager said to a ``ConfigurationQuestion``.
package struct ConfigurationAnswer: Equatable, Sendable {
  package enum Outcome: Equatable, Sendable {
    /// What was there at a moment after the question.
    case read(GroupRecord)
    /// The change was made.
    case accepted(GroupRecord)
    /// It was not made, and won't be. What is there; nil: that can't be told.
    case refused(GroupRecord?)
    /// It may have been made, or may be yet.
    case unknown
    /// The configuration manager was not asked.
    case notAsked
  }

  package var number: UInt64
  package var partition: PartitionID
  package var outcome: Outcome

  package init(number: UInt64, partition: PartitionID, outcome: Outcome) {
    self.number = number
    self.partition = partition
    self.outcome = outcome
  }

  /// The frame: `kind | version | message`.
  package func frame() throws -> [UInt8] {
    var message = Laris_ConfigurationReply()
    message.version = UInt32(FrameKind.version)
    message.number = number
    message.partition = UInt32(partition.rawValue)
    switch outcome {
    case .read(let record):
      message.outcome = .read
      message.group = record.message
    case .accepted(let record):
      message.outcome = .accepted
      message.group = record.message
    case .refused(let record):
      message.outcome = .refused
      if let record { message.group = record.message }
    case .unknown: message.outcome = .unknown
    case .notAsked: message.outcome = .notAsked
    }
    return try NodeFrame.write(.configurationReply, message)
  }

  package init(_ frame: UnsafeRawBufferPointer) throws(NodeProtocolError) {
    let message: Laris_ConfigurationReply = try NodeFrame.read(
      .configurationReply, frame, atMost: ConfigurationQuestion.frameBytesMax)
    guard let number = UInt16(exactly: message.partition), Int(number) < Routing.partitionsMax else {
      throw NodeProtocolError("a configuration reply is of partition \(message.partition)")
    }
    let record = message.hasGroup ? try GroupRecord(message.group) : nil
    guard record.map({ $0.partition.rawValue == number }) ?? true else {
      throw NodeProtocolError("a configuration reply to p\(number) has a record of \(record!.partition)")
    }
    let outcome: Outcome
    switch (message.outcome, record) {
    case (.read, let record?): outcome = .read(record)
    case (.accepted, let record?): outcome = .accepted(record)
    case (.refused, _): outcome = .refused(record)
    case (.unknown, _): outcome = .unknown
    case (.notAsked, _): outcome = .notAsked
    default:
      throw NodeProtocolError(
        "a configuration reply with outcome \(message.outcome.rawValue) and "
          + "\(record == nil ? "no" : "a") record is none")
    }
    self.init(number: message.number, partition: PartitionID(number), outcome: outcome)
  }
}

/// Frames in protobuf between nodes: `kind u8 | version u8 | message`.
enum NodeFrame {
  static func write(_ kind: FrameKind, _ message: some Message) throws -> [UInt8] {
    [kind.rawValue, FrameKind.version] + (try message.serializedBytes() as [UInt8])
  }

  static func read<Body: Message>(
    _ kind: FrameKind, _ bytes: UnsafeRawBufferPointer, atMost max: Int
  ) throws(NodeProtocolError) -> Body {
    guard bytes.count >= 2, bytes[0] == kind.rawValue else {
      throw NodeProtocolError("a frame of kind \(bytes.first ?? 0) is no \(kind)")
    }
    guard bytes[1] == FrameKind.version else {
      throw NodeProtocolError("a \(kind) of version \(bytes[1]); this program knows \(FrameKind.version)")
    }
    guard bytes.count <= max else {
      throw NodeProtocolError("a \(kind) of \(bytes.count) bytes is longer than \(max)")
    }
    guard let message = try? Body(serializedBytes: Array(bytes[2...])) else {
      throw NodeProtocolError("a \(kind) can't be read")
    }
    return message
  }
}
