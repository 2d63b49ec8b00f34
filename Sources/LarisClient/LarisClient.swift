import Cluster
import Foundation
import LarisProtocol
import Wire
import ZeroMQ

/// A connection to a Laris cluster: one request, one honest answer.
///
/// ```swift
/// let client = try LarisClient(dispatcher: "tcp://127.0.0.1:12120")
/// var request = Laris_Request()
/// request.getShop.shopID = 42
/// switch try client.call(request) {
/// case .done(let reply): print(reply.shop.name)
/// case .no(let reply): print(reply.code, reply.message)
/// case .notExecuted(let reply): print("nothing happened:", reply?.message ?? "no connection")
/// case .unknown(let id): print("ask again with id", id)
/// }
/// ```
///
/// Retries by itself with the same id, within a budget. Used by one thread at a time.
public final class LarisClient {
  public enum Failure: Error, CustomStringConvertible {
    /// The address is none.
    case address(String)
    /// The reply can't be read: the dispatcher speaks another version.
    case badReply(String)

    public var description: String {
      switch self {
      case .address(let text): "\(text) is no address; it should look like tcp://127.0.0.1:12120"
      case .badReply(let text): "the reply can't be read: \(text)"
      }
    }
  }

  /// What is known of a request in the end.
  public enum Outcome: Sendable {
    /// It took effect; final.
    case done(Laris_Reply)
    /// The rules said no; final.
    case no(Laris_Reply)
    /// No attempt had an effect. nil: none even reached a dispatcher.
    case notExecuted(Laris_Reply?)
    /// It may have taken effect: ask again with this id and the same command.
    case unknown(Data, Laris_Reply?)
  }

  private let context = ZeroMQContext()
  private let dispatcher: String
  private let budgetMilliseconds: Int64

  /// - Parameters:
  ///   - dispatcher: where services connect, `tcp://HOST:PORT`.
  ///   - budgetMilliseconds: how long ``call(_:)`` tries.
  /// - Throws: `address`. Whether somebody listens there shows at the first call.
  public init(dispatcher: String, budgetMilliseconds: Int64 = 10_000) throws(Failure) {
    self.dispatcher = dispatcher
    self.budgetMilliseconds = budgetMilliseconds
    do { _ = try Pipeline(dispatcher: dispatcher, context: context) } catch { throw .address(dispatcher) }
  }

  /// Executes a request. Without a request id it gets one.
  ///
  /// - Throws: `badReply`.
  public func call(_ request: Laris_Request) throws -> Outcome {
    var request = request
    if request.requestID.isEmpty { request.requestID = Self.newRequestID() }
    guard request.requestID.count == 16 else {
      throw Failure.badReply("request_id must have 16 bytes")
    }
    var options = Pipeline.Options()
    options.budgetMilliseconds = budgetMilliseconds
    options.silenceMilliseconds = max(
      options.silenceMilliseconds, Int64(request.deadlineMilliseconds) + 500)
    var pipeline = try Pipeline(dispatcher: dispatcher, context: context, options: options)
    let bytes: [UInt8] = try request.serializedBytes()
    pipeline.submit(request.requestID.withUnsafeBytes { RequestID(bigEndian: $0) }, bytes)
    while true {
      for finished in pipeline.poll(milliseconds: 50) {
        guard let bytes = finished.reply else {
          return finished.attempts == 0 ? .notExecuted(nil) : .unknown(request.requestID, nil)
        }
        let reply: Laris_Reply
        do { reply = try Laris_Reply(serializedBytes: bytes) } catch {
          throw Failure.badReply("\(error)")
        }
        switch reply.outcome {
        case .done: return .done(reply)
        case .no: return .no(reply)
        // One attempt that had no effect says nothing of those whose answers were lost.
        case .notExecuted where finished.attempts == 1 || !finished.isGivenUp: return .notExecuted(reply)
        default: return .unknown(request.requestID, reply)
        }
      }
    }
  }

  /// 16 bytes, a UUIDv7 of now.
  public static func newRequestID() -> Data { Data(RequestID.fresh().bytes) }
}

extension RequestID {
  /// A new UUIDv7 of now.
  package static func fresh() -> RequestID {
    let time = UInt64(max(0, Date().timeIntervalSince1970 * 1_000))
    return RequestID(
      high: time << 16 | 0x7000 | UInt64.random(in: 0...0xFFF),
      low: 2 << 62 | UInt64.random(in: 0..<(1 << 62)))
  }
}
