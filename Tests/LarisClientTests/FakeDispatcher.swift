import Foundation
import LarisProtocol
import Synchronization
import ZeroMQ

/// A dispatcher that gives every request the same answer, or hears it and says nothing.
final class FakeDispatcher: Sendable {
  let endpoint: String
  private let state: State
  private let isOver = DispatchSemaphore(value: 0)

  private final class State: Sendable {
    let isStopping = Atomic<Bool>(false)
    let heard = Atomic<Int>(0)
    let endpoint = Mutex("")
  }

  /// - Parameter answer: what the reply says, but for its id; nil: none comes.
  init(_ answer: Laris_Reply?) {
    let (state, isOver) = (State(), isOver)
    let isBound = DispatchSemaphore(value: 0)
    let thread = Thread {
      defer { isOver.signal() }
      guard let socket = try? Socket(.router, in: ZeroMQContext()),
        (try? socket.bind("tcp://127.0.0.1:*")) != nil
      else {
        isBound.signal()
        return
      }
      state.endpoint.withLock { $0 = socket.lastEndpoint }
      isBound.signal()
      while !state.isStopping.load(ordering: .relaxed) {
        if socket.wait(milliseconds: 20) { Self.serve(socket, answer, state) }
      }
    }
    thread.start()
    isBound.wait()
    self.state = state
    endpoint = state.endpoint.withLock { $0 }
  }

  deinit {
    state.isStopping.store(true, ordering: .relaxed)
    isOver.wait()
  }

  /// Attempts that came.
  var heard: Int { state.heard.load(ordering: .relaxed) }

  /// One message: whose it is, then the requests.
  private static func serve(_ socket: borrowing Socket, _ answer: Laris_Reply?, _ state: State) {
    var message = Message()
    var frames: [[UInt8]] = []
    repeat {
      guard (try? socket.receive(into: &message)) == true else { return }
      frames.append(Array(message.bytes))
    } while message.hasMore
    state.heard.add(frames.count - 1, ordering: .relaxed)
    guard var reply = answer else { return }
    for index in 1..<frames.count {
      guard let request = try? Laris_Request(serializedBytes: frames[index]) else { continue }
      reply.requestID = request.requestID
      frames[index] = (try? reply.serializedBytes()) ?? []
    }
    for index in frames.indices { try? socket.send(frames[index], more: index + 1 < frames.count) }
  }
}
