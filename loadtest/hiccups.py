"""For how long the machine itself stood still, in each second of a load.

  python3 loadtest/hiccups.py SECONDS.csv OUT.csv

On every core a process of real-time priority sleeps for 2 ms again and again: nothing that others ask of the processor
keeps it waiting, so how late it wakes is what a hypervisor took, or the kernel with its interrupts off. Follows the
file of `laris-loadtest run --per-second` until it is ended; OUT.csv gets a row for each of that one's:
second,still_ms, the sum of what was more than 5 ms late, of the core that had most. Needs the right to real-time
priority; without it, it says so and ends.
"""
import ctypes, mmap, os, signal, struct, sys, time

followed, out = sys.argv[1:]
cores = sorted(os.sched_getaffinity(0))
still = mmap.mmap(-1, 8 * len(cores))


def values():
    return struct.unpack(f"{len(cores)}d", still[:])


def watch(place):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    os.sched_setaffinity(0, {cores[place]})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    total = 0.0
    while True:
        before = time.monotonic()
        time.sleep(0.002)
        late = (time.monotonic() - before - 0.002) * 1e3
        if late > 5:
            total += late
            struct.pack_into("d", still, 8 * place, total)


try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
except PermissionError:
    sys.exit("no real-time priority here: for how long the machine itself stands still is not measured")
for place in range(len(cores)):
    if os.fork() == 0:
        watch(place)
while not os.path.exists(followed):
    time.sleep(0.02)
before = values()
with open(followed) as rows, open(out, "w") as file:
    print("second,still_ms", file=file, flush=True)
    rest = ""
    while True:
        rest += rows.read()
        *lines, rest = rest.split("\n")
        for line in lines:
            now = values()
            if line[0].isdigit():
                print(f"{line.split(',')[0]},{max(b - a for a, b in zip(before, now)):.0f}", file=file, flush=True)
            before = now
        time.sleep(0.02)
