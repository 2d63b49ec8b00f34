import Cluster
import Foundation

/// Who is there: keys under leases. A lease lasts in whole seconds, at least two of them.
extension EtcdStore {
  package func register(_ node: NodeRecord, milliseconds: Int64) throws(ConfigurationError) -> Session {
    precondition(node.problem == nil && milliseconds > 0)
    let deadline = gateway.deadline()
    let sent = SteadyClock.milliseconds()
    let granted: Etcd.Lease
    do {
      granted = try gateway.call(
        "/v3/lease/grant", Etcd.Lease(TTL: EtcdInt((milliseconds + 999) / 1_000)), by: deadline)
    } catch {
      throw Self.translated(error)
    }
    guard let id = granted.ID?.value, let seconds = granted.TTL?.value, id != 0,
      (1...86_400).contains(seconds)
    else { throw ConfigurationError(.unavailable, "etcd granted a lease without an id, or of no length") }
    _ = try transaction(
      [], [.put(keys.node(node), EtcdValues.encode(node), lease: id)], orElse: [], by: deadline)
    return Session(
      id: UInt64(bitPattern: id), milliseconds: seconds * 1_000, expiresAt: sent + seconds * 1_000)
  }

  package func keepAlive(_ session: Session) throws(ConfigurationError) -> Session? {
    let sent = SteadyClock.milliseconds()
    let answer: Etcd.KeepAliveAnswer
    do {
      answer = try gateway.call(
        "/v3/lease/keepalive", Etcd.Lease(ID: EtcdInt(Int64(bitPattern: session.id))),
        by: gateway.deadline())
    } catch {
      throw Self.translated(error)
    }
    guard let seconds = answer.result?.TTL?.value, (1...86_400).contains(seconds) else { return nil }
    return Session(id: session.id, milliseconds: seconds * 1_000, expiresAt: sent + seconds * 1_000)
  }

  package func end(_ session: Session) throws(ConfigurationError) {
    do {
      let _: Etcd.Nothing = try gateway.call(
        "/v3/lease/revoke", Etcd.Lease(ID: EtcdInt(Int64(bitPattern: session.id))), by: gateway.deadline())
    } catch  where error.isNotFound {
      // It has run out.
    } catch {
      throw Self.translated(error)
    }
  }

  package func nodes() throws(ConfigurationError) -> [NodeRecord] {
    let answer = try read(
      [Etcd.Operation(request_range: Etcd.Range(key: keys.nodes, range_end: keys.end(of: keys.nodes)))],
      by: gateway.deadline())
    var nodes: [NodeRecord] = []
    for found in answer.responses?.first?.response_range?.kvs ?? [] {
      nodes.append(
        try Self.sound(found.key) { () throws(EtcdValues.Unsound) in try EtcdValues.node(found.value) })
    }
    return nodes
  }

  package func campaign(_ session: Session, life: String) throws(ConfigurationError) -> Leadership? {
    let lease = Int64(bitPattern: session.id)
    let value = EtcdValues.encode(controller: life, session: session.id)
    let transaction = Etcd.Transaction(
      compare: [comparesCluster, .created(keys.controller, at: 0)],
      success: [.put(keys.controller, value, lease: lease)],
      failure: [.range(keys.cluster), .range(keys.controller)])
    let answer: Etcd.TransactionAnswer
    do {
      answer = try gateway.call("/v3/kv/txn", transaction, by: gateway.deadline())
    } catch  where error.isNotFound {
      return nil
    } catch {
      throw Self.translated(error)
    }
    if answer.succeeded == true {
      guard let revision = answer.header?.revision?.value, revision > 0 else {
        throw ConfigurationError(.unavailable, "etcd gave no revision")
      }
      return Leadership(life: life, session: session.id, revision: UInt64(revision))
    }
    try checkCluster(answer.first(0))
    return try leadership(answer.first(1))
  }

  package func controller() throws(ConfigurationError) -> Leadership? {
    try leadership(try read([.range(keys.controller)], by: gateway.deadline()).first(0))
  }

  private func leadership(_ found: Etcd.KeyValue?) throws(ConfigurationError) -> Leadership? {
    guard let found else { return nil }
    let (life, session) = try Self.sound(found.key) { () throws(EtcdValues.Unsound) in
      try EtcdValues.controller(found.value)
    }
    return Leadership(
      life: life, session: session, revision: UInt64(max(0, found.create_revision?.value ?? 0)))
  }

  package func resign(_ leadership: Leadership) throws(ConfigurationError) {
    _ = try transaction(
      [.created(keys.controller, at: Int64(clamping: leadership.revision))], [.delete(keys.controller)],
      orElse: [], by: gateway.deadline())
  }
}
