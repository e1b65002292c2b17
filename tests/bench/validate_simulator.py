#!/usr/bin/env python3
"""The simulator against the real daemon: the same arrivals, three loads.

Starts darkroomd with real worker processes on the CPU, measures how many pictures a second it makes
of a mix of requests, sends it that mix at .5, .8 and 1.1 of it, with deadlines, from several
tenants, one of which comes in bursts, and has darkroom-sim simulate what the daemon's decision log
says that arrived. Writes OUT.json and OUT.md; with --check fails where they differ by more than is
allowed. A machine that does nothing else is needed. Standard library only.
"""

import argparse
import json
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

# What may differ: attainment in points, latencies in shares.
TOLERANCES = {"attainment": 0.02, "p50_s": 0.10, "p95_s": 0.10, "p99_s": 0.25}
LOADS = (0.5, 0.8, 1.1)
TENANTS = ("ada", "bob", "cyd", "dee")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 90


class Daemon:
    """A darkroomd of its own, with the decision log on."""

    def __init__(self, options, folder):
        self.state = folder / "state"
        config = folder / "config.yaml"
        tenants = ", ".join(f"{{name: {name}}}" for name in TENANTS)
        config.write_text(f"tenants: [{tenants}]\nscheduler: {{decision_log_bytes: 1000000000}}\n")
        port_file = folder / "port"
        port_file.unlink(missing_ok=True)
        self.log = open(folder / "daemon.log", "a", encoding="utf-8")
        self.process = subprocess.Popen(
            [options.bin / "darkroomd", "--model", options.model, "--config", config,
             "--listen", "127.0.0.1:0", "--port-file", port_file, "--state-dir", self.state,
             "--workers", "1", "--threads", str(options.threads), "--slots", str(options.slots)],
            stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not port_file.exists() or not port_file.read_text().strip():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"darkroomd does not start; see {self.log.name}")
            time.sleep(0.05)
        self.server = f"127.0.0.1:{port_file.read_text().split()[0]}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_SECONDS_MAX)
        self.log.close()

    def decisions(self):
        """The log of its latest start."""
        return max((self.state / "decisions").glob("*.log"), key=lambda path: path.stat().st_mtime)


def run_json(command):
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def send(options, server, requests, seed, **more):
    command = [options.load_program, "--server", server, "--tenants", ",".join(TENANTS),
               "--steps", options.steps, "--sizes", options.sizes, "--slack", options.slack,
               "--requests", requests, "--seed", seed]
    for name, value in more.items():
        command += [f"--{name}", value]
    for attempt in range(100):
        try:
            return run_json(command)
        except RuntimeError as error:
            # Until the model is loaded.
            if attempt == 99 or "MODEL" not in str(error):
                raise
            time.sleep(0.2)
    return None


