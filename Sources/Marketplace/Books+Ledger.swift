extension Books {
  /// Records what a provider reported, and moves the money by the rules of settlement.
  ///
  /// Precedence: arguments, the reference seen before (same order and amount: the first
  /// answer again), order known, amounts.
  mutating func settle(
    _ command: Command.SettlePayment, at time: Milliseconds, sequenceNumber: UInt64
  ) -> Answer {
    guard !command.provider.isEmpty else { return .no(.invalid("provider must not be empty")) }
    guard !command.reference.isEmpty else { return .no(.invalid("reference must not be empty")) }
    guard command.amount > 0 else { return .no(.invalid("amount must be more than 0")) }
    let key = PaymentKey(provider: command.provider, reference: command.reference)
    if let slot = payments.find(key) {
      let first = payments[slot]
      guard first.order == command.order, first.amount == command.amount else {
        return .no(Refusal(.referenceReused))
      }
      return .paymentSettled(first)
    }
    guard let slot = find(command.order) else { return .no(Refusal(.unknownOrder)) }
    let order = orders[slot]
    let buyer = AccountKey(.wallet, owner: order.buyer)
    // Every other account is at least 0, and together they hold what clearing owes: if that
    // fits into 63 bits, so does each of them.
    guard balance(AccountKey(.providerClearing)) >= -Money.max + command.amount else {
      return .no(Refusal(.amountOverflow))
    }

    let isAwaited = order.state == .placed
    let outstanding = order.total - order.received
    var payment = Payment(
      provider: command.provider, reference: command.reference, order: order.id, amount: command.amount,
      method: command.method, instalments: command.instalments, rejectedReason: command.rejectedReason,
      settledAt: time, settlement: .rejected, held: 0, refunded: 0,
      outstanding: isAwaited ? outstanding : 0, stateAfter: order.state)

    if !command.rejectedReason.isEmpty {
      // Recorded; nothing moves, and the order still waits.
    } else if !isAwaited {
      payment.settlement = .late
      payment.refunded = command.amount
      move(
        from: AccountKey(.providerClearing), to: buyer, command.amount, .late, order.id, at: time,
        sequenceNumber)
    } else {
      payment.held = min(command.amount, outstanding)
      payment.refunded = command.amount - payment.held
      payment.outstanding = outstanding - payment.held
      payment.settlement =
        command.amount < outstanding ? .under : command.amount == outstanding ? .exact : .over
      move(
        from: AccountKey(.providerClearing), to: AccountKey(.escrow, owner: order.shop), payment.held,
        .settlement, order.id, at: time, sequenceNumber)
      move(
        from: AccountKey(.providerClearing), to: buyer, payment.refunded, .surplus, order.id, at: time,
        sequenceNumber)
      orders.update(slot) { order in
        order.received += payment.held
        order.held += payment.held
        if order.received == order.total {
          // Paid, and with no pre-order date to wait for, ready at once.
          order.state = .ready
          order.paidAt = time
        }
      }
      payment.stateAfter = orders[slot].state
    }
    payments.insert(key, payment, isNew: true)
    return .paymentSettled(payment)
  }

  /// Escrow back to the buyer's wallet: all that the order holds.
  mutating func refundHeld(_ slot: Int, at time: Milliseconds, sequenceNumber: UInt64) {
    let order = orders[slot]
    move(
      from: AccountKey(.escrow, owner: order.shop), to: AccountKey(.wallet, owner: order.buyer),
      order.held, .refund, order.id, at: time, sequenceNumber)
    orders.update(slot) { order in
      order.refunded += order.held
      order.held = 0
    }
  }

  /// Escrow to the shop's balance, less the platform's fee on the goods.
  mutating func releaseHeld(_ slot: Int, at time: Milliseconds, sequenceNumber: UInt64)
    -> (fee: Money, released: Money)
  {
    let order = orders[slot]
    let share = order.goods.multipliedFullWidth(by: Money(terms.feeBasisPoints))
    let fee = Money(10_000).dividingFullWidth(share).quotient
    let released = order.held - fee
    let escrow = AccountKey(.escrow, owner: order.shop)
    move(
      from: escrow, to: AccountKey(.balance, owner: order.shop), released, .release, order.id, at: time,
      sequenceNumber)
    move(from: escrow, to: AccountKey(.fees), fee, .fee, order.id, at: time, sequenceNumber)
    orders.update(slot) { order in
      order.released = released
      order.fee = fee
      order.held = 0
    }
    return (fee, released)
  }

  /// One transfer. Nothing for an amount of 0.
  private mutating func move(
    from debit: AccountKey, to credit: AccountKey, _ amount: Money, _ why: Transfer.Why,
    _ order: OrderID, at time: Milliseconds, _ sequenceNumber: UInt64
  ) {
    precondition(amount >= 0)
    guard amount > 0 else { return }
    add(-amount, to: debit)
    add(amount, to: credit)
    let transfer = Transfer(
      sequenceNumber: sequenceNumber, number: transfersOfEntry, debit: debit, credit: credit,
      amount: amount, why: why, order: order, at: time)
    transfers.append(transfer)
    transferImages &+= transfer.image
    transfersOfEntry += 1
  }

  private mutating func add(_ amount: Money, to key: AccountKey) {
    if let slot = accounts.find(key) {
      accounts.update(slot) { $0.balance += amount }
    } else {
      accounts.insert(key, Account(key: key, balance: amount), isNew: true)
    }
  }
}
