#!/usr/bin/env python3
"""W1 with the trace's loads of models and adapters; writes docs/perf/scheduler/weights.md.

tests/bench/scheduler_weights.py --sim build/bin/darkroom-sim --trace gentd26_requests_nov.csv

Beside it the same jobs where all weights are everywhere, batches of one base model in both.
Policies run on the same seeds and are compared by the difference per seed with its 95% interval.
"""

from scheduler_tables import arguments, gain, interval, simulate_all, table, write

POLICIES = ["darkroom", "srtf-equal", "vtc", "fifo"]
LOADS = [0.3, 0.5, 0.7, 0.9]
ROOMS = [0, 2, 3, 6]  # base models that an accelerator has room for; 0: all weights everywhere
# Whether an accelerator runs quanta while it loads.
MODES = {"own": "ours does, peers do not", "block": "nobody does", "beside": "everybody does"}


def rows_of(results, load, room, mode):
    rows = []
    for policy in POLICIES:
        one = results[f"{policy} {load} {room} {mode}"]
        rows.append([policy, interval(one)])
        rows[-1].append(gain(results[f"darkroom {load} {room} {mode}"], one))
        rows[-1].append(f"{one['attainment_work']:.3f}")
    return rows


def main():
    parser = arguments(__doc__)
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS)
    parser.add_argument("--rooms", type=int, nargs="+", default=ROOMS)
    args = parser.parse_args()
    modes = {room: ["own"] if room == 0 else [*MODES] for room in args.rooms}
    runs = {}
    for policy in POLICIES:
        for load in args.loads:
            for room in args.rooms:
                for mode in modes[room]:
                    runs[f"{policy} {load} {room} {mode}"] = (
                        ["--trace", args.trace, "--load", load, "--policy", policy]
                        + ["--equal-models", "--gpu-models", room, "--loads", mode]
                    )
    results = simulate_all(args, runs)
    header = ["policy", "attainment (95%)", "darkroom's gain, paired", "by work"]
    text = ["# W1 where weights have to be loaded"]
    text += ["Written by `tests/bench/scheduler_weights.py`."]
    for mode, says in MODES.items():
        rows = []
        for load in args.loads:
            for room in args.rooms:
                if mode in modes[room]:
                    found = rows_of(results, load, room, mode)
                    rows += [[load, room or "all", *row] for row in found]
        text += ["", f"## Runs while it loads: {says}", *table(["load", "room", *header], rows)]
    write(args, "weights", text, results)


if __name__ == "__main__":
    main()
