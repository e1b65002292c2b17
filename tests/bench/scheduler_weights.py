#!/usr/bin/env python3
"""W1 with the trace's loads of models and adapters; writes docs/perf/scheduler/weights.md.

tests/bench/scheduler_weights.py --sim build/bin/darkroom-sim --trace gentd26_requests_nov.csv

Beside it the same jobs where all weights are everywhere, batches of one base model in both.
Policies run on the same seeds and are compared by the difference per seed with its 95% interval.
"""

import argparse
import json
import os
from concurrent import futures

from scheduler_sweep import paired, simulate

POLICIES = ["darkroom", "srtf-equal", "vtc", "fifo"]
LOADS = [0.3, 0.5, 0.7, 0.9]
ROOMS = [0, 2, 3, 6]  # base models that an accelerator has room for; 0: all weights everywhere


def table(results, loads, rooms):
    lines = ["| load | room | policy | attainment (95%) | darkroom's gain, paired | by work |"]
    lines.append("|---|---|---|---|---|---|")
    for load in loads:
        for room in rooms:
            ours = results[f"darkroom {load} {room}"]
            for policy in POLICIES:
                one = results[f"{policy} {load} {room}"]
                at = one["attainment"]
                mean, half = paired(ours, one)
                gain = "" if policy == "darkroom" else f"{mean:+.3f} ± {half:.3f}"
                lines.append(
                    f"| {load} | {room or 'all'} | {policy} "
                    f"| {at['mean']:.3f} ({at['low']:.3f} to {at['high']:.3f}) | {gain} "
                    f"| {one['attainment_work']:.3f} |"
                )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sim", default="build/bin/darkroom-sim")
    parser.add_argument("--trace", required=True)
    parser.add_argument("--out", default="docs/perf/scheduler")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="simulations at a time")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS)
    parser.add_argument("--rooms", type=int, nargs="+", default=ROOMS)
    args = parser.parse_args()
    runs = {}
    for policy in POLICIES:
        for load in args.loads:
            for room in args.rooms:
                extra = ("--equal-models", "--gpu-models", str(room))
                runs[f"{policy} {load} {room}"] = (policy, load, *extra)
    with futures.ThreadPoolExecutor(args.jobs) as pool:
        pending = {name: pool.submit(simulate, args, *run) for name, run in runs.items()}
        results = {name: future.result() for name, future in pending.items()}
    for result in results.values():
        del result["decision_us"]  # of the machine, not of the policy
    with open(os.path.join(args.out, "weights.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    text = ["# W1 where weights have to be loaded"]
    text += ["Written by `tests/bench/scheduler_weights.py`."]
    text += ["", *table(results, args.loads, args.rooms)]
    with open(os.path.join(args.out, "weights.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
