import Cluster
import Marketplace
import Referee

extension LogMark {
  fileprivate var judged: Referee.Mark { Referee.Mark(sn: sn.rawValue, hash: hash) }
}

extension StoredBlock {
  fileprivate var judged: Referee.Block {
    Referee.Block(
      first: head.first.rawValue, count: head.count, time: head.time, hash: head.hash,
      previousHash: head.previousHash, entries: entries)
  }
}

extension Referee {
  /// A replica says that its log is committed through `mark`.
  mutating func commits(_ who: String, _ mark: LogMark, _ disk: Disk) {
    let place = disk.place(after: SequenceNumber(committed))
    commits(who, mark.judged, disk.log[place...].lazy.map(\.judged))
  }

  mutating func leads(_ who: String, _ disk: Disk) {
    leads(who, base: disk.base.judged) { sn in
      let place = disk.place(after: SequenceNumber(sn)) - 1
      return place >= 0 && disk.log[place].head.last.rawValue == sn ? disk.log[place].head.hash : nil
    }
  }

  /// All of a replica's tables, after everything was applied.
  mutating func compare(_ who: String, _ tables: Tables) {
    guard tables.applied.rawValue == committed else {
      return fail("\(who) ends at \(tables.applied), not at \(committed)")
    }
    if tables.skus.count != model.goods.count || tables.orders.count != model.sales.count
      || tables.payments.count != model.payments.count || tables.shops.count != model.shops.count
      || tables.requests.count != answers.count + sealed.count
    {
      return fail("\(who) has not the rows that it must have")
    }
    goesBy(tables.rules, who, at: tables.applied.rawValue)
    var sum: Int64 = 0
    for (key, row) in tables.skus {
      var mine = MarketModel.Goods()
      (mine.price, mine.onHand, mine.reserved) = (row.price, row.onHand, row.reserved)
      (mine.consumed, mine.given) = (row.consumed, row.given)
      if model.goods[.init(shop: key.shop, sku: key.sku)] != mine {
        return fail("\(who) has another SKU \(key.shop)/\(key.sku)")
      }
      if row.onHand + row.reserved + row.consumed + row.writtenOff != row.given || row.onHand < 0 {
        return fail("\(who): stock of \(key.shop)/\(key.sku) does not add up")
      }
    }
    for (key, row) in tables.orders {
      guard let mine = model.sales[key], mine.id == row.id, mine.sale.state == UInt64(row.state.rawValue),
        mine.sale.held == row.held, mine.sale.received == row.received, mine.sale.refunded == row.refunded
      else { return fail("\(who) has another order \(key)") }
    }
    for (key, row) in tables.accounts {
      sum += row.balance
      if model.money[key, default: 0] != row.balance { return fail("\(who) has another balance of \(key)") }
    }
    if sum != 0 { fail("\(who): the ledger's balances are \(sum) together") }
    for (id, answer) in answers {
      guard let row = tables.requests[id], row.sequenceNumber == answer.sn else {
        return fail("\(who) has forgotten request \(id)")
      }
    }
    for (id, sn) in sealed where tables.requests[id]?.sequenceNumber != sn {
      return fail("\(who) has forgotten that \(id) is sealed")
    }
  }
}
