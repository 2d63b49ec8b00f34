"""What callgrind counted in a node, by stage. Called by instructions.sh, which tells more.

    instructions.py NODE FILE ORDERS [--sites N]

A stage is a list of places in the sources. Every instruction of the program belongs to the innermost
function around it, inlined ones included, that a stage names. What belongs to none, such as a hash
table's lookup, and what libraries do, is shared out to those that called it, in proportion to what their
calls cost (allocations and system calls: to how many there were). So a table adds up.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys

# A place: the target's folder and the file, and maybe a pattern of its functions' names, after a colon.
# Or a library, for the threads that it runs by itself.
STAGES = {
    "dispatcher": {
        "receives, finds the connection": [
            "DispatcherNode/DispatcherNode.swift:\\.(takeFromClients|take)\\(",
            "DispatcherNode/Connections.swift",
        ],
        "peeks": ["Wire/RequestPeek.swift"],
        "routes, admits, batches": [
            "DispatcherCore/DispatcherCore.swift:\\.(begin|add|enqueue|limitReached|makeBatch)\\(",
            "DispatcherCore/Admission.swift", "DispatcherCore/Batch.swift:Batch\\.(add|init)",
        ],
        "sends batches": [
            "DispatcherNode/DispatcherNode.swift:\\.send\\(",
            "DispatcherCore/DispatcherCore.swift:\\.(dispatch|depart|noLongerWaits|clearDepartures)\\(",
            "DispatcherCore/Batch.swift:Batch\\.seal",
        ],
        "takes answers": [
            "DispatcherNode/DispatcherNode.swift:\\.takeFromWorkers\\(",
            "DispatcherCore/DispatcherCore.swift:\\.(answers|reply|append|finish)\\(",
        ],
        "sends replies": [
            "DispatcherNode/DispatcherNode.swift:\\.reply\\(",
            "DispatcherCore/DispatcherCore.swift:\\.clearOutgoing\\(",
        ],
        "waits; status, beacons": [
            "DispatcherNode/DispatcherNode.swift:\\.(run|beacon|statusBody|makeStatus)\\(",
            "DispatcherNode/WorkerRegistry.swift",
        ],
        "ZeroMQ's I/O threads": ["libzmq"],
    },
    "worker": {
        "receives batches": [
            "WorkerNode/PartitionNode.swift:\\.(drain|accept)\\(",
            "WorkerNode/DispatcherLink.swift:\\.receive\\(",
        ],
        "decodes": ["Wire/RequestDecoder.swift", "WorkerCore/PartitionCore.swift:\\.(take|decode)\\("],
        "collects what is needed": [
            "WorkerCore/PartitionCore.swift:\\.(collectNeeds|collectNeedsOfOrders|isInStoreOnly|hasWork)\\(",
            "Marketplace/Books+Needs.swift",
        ],
        "seals: ids, entries": [
            "WorkerCore/PartitionCore.swift:\\.(seal|fate|refusal)\\(", "WorkerCore/LogEntry.swift",
        ],
        "log: LZ4": ["LZ4/LZ4Frame.swift"],
        "log: hashes, writes, syncs": [
            "ReplicationLog/ReplicationLog.swift:\\.(append|sync|prove|makeRoom|roll)\\(",
            "ReplicationLog/SegmentFormat.swift",
            "DurablePartition/DurablePartition.swift:\\.(work|makeRoom)\\(",
        ],
        "applies the rules": [
            "Marketplace/Books.swift", "Marketplace/Books+Orders.swift:\\.(place|invalidArgument)\\(",
        ],
        "digests what changed": ["Marketplace/RowImage.swift", "WorkerCore/PartitionCore.swift:\\.chainDigest\\("],
        "remembers and writes answers": [
            "WorkerCore/PartitionCore.swift:\\.(apply|answer|execute|write|clearAnswers)\\(",
            "Wire/ReplyEncoder.swift",
        ],
        "sends answers": [
            "WorkerNode/PartitionNode.swift:\\.send\\(", "WorkerNode/DispatcherLink.swift:\\.send\\(",
        ],
        "waits; hello, beacons": [
            "WorkerNode/PartitionNode.swift:\\.(serve|sayHello|lookForRoom|checkpoint)\\(",
            "WorkerNode/WorkerNode.swift",
        ],
        "checkpoint: copies rows": [
            "Marketplace/RowTable.swift:\\.(freeze|copyFrozen|takeFrozen)\\(",
            "WorkerCore/PartitionCore.swift:\\.(freeze|copyFrozen|written)\\(",
            "WorkerCore/AnsweredRequests.swift:\\.(copyFrozen|takeFrozen|written|copy)\\(",
        ],
        "checkpoint: orders to SQLite": [
            "PartitionStore/OrderWriter.swift",
            "PartitionStore/Spelling.swift", "PartitionStore/NumbersText.swift",
        ],
        "checkpoint: SKUs to SQLite": [
            "PartitionStore/PartitionWriter.swift:\\.write\\(Marketplace.SKU\\)",
        ],
        "checkpoint: requests to SQLite": [
            "PartitionStore/RequestPage.swift",
        ],
        "checkpoint: commits, moves the WAL": [
            "PartitionStore/PartitionWriter.swift:\\.write\\(WorkerCore.Checkpoint\\)",
            "PartitionStore/PartitionWriter.swift:\\.moveWAL\\(",
        ],
        "checkpoint: lets go of it, next segment": [
            "WorkerNode/Checkpointer.swift", "DurablePartition/CheckpointWriter.swift",
            "ReplicationLog/ReplicationLog.swift:\\.prepareSpare\\(",
        ],
        "ZeroMQ's I/O threads": ["libzmq"],
    },
}
# What has no stage: shown as one row.
REST = "everything else"
REST_SHARE_MAX = 0.03
# Of an order: instructions and allocations, about a tenth above what docs/SPEED.md has.
MOST = {"dispatcher": (12_700, 2.8), "worker": (33_100, 4.7)}
# Where a call of these is, is no place of its own: who called it is.
OWNERS = {"Bytes", "SQLite", "ZeroMQ", "LZ4"}

ALLOCATORS = re.compile(r"^(malloc|calloc|realloc|aligned_alloc|posix_memalign|memalign)(@|$)")
# Instructions of these are counted by kind as well.
KINDS = [
    ("allocating", re.compile(
        r"^_?_?(libc_)?(malloc|calloc|realloc|free|cfree|posix_memalign|aligned_alloc|memalign)\b|"
        r"^_int_(malloc|free|realloc|memalign)|^(unlink_chunk|malloc_consolidate|sysmalloc|systrim)|tcache|"
        r"^operator (new|delete)|swift_(slowAlloc|slowDealloc|allocObject|deallocClassInstance)|"
        r"_swift_dealloc|swift_release_dealloc|checkMalloc")),
    ("counting references", re.compile(r"retain|release|RefCount|isUniquelyReferenced|swift_bridgeObject")),
    ("copying", re.compile(r"^__mem(cpy|move|set|cmp)|^mem(cpy|move|set|cmp)|swift_array(Init|Assign)")),
    ("locking", re.compile(r"pthread_mutex|lll_lock")),
]


def base(name):
    """A function's own name, without its callers'."""
    return name.split("'")[0]


class Function:
    """A function of a program or library, called by certain others: its name, then theirs."""

    def __init__(self, object_name, name):
        self.object_name = object_name
        self.name = base(name)
        self.costs = collections.Counter()  # instructions by address
        self.system_calls = collections.Counter()  # by address
        self.calls = []  # (address, callee's key, count, instructions)


def parse(path):
    """Functions by (object, name) of callgrind's file, whose positions are addresses.

    Format: valgrind's manual, "Callgrind Format Specification".
    """
    functions = {}
    names = {"ob": {}, "fl": {}, "fn": {}}

    def name(kind, text):
        number, _, rest = text.partition(")")
        known = names[kind]
        if not number.startswith("("):
            return text
        if rest:
            known[number] = rest.strip()
        return known[number]

    def function(object_name, function_name):
        # Recursion levels are one function.
        key = (object_name, re.sub(r"'\d+$", "", function_name))
        if key not in functions:
            functions[key] = Function(*key)
        return key

    address = 0

    def position(text):
        if text == "*":
            return address
        if text[0] in "+-":
            return address + int(text, 0)
        return int(text, 0)

    object_name = called_object = ""
    current = None
    callee = count = None
    is_instructions = False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if not line or line[0] == "#":
                continue
            if line[0] in "0123456789+-*":
                fields = line.split()
                address = position(fields[0])
                cost = int(fields[1])
                if callee is None:
                    functions[current].costs[address] += cost
                    if len(fields) > 2 and fields[2] != "0":
                        functions[current].system_calls[address] += int(fields[2])
                else:
                    functions[current].calls.append((address, callee, count, cost))
                    callee = None
                continue
            key, _, value = line.partition("=")
            if key == "ob":
                object_name = name("ob", value)
            elif key in ("fl", "fi", "fe", "cfi", "cfl"):
                name("fl", value)
            elif key == "fn":
                current = function(object_name, name("fn", value))
                called_object = object_name
            elif key == "cob":
                called_object = name("ob", value)
            elif key == "cfn":
                callee = function(called_object, name("fn", value))
                called_object = object_name
            elif key == "calls":
                count = int(value.split()[0])
            elif line.startswith("positions:"):
                is_instructions = line.split() == ["positions:", "instr"]
            elif line.startswith("events:") and line.split()[1:3] != ["Ir", "sysCount"]:
                sys.exit(f"{path}: the events are not Ir and sysCount")
    if not is_instructions or not functions:
        sys.exit(f"{path}: not callgrind's counts by instruction")
    return functions


def frames_of(program, addresses):
    """The functions around each address, inlined ones first: (target/file, name, line)."""
    toolchain = os.path.dirname(os.path.realpath(shutil.which("swift") or ""))
    symbolizer = os.path.join(toolchain, "llvm-symbolizer")
    output = subprocess.run(
        [symbolizer if os.path.exists(symbolizer) else "llvm-symbolizer", f"--obj={program}", "--inlines",
         "--no-demangle", "--output-style=JSON"],
        input="".join(f"{address:#x}\n" for address in addresses), capture_output=True, text=True,
        check=True).stdout
    found = [json.loads(line) for line in output.splitlines() if line.strip()]
    mangled = sorted({f["FunctionName"] for a in found for f in a["Symbol"] if f["FunctionName"]})
    plain = subprocess.run(
        ["swift", "demangle", "--compact"], input="\n".join(mangled) + "\n", capture_output=True, text=True,
        check=True).stdout.splitlines()
    # A private function's name has its file's hash in it.
    names = {
        symbol: re.sub(r"\((\w+) in _[0-9A-F]+\)", r"\1", name) for symbol, name in zip(mangled, plain)}
    return {
        int(a["Address"], 16): [
            ("/".join(f["FileName"].split("/")[-2:]), names.get(f["FunctionName"], ""), f["Line"])
            for f in a["Symbol"]]
        for a in found}


class Shares:
    """Shares a function's own cost out to the labels of those that called it."""

    def __init__(self, functions, label, weight):
        self.direct = {}
        incoming = collections.defaultdict(lambda: (collections.Counter(), collections.Counter()))
        for key, function in functions.items():
            for call in function.calls:
                owner = label(key, call[0])
                if owner is not None:
                    incoming[call[1]][0][owner] += weight(call)
                elif call[1] != key:
                    incoming[call[1]][1][key] += weight(call)
        # What nobody is known to have called is a thread's own.
        self.roots = {
            key: {thread(key): 1.0} for key in functions if key not in incoming}
        shares = self.roots
        # From callers to those they call; cycles settle.
        for _ in range(60):
            new = dict(self.roots)
            for key, (labels, callers) in incoming.items():
                total = sum(labels.values()) + sum(callers.values())
                if not total:
                    continue
                sums = {name: value / total for name, value in labels.items()}
                for caller, value in callers.items():
                    for name, share in shares.get(caller, {None: 1.0}).items():
                        # The C library starts every thread.
                        if name == thread(("libc", "")):
                            name = thread(key)
                        sums[name] = sums.get(name, 0.0) + value / total * share
                new[key] = sums
            change = max(
                (abs(share - shares.get(key, {}).get(name, 0.0))
                 for key, sums in new.items() for name, share in sums.items()), default=0.0)
            shares = new
            if change < 1e-6:
                break
        self.shares = shares

    def of(self, key):
        return self.shares.get(key, {None: 1.0})


