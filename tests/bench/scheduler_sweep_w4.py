#!/usr/bin/env python3
"""Compares scheduling policies on W4 and W5; writes docs/perf/scheduler/w4.md and w5.md.

tests/bench/scheduler_sweep_w4.py --sim build/bin/darkroom-sim

Tables and raw figures, like scheduler_sweep.py for the other workloads; no trace is needed.
"""

from scheduler_tables import arguments, classes, gain, interval, mean, simulate_all, table, write

# W4: tenants that are hard on the others.
HARD = {
    "on-off": "Four tenants send by bursts, half of all work; victims: twenty steady ones",
    "thrash": "One tenant, a third of all, wants another adapter each time; victims: the others",
    "tiny": "Five thousand tenants with a picture now and then beside four large ones, who flood",
}
LOADS = [0.8, 1.0]
PEERS = ["srtf", "srtf-equal", "vtc", "edf", "fifo"]
# W5: masked edits. Peers have the best of these for each load and mask: units in a batch.
EDITORS = ["flashps", "srtf", "vtc", "edf", "fifo"]
KNEES = [1, 2000, 4000, 8000]
EDIT_LOADS = [0.5, 0.7, 0.9, 1.1]
MASKS = [0.11, 0.19, 0.35]
MASK = 0.19


def hard_table(results, mix):
    rows = []
    for load in LOADS:
        ours = results[f"{mix} {load} darkroom"]
        for policy in ["darkroom", *PEERS]:
            one = results[f"{mix} {load} {policy}"]
            rows.append([load, policy, f"{one['attainment_victims']:.3f}"])
            rows[-1] += [gain(ours, one, "runs_victims"), f"{one['tenants']['worst_decile']:.2f}"]
            rows[-1] += [interval(one), gain(ours, one)]
    header = ["load", "policy", "victims in time", "darkroom's gain, paired"]
    header += ["worst tenth of victims", "all (95%)", "gain, paired"]
    return table(header, rows)


def best_knee(results, policy, load, mask):
    """The peer's result with the batches that are best for it."""
    of = {knee: results[f"edits {load} {mask} {policy} {knee}"] for knee in KNEES}
    knee = max(of, key=lambda k: mean(of[k]))
    return knee, of[knee]


def edit_table(results, points):
    rows = []
    for load, mask in points:
        ours = results[f"edits {load} {mask} darkroom"]
        rows.append([load, mask, "darkroom", "", interval(ours), "", classes(ours)])
        rows[-1].append(f"{ours['attainment_work']:.3f}")
        for policy in EDITORS:
            knee, one = best_knee(results, policy, load, mask)
            rows.append([load, mask, policy, knee / 1000, interval(one), gain(ours, one)])
            rows[-1] += [classes(one), f"{one['attainment_work']:.3f}"]
    header = ["load", "mean mask", "policy", "units in a batch", "attainment (95%)"]
    header += ["darkroom's gain, paired", "to 10 / 25 / 50 / 100% edited", "by work"]
    return table(header, rows)


def main():
    args = arguments(__doc__, trace=False).parse_args()
    hard = {}
    for mix in HARD:
        for load in LOADS:
            for policy in ["darkroom", *PEERS]:
                hard[f"{mix} {load} {policy}"] = (
                    ["--workload", mix, "--load", load, "--policy", policy]
                )
    loads = [(load, MASK) for load in EDIT_LOADS]
    masks = [(0.9, mask) for mask in MASKS]
    edits = {}
    for load, mask in {*loads, *masks}:
        flags = ["--workload", "edits", "--load", load, "--mask-mean", mask, "--policy"]
        edits[f"edits {load} {mask} darkroom"] = [*flags, "darkroom"]
        for policy in EDITORS:
            for knee in KNEES:
                edits[f"edits {load} {mask} {policy} {knee}"] = (
                    [*flags, policy, "--peer-knee", knee]
                )
    hard_results = simulate_all(args, hard)
    text = ["# W4, tenants that are hard on others, on 8 GPUs"]
    text += ["Written by `tests/bench/scheduler_sweep_w4.py`; [what it is](README.md)."]
    for mix, says in HARD.items():
        text += ["", f"## {says}", *hard_table(hard_results, mix)]
    write(args, "w4", text, hard_results)
    edit_results = simulate_all(args, edits)
    text = ["# W5, edits under masks beside whole pictures, on 8 GPUs"]
    text += ["Written by `tests/bench/scheduler_sweep_w4.py`; [what it is](README.md)."]
    text += ["", "## By load", *edit_table(edit_results, loads)]
    text += ["", "## By the mean mask, load .9", *edit_table(edit_results, masks)]
    write(args, "w5", text, edit_results)


if __name__ == "__main__":
    main()
