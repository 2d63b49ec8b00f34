import DurablePartition
import Testing

struct DiskRoomTests {
  @Test func `below its reserve a disk is full, until there is an eighth more`() {
    var room = DiskRoom(reserveBytes: 800)
    for (free, isFull) in [
      (10_000, false), (800, false), (799, true), (0, true), (800, true), (899, true), (900, false),
      (800, false),
    ] {
      room.look(freeBytes: free)
      #expect(room.isFull == isFull, "\(free) free")
      #expect(room.freeBytes == free)
    }
  }

  @Test func `room is scarce before there is none, and as long as there is none`() {
    var room = DiskRoom(reserveBytes: 800)
    for (free, isScarce) in [
      (10_000, false), (1_600, false), (1_599, true), (799, true), (1_599, true), (1_600, false),
    ] {
      room.look(freeBytes: free)
      #expect(room.isScarce == isScarce, "\(free) free")
    }
    room.ranOut()
    #expect(room.isScarce)
  }

  @Test func `what could not be made means that there is no room, until the next look`() {
    var room = DiskRoom(reserveBytes: 800)
    room.look(freeBytes: 1_000)
    room.ranOut()
    #expect(room.isFull)
    room.look(freeBytes: 850)
    #expect(room.isFull)
    room.look(freeBytes: 1_000)
    #expect(!room.isFull)
  }

  @Test func `without a reserve only a failure says that there is no room`() {
    var room = DiskRoom(reserveBytes: 0)
    room.look(freeBytes: 0)
    #expect(!room.isFull)
    room.ranOut()
    #expect(room.isFull)
    room.look(freeBytes: 0)
    #expect(!room.isFull)
  }
}
