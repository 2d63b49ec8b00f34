import Cluster
import Foundation
import NodeSupport
import TestSupport
import Testing
import WorkerNode

/// Rule 5: a death is proven, or it is none.
struct DeathTests {
  private func isDeath(_ event: TestPeer.Event) -> Bool {
    if case .other(.died) = event { true } else { false }
  }

  @Test func `a killed process is proven dead at once, by every partition's word`() throws {
    let folder = try TestFolder()
    let a = try TestPeer("a", partitions: [0, 1])
    for incarnation: UInt64 in 1...5 {
      let b = try ChildPeer("b", folder: folder.path, incarnation: incarnation)
      a.hub.setPeers([b.address])
      try a.connect(to: "b")
      let killedAt = Clock.steadyMilliseconds()
      b.signal(SIGKILL)
      for partition: UInt16 in [0, 1] {
        #expect(try a.next(partition) == .other(.connectionBroke("b")))
        #expect(try a.next(partition) == .other(.died("b", Incarnation(incarnation))))
      }
      // Far sooner than the grace that it spares; some tens of milliseconds are a busy machine's.
      let took = Clock.steadyMilliseconds() - killedAt
      #expect(took < 2_000, "\(took) ms")
      b.end()
    }
  }

  @Test func `a stopped process is not dead, and one that goes on is connected to again`() throws {
    let folder = try TestFolder()
    let a = try TestPeer("a")
    let b = try ChildPeer("b", folder: folder.path, incarnation: 7)
    a.hub.setPeers([b.address])
    try a.connect(to: "b")
    b.signal(SIGSTOP)
    let place = try #require(LifeLock.Place(b.address.lockPath))
    #expect(LifeLock.look(place, Incarnation(7)) == .held)
    // Stopped, and its connection broken, as far as anybody can see: it takes nothing for two seconds.
    let bytes = message([UInt8](repeating: 0, count: 1 << 20))
    var events: [TestPeer.Event] = []
    try until("the connection broke") {
      a.send(bytes, to: "b")
      if let event = try? a.next(within: 1) { events.append(event) }
      return events.contains(.other(.connectionBroke("b")))
    }
    // Many looks later it is still not dead.
    #expect(throws: Problem.self) { try a.next(within: 300) }
    #expect(!events.contains(where: isDeath))
    b.signal(SIGCONT)
    try a.connect(to: "b")
    b.signal(SIGKILL)
    #expect(try a.next() == .other(.connectionBroke("b")))
    #expect(try a.next() == .other(.died("b", Incarnation(7))))
  }

  @Test func `a later process that holds the folder again proves that the one before is dead`() throws {
    let folder = try TestFolder()
    let first = try ChildPeer("b", folder: folder.path, incarnation: 1)
    first.end()
    let second = try ChildPeer("b", folder: folder.path, incarnation: 2)
    let place = try #require(LifeLock.Place(first.address.lockPath))
    #expect(place == LifeLock.Place(second.address.lockPath))
    #expect(LifeLock.look(place, Incarnation(1)) == .free)
    #expect(LifeLock.look(place, Incarnation(2)) == .held)
    // Told of the first as if it lived.
    let a = try TestPeer("a")
    a.hub.setPeers([first.address])
    #expect(try a.next() == .other(.died("b", Incarnation(1))))
  }

  @Test func `looking keeps nobody from starting`() throws {
    let folder = try TestFolder()
    let first = try ChildPeer("b", folder: folder.path, incarnation: 1)
    let place = try #require(LifeLock.Place(first.address.lockPath))
    let stop = StopFlag()
    let looking = NodeThread("looking") {
      while !stop.isSet { _ = LifeLock.look(place, Incarnation(1)) }
    }
    defer {
      stop.set()
      looking.join()
    }
    #expect(throws: NodeError.self) { try DataFolder(folder.path, create: false) }
    first.end()
    for incarnation: UInt64 in 2...6 {
      let next = try ChildPeer("b", folder: folder.path, incarnation: incarnation)
      #expect(LifeLock.look(place, Incarnation(incarnation)) == .held)
      next.end()
      #expect(LifeLock.look(place, Incarnation(incarnation)) == .free)
    }
  }

  @Test func `another file in the lock's place, another machine, or no word of either prove nothing`() throws
  {
    let folder = try TestFolder()
    let b = try ChildPeer("b", folder: folder.path, incarnation: 3)
    let place = try #require(LifeLock.Place(b.address.lockPath))
    #expect(rename(folder.path + "/lock", folder.path + "/moved") == 0)
    #expect(LifeLock.look(place, Incarnation(3)) == .unknown)
    #expect(FileManager.default.createFile(atPath: folder.path + "/lock", contents: nil))
    #expect(LifeLock.look(place, Incarnation(3)) == .unknown)
    for text in ["", "1:2", "1:2:relative", "x:2:/path", "1:-2:/path", "/path"] {
      #expect(LifeLock.Place(text) == nil, "\(text)")
    }
    let a = try TestPeer("a")
    var elsewhere = b.address
    elsewhere.host = "another"
    var silent = b.address
    silent.lockPath = ""
    for address in [b.address, elsewhere, silent] {
      let child = try ChildPeer(
        "b", folder: folder.path + "/\(address.host.count)\(address.lockPath.count)", incarnation: 3)
      var told = address
      told.endpoint = child.address.endpoint
      if address == elsewhere { told.lockPath = child.address.lockPath }
      a.hub.setPeers([told])
      try a.connect(to: "b")
      child.end()
      #expect(try a.next() == .other(.connectionBroke("b")))
      #expect(throws: Problem.self) { try a.next(within: 150) }
    }
  }
}

extension TestPeer {
  /// Until a message to `node` was taken by a connection.
  func connect(to node: String) throws {
    let before = hub.counts.sent
    try until("\(self.node) is connected to \(node)") {
      send(message(), to: node)
      return hub.counts.sent > before
    }
  }
}
