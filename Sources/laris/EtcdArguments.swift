import ArgumentParser
import ConfigurationManager
import Curl
import Foundation
import NodeSupport

/// Where the cluster's configuration is, if not in a folder. A password is never an argument: whoever
/// lists processes would read it.
struct EtcdArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Where etcd listens for clients, with commas or by repeating it. http:// on loopback only. Also "
        + "LARIS_ETCD.", valueName: "url"))
  var etcd: [String] = []

  @Option(help: "Keys begin with this: several clusters may share an etcd.")
  var etcdPrefix: String = EtcdOptions.defaultPrefix

  @Option(
    help: "etcd's user; the password is in --etcd-password-file, or in the variable LARIS_ETCD_PASSWORD.")
  var etcdUser: String?

  @Option(help: "A file whose first line is the password of etcd's user.")
  var etcdPasswordFile: String?

  @Option(help: "PEM file: who may sign etcd's certificates. Otherwise those that the system trusts.")
  var etcdCa: String?

  @Option(help: "PEM file: the certificate that we show to etcd.")
  var etcdCert: String?

  @Option(help: "PEM file: its key.")
  var etcdKey: String?

  @Flag(help: "Allow http:// to other machines: whoever listens on the way reads and changes everything.")
  var etcdPlaintext = false

  private static var environment: [String: String] { ProcessInfo.processInfo.environment }

  private var endpoints: [String] {
    let given = etcd.isEmpty ? [Self.environment["LARIS_ETCD"] ?? ""] : etcd
    return given.flatMap { $0.split(separator: ",") }.map { $0.hasSuffix("/") ? $0.dropLast() : $0 }
      .map(String.init)
  }

  var isGiven: Bool { !endpoints.isEmpty }

  func validate() throws {
    guard isGiven else {
      guard etcdUser == nil, etcdPasswordFile == nil, etcdCa == nil, etcdCert == nil, etcdKey == nil,
        !etcdPlaintext, etcdPrefix == EtcdOptions.defaultPrefix
      else { throw ValidationError("options for etcd without --etcd URL") }
      return
    }
  }

  /// nil: the configuration is in a folder.
  func options() throws -> EtcdOptions? {
    guard isGiven else { return nil }
    var options = EtcdOptions(
      endpoints: endpoints, user: etcdUser,
      tls: HTTPConnection.TLS(authority: etcdCa, certificate: etcdCert, key: etcdKey), prefix: etcdPrefix,
      allowsPlaintext: etcdPlaintext)
    if etcdUser != nil { options.password = try password() }
    if let problem = options.problem { throw NodeError(.usage, "--etcd: \(problem)") }
    return options
  }

  private func password() throws -> String {
    guard let file = etcdPasswordFile else {
      guard let password = Self.environment["LARIS_ETCD_PASSWORD"], !password.isEmpty else {
        throw NodeError(
          .usage, "--etcd-user without a password: give --etcd-password-file FILE, or set LARIS_ETCD_PASSWORD"
        )
      }
      return password
    }
    guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
      throw NodeError(.usage, "--etcd-password-file \(file) can't be read")
    }
    guard let line = text.split(whereSeparator: \.isNewline).first, !line.isEmpty else {
      throw NodeError(.usage, "--etcd-password-file \(file) has no first line")
    }
    return String(line)
  }
}
