import Dispatch
import Testing
import WorkerNode

struct BackgroundReadingTests {
  private enum Stopped: Error { case here }

  @Test(arguments: [false, true])
  func `a reading that nobody holds any more is told to end`(isUrgent: Bool) {
    let (begun, ended) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    var reading: BackgroundReading<Int>? = BackgroundReading("test", isUrgent: isUrgent) { began, mayGoOn in
      began()
      begun.signal()
      while mayGoOn() {}
      ended.signal()
      throw Stopped.here
    }
    begun.wait()
    #expect(reading?.isBegun == true && reading?.result == nil)
    reading = nil
    #expect(ended.wait(timeout: .now() + 30) == .success)
  }
}
