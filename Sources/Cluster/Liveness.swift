/// Who is there and who is the controller, in one process's memory: leases that run out.
package struct Liveness: Sendable {
  private struct Lease {
    var milliseconds: Int64
    var expiresAt: Int64
    var node: NodeRecord
  }

  private struct Name: Hashable {
    let kind: NodeRecord.Kind
    let node: String
  }

  private var leases: [UInt64: Lease] = [:]
  /// The lease that registered a name last.
  private var holders: [Name: UInt64] = [:]
  private var controller: Leadership?
  private var lastSession: UInt64 = 0

  package init() {}

  private mutating func expire(now: Int64) {
    for (id, lease) in leases where lease.expiresAt <= now { end(id) }
  }

  package mutating func register(_ node: NodeRecord, milliseconds: Int64, now: Int64) -> Session {
    precondition(node.problem == nil && milliseconds > 0)
    expire(now: now)
    lastSession += 1
    leases[lastSession] = Lease(milliseconds: milliseconds, expiresAt: now + milliseconds, node: node)
    holders[Name(kind: node.kind, node: node.node)] = lastSession
    return Session(id: lastSession, milliseconds: milliseconds, expiresAt: now + milliseconds)
  }

  /// - Returns: nil where it has run out, or was ended.
  package mutating func keepAlive(_ session: UInt64, now: Int64) -> Session? {
    expire(now: now)
    guard var lease = leases[session] else { return nil }
    lease.expiresAt = now + lease.milliseconds
    leases[session] = lease
    return Session(id: session, milliseconds: lease.milliseconds, expiresAt: lease.expiresAt)
  }

  package mutating func end(_ session: UInt64) {
    guard let lease = leases.removeValue(forKey: session) else { return }
    let name = Name(kind: lease.node.kind, node: lease.node.node)
    if holders[name] == session { holders[name] = nil }
    if controller?.session == session { controller = nil }
  }

  /// By kind and name.
  package mutating func nodes(now: Int64) -> [NodeRecord] {
    expire(now: now)
    return holders.values.compactMap { leases[$0]?.node }.sorted {
      ($0.kind.rawValue, $0.node) < ($1.kind.rawValue, $1.node)
    }
  }

  /// - Parameter nextRevision: what a new controller gets; asked for only where there is one.
  /// - Returns: who is the controller, or nil where the session has run out and nobody is.
  package mutating func campaign<E: Error>(
    _ session: UInt64, life: String, now: Int64, nextRevision: () throws(E) -> UInt64
  ) throws(E) -> Leadership? {
    expire(now: now)
    if controller == nil, leases[session] != nil {
      controller = Leadership(life: life, session: session, revision: try nextRevision())
    }
    return controller
  }

  package mutating func controller(now: Int64) -> Leadership? {
    expire(now: now)
    return controller
  }

  package mutating func resign(_ leadership: Leadership) {
    if controller?.revision == leadership.revision { controller = nil }
  }
}
