import ClientCore
import Cluster
import Foundation
import LarisProtocol
import Wire
import ZeroMQ

/// A connection to a Laris cluster: every request ends in one honest outcome.
///
/// ```swift
/// let client = try LarisClient(dispatchers: ["tcp://10.0.0.1:12120", "tcp://10.0.0.2:12120"])
/// var request = Laris_Request()
/// request.requestID = LarisClient.newRequestID()  // store it before you send
/// request.adjustStock = .with { $0.shopID = 42; $0.skuID = 1; $0.delta = -2 }
/// switch try client.call(request) {
/// case .done(let reply): print(reply.stockChanged.onHand, "left")
/// case .no(let reply): print(reply.code, reply.message)
/// case .notExecuted(let reply): print("nothing happened:", reply?.message ?? "no connection")
/// case .unknown(let id, _): print(try client.resolve(id, at: .shop(42)))
/// }
/// ```
///
/// Every attempt of a request has the same id and the same bytes, so it takes effect once however
/// often it is sent. Between attempts it rests: for what the reply asks for, and a pause that begins as
/// long, doubles and is half drawn at random. One dispatcher of the list has the connection at a time; when it can't
/// be reached or falls silent, the next one is sent what has no answer yet.
///
/// The connection is made in the background, and again when it breaks. Use a client from one thread at
/// a time; several clients share nothing and may be used at once. `call` blocks its thread, so keep it
/// off Swift's cooperative pool.
public final class LarisClient {
  /// How patient a client is. Times are in milliseconds, 1 to 86,400,000.
  public struct Options: Sendable {
    /// How long a request may wait for a dispatcher to take a connection. None of the list did: it ends
    /// as ``LarisClient/Outcome/notExecuted(_:)`` without a reply. Each has an equal share of the time,
    /// one second at most.
    public var connectDeadlineMilliseconds: Int64 = 3_000
    /// How long a request is tried in all.
    public var budgetMilliseconds: Int64 = 10_000
    /// How long one attempt may take. A request without a deadline of its own gets one that is a fifth
    /// less, so that the dispatcher's word arrives first. One with a longer deadline may take half a
    /// second more than that.
    public var attemptMilliseconds: Int64 = 2_500
    /// What the first pause between two attempts is drawn from, where the reply asks for no longer one. It
    /// doubles up to the most.
    public var backoffMilliseconds: Int64 = 50
    public var backoffMillisecondsMax: Int64 = 2_000
    /// For requests that name none; at most 32 bytes.
    public var channel = ""

    public init() {}

    fileprivate var fault: String? {
      for (name, value) in [
        ("connectDeadlineMilliseconds", connectDeadlineMilliseconds),
        ("budgetMilliseconds", budgetMilliseconds), ("attemptMilliseconds", attemptMilliseconds),
        ("backoffMilliseconds", backoffMilliseconds), ("backoffMillisecondsMax", backoffMillisecondsMax),
      ] where !(1...86_400_000).contains(value) {
        return "\(name) is \(value); it must be 1 to 86400000"
      }
      guard channel.utf8.count <= WireLimits.channel else { return "channel has more than 32 bytes" }
      return nil
    }
  }

  /// A fault of the caller. Nothing was sent.
  public enum Failure: Error, Sendable, CustomStringConvertible {
    /// The text is no address.
    case address(String)
    /// There is no dispatcher in the list, or an option is out of its range.
    case options(String)
    /// The request at this place of the call can't be sent.
    case request(index: Int, String)

    public var description: String {
      switch self {
      case .address(let text): "\(text) is no address; it should look like tcp://127.0.0.1:12120"
      case .options(let text): text
      case .request(let index, let text): "request \(index): \(text)"
      }
    }
  }

  /// What is known of a request in the end.
  public enum Outcome: Sendable {
    /// It took effect, durably. Final: its id gets this reply again.
    case done(Laris_Reply)
    /// The rules said no, and `code` says why. Final, too.
    case no(Laris_Reply)
    /// No attempt of this call had an effect. nil: none reached a dispatcher. If an earlier call with
    /// the same id ended as ``unknown(_:_:)``, this says nothing of that one.
    case notExecuted(Laris_Reply?)
    /// An attempt may have taken effect: ask again with this id and the same command, or settle it with
    /// ``LarisClient/resolve(_:at:)``. Never send the command under a new id before.
    case unknown(Data, Laris_Reply?)
  }

  private let context: ZeroMQContext
  private let options: Options
  private var pipeline: Pipeline

  /// - Parameters:
  ///   - dispatchers: where services connect, `tcp://HOST:PORT`; the first is preferred at first.
  ///   - options: how patient it is.
  /// - Throws: ``Failure/address(_:)``, ``Failure/options(_:)``. Whether somebody listens there shows
  ///   at the first call.
  public init(dispatchers: [String], options: Options = Options()) throws(Failure) {
    let context = ZeroMQContext()
    pipeline = try Self.connect(dispatchers, options, context)
    self.context = context
    self.options = options
  }

  /// One dispatcher, and all the time to reach it that there is.
  package convenience init(dispatcher: String, budgetMilliseconds: Int64 = 10_000) throws(Failure) {
    var options = Options()
    options.budgetMilliseconds = budgetMilliseconds
    options.connectDeadlineMilliseconds = budgetMilliseconds
    try self.init(dispatchers: [dispatcher], options: options)
  }

