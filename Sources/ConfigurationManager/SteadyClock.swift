import Glibc

/// For deadlines and leases.
package enum SteadyClock {
  /// Milliseconds of a clock that never runs back and counts suspend.
  package static func milliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
  }
}
