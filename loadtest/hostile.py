#!/usr/bin/env python3
"""Peers that no network should have: garbage of every kind at a dispatcher's two ports and at a worker's, for
some seconds.

    hostile.py SERVICES_PORT WORKERS_PORT REPLICATION_PORT SECONDS SEED

Each kind runs in a process of its own at a bounded pace and ends by itself. Prints what was sent.
"""
import multiprocessing
import os
import random
import resource
import socket
import struct
import sys
import time

import zmq

GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + b"\0" * 31


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def request(command, body, rng):
    """A Request with a fresh UUIDv7, the channel `hostile` and one command."""
    request_id = (int(time.time() * 1000) << 80 | 7 << 76 | rng.getrandbits(12) << 64 | 2 << 62
                  | rng.getrandbits(62)).to_bytes(16, "big")
    return (b"\x0a\x10" + request_id + b"\x12\x07hostile"
            + varint(command << 3 | 2) + varint(len(body)) + body)


def get_sku(rng):
    return request(33, b"\x08" + varint(rng.randint(1, 10_000)) + b"\x10\x01", rng)


def dealer(context, port, **options):
    made = context.socket(zmq.DEALER)
    made.setsockopt(zmq.LINGER, 0)
    for name, value in options.items():
        made.setsockopt(getattr(zmq, name), value)
    made.connect(f"tcp://127.0.0.1:{port}")
    return made


def paced(until, per_second):
    """Yields at that pace until the time is over."""
    began, count = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        ahead = count / per_second - (now - began)
        if ahead > 0:
            time.sleep(min(ahead, 0.05))
        else:
            count += 1
            yield count


def raw_noise(port, until, rng):
    """Bytes that are no ZMTP, over connections that come and go."""
    for count in paced(until, 200):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as peer:
                peer.sendall(rng.randbytes(rng.choice([1, 10, 64, 5_000])))
        except OSError:
            pass
    return count


def silent(port, until, rng):
    """Connections that say nothing at all; opened again where they are closed."""
    peers, opened = [], 0
    while time.monotonic() < until:
        while len(peers) < 2_000:
            try:
                peers.append(socket.create_connection(("127.0.0.1", port), 1))
                opened += 1
            except OSError:
                break
        time.sleep(1)
        for peer in peers[:]:
            peer.setblocking(False)
            try:
                if peer.recv(100) == b"":
                    raise OSError
            except BlockingIOError:
                pass
            except OSError:
                peer.close()
                peers.remove(peer)
    return opened


def hostile_lengths(port, until, rng):
    """A proper greeting, then frames of 2^62 bytes, of none, and commands that are none."""
    for count in paced(until, 100):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as peer:
                ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
                peer.sendall(GREETING + b"\x04" + bytes([len(ready)]) + ready)
                peer.sendall(rng.choice([
                    b"\x02" + struct.pack(">Q", 1 << 62) + b"x" * 100,
                    b"\x02" + struct.pack(">Q", (1 << 64) - 1),
                    b"\x03" + struct.pack(">Q", 3 << 20) + b"y" * 1_000,
                    b"\x04\xff" + rng.randbytes(255),
                    b"\x01\x00" * 500,
                ]))
        except OSError:
            pass
    return count


def random_frames(port, until, rng):
    """ZeroMQ messages of random frames."""
    context, count = zmq.Context(), 0
    peer = dealer(context, port, SNDHWM=100)
    for count in paced(until, 3_000):
        frames = [rng.randbytes(rng.choice([0, 1, 17, 200, 3_000])) for _ in range(rng.choice([1, 1, 2, 5, 1_200 if count % 500 == 0 else 3]))]
        try:
            peer.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            pass
    return count


def mutated(port, until, rng):
    """Requests with some bytes changed."""
    context, count = zmq.Context(), 0
    peer = dealer(context, port, SNDHWM=100)
    for count in paced(until, 3_000):
        frame = bytearray(get_sku(rng))
        for _ in range(rng.randint(1, 4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        try:
            peer.send(bytes(frame[:rng.randint(1, len(frame))]) if rng.random() < 0.3 else bytes(frame), zmq.DONTWAIT)
        except zmq.Again:
            pass
    return count


def oversize(port, until, rng):
    """Frames above every limit: some are refused, some close their connection."""
    context, count = zmq.Context(), 0
    for count in paced(until, 20):
        peer = dealer(context, port, SNDHWM=10)
        try:
            peer.send(b"\0" * rng.choice([1_100_000, 2_500_000, 9_000_000]), zmq.DONTWAIT)
            time.sleep(0.01)
        except zmq.Again:
            pass
        peer.close()
    return count


def never_reads(port, until, rng):
    """Proper requests whose replies nobody takes."""
    context, count = zmq.Context(), 0
    peer = dealer(context, port, RCVHWM=1, SNDHWM=1_000, RCVBUF=4_096)
    for count in paced(until, 3_000):
        try:
            peer.send_multipart([get_sku(rng) for _ in range(4)], zmq.DONTWAIT)
        except zmq.Again:
            time.sleep(0.001)
    return count


def asks_status(port, until, rng):
    """The same question again and again."""
    context, count = zmq.Context(), 0
    peer = dealer(context, port, SNDHWM=1_000)
    for count in paced(until, 2_000):
        try:
            peer.send(request(48, b"", rng), zmq.DONTWAIT)
            while True:
                peer.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            pass
    return count


def forged(port, until, rng):
    """What looks like the messages of another worker."""
    context, count = zmq.Context(), 0
    peer = context.socket(zmq.PUSH)
    peer.setsockopt(zmq.LINGER, 0)
    peer.connect(f"tcp://127.0.0.1:{port}")
    for count in paced(until, 3_000):
        head = struct.pack("<BBHQQQB", rng.choice([32, 33, 34, 35, 36, 37, 38, 48, 49, 56, 58]), 1, rng.randrange(8),
                           rng.getrandbits(64), rng.randrange(9), rng.getrandbits(64), 8) + b"worker-1"
        try:
            peer.send(head + rng.randbytes(rng.choice([0, 1, 24, 33, 100, 3_000])), zmq.DONTWAIT)
        except zmq.Again:
            pass
    return count


def run(kind, port, seconds, seed, results):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results.put((kind.__name__, port, kind(port, time.monotonic() + seconds, random.Random(seed)) or 0))


def main():
    ports = dict(zip(("services", "workers", "replication"), map(int, sys.argv[1:4])))
    services, workers, replication = ports.values()
    seconds, seed = float(sys.argv[4]), int(sys.argv[5])
    results = multiprocessing.Queue()
    kinds = [(kind, services) for kind in (
        raw_noise, silent, hostile_lengths, random_frames, mutated, oversize, never_reads, asks_status)]
    kinds += [(kind, workers) for kind in (raw_noise, hostile_lengths, random_frames, oversize)]
    kinds += [(kind, replication) for kind in (raw_noise, silent, hostile_lengths, random_frames, forged)]
    peers = [multiprocessing.Process(target=run, args=(kind, port, seconds, seed + index, results))
             for index, (kind, port) in enumerate(kinds)]
    for peer in peers:
        peer.start()
    for _ in peers:
        name, port, count = results.get()
        print(f"{name} at {next(whose for whose, its in ports.items() if its == port)}: {count}")
    # libzmq's context would wait for what nobody takes.
    sys.stdout.flush()
    for peer in peers:
        peer.kill()
    os._exit(0)


if __name__ == "__main__":
    main()
