import Curl
import Foundation

/// Where etcd is, and who we are to it.
package struct EtcdOptions: Equatable, Sendable {
  /// `https://HOST:PORT`, or `http://` on loopback.
  package var endpoints: [String]
  package var user: String?
  package var password: String?
  package var tls: HTTPConnection.TLS
  /// Every key begins with it. Several clusters may share an etcd.
  package var prefix: String
  /// No call takes longer, over all endpoints and attempts.
  package var callMilliseconds: Int64
  /// Allows `http://` to other machines: whoever can listen there reads and changes everything.
  package var allowsPlaintext: Bool

  package static let defaultPrefix = "/laris/"
  package static let endpointsMax = 16

  package init(
    endpoints: [String], user: String? = nil, password: String? = nil,
    tls: HTTPConnection.TLS = HTTPConnection.TLS(), prefix: String = defaultPrefix,
    callMilliseconds: Int64 = 2_000, allowsPlaintext: Bool = false
  ) {
    self.endpoints = endpoints
    self.user = user
    self.password = password
    self.tls = tls
    self.prefix = prefix
    self.callMilliseconds = callMilliseconds
    self.allowsPlaintext = allowsPlaintext
  }

  /// What is wrong with them; nil: nothing that can be seen from here.
  package var problem: String? {
    guard (1...Self.endpointsMax).contains(endpoints.count) else {
      return "etcd has 1 to \(Self.endpointsMax) endpoints, not \(endpoints.count)"
    }
    for endpoint in endpoints { if let problem = problem(of: endpoint) { return problem } }
    guard (user == nil) == (password == nil) else {
      return user == nil ? "a password for etcd without a user" : "etcd's user \(user!) without a password"
    }
    guard (tls.certificate == nil) == (tls.key == nil) else {
      return "a client's certificate and its key go together"
    }
    for file in [tls.authority, tls.certificate, tls.key].compactMap({ $0 }) {
      guard FileManager.default.isReadableFile(atPath: file) else { return "\(file) can't be read" }
    }
    guard prefix.hasPrefix("/"), prefix.hasSuffix("/"), prefix.utf8.count <= 256 else {
      return "etcd's prefix '\(prefix)' must begin and end with a slash, like \(Self.defaultPrefix)"
    }
    return nil
  }

  private func problem(of endpoint: String) -> String? {
    let example = "it should look like https://etcd-1:2379"
    guard let url = URLComponents(string: endpoint), let host = url.host, !host.isEmpty,
      url.scheme == "http" || url.scheme == "https", url.port != nil
    else { return "etcd '\(endpoint)' is no address; \(example)" }
    guard url.path.isEmpty, url.user == nil, url.password == nil, url.query == nil, url.fragment == nil else {
      return "etcd '\(endpoint)' has more than scheme, host and port; \(example)"
    }
    guard url.scheme == "https" || allowsPlaintext || Self.isLoopback(host) else {
      return "etcd '\(endpoint)' would be asked in plain text; use https, or allow it with --etcd-plaintext"
    }
    return nil
  }

  private static func isLoopback(_ host: String) -> Bool {
    if ["localhost", "::1", "[::1]"].contains(host) { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }
}
