"""Conducts loadtest/chaos-cluster.sh, as process 1 of a world of its own: networks, mounts and processes.

A node is a network namespace with one interface on a bridge. The addresses of the neighbours' interfaces are set by
hand, so a link is cut in one direction by a wrong one: nobody is told, what is sent is gone.
"""

import argparse
import collections
import contextlib
import errno
import hashlib
import json
import os
import pathlib
import random
import shlex
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time

SERVICES, WORKERS, REPLICATION = 12120, 12121, 12122
NOWHERE = "02:00:00:00:00:ff"
# Seconds in which all must be well again.
HEALING = 120
# Seconds in which others must have taken over from a primary that says nothing, counted from the grace's end.
TAKEOVER = 0.5
# Seconds without an answer of a partition that count as an interruption.
INTERRUPTION = 1
# Seconds for which a dispatcher's word in etcd lasts.
DISPATCHER_LEASE = 5
MIX = "place=66,settle=15,ship=5,deliver=3,complete=3,cancel=2,adjust=2,get-order=2,get-sku=2"


class Violation(Exception):
    """Something does not hold."""


def check(holds, what):
    if not holds:
        raise Violation(what)


def run(*command, timeout=120, check=True):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise Violation(f"{shlex.join(map(str, command))}: exit {done.returncode}: {done.stderr.strip()}")
    return done


# The network


class Node:
    """A process in a namespace of its own, and its address."""

    def __init__(self, world, name, number):
        self.world, self.name, self.number = world, name, number
        self.address = f"10.77.0.{number}"
        self.hardware = f"02:00:00:00:00:{number:02x}"
        self.log = world.folder / f"{name}.log"
        self.data = world.folder / name
        self.read = 0
        self.process = None
        self.paused = False
        self.data.mkdir()
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"v{number}", "master", "b0", "up")
        self.inside("ip", "link", "set", "eth0", "address", self.hardware)
        self.inside("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "link", "set", "eth0", "up")

    def __str__(self):
        return self.name

    def command(self, *words):
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, words)]

    def inside(self, *words, check=True):
        return run(*self.command(*words), check=check)

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command(*self.world.words(self)), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        self.process.wait(60)
        code, self.process = self.process.returncode, None
        return code

    def sends_to(self, other, arrives):
        self.inside("ip", "neighbour", "replace", other.address, "dev", "eth0", "nud", "permanent",
                    "lladdr", other.hardware if arrives else NOWHERE)

    def said(self):
        """What it said since the last time."""
        with open(self.log, errors="replace") as log:
            log.seek(self.read)
            text = log.read()
            self.read = log.tell()
        return text.splitlines()


