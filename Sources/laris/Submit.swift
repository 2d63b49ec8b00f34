import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Submit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Submit requests: proto3 JSON in, one a line; replies out, one a line.",
    discussion: """
      Lines that are there already go together, --batch of them in one message, and the next ones when
      all of them are answered; so what comes line by line is answered line by line. Answers come in the
      order of the requests. Each is tried again with its id until its answer is final or --timeout is
      over. Without a requestId it gets one. Bytes are base64, as in proto3 JSON.

      Requests for one shop take effect in their order, unless one has to be tried again and a later
      one was accepted meanwhile (BUSY). Where that matters: --batch 1.

        echo '{"registerShop": {"shopId": "42", "name": "Toko Sari"}}' | laris submit
        laris submit requests.jsonl --channel app

      Exit code: that of the worst answer (0 done, 1 no, 75 not executed, 69 no dispatcher reached,
      3 unknown).
      """)

  @Argument(help: "A file of requests, or - for standard input.")
  var file: String = "-"

  @Option(help: "Channel for requests that name none.")
  var channel: String = ""

  @Option(help: "Requests in one message at most, 1 to 1024. 1: each waits for the answer of the one before.")
  var batch = 1_024

  @OptionGroup var cluster: ClusterOptions

  /// The worst decides the exit code.
  private enum Rank: Int, Comparable {
    case done, no, notExecuted, unreachable, unknown

    static func < (a: Rank, b: Rank) -> Bool { a.rawValue < b.rawValue }
  }

  func validate() throws {
    guard (1...1_024).contains(batch) else { throw ValidationError("--batch must be 1 to 1024") }
  }

  func run() throws {
    let client = try cluster.client()
    var lines = LineReader(try input())
    var worst = Rank.done
    var number = 0
    var fault: NodeError?
    var isOver = false
    while !isOver, fault == nil, worst != .unreachable {
      var requests: [Laris_Request] = []
      while requests.count < batch {
        guard let line = lines.next(waits: requests.isEmpty) else {
          isOver = requests.isEmpty
          break
        }
        number += 1
        if line.allSatisfy(\.isWhitespace) { continue }
        do { requests.append(try request(line, number)) } catch {
          fault = error
          break
        }
      }
      let outcomes = requests.isEmpty ? [] : try client.call(requests)
      var output = ""
      for (request, outcome) in zip(requests, outcomes) {
        let (reply, rank) = answer(outcome, to: request)
        output += try reply.jsonString() + "\n"
        worst = max(worst, rank)
      }
      Terminal.print(output, terminator: "")
    }
    if let fault { throw fault }
    switch worst {
    case .done: return
    case .no: throw ExitCode(NodeError.Exit.no.rawValue)
    case .notExecuted: throw ExitCode(NodeError.Exit.notExecuted.rawValue)
    case .unreachable: throw cluster.unreachable
    case .unknown: throw ExitCode(NodeError.Exit.unknown.rawValue)
    }
  }

  private func input() throws -> Int32 {
    if file == "-" { return STDIN_FILENO }
    guard FileManager.default.fileExists(atPath: file) else {
      throw NodeError(.usage, "there is no file \(file)")
    }
    let descriptor = open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw NodeError(.usage, "\(file) can't be read: \(String(cString: strerror(errno)))")
    }
    return descriptor
  }

  private func request(_ line: String, _ number: Int) throws(NodeError) -> Laris_Request {
    var request: Laris_Request
    do { request = try Laris_Request(jsonString: line) } catch {
      throw NodeError(
        .usage,
        "\(file == "-" ? "standard input" : file), line \(number): this is no Request in proto3 JSON: \(error). "
          + "The lines before it were submitted.")
    }
    if request.channel.isEmpty { request.channel = channel }
    if request.requestID.isEmpty { request.requestID = LarisClient.newRequestID() }
    guard request.requestID.count == 16 else {
      throw NodeError(
        .usage,
        "line \(number): requestId must be base64 of 16 bytes, a UUIDv7. The lines before it were submitted.")
    }
    return request
  }

  /// What is printed of an outcome; where no reply came, one that says so.
  private func answer(_ outcome: LarisClient.Outcome, to request: Laris_Request) -> (Laris_Reply, Rank) {
    switch outcome {
    case .done(let reply): return (reply, .done)
    case .no(let reply): return (reply, .no)
    case .notExecuted(let reply?): return (reply, .notExecuted)
    case .notExecuted(nil):
      var reply = Laris_Reply()
      reply.requestID = request.requestID
      reply.outcome = .notExecuted
      reply.message = "No dispatcher could be reached; nothing was done."
      return (reply, .unreachable)
    case .unknown(let id, let last):
      var reply = last ?? Laris_Reply()
      reply.requestID = id
      reply.outcome = .unknown
      if last == nil {
        reply.code = .noAnswerInTime
        reply.message =
          "no answer came within \(cluster.timeout) s; ask again with this id, or: laris resolve"
      }
      return (reply, .unknown)
    }
  }
}
