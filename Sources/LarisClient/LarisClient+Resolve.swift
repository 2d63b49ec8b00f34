import Foundation
import LarisProtocol

extension LarisClient {
  /// Where a request went: what its command was routed by.
  public enum Place: Sendable {
    /// The `shop_id` of its command.
    case shop(UInt64)
    /// The `order_id` of its command, 16 bytes.
    case order(Data)
    /// One partition, from 0.
    case partition(UInt32)
  }

  /// What became of a request, settled.
  public enum Fate: Sendable {
    /// It was executed, and this is what it was answered: `DONE`, or `NO` with its reason.
    case answered(Laris_Reply)
    /// It was not executed, and never will be: whoever sends it again gets `NO`, `REQUEST_SEALED`. The
    /// command may be sent under a new id.
    case sealed(Laris_Reply)
    /// It could not be settled now; this is how asking ended. Ask again.
    case unsettled(Outcome)
  }

  /// Settles the fate of a request whose outcome is unknown: it tells what the request did, or if it
  /// did nothing, seals its id for good. Repeating it changes nothing.
  ///
  /// Only for commands that have an effect; reads leave no trace of their ids.
  ///
  /// - Parameters:
  ///   - requestID: the request in question, 16 bytes, not more than 24 hours old.
  ///   - place: what its command was routed by. nil: nobody knows, and every partition is asked.
  /// - Throws: ``Failure/request(index:_:)``, and nothing was sent.
  public func resolve(_ requestID: Data, at place: Place?) throws(Failure) -> Fate {
    guard requestID.count == 16 else {
      throw .request(index: 0, "the request id to resolve has \(requestID.count) bytes; it must have 16")
    }
    if let place { return Self.fate(try call(try Self.request(requestID, place))) }
    var status = Laris_Request()
    status.getStatus = Laris_GetStatus()
    let asked = try call(status)
    guard case .done(let reply) = asked, !reply.status.partitions.isEmpty else { return .unsettled(asked) }
    var requests: [Laris_Request] = []
    for partition in reply.status.partitions {
      requests.append(try Self.request(requestID, .partition(partition.partition)))
    }
    return Self.merged(try call(requests).map(Self.fate))
  }

  private static func request(_ requestID: Data, _ place: Place) throws(Failure) -> Laris_Request {
    var request = Laris_Request()
    request.resolve.requestID = requestID
    switch place {
    case .shop(let shop):
      guard shop > 0 else { throw .request(index: 0, "a shop's id is never 0") }
      request.resolve.shopID = shop
    case .order(let order):
      guard order.count == 16 else { throw .request(index: 0, "an order's id has 16 bytes") }
      request.resolve.orderID = order
    case .partition(let partition): request.resolve.partition = partition
    }
    return request
  }

  /// What the outcome of a `Resolve` says of the request that it asked about.
  package static func fate(_ outcome: Outcome) -> Fate {
    guard case .done(let asked) = outcome, asked.resolved.hasReply else { return .unsettled(outcome) }
    let reply = asked.resolved.reply
    switch reply.outcome {
    case .done: return .answered(reply)
    case .no: return reply.code == .requestSealed ? .sealed(reply) : .answered(reply)
    default: return .unsettled(.unknown(asked.requestID, reply))
    }
  }

  /// Of all partitions: the one where it was executed knows; that it never will be, all must say.
  package static func merged(_ fates: [Fate]) -> Fate {
    var sealed: Fate?
    var unsettled: Fate?
    for fate in fates {
      switch fate {
      case .answered: return fate
      case .sealed: sealed = fate
      case .unsettled: unsettled = unsettled ?? fate
      }
    }
    return unsettled ?? sealed ?? .unsettled(.notExecuted(nil))
  }
}
