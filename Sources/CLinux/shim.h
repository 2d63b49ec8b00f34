#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

// glibc has no wrapper before 2.41, and syscall(2) is variadic.
struct laris_sched_attr {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};

// The calling thread's policy, nice value and time slice in nanoseconds. 0, or errno.
static inline int laris_sched_setattr(uint32_t policy, int32_t nice, uint64_t slice) {
  struct laris_sched_attr attr = {sizeof attr, policy, 0, nice, 0, slice, 0, 0};
  return syscall(SYS_sched_setattr, 0, &attr, 0) == 0 ? 0 : errno;
}

// The calling thread's requests to disks: 3 is idle, 2 is as others. 0, or errno.
static inline int laris_ioprio_set(int io_class) {
  return syscall(SYS_ioprio_set, 1 /* a thread */, 0, io_class << 13) == 0 ? 0 : errno;
}

#include <sys/prctl.h>

// The calling thread's name, of which the kernel keeps 15 bytes.
static inline void laris_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

#include <malloc.h>

// What is in <malloc.h> is no part of Swift's Glibc module.
static inline void laris_malloc_options(int top_pad, int trim_threshold, int mmap_threshold) {
  mallopt(M_TOP_PAD, top_pad);
  mallopt(M_TRIM_THRESHOLD, trim_threshold);
  mallopt(M_MMAP_THRESHOLD, mmap_threshold);
}

#include <fcntl.h>

// Locks one byte for the open file, for as long as it is open anywhere. 0, or errno.
static inline int laris_lock_byte(int fd, int64_t offset) {
  struct flock lock = {F_WRLCK, SEEK_SET, offset, 1, 0};
  return fcntl(fd, 37 /* F_OFD_SETLK */, &lock) == 0 ? 0 : errno;
}

// Whether another open file has the byte locked: 1 or 0; -1: it can't be told. Locks nothing.
static inline int laris_is_byte_locked(int fd, int64_t offset) {
  struct flock lock = {F_WRLCK, SEEK_SET, offset, 1, 0};
  if (fcntl(fd, 36 /* F_OFD_GETLK */, &lock) != 0) return -1;
  return lock.l_type != F_UNLCK;
}

#include <sys/eventfd.h>

// A descriptor that is readable from a write to it until it is read. -1, and errno.
static inline int laris_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

// Writes out what is dirty of a file from an offset on, and waits; no journal, no barrier. 0, or errno: a sync does not
// tell of it again. Where there is no such call, or not for such a file, nothing happens.
static inline int laris_write_out(int fd, int64_t offset) {
  if (syscall(SYS_sync_file_range, fd, offset, (int64_t)0, 0) != 0) return 0;
  // WAIT_BEFORE, WRITE, WAIT_AFTER
  return syscall(SYS_sync_file_range, fd, offset, (int64_t)0, 7) == 0 ? 0 : errno;
}

// Bytes of a file that the system holds in memory and the disk does not have: dirty, or on their way. -1, and errno: it
// can't be told (before Linux 6.5).
static inline int64_t laris_unwritten_bytes(int fd) {
  struct { uint64_t offset, length; } range = {0, 0};
  struct { uint64_t cached, dirty, writeback, evicted, recently; } pages;
  if (syscall(451 /* cachestat */, fd, &range, &pages, 0) != 0) return -1;
  return (int64_t)((pages.dirty + pages.writeback) * (uint64_t)sysconf(_SC_PAGESIZE));
}
