import Bytes
import Cluster
import Glibc

/// The clocks of a shell. Cores get their readings as data.
package enum Clock {
  /// Milliseconds since the Unix epoch: what entries are stamped with.
  package static func wallMilliseconds() -> Int64 { read(CLOCK_REALTIME) }

  /// Milliseconds of a clock that never runs back and counts suspend: for waits and deadlines.
  package static func steadyMilliseconds() -> Int64 { read(CLOCK_BOOTTIME) }

  /// Milliseconds for which the calling thread has had a processor.
  package static func ranMilliseconds() -> Int64 { ranMicroseconds() / 1_000 }

  /// The steady clock's microseconds.
  package static func steadyMicroseconds() -> Int64 { readMicroseconds(CLOCK_BOOTTIME) }

  /// Microseconds for which the calling thread has had a processor.
  package static func ranMicroseconds() -> Int64 { readMicroseconds(CLOCK_THREAD_CPUTIME_ID) }

  private static func read(_ clock: clockid_t) -> Int64 { readMicroseconds(clock) / 1_000 }

  private static func readMicroseconds(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
  }
}

extension Incarnation {
  /// A new one.
  package static func random() -> Incarnation { Incarnation(UInt64.random(in: 1...UInt64.max)) }
}