class World:
    def __init__(self, options):
        self.options = options
        self.bin = pathlib.Path(options.bin)
        self.folder = pathlib.Path(options.folder)
        # Words of alarms that the round's fault explains.
        self.expected_alarms = set()
        self.lease = options.lease / 1000
        self.grace = self.lease * 5 / 4
        self.picking = threading.Lock()
        self.busy = set()
        run("mount", "-t", "tmpfs", "none", "/run")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "name", "b0", "type", "bridge")
        run("ip", "address", "add", "10.77.0.254/24", "dev", "b0")
        run("ip", "link", "set", "b0", "up")
        self.workers = [Node(self, f"worker-{n}", 10 + n) for n in (1, 2, 3)]
        self.dispatchers = [Node(self, f"dispatcher-{n}", 20 + n) for n in (1, 2)]
        self.etcd = [Node(self, f"etcd-{n}", 30 + n) for n in (1, 2, 3)]
        self.load = Node(self, "load", 41)
        self.nodes = self.etcd + self.dispatchers + self.workers
        for node in self.nodes + [self.load]:
            node.log.touch()
        self.heal_network()
        for worker in self.workers:
            run("mount", "-t", "tmpfs", "-o", f"size={options.disk}m", "none", worker.data)
        for node in self.etcd:
            run("mount", "-t", "tmpfs", "-o", "size=1g", "none", node.data)
        self.endpoints = ",".join(f"http://{node.address}:2379" for node in self.etcd)
        self.services = ",".join(f"tcp://{node.address}:{SERVICES}" for node in self.dispatchers)
        # Whether tc can delay what is sent; if not, a slow link must do.
        self.netem = self.load.inside("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "1ms",
                                      check=False).returncode == 0
        self.load.inside("tc", "qdisc", "del", "dev", "eth0", "root", check=False)

    def words(self, node):
        if node in self.etcd:
            peers = ",".join(f"{n}=http://{n.address}:2380" for n in self.etcd)
            return ["etcd", "--name", node, "--data-dir", node.data / "data",
                    "--listen-client-urls", f"http://{node.address}:2379",
                    "--advertise-client-urls", f"http://{node.address}:2379",
                    "--listen-peer-urls", f"http://{node.address}:2380",
                    "--initial-advertise-peer-urls", f"http://{node.address}:2380",
                    "--initial-cluster", peers, "--auto-compaction-retention", "1h"]
        if node in self.dispatchers:
            return [self.bin / "laris", "dispatcher", "--data", node.data, "--node", node,
                    "--listen", f"tcp://{node.address}:{SERVICES}",
                    "--worker-listen", f"tcp://{node.address}:{WORKERS}",
                    "--etcd", self.endpoints, "--etcd-plaintext"]
        words = [self.bin / "laris", "worker", "run", "--data", node.data, "--node", node,
                 "--replication-listen", f"tcp://{node.address}:{REPLICATION}",
                 "--disk-reserve", 32,
                 # The judge reads logs from the first entry on.
                 "--log-keep-seconds", 1_000_000, "--log-keep-mib", 1_000_000]
        for dispatcher in self.dispatchers:
            words += ["--dispatcher", f"tcp://{dispatcher.address}:{WORKERS}"]
        if self.options.one_machine:
            return words
        # As on machines apart: nobody sees another one's files.
        hidden = [f"mount -t tmpfs none {shlex.quote(str(other.data))}" for other in self.workers if other != node]
        return ["unshare", "--mount", "sh", "-ec", "; ".join(hidden + ['exec "$@"']), "sh", *words]

    def laris(self, *words, timeout=120, check=True, dispatcher=None):
        return run(self.bin / "laris", *words, "--dispatcher", dispatcher or self.services, timeout=timeout,
                   check=check)

    def start(self):
        for node in self.etcd:
            node.start()
        until = time.monotonic() + 30
        while True:
            made = run(self.bin / "laris", "cluster", "init", "--etcd", self.endpoints, "--etcd-plaintext",
                       "--name", "chaos", "--partitions", self.options.partitions, "--workers", 3,
                       "--replicas", self.options.replicas, "--lease", self.options.lease, check=False)
            # This etcd is ours alone: what is there was made by an attempt that got no answer.
            if made.returncode == 0 or "already" in made.stderr:
                break
            if time.monotonic() > until:
                raise Violation("no cluster was made: " + made.stderr + "\n".join(self.etcd[0].said()[-5:]))
            time.sleep(0.2)
        for node in self.dispatchers + self.workers:
            node.start()
        self.wait_until_healthy(60)

    def wait_until_healthy(self, timeout=HEALING):
        for dispatcher in self.dispatchers:
            address = f"tcp://{dispatcher.address}:{SERVICES}"
            done = self.laris("status", "--exit-when-healthy", "--timeout", timeout, dispatcher=address,
                              check=False, timeout=timeout + 30)
            if done.returncode != 0:
                raise Violation(f"not healthy after {timeout} s, says {dispatcher}:\n{done.stdout}{done.stderr}")

    def is_healthy(self):
        return all(self.laris("status", "--exit-when-healthy", "--timeout", "0.5", check=False,
                              dispatcher=f"tcp://{dispatcher.address}:{SERVICES}").returncode == 0
                   for dispatcher in self.dispatchers)

    def status(self):
        """As a dispatcher says, healthy or not."""
        done = self.laris("status", "--json", check=False)
        check(done.stdout, f"no status: exit {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def changes(self, partition):
        """The latest changes of a partition's members, oldest first."""
        done = self.laris("status", "--history", partition, "--json")
        return json.loads(done.stdout).get("changes", [])

    def heal_network(self):
        for node in self.nodes + [self.load]:
            for other in self.nodes + [self.load]:
                if node != other:
                    node.sends_to(other, True)

    def check_nodes(self):
        """Nobody ends unasked, and nobody raises an alarm that the fault does not explain."""
        for node in self.dispatchers + self.workers:
            said = node.said()
            if node.process is not None and node.process.poll() is not None:
                raise Violation(f"{node} ended by itself, {node.process.returncode}; its last words:\n  "
                                + "\n  ".join(said[-12:]))
            alarms = [line for line in said if (" critical" in line.lower() or "Fatal error" in line)
                      and not any(words in line for words in self.expected_alarms)]
            if alarms:
                raise Violation(f"{node} raised an alarm:\n  " + "\n  ".join(alarms[:6]))

    def worker(self, name):
        return next(node for node in self.workers if node.name == name)


# Faults. Each one does what it does, ends it, and returns what it was.


class Busy(Exception):
    """What a fault needs is not there, or another fault of this round has it."""


def pick(world, draw, nodes):
    """A node that no other fault of this round has."""
    with world.picking:
        free = [node for node in nodes if node not in world.busy]
        if not free:
            raise Busy()
        node = draw.choice(free)
        world.busy.add(node)
        return node


def kill(nodes):
    def fault(world, draw):
        node, pause = pick(world, draw, nodes(world)), draw.uniform(0, 5)
        node.kill()
        time.sleep(pause)
        node.start()
        return f"kill -9 {node}, back after {pause:.1f} s"

    return fault


def kill_all(nodes):
    def fault(world, draw):
        killed = [pick(world, draw, [node]) for node in nodes(world) if node not in world.busy]
        for node in killed:
            node.kill()
        pauses = [draw.uniform(0, 3) for _ in killed]
        for before, (pause, node) in zip([0, *sorted(pauses)], sorted(zip(pauses, killed), key=lambda two: two[0])):
            time.sleep(pause - before)
            node.start()
        return "kill -9 " + ", ".join(f"{node} (back after {pause:.1f} s)" for pause, node in zip(pauses, killed))

    return fault


def pause_length(world, draw, more):
    """Past the lease and the grace, always, and long enough for a takeover; half of them hardly longer."""
    shortest = max(2 * world.lease, world.grace + TAKEOVER)
    return draw.uniform(shortest, shortest + draw.choice([0.2, more]))


def pause_worker(choose):
    def fault(world, draw):
        node, length = choose(world, draw), pause_length(world, draw, more=3)
        led = [p for p in world.status()["partitions"] if p.get("primary") == node.name and has_heir(p)]
        stopped = time.time()
        node.process.send_signal(signal.SIGSTOP)
        time.sleep(length)
        node.process.send_signal(signal.SIGCONT)
        # Among other faults nobody may be there who could take over.
        if led and world.options.at_once == 1:
            world.afterwards.append(lambda: moved_on(world, node, led, stopped))
        return (f"{node} stopped for {length:.2f} s, the primary of "
                + (", ".join(str(p.get("partition", 0)) for p in led) or "none"))

    return fault


def has_heir(partition):
    return any(m.get("role") == "secondary" and m.get("alive") and m.get("inSync") for m in partition["members"])


def moved_on(world, node, led, stopped):
    """Others took over what a stopped worker led, and where it came back it did so by way of a learner."""
    delays, back = [], 0
    for before in led:
        partition = before.get("partition", 0)
        later = [c for c in world.changes(partition) if int(c["epoch"]) > int(before["epoch"])]
        told = f"partition {partition}, led by {node} when that was stopped: {json.dumps(later)}"
        place = next((n for n, change in enumerate(later) if change["primary"] != node.name), None)
        check(place is not None, f"nobody took over {told}")
        delays.append(int(later[place]["at"]) / 1000 - stopped)
        check(node.name not in later[place].get("secondaries", []), f"{node} stayed a member of {told}")
        # With a worker to spare, that one may have got its place.
        if node.name in [later[-1]["primary"], *later[-1].get("secondaries", [])]:
            check(any(change.get("why") == f"{node} has caught up" for change in later[place + 1:]),
                  f"{node} was no learner in {told}")
            back += 1
    print(f"    others took over {', '.join(f'{delay * 1000:.0f}' for delay in delays)} ms after the stop, "
          f"and {node} caught up as a learner in {back} of {len(led)}", flush=True)


def pause_dispatcher(world, draw):
    # Half of them past its lease in etcd too.
    node = pick(world, draw, world.dispatchers)
    length = pause_length(world, draw, more=2) + draw.choice([0, DISPATCHER_LEASE])
    node.process.send_signal(signal.SIGSTOP)
    time.sleep(length)
    node.process.send_signal(signal.SIGCONT)
    return f"{node} stopped for {length:.2f} s"


def etcd_outage(world, draw):
    """Two nodes of etcd, or all three: no majority, so nobody can change a group, but all must serve."""
    count, how = draw.choice([2, 3]), draw.choice(["kill -9", "SIGTERM", "SIGSTOP"])
    length = draw.uniform(2, max(3, world.options.load_seconds - 3))
    nodes = [pick(world, draw, world.etcd) for _ in range(count)]
    began = time.time()
    for node in nodes:
        node.process.send_signal({"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM}.get(how, signal.SIGSTOP))
    time.sleep(length)
    must_have_served(world, began, time.time())
    for node in nodes:
        if how == "SIGSTOP":
            node.process.send_signal(signal.SIGCONT)
        else:
            node.ended()
            node.start()
    return f"no majority of etcd: {how} {', '.join(map(str, nodes))}, for {length:.1f} s"


def slow_etcd(world, draw):
    """All of etcd answers in jerks."""
    nodes = [pick(world, draw, [node]) for node in world.etcd]
    stop, length = draw.uniform(0.1, 0.8), draw.uniform(2, max(3, world.options.load_seconds - 3))
    began, jerks = time.time(), 0
    while time.time() < began + length:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for node in nodes:
                node.process.send_signal(number)
            time.sleep(stop if number == signal.SIGSTOP else 0.1)
        jerks += 1
    must_have_served(world, began, time.time())
    return f"etcd slow for {length:.1f} s: stopped {jerks} times, {stop * 1000:.0f} ms each"


def must_have_served(world, began, ended):
    """Every partition, all the time; where no other fault is in the way."""
    if world.options.at_once > 1:
        return

    def check_it():
        worst = gaps(world.records, world.options.partitions, began, ended)
        check(max(worst) <= INTERRUPTION * 1000,
              f"a partition gave no answer for {max(worst)} ms of the time without etcd: {worst}")
        print(f"    all served meanwhile: longest gaps {'/'.join(map(str, worst))} ms", flush=True)

    world.afterwards.append(check_it)


def hang_and_kill(world, draw):
    """A worker's death while a dispatcher hangs: the others must make their changes through the other one."""
    dispatcher, worker = pick(world, draw, world.dispatchers), pick(world, draw, world.workers)
    length = draw.uniform(3, 6)
    dispatcher.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    worker.kill()
    time.sleep(length - 0.3)
    dispatcher.process.send_signal(signal.SIGCONT)
    worker.start()
    return f"{dispatcher} stopped for {length:.1f} s, and kill -9 {worker} 0.3 s after its begin"


def cut(links, length):
    for sender, receiver in links:
        sender.sends_to(receiver, False)
    time.sleep(length)
    for sender, receiver in links:
        sender.sends_to(receiver, True)


def isolate(world, draw):
    node, length = pick(world, draw, world.workers + world.dispatchers), draw.uniform(0.3, 6)
    how = draw.choice(["both ways", "outwards", "inwards"])
    others = [other for other in world.nodes + [world.load] if other != node]
    outwards, inwards = [(node, other) for other in others], [(other, node) for other in others]
    cut({"both ways": outwards + inwards, "outwards": outwards, "inwards": inwards}[how], length)
    return f"{node} cut off {how} for {length:.1f} s"


def cut_pair(world, draw):
    one = pick(world, draw, world.workers)
    other = draw.choice([n for n in world.workers + world.dispatchers if n != one])
    one, other = draw.sample([one, other], 2)
    length, both = draw.uniform(0.3, 6), draw.random() < 0.5
    cut([(one, other)] + ([(other, one)] if both else []), length)
    return f"{one} {'and' if both else 'to'} {other} cut for {length:.1f} s"


def delay(world, draw):
    node, length = pick(world, draw, world.workers + world.dispatchers), draw.uniform(1, 6)
    late, lost = draw.randrange(20, 101), draw.choice([0, 1, 5])
    if world.netem:
        node.inside("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", f"{late}ms", f"{late // 4}ms",
                    "loss", f"{lost}%")
        what = f"{late} ms late and {lost} % lost"
    else:
        node.inside("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "4mbit", "burst", "4kb",
                    "latency", f"{late}ms")
        what = f"on a slow link, 4 Mbit/s, up to {late} ms late and then lost,"
    time.sleep(length)
    node.inside("tc", "qdisc", "del", "dev", "eth0", "root")
    return f"{node} {what} for {length:.1f} s"


def full_disk(world, draw):
    worker, left, length = pick(world, draw, world.workers), draw.choice([0, 8, 24]), draw.uniform(1, 6)
    # Where not even an epoch can be written down, a replica stops until it can (rule 1).
    world.expected_alarms.add("No space left on device")
    filler = worker.data / "filler"
    with open(filler, "w") as file:
        # The worker takes room meanwhile.
        for last in reversed(range(100)):
            space = os.statvfs(worker.data)
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - (left << 20)))
                break
            except OSError as error:
                check(error.errno == errno.ENOSPC and last > 0, f"{filler}: {error}")
    time.sleep(length)
    filler.unlink()
    return f"{worker}'s disk full but {left} MiB for {length:.1f} s"


def stopped_secondary(world, draw):
    """A worker, stopped, and the folder of a partition of which it is a secondary."""
    partition, _, others = draw_partition(world, draw)
    worker = pick(world, draw, [w for w in world.workers if w.name in others])
    how = draw.choice([signal.SIGKILL, signal.SIGTERM])
    code = worker.kill(how)
    check(how == signal.SIGKILL or code == 0, f"{worker}: exit {code} after SIGTERM")
    return worker, partition, worker.data / f"partitions/{partition:04d}", how.name


def flip_byte(world, draw):
    world.expected_alarms.add("")
    worker, partition, folder, how = stopped_secondary(world, draw)
    blocks = log_blocks(folder / "log")
    block = draw.choice(blocks[len(blocks) // 2:-8] or blocks[:1])
    at = block.at + 104 + draw.randrange(block.frame)
    with open(block.path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << draw.randrange(8)]))
    worker.start()
    where = f"entry {block.first} of {worker}'s partition {partition}"
    world.afterwards.append(lambda: set_aside(worker, folder, where))
    return f"{how} {worker}, a bit flipped at {where} (log to {blocks[-1].first + blocks[-1].count - 1})"


def set_aside(worker, folder, where):
    kept = list(folder.parent.glob(folder.name + "*damaged*"))
    check(kept, f"{where}: the damage was not noticed: {sorted(path.name for path in folder.parent.iterdir())}")
    for path in kept:
        put_away(path)


def put_away(folder):
    """Under a name that no worker looks for, so that the judge has its log."""
    folder.rename(folder.with_name(f"{folder.name[:4]}.away-{time.monotonic_ns()}"))


def delete_folder(world, draw):
    world.expected_alarms.add("")
    worker, partition, folder, how = stopped_secondary(world, draw)
    put_away(folder)
    worker.start()
    world.afterwards.append(lambda: check(folder.is_dir(), f"{worker} has no partition {partition} again"))
    return f"{how} {worker}, its partition {partition} deleted"


def kill_joining(world, draw):
    told = delete_folder(world, draw)
    worker = next(w for w in world.workers if f" {w}," in told)
    pauses = []
    for _ in range(draw.randrange(1, 4)):
        pauses.append(draw.uniform(0.05, 1.5))
        time.sleep(pauses[-1])
        worker.kill()
        worker.start()
    return told + ", kill -9 while it joins: after " + ", ".join(f"{pause:.2f}" for pause in pauses) + " s"


def draw_partition(world, draw):
    """A partition, its primary, and who else is a member."""
    partitions = world.status()["partitions"]
    drawn = draw.choice(sorted(partitions, key=lambda partition: partition.get("partition", 0)))
    primary = drawn.get("primary", "")
    others = sorted(m["node"] for m in drawn.get("members", []) if m["node"] != primary)
    if not primary or not others:
        raise Busy()
    return drawn.get("partition", 0), primary, others


def planned(world, *words):
    """A planned change. Among other faults it may be refused, alone it must not."""
    done = world.laris(*words, check=world.options.at_once == 1)
    return "" if done.returncode == 0 else f" (exit {done.returncode}: {done.stderr.strip()})"


def switchover(world, draw):
    partition, primary, others = draw_partition(world, draw)
    target = draw.choice(others)
    said = planned(world, "partition", "switchover", partition, "--to", target, "--wait", 30)
    return f"switchover of partition {partition} from {primary} to {target}{said}"


def switchover_and_kill(world, draw):
    partition, primary, others = draw_partition(world, draw)
    target = draw.choice(others)
    victim, pause = pick(world, draw, [world.worker(primary), world.worker(target)]), draw.uniform(0, 3)
    said = planned(world, "partition", "switchover", partition, "--to", target, "--no-wait")
    time.sleep(draw.uniform(0, 0.1))
    victim.kill()
    time.sleep(pause)
    victim.start()
    return (f"switchover of partition {partition} from {primary} to {target}{said}, kill -9 {victim} in it, "
            f"back after {pause:.1f} s")


def draw_move(world, draw):
    """A partition, one of its members, and a worker that has no replica of it."""
    partition, primary, others = draw_partition(world, draw)
    free = [w.name for w in world.workers if w.name not in [primary, *others]]
    if not free:
        raise Busy()
    return partition, draw.choice([primary, *others]), draw.choice(free)


def move(world, draw):
    partition, source, target = draw_move(world, draw)
    said = planned(world, "partition", "move", partition, "--from", source, "--to", target, "--wait", HEALING)
    return f"move of partition {partition} from {source} to {target}{said}"


def move_undo(world, draw):
    partition, source, target = draw_move(world, draw)
    length = draw.uniform(0, 1)
    words = ["partition", "move", partition, "--from", source, "--to", target]
    said = planned(world, *words, "--no-wait")
    time.sleep(length)
    began = next(p for p in world.status()["partitions"] if p.get("partition", 0) == partition)
    percent = f"at {began['move'].get('percent', 0)} %" if "move" in began else "when it was done"
    said += planned(world, *words, "--undo", "--wait", HEALING)
    return f"move of partition {partition} from {source} to {target}{said}, undone after {length:.1f} s, {percent}"


def move_and_kill(world, draw):
    partition, source, target = draw_move(world, draw)
    victim, pause = pick(world, draw, [world.worker(source), world.worker(target)]), draw.uniform(0, 3)
    said = planned(world, "partition", "move", partition, "--from", source, "--to", target, "--no-wait")
    time.sleep(draw.uniform(0, 1))
    victim.kill()
    time.sleep(pause)
    victim.start()

    def is_done():
        now = next(p for p in world.status()["partitions"] if p.get("partition", 0) == partition)
        members = {m["node"] for m in now["members"]}
        return "move" not in now and target in members and source not in members

    until = time.monotonic() + HEALING
    # Among other faults it may be refused, or taken back.
    while world.options.at_once == 1 and not is_done():
        check(time.monotonic() < until, f"partition {partition} did not move to {target}")
        time.sleep(0.2)
    return (f"move of partition {partition} from {source} to {target}{said}, kill -9 {victim} in it, "
            f"back after {pause:.1f} s")


def drain(world, draw):
    worker, length = draw.choice(world.workers), draw.uniform(0, 4)
    said = planned(world, "worker", "drain", worker, "--no-wait")
    time.sleep(length)
    # The wish must go, or nothing gets well again.
    until = time.monotonic() + 60
    while world.laris("worker", "drain", worker, "--undo", "--no-wait", check=False).returncode != 0:
        check(time.monotonic() < until, f"the drain of {worker} could not be undone for a minute")
    return f"{worker} drained{said}, undone after {length:.1f} s"


FAULTS = {
    "kill-worker": kill(lambda world: world.workers),
    "kill-dispatcher": kill(lambda world: world.dispatchers),
    "kill-etcd": kill(lambda world: world.etcd),
    "kill-all-workers": kill_all(lambda world: world.workers),
    "kill-all-dispatchers": kill_all(lambda world: world.dispatchers),
    "pause-worker": pause_worker(lambda world, draw: pick(world, draw, world.workers)),
    "pause-primary": pause_worker(
        lambda world, draw: pick(world, draw, [world.worker(draw_partition(world, draw)[1])])),
    "pause-dispatcher": pause_dispatcher,
    "etcd-outage": etcd_outage,
    "slow-etcd": slow_etcd,
    "hang-and-kill": hang_and_kill,
    "isolate": isolate,
    "cut": cut_pair,
    "delay": delay,
    "full-disk": full_disk,
    "flip-byte": flip_byte,
    "delete-folder": delete_folder,
    "kill-joining": kill_joining,
    "switchover": switchover,
    "switchover-and-kill": switchover_and_kill,
    "drain": drain,
    "move": move,
    "move-undo": move_undo,
    "move-and-kill": move_and_kill,
}
# These need a worker without a replica.
MOVES = ("move", "move-undo", "move-and-kill")

# Logs and tables, read as docs/FORMATS.md says


Block = collections.namedtuple("Block", "path at first count frame synced hash")


def log_blocks(folder):
    """The blocks of a log that count, without those that are empty."""
    segments = sorted(path for path in folder.glob("*.lz4"))
    found = []
    for place, path in enumerate(segments):
        end = int(segments[place + 1].stem) if place + 1 < len(segments) else 1 << 64
        data, at = path.read_bytes(), 72
        while at + 104 <= len(data) and struct.unpack_from("<I", data, at)[0] == 0x184D2A51:
            first, count, _, frame = struct.unpack_from("<QIII", data, at + 24)
            synced, = struct.unpack_from("<Q", data, at + 64)
            if count > 0 and first < end:
                found.append(Block(path, at, first, count, frame, synced, data[at + 88:at + 96].hex()))
            at += 104 + frame
    return found


TABLES = {
    "meta": "SELECT key, value FROM meta WHERE key NOT IN ('applied_sn', 'applied_digest', 'time')",
    "requests": "SELECT request_id, sn, fingerprint, code, answer FROM requests",
    # How they are grouped is the checkpoints' affair, and when rows go.
    "reservations": """SELECT r.expires_at, n.value FROM reservations r, json_each(r.sns) n
                       JOIN orders o ON o.sn = n.value WHERE o.state = 'placed'""",
} | {name: f"SELECT * FROM {name}" for name in ("shops", "skus", "orders", "payments", "accounts", "transfers")}


def table_digests(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with contextlib.closing(database):
        known = {name for name, in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' "
                                                    "AND name NOT LIKE 'sqlite_%'")}
        missing = known - set(TABLES) - {"request_pages"}
        if missing:
            raise Violation(f"{path} has tables that are not compared: {sorted(missing)}")
        found = {}
        for name, query in TABLES.items():
            columns = len(database.execute(query + " LIMIT 0").description)
            order = ", ".join(str(n + 1) for n in range(columns))
            digest, rows = hashlib.sha256(), 0
            for row in database.execute(f"{query} ORDER BY {order}"):
                digest.update(repr(row).encode())
                rows += 1
            found[name] = (rows, digest.hexdigest())
        return found


def compare_replicas(world):
    """Of stopped workers: that logs and tables of a partition's replicas are equal."""
    for partition in range(world.options.partitions):
        folders = [w.data / f"partitions/{partition:04d}" for w in world.workers]
        folders = [folder for folder in folders if (folder / "partition.sqlite").exists()]
        members = {m["node"] for m in world.members[partition]}
        folders = [folder for folder in folders if folder.parent.parent.name in members]
        if len(folders) != world.options.replicas:
            raise Violation(f"partition {partition} has {len(folders)} folders, members {sorted(members)}")
        seen, compared = {}, 0
        for folder in folders:
            done = run(world.bin / "laris", "log", "verify", folder / "log", check=False)
            if done.returncode != 0:
                raise Violation(f"laris log verify {folder}/log: {done.stdout}{done.stderr}")
            for block in log_blocks(folder / "log"):
                other = seen.setdefault(block.first, (block, folder))
                if other[1] != folder:
                    compared += 1
                    if (other[0].count, other[0].hash) != (block.count, block.hash):
                        raise Violation(f"partition {partition}: entry {block.first} differs between "
                                        f"{other[1]} and {folder}: {other[0]} {block}")
        if compared == 0:
            raise Violation(f"partition {partition}: the logs have no block in common")
        digests = {str(folder): table_digests(folder / "partition.sqlite") for folder in folders}
        (first, tables), *others = digests.items()
        for other, its in others:
            for name in TABLES:
                if tables[name] != its[name]:
                    raise Violation(f"partition {partition}: table {name} differs: {first} {tables[name]}, "
                                    f"{other} {its[name]}")
        print(f"  partition {partition}: {len(folders)} replicas equal: {compared} common blocks, "
              + ", ".join(f"{rows} {name}" for name, (rows, _) in tables.items() if name != "meta"))


# Histories, read and written as docs/FORMATS.md says

P1, P2, P3, P4, P5 = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
                      2870177450012600261)