def one_load(options, folder, load, index):
    folder.mkdir()
    daemon = Daemon(options, folder)
    try:
        # A burst teaches what full batches take and what the machine can do, a trickle what small
        # ones take.
        full = send(options, daemon.server, options.warmup, 10 + index, clients=options.clients)
        capacity = full["ended"] / full["seconds"]
        trickle = send(options, daemon.server, options.warmup // 2, 20 + index, rate=0.5 * capacity)
        rate = load * capacity
        measured = send(options, daemon.server, options.requests, 30 + index, rate=rate,
                        burst=options.burst)
    finally:
        daemon.stop()
    run = {"load": load, "capacity_per_s": capacity, "rate_per_s": rate, "client": measured,
           "warmup_jobs": full["ended"] + trickle["ended"], "log": str(daemon.decisions())}
    (folder / "run.json").write_text(json.dumps(run))
    return again(options, folder)


def again(options, folder):
    """The run that was made in `folder`, with its simulation."""
    run = json.loads((folder / "run.json").read_text())
    simulated = run_json([options.bin / "darkroom-sim", "--trace", run.pop("log"), "--format",
                          "decisions", "--warmup-jobs", run["warmup_jobs"], "--json"])
    print(f"load {run['load']}: {json.dumps(simulated)}", file=sys.stderr, flush=True)
    return {**run, **simulated}


def differences(run, simulation="simulated"):
    """By how much the simulation differs, as TOLERANCES has it, and whether that is too much."""
    found = {}
    for name, allowed in TOLERANCES.items():
        daemon, simulated = run["daemon"][name], run[simulation][name]
        off = simulated - daemon
        if name != "attainment":
            off = off / daemon if daemon else 0.0
        found[name] = (off, abs(off) <= allowed)
    return found


def marks_of(off):
    return " | ".join(f"{100 * value:+.1f}{' points' if name == 'attainment' else '%'}"
                      f"{'' if good else ' (!)'}" for name, (value, good) in off.items())


def table(runs):
    lines = ["| load | requests | | attainment | p50 | p95 | p99 |",
             "|---|---|---|---|---|---|---|"]
    for run in runs:
        def row(who, name, run=run):
            times = " | ".join(f"{run[name][key]:.3f} s" for key in ("p50_s", "p95_s", "p99_s"))
            return f"| {who} | {run[name]['attainment']:.3f} | {times} |"
        lines.append(f"| {run['load']} | {run['jobs']} {row('daemon', 'daemon')}")
        lines.append(f"| | {row('simulated', 'simulated')}")
        lines.append(f"| | {row('simulated at its pace', 'simulated_at_pace')}")
        for who, simulation in (("difference", "simulated"), ("at its pace", "simulated_at_pace")):
            lines.append(f"| | | *{who}* | {marks_of(differences(run, simulation))} |")
    return "\n".join(lines)


def report(options, runs):
    command = "tests/bench/validate_simulator.py " + " ".join(sys.argv[1:])
    overheads = runs[-1]["overheads_us"]
    pace_text = ", ".join(
        f"{run['load']}: " + "/".join(f"{stage['actual_over_expected']:.3f} {name}"
                                      for name, stage in run["run_pace"].items()
                                      if name in ("denoise", "decode")) for run in runs)
    clients = ", ".join(
        f"{run['load']}: {run['client']['attainment']:.3f}, p50 {run['client']['p50_s']:.3f} s, "
        f"p99 {run['client']['p99_s']:.3f} s" for run in runs)
    return f"""# The simulator against the daemon
A real `darkroomd` with a real worker process, {options.threads} thread(s), serves
`{options.model}`: steps drawn from {options.steps}, sides from {options.sizes}, deadline
{options.slack} times alone and half a second, {len(TENANTS)} tenants with Poisson arrivals, the
first in bursts of
{options.burst}. The load is the share of what the same mix brings when {options.clients} clients
never pause. `darkroom-sim --format decisions` takes from the daemon's decision log what arrived and
when; what quanta and everything around them take it learns from the warm-up before
(`src/simulator/daemon_rerun.h`). Latency is from a job's arrival to its picture.

{table(runs)}

Allowed: attainment 2 points, p50 and p95 10%, p99 25%; (!) marks what is beyond. *At its pace*:
all quanta are longer by one factor, what the run's took over what the warm-up's let expect
({pace_text});
it tells a machine whose speed drifts from a simulator that is wrong.

As the clients saw it, from sending to the end: {clients}.
Overheads at the last load, microseconds: {json.dumps(overheads)}.
Machine: {platform.machine()}, {platform.system()} {platform.release().split("-")[0]}.

Made by `{command}`.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/bin"))
    parser.add_argument("--load-program", type=pathlib.Path,
                        default=pathlib.Path("build/tests/bench/daemon_load"))
    parser.add_argument("--model", default="deploy/models/emoji")
    parser.add_argument("--threads", type=int, default=1, help="of the worker")
    parser.add_argument("--slots", type=int, default=32, help="jobs in the worker's memory")
    parser.add_argument("--steps", default="4,8,12,20")
    parser.add_argument("--sizes", default="64")
    parser.add_argument("--slack", type=float, default=4.0)
    parser.add_argument("--requests", type=int, default=1000, help="per load")
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16, help="that measure the capacity")
    parser.add_argument("--burst", type=int, default=4)
    parser.add_argument("--loads", default=",".join(str(load) for load in LOADS))
    parser.add_argument("--out", type=pathlib.Path, help="OUT.json and OUT.md are written")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for logs; default: none is kept")
    parser.add_argument("--logs", type=pathlib.Path,
                        help="runs that --keep kept are simulated again, and none is made")
    parser.add_argument("--check", action="store_true", help="fail beyond the tolerances")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.logs or options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        loads = options.loads.split(",")
        if options.logs:
            runs = [again(options, folder / f"load-{load}") for load in loads]
        else:
            runs = [one_load(options, folder / f"load-{load}", float(load), index)
                    for index, load in enumerate(loads)]
    text = report(options, runs)
    print(text)
    if options.out:
        options.out.with_suffix(".json").write_text(json.dumps(runs, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(text)
    good = all(ok for run in runs for _, ok in differences(run).values())
    return 1 if options.check and not good else 0


if __name__ == "__main__":
    sys.exit(main())
