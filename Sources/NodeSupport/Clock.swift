import Bytes
import Cluster
import Glibc

/// The clocks of a shell. Cores get their readings as data.
package enum Clock {
  /// Milliseconds since the Unix epoch: what entries are stamped with.
  package static func wallMilliseconds() -> Int64 { microseconds(CLOCK_REALTIME) / 1_000 }

  /// Milliseconds of a clock that never runs back and counts suspend: for waits and deadlines.
  package static func steadyMilliseconds() -> Int64 { steadyMicroseconds() / 1_000 }
  package static func steadyMicroseconds() -> Int64 { microseconds(CLOCK_BOOTTIME) }

  /// Milliseconds for which the calling thread has had a processor.
  package static func ranMilliseconds() -> Int64 { ranMicroseconds() / 1_000 }
  package static func ranMicroseconds() -> Int64 { microseconds(CLOCK_THREAD_CPUTIME_ID) }

  private static func microseconds(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
  }
}

extension Incarnation {
  /// A new one.
  package static func random() -> Incarnation { Incarnation(UInt64.random(in: 1...UInt64.max)) }
}
