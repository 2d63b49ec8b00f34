/// A node that is there: what it registered under its lease.
package struct NodeRecord: Equatable, Sendable {
  package enum Kind: String, Sendable { case dispatcher, worker }

  package var kind: Kind
  package var node: String
  package var incarnation: Incarnation
  /// By purpose: "services", "workers", "replication".
  package var addresses: [String: String]
  /// Where it stands: replicas of a group are spread over zones. nil: not told.
  package var zone: String?

  package init(
    kind: Kind, node: String, incarnation: Incarnation, addresses: [String: String] = [:],
    zone: String? = nil
  ) {
    self.kind = kind
    self.node = node
    self.incarnation = incarnation
    self.addresses = addresses
    self.zone = zone
  }

  /// This process, for a history to name: no other ever has the same.
  package var life: String { "\(node)@\(incarnation)" }

  package static let nameBytesMax = 64
  package static let addressesMax = 8
  package static let addressBytesMax = 256

  package static func isName(_ name: String) -> Bool { (1...nameBytesMax).contains(name.utf8.count) }

  /// What no configuration manager takes; nil: it is sound.
  package var problem: String? {
    guard Self.isName(node) else { return "a node's name has 1 to \(Self.nameBytesMax) bytes" }
    guard zone.map(Self.isName) ?? true else { return "a zone's name has 1 to \(Self.nameBytesMax) bytes" }
    let isSound =
      addresses.count <= Self.addressesMax
      && addresses.allSatisfy { Self.isName($0.key) && $0.value.utf8.count <= Self.addressBytesMax }
    return isSound
      ? nil : "a node has at most \(Self.addressesMax) addresses, of \(Self.addressBytesMax) bytes"
  }
}

/// A node's lease: it is there until this runs out, unless kept alive.
package struct Session: Equatable, Sendable {
  package let id: UInt64
  /// How long it lasts without a sign of life.
  package let milliseconds: Int64
  /// On the clock of who holds it, counted from when the last sign of life was *sent*: the store
  /// ends it no earlier.
  package let expiresAt: Int64

  package init(id: UInt64, milliseconds: Int64, expiresAt: Int64) {
    self.id = id
    self.milliseconds = milliseconds
    self.expiresAt = expiresAt
  }
}

/// Who is the controller.
package struct Leadership: Equatable, Sendable {
  /// ``NodeRecord/life`` of the dispatcher.
  package let life: String
  package let session: UInt64
  /// Greater with every controller: a change that names an earlier one is refused.
  package let revision: UInt64

  package init(life: String, session: UInt64, revision: UInt64) {
    self.life = life
    self.session = session
    self.revision = revision
  }
}
