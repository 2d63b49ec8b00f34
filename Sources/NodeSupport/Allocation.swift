import CLinux

/// How memory is taken from the system and given back.
package enum Allocation {
  /// For a node, whose need goes up and down with every checkpoint: glibc takes memory in steps of a
  /// mebibyte instead of pages and keeps what was freed for the next time. Otherwise every step is a system
  /// call that holds up all threads of the process, a thousand a second at a peak. Call before any thread
  /// is made.
  package static func keepsWhatItHas() {
    laris_malloc_options(1 << 20, 256 << 20, 64 << 20)
  }
}
