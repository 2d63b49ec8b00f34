import Glibc

package enum Descriptors {
  /// Lets the process open as many files and connections as the system's administrator allows: the usual
  /// soft limit of 1,024 is a handful of services away. At the limit libzmq's thread spins until a
  /// connection closes.
  package static func raiseLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
