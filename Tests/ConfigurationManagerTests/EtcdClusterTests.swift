import Cluster
import ConfigurationManager
import Curl
import Foundation
import TestSupport
import Testing

/// Against an etcd of the test's own, to which something is done.
@Suite(.serialized) struct EtcdClusterTests {
  private typealias Contract = ConfigurationManagerContract
  private static let record = ConfigurationManagerContract.record

  @Test func `three nodes lose their leader, a node, and their quorum`() throws {
    let servers = try EtcdServers(3)
    defer { servers.end() }
    let options = EtcdOptions(endpoints: servers.endpoints, callMilliseconds: 10_000)
    try EtcdStore.create(options, Self.record)
    let store = try EtcdStore(options)
    var epoch: UInt64 = 0
    func change(_ store: EtcdStore) -> ChangeOutcome {
      epoch += 1
      return store.change(Contract.change(Contract.group(0, epoch, "a", epoch)), as: nil)
    }
    #expect(change(store) == .accepted)

    let leader = try #require(try RawEtcd.leader(of: servers.endpoints))
    servers.kill(leader)
    #expect(change(store) == .accepted, "the rest elect another one within the call")
    try servers.restart(leader)

    // A frozen one, wherever it stands among the endpoints.
    let frozen = try #require(try RawEtcd.leader(of: servers.endpoints))
    servers.stop(frozen)
    for _ in 0..<3 { #expect(change(store) == .accepted) }
    servers.goOn(frozen)

    // No quorum: nothing is known, and in time.
    var short = options
    short.callMilliseconds = 700
    let hasty = try EtcdStore(short)
    let away = [0, 1, 2].filter { $0 != frozen }
    for number in away { servers.stop(number) }
    let began = SteadyClock.milliseconds()
    let outcome = change(hasty)
    guard case .unknown = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(throws: ConfigurationError.self) { _ = try hasty.groups() }
    #expect(SteadyClock.milliseconds() - began < 3_400)
    for number in away { servers.goOn(number) }
    let again = Contract.change(Contract.group(0, epoch, "a", epoch))
    #expect(store.change(again, as: nil) == .accepted)
    #expect(try store.history(of: PartitionID(0)).map(\.record.epoch.rawValue) == Array(1...epoch))
  }

  @Test func `a user is let in by password, and again when the token is not known any more`() throws {
    let servers = try EtcdServers()
    defer { servers.end() }
    let raw = RawEtcd(servers.endpoints[0])
    try raw.post("/v3/auth/user/add", ["name": "root", "password": "durian"])
    try raw.post("/v3/auth/role/add", ["name": "root"])
    try raw.post("/v3/auth/user/grant", ["user": "root", "role": "root"])
    try raw.post("/v3/auth/user/add", ["name": "stranger", "password": "salak"])
    // What docs/OPERATIONS.md grants is enough.
    try raw.post("/v3/auth/user/add", ["name": "laris", "password": "durian"])
    try raw.post("/v3/auth/role/add", ["name": "laris"])
    let range = ["/laris/", "/laris0"].map { Data($0.utf8).base64EncodedString() }
    try raw.post(
      "/v3/auth/role/grant",
      ["name": "laris", "perm": ["permType": "READWRITE", "key": range[0], "range_end": range[1]]])
    try raw.post("/v3/auth/user/grant", ["user": "laris", "role": "laris"])
    var options = EtcdOptions(endpoints: servers.endpoints, user: "laris", password: "durian")
    options.callMilliseconds = 10_000
    // The user may be given before authentication is switched on, and need not be given again.
    try EtcdStore.create(options, Self.record)
    let store = try EtcdStore(options)
    #expect(try store.groups().count == Self.record.partitions)
    try raw.post("/v3/auth/enable", [:])
    #expect(store.change(Contract.change(Contract.group(0, 1, "a", 1)), as: nil) == .accepted)
    // Tokens are in the memory of the process that gave them.
    servers.kill(0)
    try servers.restart(0)
    #expect(store.change(Contract.change(Contract.group(0, 2, "a", 1)), as: nil) == .accepted)

    let node = NodeRecord(kind: .dispatcher, node: "d", incarnation: Incarnation(1))
    let session = try store.register(node, milliseconds: 60_000)
    let leadership = try #require(try store.campaign(session, life: node.life))
    #expect(store.change(Contract.change(Contract.group(0, 3, "a", 1)), as: leadership) == .accepted)
    #expect(try store.keepAlive(session) != nil)
    try store.end(session)
    #expect(try store.nodes().isEmpty)

    for (user, password) in [("root", "nangka"), ("nobody", "durian"), ("stranger", "salak"), (nil, nil)] {
      var other = options
      (other.user, other.password) = (user, password)
      let error = #expect(throws: ConfigurationError.self) { _ = try EtcdStore(other) }
      #expect(error?.kind == .denied, "\(user ?? "-"): \(String(describing: error))")
      #expect(error?.description.contains("durian") == false, "no password is told")
    }
  }

  @Test func `over TLS both sides show who they are`() throws {
    let folder = try TestFolder()
    try Self.certificates(in: folder.path)
    func file(_ name: String) -> String { folder.path + "/" + name }
    let servers = try EtcdServers(
      options: [
        "--cert-file", file("server.pem"), "--key-file", file("server.key"), "--client-cert-auth",
        "--trusted-ca-file", file("ca.pem"),
      ], https: true)
    defer { servers.end() }
    let tls = HTTPConnection.TLS(
      authority: file("ca.pem"), certificate: file("client.pem"), key: file("client.key"))
    let options = EtcdOptions(endpoints: servers.endpoints, tls: tls, callMilliseconds: 10_000)
    try EtcdStore.create(options, Self.record)
    let store = try EtcdStore(options)
    #expect(store.change(Contract.change(Contract.group(0, 1, "a", 1)), as: nil) == .accepted)
    for wrong in [
      HTTPConnection.TLS(authority: file("ca.pem")),
      HTTPConnection.TLS(certificate: file("client.pem"), key: file("client.key")),
      HTTPConnection.TLS(
        authority: file("stranger.pem"), certificate: file("client.pem"), key: file("client.key")),
      HTTPConnection.TLS(
        authority: file("ca.pem"), certificate: file("stranger.pem"), key: file("stranger.key")),
    ] {
      var other = options
      other.tls = wrong
      other.callMilliseconds = 400
      let error = #expect(throws: ConfigurationError.self) { _ = try EtcdStore(other) }
      #expect(error?.kind == .unavailable, "\(wrong)")
    }
  }

  /// Authority, server and client, and a stranger that signed itself.
  private static func certificates(in folder: String) throws {
    let script = """
      set -e
      cd '\(folder)'
      key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
      openssl req -x509 $key -keyout ca.key -out ca.pem -subj /CN=laris-test-ca
      openssl req -x509 $key -keyout stranger.key -out stranger.pem -subj /CN=stranger
      printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' >extensions
      for name in server client; do
        openssl req $key -keyout $name.key -out $name.csr -subj /CN=$name
        openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out $name.pem \\
          -extfile extensions
      done
      """
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", script]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "openssl could not make certificates")
  }
}
