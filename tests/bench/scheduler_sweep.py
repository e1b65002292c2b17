#!/usr/bin/env python3
"""Compares scheduling policies on W1, W3 and W6 and writes docs/perf/scheduler/.

tests/bench/scheduler_sweep.py --sim build/bin/darkroom-sim --trace gentd26_requests_nov.csv

Tables, plots and raw figures. Policies run on the same seeds, and are compared by the difference
per seed with its 95% interval: between seeds the spread is larger than most gaps.
"""

from scheduler_tables import (
    arguments,
    classes,
    gain,
    interval,
    mean,
    paired,
    plot,
    simulate_all,
    table,
    write,
)

POLICIES = ["darkroom", "srtf", "srtf-equal", "vtc", "edf", "fifo"]
LOADS = [0.5, 0.7, 0.9, 1.1]
TARGETS = {0.7: (0.02, 0.85), 0.9: (0.05, 0.80), 1.1: (0.07, 0.65)}
# Settings of our own policy beside its defaults, on the same seeds.
SETTINGS = {
    "started jobs stay": ["--stay"],
    "a move takes 10 ms": ["--move-ms", "10"],
    "a move takes 1 s": ["--move-ms", "1000"],
    "steps left first": ["--size-weight", "0"],
    "size weight .05": ["--size-weight", "0.05"],
    "no reserve": ["--reserve-share", "0"],
    "reserve 5%": ["--reserve-share", "0.05"],
    "burst credit 300 s": ["--burst-credit", "300"],
    "no lag gate, no reserve": ["--reserve-share", "0", "--burst-credit", "1e8"],
}
SLOS = [1.0, 1.5, 2.0, 3.0, 5.0]
COST_ERRORS = [0.0, 0.05, 0.1, 0.2]
# Packing gains nothing there, so that the peers get batches of one picture, too.
NO_LAUNCH_COST = {
    "to 8 units (peers), 10 (ours)": [],
    "one 1024x1024 at most (peers)": ["--peer-knee", "4560"],
    "one picture (peers)": ["--peer-knee", "1"],
}
FLOOD_SETTINGS = {
    "darkroom, the flood's weight .1": ["--flood-weight", "0.1"],
    "the same, goodput": ["--flood-weight", "0.1", "--priority", "goodput"],
    "darkroom, burst credit 300 s": ["--burst-credit", "300"],
}
VIDEO = {
    "srtf": ("srtf", []),
    "edf": ("edf", []),
    "darkroom, whole steps": ("darkroom", []),
    "darkroom, quanta of 140 ms": ("darkroom", ["--quantum-ms", "140"]),
    "darkroom, quanta of 70 ms, one staged": ("darkroom", ["--quantum-ms", "70", "--plans", "2"]),
}


def worst_class(result):
    return min(
        value
        for group in ("attainment_by_resolution", "attainment_by_count")
        for value in result[group].values()
    )


def policy_table(results):
    rows = []
    for load in LOADS:
        for policy in POLICIES:
            one = results[f"{policy} {load}"]
            slowdown = one["slowdown"]
            rows.append(
                [load, policy, interval(one), gain(results[f"darkroom {load}"], one)]
                + [classes(one), f"{one['attainment_work']:.3f}"]
                + [f"{slowdown['p50']:.1f} / {slowdown['p99']:.1f}"]
                + [f"{one['tenants']['worst_decile']:.2f}"]
            )
    header = ["load", "policy", "attainment (95%)", "darkroom's gain, paired"]
    header += ["512 / 768 / 1024", "by work", "slowdown p50 / p99", "worst tenth of tenants"]
    return table(header, rows)


def target_table(results):
    rows = []
    for load, (least, floor) in TARGETS.items():
        ours = results[f"darkroom {load}"]
        best = max(POLICIES[1:], key=lambda p: mean(results[f"{p} {load}"]))
        theirs = results[f"{best} {load}"]
        gained = "met" if paired(ours, theirs)[0] >= least else "missed"
        held = "met" if worst_class(ours) >= floor else "missed"
        rows.append([load, best, gain(ours, theirs), f"{least} {gained}"])
        rows[-1] += [f"{worst_class(ours):.2f}", f"{floor} {held}"]
    return table(["load", "best peer", "gain", "target", "worst class", "floor"], rows)


def settings_table(results):
    rows = []
    for name in ["", *SETTINGS]:
        runs = [results[f"darkroom {load} {name}".rstrip()] for load in TARGETS]
        rows.append([name or "defaults", *(f"{mean(run):.3f}" for run in runs), classes(runs[1])])
        rows[-1] += [f"{runs[1]['attainment_work']:.3f}", gain(runs[1], results["darkroom 0.9"])]
    header = ["setting", ".7", ".9", "1.1", "512 / 768 / 1024 at .9", "by work at .9"]
    return table([*header, "against defaults at .9"], rows)


