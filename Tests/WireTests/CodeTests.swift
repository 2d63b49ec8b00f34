import LarisProtocol
import Marketplace
import Testing
import Wire

/// The contract's enumerations and ours are the same numbers.
struct CodeTests {
  @Test func `every code of the contract is a reason or a delivery's, and none is both`() {
    let reasons = Reason.allCases.map { Int($0.rawValue) }
    let deliveries = DeliveryCode.allCases.map { Int($0.rawValue) }
    #expect(Laris_Code.allCases.map(\.rawValue).sorted() == ([0] + reasons + deliveries).sorted())
    for reason in reasons { #expect((1...99).contains(reason)) }
    for code in DeliveryCode.allCases {
      #expect(code.rawValue >= 100)
      #expect(code.outcome == (code.rawValue < 150 ? .notExecuted : .unknown))
    }
  }

  @Test func `every no says why in two languages and what to do next`() {
    let all =
      Reason.allCases.map { ("\($0)", $0.sentences) } + DeliveryCode.allCases.map { ("\($0)", $0.sentences) }
    for (name, sentences) in all {
      for sentence in [sentences.english, sentences.indonesian, sentences.next] {
        #expect(sentence.count > 5, "\(name)")
        #expect(sentence.last == ".", "\(name): \(sentence)")
      }
      #expect(sentences.english != sentences.indonesian, "\(name)")
    }
    #expect(Set(all.map(\.1.english)).count == all.count, "two codes say the same")
    #expect(Set(all.map(\.1.indonesian)).count == all.count, "two codes say the same in Indonesian")
  }

  @Test func `a wait is named exactly where a retry of the same request can help`() {
    let helps = DeliveryCode.allCases.filter { $0.retryAfterMilliseconds != nil }
    #expect(
      Set(helps) == [
        .busy, .noPrimary, .stopping, .deadlinePassed, .noAnswerInTime, .diskFull, .tooFewReplicas,
        .configurationAway,
      ])
    for code in helps { #expect((code.retryAfterMilliseconds ?? 0) > 0) }
  }

  @Test func `enumerations of rows have the contract's numbers`() {
    func ours(_ most: UInt8, _ has: (UInt8) -> Bool) -> [Int] { (0...most).filter(has).map(Int.init) }
    #expect(Laris_Outcome.allCases.map(\.rawValue) == [0] + ours(255) { Outcome(rawValue: $0) != nil })
    #expect(Laris_Origin.allCases.map(\.rawValue) == ours(255) { Origin(rawValue: $0) != nil })
    #expect(Laris_Actor.allCases.map(\.rawValue) == ours(255) { Actor(rawValue: $0) != nil })
    #expect(Laris_ShopStatus.allCases.map(\.rawValue) == ours(255) { ShopStatus(rawValue: $0) != nil })
    #expect(Laris_PaymentMethod.allCases.map(\.rawValue) == ours(255) { PaymentMethod(rawValue: $0) != nil })
    #expect(Laris_Settlement.allCases.map(\.rawValue) == [0] + ours(255) { Settlement(rawValue: $0) != nil })
    #expect(Laris_OrderState.allCases.map(\.rawValue) == [0] + ours(255) { OrderState(rawValue: $0) != nil })
  }

  @Test func `names stand for the numbers that they have in the contract`() {
    #expect(Laris_Code.outOfStock.rawValue == Int(Reason.outOfStock.rawValue))
    #expect(Laris_Code.unknownSku.rawValue == Int(Reason.unknownSKU.rawValue))
    #expect(Laris_Code.stockNegative.rawValue == Int(Reason.stockNegative.rawValue))
    #expect(Laris_Code.requestIDReused.rawValue == Int(DeliveryCode.requestIDReused.rawValue))
    #expect(Laris_Code.requestIDTooOld.rawValue == Int(DeliveryCode.requestIDTooOld.rawValue))
    #expect(Laris_OrderState.expired.rawValue == Int(OrderState.expired.rawValue))
    #expect(Laris_Settlement.late.rawValue == Int(Settlement.late.rawValue))
    #expect(Laris_PaymentMethod.cashOnDelivery.rawValue == Int(PaymentMethod.cashOnDelivery.rawValue))
    #expect(Laris_Actor.platform.rawValue == Int(Actor.platform.rawValue))
  }
}
