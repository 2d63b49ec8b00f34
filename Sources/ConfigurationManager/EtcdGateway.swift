import Curl
import Foundation
import Glibc

/// Calls to etcd over its JSON gateway: one at a time, each within a bound, at whichever endpoint answers.
///
/// A call that got no answer may have been carried out. It is made again at the next endpoint while
/// there is time, so a call must be such that doing it twice is doing it once.
final class EtcdGateway {
  /// There is no answer, or it is none.
  struct Failure: Error {
    /// etcd does not let us in: not a matter of time.
    var isDenied = false
    /// It knows no such lease. Nothing was done.
    var isNotFound = false
    var why: String
  }

  /// As of gRPC.
  private enum Code {
    static let invalidArgument = 3
    static let notFound = 5
    static let permissionDenied = 7
    static let unauthenticated = 16
  }

  /// All groups of the largest cluster, with the largest values that we write, in base64.
  private static let answerBytesMax = 64 << 20
  private static let pauseMilliseconds: Int64 = 20

  private let options: EtcdOptions
  private var connection: HTTPConnection
  /// That answered last.
  private var preferred = 0
  private var token: String?

  init(_ options: EtcdOptions) {
    precondition(options.problem == nil, options.problem!)
    self.options = options
    connection = HTTPConnection(tls: options.tls)
  }

  /// When a call that begins now must end.
  func deadline() -> Int64 { SteadyClock.milliseconds() + options.callMilliseconds }

  func call<Answer: Decodable>(
    _ path: String, _ request: some Encodable, by deadline: Int64
  ) throws(Failure) -> Answer {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.withoutEscapingSlashes]
    guard let encoded = try? encoder.encode(request) else { throw Failure(why: "a request can't be encoded") }
    let body = [UInt8](encoded)
    var why = "no time was left"
    var pause = Self.pauseMilliseconds
    var renewals = 0
    while true {
      for turn in 0..<options.endpoints.count {
        let now = SteadyClock.milliseconds()
        guard now < deadline else { throw Failure(why: why) }
        // What hangs must leave time for those that may not.
        let left = deadline - now
        let share = turn + 1 < options.endpoints.count ? max(left / 2, min(left, 100)) : left
        let index = (preferred + turn) % options.endpoints.count
        switch try attempt(path, body, at: options.endpoints[index], milliseconds: share) as Attempt<Answer> {
        case .answered(let answer):
          preferred = index
          return answer
        case .expiredToken where renewals < 3:
          // It was not carried out: it did not get in.
          renewals += 1
          token = nil
          why = "\(options.endpoints[index]): etcd's token runs out again and again"
        case .expiredToken: throw Failure(why: why)
        case .failed(let said): why = said
        }
      }
      let now = SteadyClock.milliseconds()
      guard now + pause < deadline else { throw Failure(why: why) }
      usleep(UInt32(pause) * 1_000)
      pause = min(pause * 2, 200)
    }
  }

  private enum Attempt<Answer> {
    case answered(Answer)
    case expiredToken
    case failed(String)
  }

  /// - Throws: etcd said no, and will again.
  private func attempt<Answer: Decodable>(
    _ path: String, _ body: [UInt8], at endpoint: String, milliseconds: Int64
  ) throws(Failure) -> Attempt<Answer> {
    var headers = ["Content-Type: application/json"]
    let until = SteadyClock.milliseconds() + milliseconds
    if let user = options.user, let password = options.password {
      var isOff = false
      if token == nil {
        switch try post(
          "/v3/auth/authenticate", encode(Etcd.Credentials(name: user, password: password)), at: endpoint,
          headers, milliseconds: milliseconds) as Attempt<Etcd.Token>
        {
        case .answered(let answer): token = answer.token
        case .expiredToken: return .failed("\(endpoint): etcd's user \(user) was not let in")
        // Users are made before authentication is switched on; until then everybody is let in.
        case .failed(let why) where why.hasSuffix("authentication is not enabled"): isOff = true
        case .failed(let why): return .failed(why)
        }
      }
      // A token is one line of a header, whoever sent it.
      let token = isOff ? "" : self.token
      guard let token, token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
        self.token = nil
        return .failed("\(endpoint): etcd gave no token")
      }
      if !isOff { headers.append("Authorization: \(token)") }
    }
    return try post(path, body, at: endpoint, headers, milliseconds: until - SteadyClock.milliseconds())
  }

  private func encode(_ credentials: Etcd.Credentials) -> [UInt8] {
    [UInt8]((try? JSONEncoder().encode(credentials)) ?? Data())
  }

  private func post<Answer: Decodable>(
    _ path: String, _ body: [UInt8], at endpoint: String, _ headers: [String], milliseconds: Int64
  ) throws(Failure) -> Attempt<Answer> {
    let answer: HTTPConnection.Answer
    do {
      answer = try connection.post(
        endpoint + path, body, headers: headers, milliseconds: Int(max(1, milliseconds)),
        bytesMax: Self.answerBytesMax)
    } catch {
      return .failed("\(error)")
    }
    let decoder = JSONDecoder()
    let data = Data(answer.body)
    if answer.status == 200 {
      if let decoded = try? decoder.decode(Answer.self, from: data) { return .answered(decoded) }
      return .failed("\(endpoint) gave an answer that is not etcd's")
    }
    let said = try? decoder.decode(Etcd.Failure.self, from: data)
    let words = String((said?.message ?? said?.error ?? "HTTP status \(answer.status)").prefix(200))
    let why = "\(endpoint): \(words)"
    switch said?.code {
    case Code.unauthenticated: return .expiredToken
    case Code.notFound: throw Failure(isNotFound: true, why: why)
    case Code.permissionDenied: throw Failure(isDenied: true, why: why)
    case Code.invalidArgument:
      // Of authentication too: a wrong password; an expired token of one kind; a token that was needed.
      if words.contains("authentication failed") || words.contains("user name is empty") {
        throw Failure(isDenied: true, why: why)
      }
      if words.contains("auth") { return .expiredToken }
      return .failed(why)
    default: return .failed(why)
    }
  }
}
