#!/usr/bin/env python3
"""How long a short picture waits behind the steps of a large one, on the real daemon.

Starts darkroomd with real worker processes, keeps it busy with large pictures, and sends short ones
at random times: with whole steps and with steps that are cut between transformer blocks, each with
and without taking staged plans back. Once with a model that computes, and once with one that only
waits as long as a step would take, whose figures do not depend on what else the machine does.
Writes OUT.json and OUT.md. Standard library only.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

START_SECONDS_MAX = 60
# What is compared: quanta in milliseconds (0: whole steps), and whether staged plans are taken
# back.
CASES = [
    ("whole steps, staged plans stay", 0, False),
    ("whole steps, staged plans are taken back", 0, True),
    ("cut steps, staged plans stay", 50, False),
    ("cut steps, staged plans are taken back", 50, True),
]

# A model that only waits: a step of 1024 x 1024 takes 819 ms, one of 64 x 64 takes 3 ms.
WAITING = {"DARKROOM_FAKE_STEP_US": "0", "DARKROOM_FAKE_TOKEN_NS": "100000",
           "DARKROOM_FAKE_BLOCKS": "57"}


class Daemon:
    """A darkroomd of its own."""

    def __init__(self, options, waits, folder, quantum_ms, revokes):
        config = folder / "config.yaml"
        config.write_text(
            "tenants: [{name: large}, {name: small}]\n"
            f"scheduler: {{quantum_milliseconds: {quantum_ms}, "
            f"revoke_plans: {str(revokes).lower()}}}\n")
        port_file = folder / "port"
        self.log = open(folder / "daemon.log", "a", encoding="utf-8")
        command = [options.bin / "darkroomd", "--model", options.model, "--config", config,
                   "--listen", "127.0.0.1:0", "--port-file", port_file, "--state-dir",
                   folder / "state", "--workers", "1", "--threads", str(options.threads)]
        if waits:
            command += ["--worker-program", (options.bin / "darkroom-fake-worker").resolve()]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(WAITING if waits else {})})
        deadline = time.monotonic() + START_SECONDS_MAX
        while not port_file.exists() or not port_file.read_text().strip():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"darkroomd does not start; see {self.log.name}")
            time.sleep(0.05)
        self.server = f"127.0.0.1:{port_file.read_text().split()[0]}"


def load(options, server, tenant, **more):
    command = [options.load_program, "--server", server, "--tenants", tenant, "--slack", 1000]
    for name, value in more.items():
        command += [f"--{name}", value]
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finished(process):
    out, err = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(err.strip())
    return json.loads(out)


def warm_up(options, server, large):
    """Until the model is loaded, and costs are known."""
    for attempt in range(100):
        try:
            for tenant, size in (("large", large), ("small", options.small)):
                finished(load(options, server, tenant, sizes=size, steps=2, requests=2, clients=1))
            return
        except RuntimeError as error:
            if attempt == 99 or "MODEL" not in str(error):
                raise
            time.sleep(0.2)


def measure(options, waits, case, folder):
    folder.mkdir()
    name, quantum_ms, revokes = case
    large = options.waiting_large if waits else options.large
    daemon = Daemon(options, waits, folder, quantum_ms, revokes)
    background = None
    try:
        warm_up(options, daemon.server, large)
        alone = finished(load(options, daemon.server, "large", sizes=large,
                              steps=options.large_steps, requests=1, clients=1))
        background = load(options, daemon.server, "large", sizes=large,
                          steps=options.large_steps, requests=100_000, clients=options.clients)
        time.sleep(2)
        small = finished(load(options, daemon.server, "small", sizes=options.small,
                              steps=options.small_steps, requests=options.requests,
                              rate=options.rate, seed=7))
    finally:
        if background is not None:
            background.kill()
            background.wait()
        daemon.process.kill()  # what still runs is large, and nobody waits for it
        daemon.process.wait()
        daemon.log.close()
    row = {"waits": waits, "case": name, "quantum_ms": quantum_ms, "revokes": revokes,
           "large_alone_s": alone["p50_s"],
           **{key: small[key] for key in ("ended", "wait_p50_s", "wait_p99_s", "p50_s", "p99_s")}}
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def table(rows):
    lines = ["| | large picture alone, s | wait p50, s | wait p99, s | latency p50, s | "
             "latency p99, s |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['case']} | {row['large_alone_s']:.2f} | {row['wait_p50_s']:.3f} "
            f"| {row['wait_p99_s']:.3f} | {row['p50_s']:.3f} | {row['p99_s']:.3f} |")
    return lines


def markdown(options, rows):
    return "\n".join([
        "# The wait behind a step",
        "",
        f"{options.requests} pictures of {options.small} x {options.small} and "
        f"{options.small_steps} steps, {options.rate} a second at random times, beside "
        f"{options.clients} large ones of {options.large_steps} steps at a time; a daemon with one "
        f"worker of {options.threads} threads, {options.machine}. Wait: from the creation until a "
        "worker turns to the picture. Latency: until it is done, its own work included. Written "
        "by `tests/bench/scheduler_wait.py`.",
        "",
        f"A model that only waits as long as a step would take: 819 ms for {options.waiting_large} "
        f"x {options.waiting_large}, 3 ms for 64 x 64.",
        "",
        *table([row for row in rows if row["waits"]]),
        "",
        f"`{options.model}`, large pictures of {options.large} x {options.large}. The decoding of "
        "a picture is one quantum, which is not cut: it is what the p99 is made of once steps are.",
        "",
        *table([row for row in rows if not row["waits"]]),
        "",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, default="build/bin")
    parser.add_argument("--load-program", type=pathlib.Path,
                        default="build/tests/bench/daemon_load")
    parser.add_argument("--model", type=pathlib.Path, default="deploy/models/emoji")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", type=int, default=512)
    parser.add_argument("--waiting-large", type=int, default=1024)
    parser.add_argument("--large-steps", type=int, default=10)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--small", type=int, default=64)
    parser.add_argument("--small-steps", type=int, default=4)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--machine", default=platform.machine())
    parser.add_argument("--out", type=pathlib.Path, default="docs/perf/scheduler/wait")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for waits in (True, False):
            for case in CASES:
                rows.append(measure(options, waits, case, pathlib.Path(scratch) / str(len(rows))))
    options.out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(options, rows))


if __name__ == "__main__":
    main()