def library(key):
    return os.path.basename(key[0]).split(".")[0]


def number_of_calls(call):
    # A call that was under way when counting began counts as none.
    return call[2] or 1e-9


def thread(key):
    """The label of what a library's own thread does."""
    return f"thread of {library(key)}"


def kind(function):
    for name, pattern in KINDS:
        if pattern.search(function.name):
            return name
    return ""


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("node", choices=STAGES)
    arguments.add_argument("file")
    arguments.add_argument("orders", type=int)
    arguments.add_argument("--sites", type=int, default=0)
    options = arguments.parse_args()
    functions = parse(options.file)
    programs = {name for name, _ in functions if os.path.basename(name) == "laris"}
    if len(programs) != 1 or options.orders <= 0:
        sys.exit(f"{options.file}: no counts of laris, or no orders")
    program = programs.pop()

    frames = frames_of(program, sorted({
        address for function in functions.values() if function.object_name == program
        for address in [*function.costs, *(call[0] for call in function.calls)]}))
    stages = Stages(options.node, frames)

    def label(key, address):
        return stages.of_address(address) if key[0] == program else None

    by_cost = Shares(functions, label, lambda call: call[3])
    by_count = Shares(functions, label, number_of_calls)

    def share_out(shares, key, address, amount, counters):
        owner = label(key, address)
        for name, share in ({owner: 1.0} if owner else shares.of(key)).items():
            for counter in counters:
                counter[stages.named(name)] += amount * share

    instructions, allocations, system_calls = (collections.Counter() for _ in range(3))
    kinds = {name: collections.Counter() for name, _ in KINDS}
    rest = collections.Counter()
    for key, function in functions.items():
        counters = [instructions] + [kinds[name] for name in [kind(function)] if name]
        for address, cost in function.costs.items():
            before = instructions[None]
            share_out(by_cost, key, address, cost, counters)
            rest[function.name] += instructions[None] - before
        for address, count in function.system_calls.items():
            share_out(by_count, key, address, count, [system_calls])
    for key, address, count in allocating_calls(functions):
        share_out(by_count, key, address, count, [allocations])

    total = sum(instructions.values())
    columns = ["instructions", "share", *kinds, "allocations", "system calls"]
    print(f"\n{options.node}, an order:\n")
    print("| stage | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))

    def row(name, of):
        own = sum(instructions[s] for s in of)
        cells = [f"{own / options.orders:,.0f}", f"{own / total * 100:.1f} %"]
        cells += [f"{sum(kinds[k][s] for s in of) / options.orders:,.0f}" for k in kinds]
        cells += [f"{sum(c[s] for s in of) / options.orders:.2f}" for c in (allocations, system_calls)]
        print(f"| {name} | " + " | ".join(cells) + " |")

    for stage in STAGES[options.node]:
        row(stage, [stage])
    row(REST, [None])
    row("all", [*STAGES[options.node], None])
    syncs = collections.Counter()
    for key, function in functions.items():
        for address, callee, count, _ in function.calls:
            if callee[1].startswith("fdatasync") and function.name != base(callee[1]):
                share_out(by_count, key, address, count, [syncs])
    groups = syncs["log: hashes, writes, syncs"]
    if groups:
        print(f"\n{options.orders / groups:.0f} orders a group (a sync of the log)")
    if options.sites:
        print_sites(options, functions, program, frames)

    wrong = [f"{place}, of the stage '{stage}', is no code that ran" for stage, place in stages.unmatched()]
    if instructions[None] > total * REST_SHARE_MAX:
        wrong.append(
            f"{instructions[None] / total:.1%} of the instructions have no stage: "
            + ", ".join(f"{name} {cost / total:.1%}" for name, cost in rest.most_common(12)))
    for what, amount, most in zip(
            ("instructions", "allocations"), (total, sum(allocations.values())), MOST[options.node]):
        if amount / options.orders > most:
            wrong.append(f"{amount / options.orders:,.1f} {what} an order are more than {most:,}")
    if wrong:
        sys.exit("\n".join(f"instructions.py: {options.node}: {text}" for text in wrong))


def allocating_calls(functions):
    """Calls of the allocator that are not its own: (function's key, address, count)."""
    for key, function in functions.items():
        if ALLOCATORS.match(function.name):
            continue
        for address, callee, count, _ in function.calls:
            if ALLOCATORS.match(base(callee[1])):
                yield key, address, count


class Stages:
    """Which stage an address of the program belongs to."""

    def __init__(self, node, frames):
        self.places = []  # (stage, place, file, pattern of functions)
        for stage, places in STAGES[node].items():
            for place in places:
                file, _, function = place.partition(":")
                self.places.append((stage, place, file, re.compile(function) if function else None))
        self.matched = set()
        self.known = {}
        self.addresses = {address: self.of_frames(chain) for address, chain in frames.items()}

    def of_frames(self, chain):
        for file, name, _ in chain:
            if (file, name) not in self.known:
                self.known[file, name] = self.find(file, name)
            if self.known[file, name]:
                stage, place = self.known[file, name]
                self.matched.add(place)
                return stage
        return None

    def find(self, file, name):
        # A place that names functions goes before one that is a whole file.
        whole = None
        for stage, place, place_file, pattern in self.places:
            if place_file != file:
                continue
            if pattern is None:
                whole = (stage, place)
            elif pattern.search(name):
                return stage, place
        return whole

    def of_address(self, address):
        return self.addresses.get(address)

    def named(self, label):
        """The stage of a label: itself, or that of a library's own thread."""
        if label in STAGES_OF_NODES:
            return label
        for stage, place, file, _ in self.places:
            if label == thread((file, "")):
                self.matched.add(place)
                return stage
        return None

    def unmatched(self):
        return [(stage, place) for stage, place, _, _ in self.places if place not in self.matched]


STAGES_OF_NODES = {stage for stages in STAGES.values() for stage in stages}


def print_sites(options, functions, program, frames):
    """Where in the sources most is done or allocated, by those lines and whatever they call."""
    def site(key, address):
        if key[0] != program:
            return None
        for file, name, line in frames.get(address, []):
            target = file.split("/")[0]
            if line and target not in OWNERS and os.path.exists(f"Sources/{file}"):
                return f"{file}:{line}"
        return None

    for title, weight, amounts in (
        ("instructions", lambda call: call[3], (
            (key, address, cost) for key, function in functions.items()
            for address, cost in function.costs.items())),
        ("allocations", number_of_calls, allocating_calls(functions)),
    ):
        shares = Shares(functions, site, weight)
        sites = collections.Counter()
        for key, address, amount in amounts:
            owner = site(key, address)
            for name, share in ({owner: 1.0} if owner else shares.of(key)).items():
                sites[name] += amount * share
        print(f"\n{title} an order, by source line:\n")
        for name, amount in sites.most_common(options.sites):
            print(f"{amount / options.orders:10,.2f}  {name}")


main()
