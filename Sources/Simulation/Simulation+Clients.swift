import ClientCore
import Cluster
import DispatcherCore
import Referee

/// Clients, and their connections: what `Pipeline` does around the core. A connection keeps the order; when
/// it breaks, what is on its way back is lost, and what is on its way there is or is not.
extension Simulation {
  func begin(_ client: Client) {
    // Some time after everything was mended nobody begins anything new.
    guard now < chaosEnds + 1_500_000, client.pending.count < client.requestsMax else { return }
    let request = client.begin(&chance, orders: referee.orders, at: now, answeredBefore: referee.answered)
    if case .command(let command) = request.asked { referee.isAsked(request.id, command) }
    if isUp(client) { flush(client) }
  }

  func turn(_ client: Client) {
    queue.add(.client(client.place), at: now + 10_000)
    let up = isUp(client)
    if client.core.count > 0 { client.core.connection(isUp: up, now: now) }
    client.core.tick(now: now)
    if !up, now >= client.connection.upAt { connect(client) }
    if up || client.connection.wanted != client.core.connection { flush(client) }
    take(client)
  }

  /// Who has the connection's turn: each client has the list in another order.
  private func dispatcher(of client: Client) -> Dispatcher {
    dispatchers[(client.first + client.core.dispatcher) % dispatchers.count]
  }

  private func isUp(_ client: Client) -> Bool {
    let dispatcher = dispatcher(of: client)
    return dispatcher.process != nil && client.connection.incarnation == dispatcher.incarnation
      && !client.connection.isBroken && now >= client.connection.upAt
      && client.connection.wanted == client.core.connection
  }

  private func connect(_ client: Client) {
    let dispatcher = dispatcher(of: client)
    client.connection.number += 1
    client.connection.wanted = client.core.connection
    client.connection.incarnation = dispatcher.incarnation
    client.connection.isBroken = dispatcher.process == nil
    client.connection.upAt = now + Int64(chance.pick(200...50_000))
    client.connection.freeAt = 0
    client.connection.freeBackAt = 0
  }

  private func flush(_ client: Client) {
    if client.connection.wanted != client.core.connection { connect(client) }
    guard isUp(client) else { return }
    let dispatcher = dispatcher(of: client)
    while client.core.prepareMessage() {
      let frames = (0..<client.core.frames).map { client.core.frame($0) }
      client.core.sent(now: now)
      guard !clientCut[client.place][dispatcher.place] else { continue }
      let isBroken = !isMended && chance.permille(mix.breaks)
      let at = travel(&client.connection.freeAt)
      if !isBroken || chance.permille(500) {
        queue.add(
          .fromClient(
            dispatcher.place, dispatcher.incarnation, client.place, connection: client.connection.number,
            frames), at: at)
      }
      if isBroken {
        count(.connectionBroke)
        client.connection.isBroken = true
        // Replies over it come to nobody.
        client.connection.number += 1
        client.connection.upAt = now + Int64(chance.pick(10_000...200_000))
        return
      }
    }
  }

  private func travel(_ freeAt: inout Int64) -> Int64 {
    var at = now + Int64(chance.pick(60...300))
    if !isMended, chance.permille(mix.delayed / 2) { at += Int64(chance.pick(5_000...900_000)) }
    freeAt = max(at, freeAt)
    return freeAt
  }

  func reply(_ frames: [[UInt8]], to connection: [UInt8], from dispatcher: Dispatcher) {
    let client = clients[Int(connection[0])]
    let number = connection[1...].withUnsafeBytes {
      UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self))
    }
    guard client.connection.number == number, !clientCut[client.place][dispatcher.place] else { return }
    queue.add(
      .toClient(client.place, connection: number, frames), at: travel(&client.connection.freeBackAt))
  }

  func receive(_ frames: [[UInt8]], _ client: Client) {
    for frame in frames { frame.withUnsafeBytes { client.core.take($0, now: now) } }
    client.core.endMessage(now: now)
    take(client)
    if isUp(client) { flush(client) }
  }

  /// What is over.
  private func take(_ client: Client) {
    guard client.core.hasFinished else { return }
    var finished: [ClientCore.Finished] = []
    client.core.takeFinished(into: &finished)
    for over in finished {
      guard let request = client.take(over.id) else {
        referee.fail("client \(client.place) finished \(over.id), which it never began")
        return
      }
      queue.add(.begin(client.place), at: now + Int64(chance.pick(100...pauseMax)))
      judge(request, over, client)
    }
  }

  private func judge(_ request: Client.Request, _ over: ClientCore.Finished, _ client: Client) {
    let who = dispatcher(of: client).name
    switch over.fate {
    case .done, .no:
      guard let facts = over.reply?.withUnsafeBytes({ ReplyFacts($0) }), facts.isFinal else {
        return referee.fail("\(who) answered \(request.id), and the reply says something else")
      }
      note { "client \(client.place) is told \(facts) of \(request.id)" }
      mixTrace(facts.code &+ facts.low)
      referee.isAnswered(request.judged, facts, over.reply!, by: who)
      if case .command = request.asked {} else { reads += 1 }
    case .notExecuted:
      note { "client \(client.place) is told that \(request.id) had no effect" }
      count(.givenUpDenied)
      referee.isDenied(request.judged, by: who)
    case .unknown:
      note { "client \(client.place) gives up \(request.id)" }
      count(.givenUpInDoubt)
      if case .command = request.asked { client.doubtful.append(request.id) }
    }
    // With time enough, everything is answered in a world that works.
    if over.isGivenUp, request.invokedAt >= chaosEnds, client.budgetMilliseconds >= 30_000 {
      referee.fail("\(request.id) was given up in a world that works")
    }
  }
}