def beside_srtf(results, first, names):
    """Ours beside the best peer, by {what the row says: what the results are called}."""
    rows = []
    for says, name in names.items():
        ours, theirs = results[f"darkroom {name}"], results[f"srtf {name}"]
        rows.append([says, f"{mean(ours):.3f}", f"{mean(theirs):.3f}", gain(ours, theirs)])
    return table([first, "darkroom", "srtf", "gain, paired"], rows)


def outage_table(results):
    rows = [
        [policy, *(f"{mean(results[f'{policy} 0.8 {when}']):.3f}" for when in ("outage", "calm"))]
        for policy in POLICIES
    ]
    return table(["policy", "every GPU lost once for 60 s", "without"], rows)


def video_table(results):
    rows = []
    for name in VIDEO:
        run = results[f"video {name}"]
        shapes, wait = run["attainment_by_resolution"], run["behind_video_s"]
        pictures = min(share for shape, share in shapes.items() if shape != "720")
        rows.append([name, f"{wait['p50']:.3f} / {wait['p99']:.3f} s", f"{pictures:.3f}"])
        rows[-1].append(f"{shapes['720']:.3f}")
    header = ["policy", "wait behind a clip's step, p50 / p99", "pictures in time"]
    return table([*header, "clips in time"], rows)


def flood_table(results):
    rows = []
    for policy in [*POLICIES, *FLOOD_SETTINGS]:
        flood, calm = results[f"{policy} 0.8 flood"], results[f"{policy} 0.8 calm"]
        rows.append([policy, f"{flood['attainment_victims']:.3f}"])
        rows[-1].append(f"{calm['attainment_victims']:.3f}")
        rows[-1].append(f"{flood['tenants']['worst_decile']:.2f}")
    header = ["policy", "victims' attainment", "without the flood", "worst tenth of tenants"]
    return table(header, rows)


def runs_of(args):
    """What is simulated, by the name of its result."""

    def flags(policy, load, *more):
        return ["--trace", args.trace, "--load", load, "--policy", policy, *more]

    runs = {}
    for policy in POLICIES:
        for load in LOADS:
            runs[f"{policy} {load}"] = flags(policy, load)
        runs[f"{policy} 0.8 calm"] = flags(policy, 0.8)
        runs[f"{policy} 0.8 flood"] = flags(policy, 0.8, "--flood", 0.6)
        runs[f"{policy} 0.8 outage"] = flags(policy, 0.8, "--outage", 60)
    for name, more in SETTINGS.items():
        for load in TARGETS:
            runs[f"darkroom {load} {name}"] = flags("darkroom", load, *more)
    for name, more in FLOOD_SETTINGS.items():
        runs[f"{name} 0.8 calm"] = flags("darkroom", 0.8, *more)
        runs[f"{name} 0.8 flood"] = flags("darkroom", 0.8, "--flood", 0.6, *more)
    for policy in ("darkroom", "srtf"):
        for slo in SLOS:
            runs[f"{policy} SLO {slo}"] = flags(policy, 0.9, "--slo", slo)
        for error in COST_ERRORS:
            runs[f"{policy} cost error {error}"] = flags(policy, 0.9, "--cost-error", error)
        for name, more in NO_LAUNCH_COST.items():
            runs[f"{policy} {name}"] = flags(policy, 0.9, "--step-table", "no-launch-cost", *more)
    for name, (policy, more) in VIDEO.items():
        runs[f"video {name}"] = ["--workload", "video", "--load", 0.3, "--policy", policy, *more]
    return runs


def main():
    args = arguments(__doc__).parse_args()
    results = simulate_all(args, runs_of(args))
    lines = {
        policy: [mean(results[f"{policy} {load}"]) for load in LOADS] for policy in POLICIES
    }
    svg = plot("W1: share of pictures in time, by load (8 GPUs)", LOADS, lines)
    slos = {slo: f"SLO {slo}" for slo in SLOS}
    errors = {error: f"cost error {error}" for error in COST_ERRORS}
    text = ["# W1, the production trace, and W3, W6"]
    text += ["Written by `tests/bench/scheduler_sweep.py`.", ""]
    text += ["![attainment by load](w1.svg)", "", "## Policies", *policy_table(results)]
    text += ["", "## Targets", *target_table(results)]
    text += ["", "## Settings of ours", *settings_table(results)]
    text += ["", "## Deadlines, load .9", *beside_srtf(results, "SLO", slos)]
    text += ["", "## Cost error, load .9", *beside_srtf(results, "cost error", errors)]
    text += ["", "## A step without launch cost, load .9"]
    text += beside_srtf(results, "batches", {name: name for name in NO_LAUNCH_COST})
    text += ["", "## One tenant floods by 60%, load .8", *flood_table(results)]
    text += ["", "## W6: accelerators are lost, load .8", *outage_table(results)]
    text += ["", "## W3: pictures at load .3 beside clips at .4", *video_table(results)]
    write(args, "w1", text, results, svg)


if __name__ == "__main__":
    main()