WORD = (1 << 64) - 1


def xxh64(data, seed=0):
    def turn(value, bits):
        return (value << bits | value >> 64 - bits) & WORD

    def mix(lane, word):
        return turn(lane + word * P2 & WORD, 31) * P1 & WORD

    at, size = 0, len(data)
    if size >= 32:
        a, b, c, d = (seed + P1 + P2) & WORD, (seed + P2) & WORD, seed, (seed - P1) & WORD
        while at + 32 <= size:
            w, x, y, z = struct.unpack_from("<4Q", data, at)
            a, b, c, d = mix(a, w), mix(b, x), mix(c, y), mix(d, z)
            at += 32
        value = (turn(a, 1) + turn(b, 7) + turn(c, 12) + turn(d, 18)) & WORD
        for lane in (a, b, c, d):
            value = ((value ^ mix(0, lane)) * P1 + P4) & WORD
    else:
        value = (seed + P5) & WORD
    value = (value + size) & WORD
    while at + 8 <= size:
        value = (turn(value ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & WORD
        at += 8
    if at + 4 <= size:
        value = (turn(value ^ struct.unpack_from("<I", data, at)[0] * P1 & WORD, 23) * P2 + P3) & WORD
        at += 4
    while at < size:
        value = turn(value ^ data[at] * P5 & WORD, 11) * P1 & WORD
        at += 1
    value = (value ^ value >> 33) * P2 & WORD
    value = (value ^ value >> 29) * P3 & WORD
    return value ^ value >> 32


Record = collections.namedtuple("Record", "raw command outcome code flags planned end order hash")


def records(path):
    data = subprocess.run(["lz4", "-dcq", str(path)], capture_output=True, check=True).stdout
    found = []
    for at in range(0, len(data), 64):
        raw = data[at:at + 64]
        command, outcome, code, _, flags, _, planned, _, end = struct.unpack_from("<BBHHBBQII", raw)
        order = int.from_bytes(raw[40:56], "big") if flags & 4 else None
        found.append(Record(raw, command, outcome, code, flags, planned, planned + end, order, raw[56:64]))
    return found


def write_history(like, path, raws):
    """A history with the frames of another one's begin and end, and these records."""
    data = pathlib.Path(like).read_bytes()
    header = data[:8 + struct.unpack_from("<I", data, 4)[0]]
    at = data.rindex(struct.pack("<I", 0x184D2A54))
    out = bytearray(header)
    for number, begin in enumerate(range(0, len(raws), 16384)):
        body = b"".join(raws[begin:begin + 16384])
        packed = subprocess.run(["lz4", "-zcq", "--content-size", "--no-frame-crc"], input=body,
                                capture_output=True, check=True).stdout
        out += history_frame(0x184D2A53, struct.pack("<4sIQQII", b"HBLK", len(body) // 64, number, xxh64(body),
                                                     len(packed), 0), xxh64(header)) + packed
    tail = data[at:]
    fields = tail[8:-8]
    text = json.loads(fields[fields.index(b"{"):])
    text["records"] = len(raws)
    packed = json.dumps(text).encode()
    lead = bytearray(fields[:fields.index(b"{")])
    lead[-4:] = struct.pack("<I", len(packed))
    out += history_frame(0x184D2A54, bytes(lead) + packed)
    pathlib.Path(path).write_bytes(out)


def history_frame(mark, body, seed=0):
    head = struct.pack("<II", mark, len(body) + 8) + body
    return head + struct.pack("<Q", xxh64(head, seed))


def gaps(found, partitions, began=None, ended=None):
    """Of each partition the longest time without an answer, in milliseconds: of all, or between two times."""
    ends = {p: [] for p in range(partitions)}
    for record in found:
        if record.order is not None and record.outcome in (1, 2) and not record.flags & 1:
            ends[record.order >> 46 & 0xFFFF].append(record.end)
    begin, end = min(r.planned for r in found), max(r.planned for r in found)
    if began is not None:
        begin, end = max(begin, int(began * 1e6)), min(end, int(ended * 1e6))
    worst = []
    for p in range(partitions):
        times = [begin] + sorted(time for time in ends[p] if began is None or begin < time < end) + [end]
        worst.append(max(later - earlier for earlier, later in zip(times, times[1:])) // 1000)
    return worst


def audit_rejects(world, histories):
    """The audit of a history with an order dropped, and of one with an order doubled, must say no."""
    path = histories[-1]
    all_records = records(path)
    raws = [r.raw for r in all_records]
    place = next(i for i, r in enumerate(all_records) if r.command == 1 and r.outcome == 1)
    doubled = bytearray(raws[place])
    doubled[39] ^= 1  # Another request's id.
    tries = [("untouched", raws, True), ("one order dropped", raws[:place] + raws[place + 1:], False),
             ("one order doubled", raws[:place + 1] + [bytes(doubled)] + raws[place + 1:], False)]
    for what, changed, clean in tries:
        written = world.folder / f"{what.replace(' ', '-')}.history.lz4"
        write_history(path, written, changed)
        done = audit(world, histories[:-1] + [written])
        last = (done.stdout.strip().splitlines() or [""])[-1]
        print(f"  a history written by hand, {what}: exit {done.returncode}: {last} {done.stderr.strip()}")
        if (done.returncode == 0) != clean:
            raise Violation(f"the audit took a history with {what} wrongly:\n{done.stdout}{done.stderr}")


def judge(world, histories):
    """The simulation's referee, on the logs of all workers."""
    words = [word for path in histories for word in ("--history", path)]
    words += [word for worker in world.workers for word in ("--log", worker.data)]
    return run(world.bin / "laris-loadtest", "judge", "--complete", *words, check=False, timeout=900)


def judge_rejects(world, histories):
    """The judge must say no to an order that was told as not executed, and to one under another request's id."""
    path = histories[-1]
    all_records = records(path)
    place = next(i for i, r in enumerate(all_records) if r.command == 1 and r.outcome == 1 and not r.flags & 3)
    denied, moved = bytearray(all_records[place].raw), bytearray(all_records[place].raw)
    denied[1] = 3
    moved[39] ^= 1
    for what, changed, clean in [("untouched", None, True), ("one order denied", denied, False),
                                 ("one order of another request", moved, False)]:
        written = world.folder / f"judged-{what.replace(' ', '-')}.history.lz4"
        raws = [r.raw for r in all_records]
        if changed is not None:
            raws[place] = bytes(changed)
        write_history(path, written, raws)
        written.with_name(written.name + ".replies").write_bytes(
            path.with_name(path.name + ".replies").read_bytes())
        done = judge(world, histories[:-1] + [written])
        last = (done.stdout.strip().splitlines() or [""])[-1]
        print(f"  a history written by hand, {what}: exit {done.returncode}: {last} {done.stderr.strip()}")
        check(done.returncode == (0 if clean else 1), f"the judge took a history with {what} wrongly:\n"
              f"{done.stdout}{done.stderr}")


def audit(world, histories):
    words = [word for path in histories for word in ("--history", path)]
    return world.laris("audit", "--timeout", 300, *words, check=False, timeout=900)


# A run


def suffer(world, draw, names):
    """Faults of one round, each on a thread of its own, one begun after another.

    Returns what they were.
    """
    told, problems = [""] * len(names), []

    def one(place, name, draw):
        try:
            told[place] = f"{name}: {FAULTS[name](world, draw)}"
        except Busy:
            told[place] = f"{name}: left out, what it needs is not there"
        except Violation as problem:
            problems.append(problem)
        except Exception as problem:  # Of the script's: a fault that did not happen must not pass for one.
            problems.append(Violation(f"{name}: {problem!r}"))

    threads = []
    for place, name in enumerate(names):
        if place > 0:
            time.sleep(draw.uniform(0, 1.5))
        threads.append(threading.Thread(target=one, args=(place, name, random.Random(draw.random())), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return "; ".join(told)


def conduct(world):
    options = world.options
    world.start()
    print(f"ready:    {len(world.workers)} workers, {len(world.dispatchers)} dispatchers, {len(world.etcd)} etcd; "
          f"late links by {'netem' if world.netem else 'tbf: this kernel has no netem'}", flush=True)
    names = options.faults.split(",") if options.faults else [
        name for name in FAULTS if options.replicas < len(world.workers) or name not in MOVES]
    histories, slowest, longest, drawn = [], 0.0, 0, collections.Counter()
    # One of each before any comes again.
    order = []
    for number in range(1, options.rounds + 1):
        draw = random.Random(f"{options.seed}/{number}")
        if not order:
            order = draw.sample(names, len(names))
        names_now = [order.pop() for _ in range(min(options.at_once, len(order)))]
        drawn.update(names_now)
        world.round, world.afterwards, world.busy = number, [], set()
        history = world.folder / f"{number}.history.lz4"
        words = world.load.command(
            world.bin / "laris-loadtest", "run", "--dispatcher", world.services, "--rate", options.rate,
            "--seconds", options.load_seconds, "--shops", 300, "--mix", MIX, "--retry", "--silence", 1,
            "--budget", 90, "--seed", options.seed * 1000 + number, "--history", history, "--replies")
        with open(world.folder / f"load-{number}.log", "w") as log:
            load = subprocess.Popen(words + (["--skip-setup"] if number > 1 else []), stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log)
        until = time.monotonic() + 30
        while not history.exists() and load.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(draw.uniform(1, 2.5))
        began = time.monotonic()
        what = suffer(world, draw, names_now)
        # What is healthy may only not have noticed yet; so the last moment counts at which it was not.
        ill = time.monotonic()
        while load.poll() is None:
            if not world.is_healthy():
                ill = time.monotonic()
            time.sleep(0.2)
        code = load.wait()
        if not world.is_healthy():
            world.wait_until_healthy()
            ill = time.monotonic()
        healthy = ill - began
        world.records = records(history)
        worst = gaps(world.records, options.partitions)
        # Another answer to a request is a record too.
        outcomes = collections.Counter(r.outcome for r in world.records if not r.flags & 2)
        histories.append(history)
        slowest, longest = max(slowest, healthy), max([longest] + worst)
        print(f"{number:3d} {what}; healthy {healthy:.1f} s after its begin; {outcomes.total()} requests, "
              f"{outcomes[1]} done; longest gaps {'/'.join(map(str, worst))} ms", flush=True)
        if code != 0:
            raise Violation(f"the load's exit code is {code}:\n" + (world.folder / f"load-{number}.log").read_text())
        check(options.max_gap == 0 or max(worst) <= options.max_gap,
              f"a partition gave no answer for {max(worst)} ms, more than {options.max_gap}")
        world.check_nodes()
        for check_it in world.afterwards:
            check_it()
        world.expected_alarms.clear()
    # Rows that were written by the last load need a moment to be told everywhere; a healthy status says that.
    done = audit(world, histories)
    print("audit:    " + (done.stdout.strip().splitlines() or ["?"])[-1])
    if done.returncode != 0:
        raise Violation(f"the audit: exit {done.returncode}\n{done.stdout}{done.stderr}")
    audit_rejects(world, histories)
    world.wait_until_healthy()
    world.members = {p.get("partition", 0): p["members"] for p in world.status()["partitions"]}
    for worker in world.workers:
        worker.process.terminate()
    for node in world.workers + world.dispatchers:
        code = node.ended() if node in world.workers else node.kill(signal.SIGTERM)
        if code != 0:
            raise Violation(f"{node}: exit {code} after SIGTERM:\n  " + "\n  ".join(node.said()[-12:]))
    print("replicas:", flush=True)
    compare_replicas(world)
    done = judge(world, histories)
    print("judge:    " + "; ".join(done.stdout.strip().splitlines()[-2:]))
    if done.returncode != 0:
        raise Violation(f"the judge: exit {done.returncode}\n{done.stdout}{done.stderr}")
    judge_rejects(world, histories)
    print(f"holds: {options.rounds} rounds ({', '.join(f'{n} {name}' for name, n in sorted(drawn.items()))}); "
          f"slowest to be healthy {slowest:.1f} s, longest gap {longest} ms")


def main():
    parser = argparse.ArgumentParser(prog="chaos-cluster.sh", description="Faults, one a round, under load.",
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="draws the faults; none: some seed")
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--replicas", type=int, default=3, choices=(2, 3))
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--load-seconds", type=int, default=10, help="of load in a round")
    parser.add_argument("--lease", type=int, default=500, help="of the cluster, in milliseconds")
    parser.add_argument("--disk", type=int, default=2048, help="of each worker, in MiB")
    parser.add_argument("--faults", default="", help="only these, with commas: " + ", ".join(FAULTS))
    parser.add_argument("--at-once", type=int, default=1, help="faults in one round")
    parser.add_argument("--max-gap", type=int, default=0,
                        help="milliseconds without an answer of a partition that are a violation; 0: none are")
    parser.add_argument("--one-machine", action="store_true",
                        help="workers see each other's files, so that deaths are proven")
    parser.add_argument("--keep", action="store_true", help="keep the folder; it is kept after a violation too")
    parser.add_argument("--bin", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(1, 1 << 20)
    unknown = [name for name in options.faults.split(",") if name and name not in FAULTS]
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}")
    moves = [name for name in options.faults.split(",") if name in MOVES]
    if moves and options.replicas == 3:
        parser.error(f"{', '.join(moves)}: all three workers have a replica; --replicas 2 leaves one free")

    def stop(number, _):
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"cluster:  {options.replicas} replicas, {options.partitions} partitions, lease {options.lease} ms, "
          f"{'one machine' if options.one_machine else 'machines apart'}; {options.rate}/s, seed {options.seed}",
          flush=True)
    world = None
    code = 0
    try:
        world = World(options)
        conduct(world)
    except (Violation, subprocess.TimeoutExpired) as violation:
        code = 99
        again = (f"loadtest/chaos-cluster.sh --seed {options.seed} --rounds {options.rounds} --rate {options.rate} "
                 f"--replicas {options.replicas} --partitions {options.partitions} --lease {options.lease} "
                 f"--load-seconds {options.load_seconds}"
                 + (f" --faults {options.faults}" if options.faults else "")
                 + (f" --at-once {options.at_once}" if options.at_once > 1 else "")
                 + (f" --max-gap {options.max_gap}" if options.max_gap else "")
                 + (" --one-machine" if options.one_machine else ""))
        print(f"VIOLATION in round {getattr(world, 'round', 0)}: {violation}\nagain: {again}", flush=True)
    finally:
        if world is not None and (options.keep or code == 99):
            (world.folder / "keep").touch()
            for node in world.nodes:
                if node.process is not None and node.process.poll() is None:
                    with contextlib.suppress(OSError):
                        node.process.send_signal(signal.SIGKILL)
                        node.process.wait()
            # Their disks are of this world only.
            for worker in world.workers:
                run("cp", "-r", "--sparse=always", worker.data, world.folder / f"{worker}.kept", check=False)
                run("umount", worker.data, check=False)
            print(f"kept: {world.folder} (NODE.log, WORKER.kept, load-ROUND.log, ROUND.history.lz4)", flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
