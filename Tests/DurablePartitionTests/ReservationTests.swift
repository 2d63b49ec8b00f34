import Bytes
import Cluster
import Files
import Marketplace
import SimulatedDisk
import Synchronization
import Testing
import Wire

/// Reservations that wait for payment, in numbers: what a start reads of them, and what memory has.
struct ReservationTests {
  private static let start: Milliseconds = 1_763_323_200_000
  private static let reserve: UInt64 = 3_600_000

  private static func request(_ number: UInt64, _ command: Command) -> Traffic.Sent {
    let id = RequestID(high: UInt64(start) << 16 | 0x7000, low: 2 << 62 | number)
    var writer = ByteWriter()
    RequestEncoder.write(id: id, channel: "app", deadlineMilliseconds: 1_000, command, into: &writer)
    return Traffic.Sent(id: id, bytes: Array(writer.bytes))
  }

  /// A worker with so many orders that wait, all of them in SQLite, that fall due a hundred in a millisecond.
  private static func worker(on disk: SimulatedDisk, orders: UInt64) throws -> Worker {
    try disk.makeDirectory("/worker")
    let worker = try Worker(Worker.setup(disk, epoch: 1, mayCreate: true))
    var shop = Command.RegisterShop()
    shop.shop = 1
    shop.name = "Toko"
    var sku = Command.PutSKU()
    sku.shop = 1
    sku.sku = 1
    sku.price = 1_000
    sku.onHand = Int64(orders)
    sku.name = "Kopi"
    try worker.tell([request(1, .registerShop(shop)), request(2, .putSKU(sku))], at: start)
    var place = Command.PlaceOrder()
    place.shop = 1
    place.buyer = 7
    place.lines = [.init(sku: 1, quantity: 1)]
    place.reserveMilliseconds = reserve
    for number in 0..<orders / 100 {
      let requests = (0..<100).map { request(10 + number * 100 + $0, .placeOrder(place)) }
      try worker.tell(requests, at: start + Milliseconds(number))
      if number % 20 == 19 { try worker.checkpoint() }
    }
    try worker.checkpoint()
    return worker
  }

  @Test func `a start reads as much whether few reservations wait or many`() throws {
    var reads: [Int] = []
    for orders in [10_000, 40_000] as [UInt64] {
      let disk = SimulatedDisk()
      do {
        let worker = try Self.worker(on: disk, orders: orders)
        #expect(worker.reservations.count <= 2_048)
      }
      let count = Atomic(0)
      disk.setFault { operation in
        if operation.kind == .read, operation.path.hasSuffix("partition.sqlite") {
          count.add(1, ordering: .relaxed)
        }
        return nil
      }
      let worker = try Worker(Worker.setup(disk, epoch: 2, mayCreate: false))
      #expect(worker.durable.replayed == 0)
      #expect(worker.reservations.count == 0)
      // The first turn looks what comes next.
      #expect(worker.hasWork(at: Self.start))
      try worker.tell([], at: Self.start)
      #expect(worker.reservations.count == 1_024)
      #expect(worker.reservations.first == Self.start + Milliseconds(Self.reserve))
      #expect(!worker.hasWork(at: Self.start + Milliseconds(Self.reserve) - 1))
      reads.append(count.load(ordering: .relaxed))
    }
    #expect(reads[0] > 10, "they are counted")
    // Four times the orders: trees may be a page deeper.
    #expect(reads[1] <= reads[0] + 16, "\(reads) reads")
  }

  @Test func `after a start all that wait run out in turn, and memory has few of them`() throws {
    let disk = SimulatedDisk()
    do { _ = try Self.worker(on: disk, orders: 20_000) }
    var worker = try Worker(Worker.setup(disk, epoch: 2, mayCreate: false))
    let due = Self.start + Milliseconds(Self.reserve)
    var mostInMemory = 0
    var turns = 0
    // Half of them, then another start in the middle.
    for (end, epoch) in [(due + 99, 3), (due + 199, 4)] as [(Milliseconds, UInt64)] {
      while worker.hasWork(at: end), turns < 1_000 {
        try worker.tell([], at: end)
        turns += 1
        mostInMemory = max(mostInMemory, worker.reservations.count)
        if turns % 10 == 0 { try worker.checkpoint() }
      }
      worker = try Worker(Worker.setup(disk, epoch: epoch, mayCreate: false))
    }
    #expect(mostInMemory <= 2_048)
    #expect(turns >= 20_000 / 256)
    #expect(turns < 200)
    try worker.checkpoint()
    let states = try Worker.orderStates(files: disk)
    #expect(states == ["expired": 20_000])
    try worker.tell([], at: due + 1_000)
    #expect(!worker.hasWork(at: .max), "nothing waits any more")
  }
}
