import Foundation
import Synchronization

/// Stands before a TCP port of the loopback, and does to its connections what networks do.
package final class FaultProxy: Sendable {
  package enum Fault: Sendable, Equatable {
    case none
    /// Takes connections and cuts them.
    case cut
    /// Takes what comes, and passes nothing on.
    case silent
    /// Passes on what comes, each piece of an answer after so many milliseconds.
    case delay(UInt32)
    /// Passes requests on, waits for the answer, throws it away and cuts the connection: the request
    /// was carried out, and nobody knows.
    case dropAnswers
    /// As many of them; then none.
    case dropNext(Int)
    /// One, after so many answers that are passed on.
    case dropOne(after: Int)
  }

  private struct State {
    var fault = Fault.none
    var dropped = 0
    var isEnded = false
    var open: Set<Int32> = []
  }

  package let port: Int
  private let target: Int
  private let listener: Int32
  private let state = Mutex(State())

  package init(to target: Int) {
    self.target = target
    signal(SIGPIPE, SIG_IGN)
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard let port = Loopback.bind(listener, port: 0), listen(listener, 64) == 0 else {
      fatalError("the proxy can't listen: \(errno)")
    }
    self.port = port
    let (listener, state) = (listener, self)
    Thread.detachNewThread { [weak state] in
      while true {
        let client = accept(listener, nil, nil)
        guard client >= 0, let proxy = state else { return }
        proxy.take(client)
      }
    }
  }

  deinit { end() }

  package func end() {
    let isFirst = state.withLock { state in
      defer { state.isEnded = true }
      for descriptor in state.open { shutdown(descriptor, Int32(SHUT_RDWR)) }
      return !state.isEnded
    }
    guard isFirst else { return }
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  package var endpoint: String { "http://127.0.0.1:\(port)" }

  /// From now on, for connections that are there too.
  package func set(_ fault: Fault) {
    state.withLock { state in
      state.fault = fault
      guard fault == .cut else { return }
      for descriptor in state.open { shutdown(descriptor, Int32(SHUT_RDWR)) }
    }
  }

  /// Answers that were thrown away.
  package var dropped: Int { state.withLock { $0.dropped } }

  private func take(_ client: Int32) {
    let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard state.withLock({ $0.fault != .cut && !$0.isEnded }), Loopback.connect(server, port: target) else {
      close(client)
      close(server)
      return
    }
    state.withLock { $0.open.formUnion([client, server]) }
    let closing = Closing { [self] in
      state.withLock { $0.open.subtract([client, server]) }
      close(client)
      close(server)
    }
    Thread.detachNewThread { [self] in
      pump(client, server, isAnswer: false)
      closing.one()
    }
    Thread.detachNewThread { [self] in
      pump(server, client, isAnswer: true)
      closing.one()
    }
  }

  /// Closes when both directions are done.
  private final class Closing: Sendable {
    private let left = Mutex(2)
    private let close: @Sendable () -> Void
    init(_ close: @escaping @Sendable () -> Void) { self.close = close }
    func one() {
      let isLast = left.withLock { left in
        left -= 1
        return left == 0
      }
      if isLast { close() }
    }
  }

  private func pump(_ from: Int32, _ to: Int32, isAnswer: Bool) {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    loop: while true {
      let count = recv(from, &buffer, buffer.count, 0)
      guard count > 0 else { break }
      let fault = state.withLock { state in
        let fault = state.fault
        guard isAnswer else { return fault }
        switch fault {
        case .dropAnswers: state.dropped += 1
        case .dropNext(let left):
          state.dropped += 1
          state.fault = left > 1 ? .dropNext(left - 1) : .none
        case .dropOne(let passed) where passed > 0:
          state.fault = .dropOne(after: passed - 1)
          return .none
        case .dropOne:
          state.dropped += 1
          state.fault = .none
        case .none, .cut, .silent, .delay: break
        }
        return fault
      }
      switch (fault, isAnswer) {
      case (.cut, _), (.dropAnswers, true), (.dropNext, true), (.dropOne, true): break loop
      case (.silent, _): continue
      case (.delay(let milliseconds), true): usleep(milliseconds * 1_000)
      default: break
      }
      var sent = 0
      while sent < count {
        let more = buffer[sent..<count].withUnsafeBytes { send(to, $0.baseAddress!, $0.count, 0) }
        guard more > 0 else { break loop }
        sent += more
      }
    }
    shutdown(from, Int32(SHUT_RDWR))
    shutdown(to, Int32(SHUT_RDWR))
  }
}
