import Marketplace
import Testing

struct StockTests {
  @Test func `a registered shop is what its registration said`() {
    let market = Market()
    var command = Command.RegisterShop()
    command.shop = 4
    command.name = "Batik Ibu"
    command.city = "Solo"
    command.province = "Jawa Tengah"
    command.market = "Pasar Klewer"
    command.category = "fashion"
    command.origin = .crossBorder
    command.ownerHash = [1, 2, 3]
    #expect(market.tell(.registerShop(command)) == .shopRegistered(4))
    let shop = Shop(
      id: 4, name: "Batik Ibu", city: "Solo", province: "Jawa Tengah", market: "Pasar Klewer",
      category: "fashion", origin: .crossBorder, status: .active, ownerHash: [1, 2, 3],
      registeredAt: Market.start)
    #expect(market.books.answer(.shop(ShopID(4))) == .shop(shop, balance: 0, escrow: 0))
  }

  @Test func `a shop is registered once, and the second attempt changes nothing`() {
    let market = Market.open()
    let before = market.contents()
    #expect(market.tell(.register(1, name: "Another")) == .no(Refusal(.shopExists)))
    #expect(market.contents() == before)
  }

  @Test func `a new SKU without stock on hand has none`() {
    let market = Market.open()
    #expect(
      market.tell(.put(1, 20, price: 5, name: "Teh"))
        == .stockChanged(shop: 1, sku: 20, price: 5, onHand: 0, reserved: 0))
    #expect(
      market.sku(20)
        == SKU(
          shop: 1, sku: 20, name: "Teh", price: 5, onHand: 0, reserved: 0, consumed: 0, writtenOff: 0,
          given: 0))
  }

  @Test func `putting a SKU again without stock or name sets its price only`() {
    let market = Market.open()
    market.tell(.put(1, 20, price: 5, onHand: 8, name: "Teh"))
    #expect(
      market.tell(.put(1, 20, price: 6))
        == .stockChanged(shop: 1, sku: 20, price: 6, onHand: 8, reserved: 0))
    let sku = market.sku(20)
    #expect(sku.name == "Teh")
    #expect(sku.given == 8)
  }

  @Test func `putting stock sets what is on hand and leaves what is reserved`() {
    let market = Market.open()
    _ = market.placed([(10, 30)])
    #expect(
      market.tell(.put(1, 10, price: 1_000, onHand: 5))
        == .stockChanged(shop: 1, sku: 10, price: 1_000, onHand: 5, reserved: 30))
    #expect(market.sku(10).given == 35)
  }

  @Test func `a SKU belongs to its shop`() {
    let market = Market.open()
    market.tell(.register(2))
    #expect(market.tell(.adjust(2, 10, 1)).reason == .unknownSKU)
    market.tell(.put(2, 10, price: 3, onHand: 3))
    #expect(market.sku(10, shop: 1).onHand == 100)
    #expect(market.sku(10, shop: 2).onHand == 3)
  }

  @Test func `adjusting adds, and takes down to zero`() {
    let market = Market.open()
    #expect(
      market.tell(.adjust(1, 11, 4)) == .stockChanged(shop: 1, sku: 11, price: 250, onHand: 9, reserved: 0))
    #expect(
      market.tell(.adjust(1, 11, -9)) == .stockChanged(shop: 1, sku: 11, price: 250, onHand: 0, reserved: 0))
    #expect(market.sku(11).given == 0)
  }

  @Test(arguments: [-6, -100, Int64.min]) func `stock on hand never goes below zero`(delta: Int64) {
    let market = Market.open()
    let before = market.contents()
    let answer = market.tell(.adjust(1, 11, delta))
    #expect(answer.reason == .stockNegative)
    #expect(answer.problems == [.init(index: 0, sku: 11, wanted: delta, available: 5)])
    #expect(market.contents() == before)
  }

  @Test func `what is reserved can't be taken away`() {
    let market = Market.open()
    _ = market.placed([(11, 3)])
    #expect(market.tell(.adjust(1, 11, -3)).reason == .stockNegative)
    #expect(market.tell(.adjust(1, 11, -2)).reason == nil)
  }

  @Test func `stock ever given fits into 63 bits, by adjusting and by putting`() {
    let market = Market.open()
    market.tell(.put(1, 20, price: 1, onHand: .max))
    #expect(market.sku(20).given == .max)
    #expect(market.tell(.adjust(1, 20, 1)).reason == .amountOverflow)
    let order = market.placed([(20, 1)])
    // One is reserved, so all 2^63 − 1 on hand would make 2^63 given.
    #expect(market.tell(.put(1, 20, price: 1, onHand: .max)).reason == .amountOverflow)
    market.settle(order, 1)
    market.tell(.shipOrder(order))
    #expect(market.tell(.put(1, 20, price: 1, onHand: .max)).reason == .amountOverflow)
    #expect(market.sku(20).onHand == .max - 1)
    #expect(market.tell(.adjust(1, 20, -1)).reason == nil)
    #expect(market.tell(.adjust(1, 20, 1)).reason == nil)
    #expect(market.tell(.adjust(1, 20, 1)).reason == .amountOverflow)
  }

  @Test func `a look at a SKU says whether shop or SKU is missing`() {
    let market = Market.open()
    #expect(market.books.answer(.sku(SKUKey(shop: 3, sku: 10))).reason == .unknownShop)
    #expect(market.books.answer(.sku(SKUKey(shop: 1, sku: 99))).reason == .unknownSKU)
    #expect(market.books.answer(.shop(ShopID(3))).reason == .unknownShop)
  }
}