  private static func connect(
    _ dispatchers: [String], _ options: Options, _ context: ZeroMQContext
  ) throws(Failure) -> Pipeline {
    if dispatchers.isEmpty { throw .options("the list of dispatchers is empty") }
    if let fault = options.fault { throw .options(fault) }
    var settings = Pipeline.Options()
    settings.silenceMilliseconds = options.attemptMilliseconds
    settings.budgetMilliseconds = options.budgetMilliseconds
    settings.connectMilliseconds = options.connectDeadlineMilliseconds
    settings.backoffMilliseconds = options.backoffMilliseconds
    settings.backoffMillisecondsMax = options.backoffMillisecondsMax
    settings.requestsPerMessageMax = WireLimits.requestsPerMessageMax
    do throws(Pipeline.Failure) {
      return try Pipeline(dispatchers: dispatchers, context: context, options: settings)
    } catch {
      switch error {
      case .address(let text): throw .address(text)
      case .socket: throw .options("\(error)")
      }
    }
  }

  /// Executes a request. Without a request id it gets one.
  ///
  /// Takes ``Options/budgetMilliseconds`` at most.
  /// - Throws: ``Failure/request(index:_:)``, and nothing was sent.
  public func call(_ request: Laris_Request) throws(Failure) -> Outcome { try call([request])[0] }

  /// Executes requests, in as few messages as the protocol allows (1,024 requests, 8 MiB each).
  ///
  /// A message is sent when all before it are answered, so that requests for one shop take effect in
  /// their order here, except where one has to be sent again and a later one of its message was
  /// accepted meanwhile. It is no transaction: each request has its own outcome. A message takes
  /// ``Options/budgetMilliseconds`` at most; when no dispatcher could be reached for one, the rest is
  /// not tried any more.
  ///
  /// - Returns: one outcome for each request, in their order.
  /// - Throws: ``Failure/request(index:_:)``, and nothing was sent.
  public func call(_ requests: [Laris_Request]) throws(Failure) -> [Outcome] {
    var encoded: [Encoded] = []
    encoded.reserveCapacity(requests.count)
    for (index, request) in requests.enumerated() { encoded.append(try encode(request, index)) }
    var outcomes = [Outcome](repeating: .notExecuted(nil), count: encoded.count)
    var next = 0
    while next < encoded.count {
      let end = Self.endOfMessage(encoded, from: next)
      guard exchange(encoded, next..<end, &outcomes) else { break }
      next = end
    }
    return outcomes
  }

  private struct Encoded {
    let id: RequestID
    let bytes: [UInt8]
    let silenceMilliseconds: Int64
  }

  private func encode(_ request: Laris_Request, _ index: Int) throws(Failure) -> Encoded {
    var request = request
    if request.requestID.isEmpty { request.requestID = Self.newRequestID() }
    guard request.requestID.count == 16 else {
      throw .request(index: index, "requestID has \(request.requestID.count) bytes; it must have 16")
    }
    if request.channel.isEmpty { request.channel = options.channel }
    var silence = options.attemptMilliseconds
    if request.deadlineMilliseconds == 0 {
      request.deadlineMilliseconds = UInt32(max(1, silence - silence / 5))
    } else {
      silence = max(silence, Int64(request.deadlineMilliseconds) + 500)
    }
    let bytes: [UInt8]
    do { bytes = try request.serializedBytes() } catch {
      throw .request(index: index, "it can't be encoded: \(error)")
    }
    return Encoded(
      id: request.requestID.withUnsafeBytes { RequestID(bigEndian: $0) }, bytes: bytes,
      silenceMilliseconds: silence)
  }

  /// Requests of one id never go together: the later one gets the first one's answer.
  private static func endOfMessage(_ requests: [Encoded], from start: Int) -> Int {
    var room = MessageRoom()
    var ids: Set<RequestID> = []
    var end = start
    while end < requests.count, room.take(requests[end].bytes.count), ids.insert(requests[end].id).inserted {
      end += 1
    }
    return end
  }

  /// - Returns: whether any of it reached a dispatcher or was over without.
  private func exchange(_ requests: [Encoded], _ range: Range<Int>, _ outcomes: inout [Outcome]) -> Bool {
    var places: [RequestID: Int] = [:]
    for place in range {
      let request = requests[place]
      places[request.id] = place
      pipeline.submit(request.id, request.bytes, silenceMilliseconds: request.silenceMilliseconds)
    }
    var isReached = false
    while !places.isEmpty {
      for finished in pipeline.poll(milliseconds: 100) {
        guard let place = places.removeValue(forKey: finished.id) else { continue }
        outcomes[place] = Self.outcome(finished)
        if finished.attempts > 0 || finished.reply != nil { isReached = true }
      }
    }
    return isReached
  }

  /// A reply that can't be read is as if it had not come.
  private static func outcome(_ finished: Pipeline.Finished) -> Outcome {
    let reply = finished.reply.flatMap { try? Laris_Reply(serializedBytes: $0) }
    switch (finished.fate, reply) {
    case (.done, let reply?): return .done(reply)
    case (.no, let reply?): return .no(reply)
    case (.notExecuted, let reply): return .notExecuted(reply)
    case (_, let reply): return .unknown(Data(finished.id.bytes), reply)
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
