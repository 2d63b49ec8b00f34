import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Submit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Submit requests: proto3 JSON in, one a line; replies out, one a line.",
    discussion: """
      Requests go one after the other; each is tried again with its id until its answer is final or
      --timeout is over. Without a requestId it gets one. Bytes are base64, as in proto3 JSON.

        echo '{"registerShop": {"shopId": "42", "name": "Toko Sari"}}' | laris submit
        laris submit requests.jsonl --channel app

      Exit code: that of the worst answer (0 done, 1 no, 75 not executed, 3 unknown).
      """)

  @Argument(help: "A file of requests, or - for standard input.")
  var file: String = "-"

  @Option(help: "Channel for requests that name none.")
  var channel: String = ""

  @OptionGroup var cluster: ClusterOptions

  func run() throws {
    let client = try cluster.client()
    if file != "-" {
      guard FileManager.default.fileExists(atPath: file) else {
        throw NodeError(.usage, "there is no file \(file)")
      }
      let descriptor = open(file, O_RDONLY)
      guard descriptor >= 0, dup2(descriptor, STDIN_FILENO) >= 0 else {
        throw NodeError(.usage, "\(file) can't be read: \(String(cString: strerror(errno)))")
      }
    }
    var worst = 0
    var number = 0
    while let line = readLine() {
      number += 1
      if line.allSatisfy(\.isWhitespace) { continue }
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
        throw NodeError(.usage, "line \(number): requestId must be base64 of 16 bytes, a UUIDv7")
      }
      let (reply, rank) = try submit(request, by: client)
      Terminal.print(try reply.jsonString())
      worst = max(worst, rank)
    }
    let codes: [Int32] = [0, 1, 75, 3]
    if worst > 0 { throw ExitCode(codes[worst]) }
  }

  private func submit(_ request: Laris_Request, by client: LarisClient) throws -> (Laris_Reply, Int) {
    switch try client.call(request) {
    case .done(let reply): return (reply, 0)
    case .no(let reply): return (reply, 1)
    case .notExecuted(let reply?): return (reply, 2)
    case .notExecuted(nil):
      throw NodeError(
        .unreachable,
        "nobody listens at \(cluster.dispatcher); start a cluster with: laris up, or name another with --dispatcher"
      )
    case .unknown(let id, let reply):
      var answer = reply ?? Laris_Reply()
      answer.requestID = id
      answer.outcome = .unknown
      if reply == nil {
        answer.code = .noAnswerInTime
        answer.message = "no answer came within \(cluster.timeout) s; ask again with this id"
      }
      return (answer, 3)
    }
  }
}
