#!/usr/bin/env python3
"""Compares scheduling policies on W2, FLUX at four resolutions, and writes docs/perf/scheduler/.

tests/bench/scheduler_sweep_w2.py --sim build/bin/darkroom-sim

Tables, a plot and raw figures, like scheduler_sweep.py for the other workloads; no trace is needed.
What nobody could exceed needs tests/bench/requirements.txt.
"""

import os
import subprocess
import tempfile

from scheduler_bound_w2 import bound_of
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

SCALES = [1.0, 1.1, 1.2, 1.5]
# TetriServe's attainment on the uniform mix, on 8 real H100.
PUBLISHED = {1.0: 0.76, 1.1: 0.83, 1.2: 0.91, 1.5: 0.95}
TOLERANCE = 0.02
MIXES = {"uniform": [], "skewed": ["--skewed"]}
OURS = ["--policy", "darkroom", "--quantum-ms", "300"]
POLICIES = {
    "darkroom": OURS,
    "tetriserve": ["--policy", "tetriserve"],
    "edf, degree 8": ["--policy", "edf", "--degree", "8"],
    "edf, degree 4": ["--policy", "edf", "--degree", "4"],
    "srtf, degree 8": ["--policy", "srtf", "--degree", "8"],
    "srtf, degree 4": ["--policy", "srtf", "--degree", "4"],
    "srtf, degree 2": ["--policy", "srtf", "--degree", "2"],
    "srtf, degree 1": ["--policy", "srtf", "--degree", "1"],
    "vtc, degree 4": ["--policy", "vtc", "--degree", "4"],
    "fifo, degree 4": ["--policy", "fifo", "--degree", "4"],
}
# On the uniform mix, beside the defaults.
VARIANTS = {
    "compiled engine (4.30 s for 28 steps of 1024x1024)": ["--step-table", "flux-h100-compiled"],
    "24 pictures a minute": ["--rate", "24"],
    "cost error 10%": ["--cost-error", "0.1"],
}
SETTINGS = {
    "steps of any length": ["--policy", "darkroom"],
    "a move takes 10 ms": [*OURS, "--move-ms", "10"],
    "started jobs stay": [*OURS, "--stay"],
    "no reserve": [*OURS, "--reserve-share", "0"],
}


def flags(mix, scale, *more):
    return ["--workload", "flux", "--slo-scale", scale, *MIXES[mix], *more]


def bounds(args):
    """What nobody could exceed, by mix and scale."""
    found = {}
    for mix in MIXES:
        for scale in SCALES:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "jobs.csv")
                command = [args.sim, "--seeds", args.seeds, "--write-jobs", path]
                subprocess.run(map(str, [*command, *flags(mix, scale)]), check=True)
                found[f"{mix} {scale}"] = bound_of(path)
            print(f"{mix} {scale}: at most {found[f'{mix} {scale}']:.3f}", flush=True)
    return found


def peer_table(results):
    rows = []
    for scale in SCALES:
        one = results[f"uniform {scale} tetriserve"]
        gap = mean(one) - PUBLISHED[scale]
        held = "within .02" if abs(gap) <= TOLERANCE else "not within .02"
        rows.append([f"{scale}x", f"{PUBLISHED[scale]:.2f}", interval(one), f"{gap:+.3f}", held])
    return table(["deadlines", "published", "here (95%)", "distance", ""], rows)


def reached(ours, theirs, ceiling):
    half = (ceiling - mean(theirs)) / 2
    average, spread = paired(ours, theirs)
    met = "reached" if average >= half else "missed"
    if average - spread >= half:
        met += ", with the whole interval"
    return f"{half:+.3f} {met}"


def target_table(results, most, mix):
    rows = []
    for scale in SCALES:
        ours, theirs = results[f"{mix} {scale} darkroom"], results[f"{mix} {scale} tetriserve"]
        alone, together = ours["attainable"], most[f"{mix} {scale}"]
        rows.append(
            [f"{scale}x", f"{mean(theirs):.3f}", f"{mean(ours):.3f}", gain(ours, theirs)]
            + [f"{alone:.3f}", reached(ours, theirs, alone)]
            + [f"{together:.3f}", reached(ours, theirs, together)]
        )
    header = ["deadlines", "tetriserve", "darkroom", "gain, paired", "in time alone"]
    header += ["half of the gap to that", "nobody could exceed", "half of the gap to that"]
    return table(header, rows)


def policy_table(results, mix):
    rows = []
    for scale in SCALES:
        for policy in POLICIES:
            one = results[f"{mix} {scale} {policy}"]
            rows.append(
                [f"{scale}x", policy, interval(one), gain(results[f"{mix} {scale} darkroom"], one)]
                + [classes(one), f"{one['busy']:.2f}"]
            )
    header = ["deadlines", "policy", "attainment (95%)", "darkroom's gain, paired"]
    return table([*header, "256 / 512 / 1024 / 2048", "busy"], rows)


def variant_table(results):
    rows = []
    for name in VARIANTS:
        for scale in (1.0, 1.5):
            ours = results[f"{name} {scale} darkroom"]
            theirs = results[f"{name} {scale} tetriserve"]
            rows.append([name, f"{scale}x", f"{mean(ours):.3f}", f"{mean(theirs):.3f}"])
            rows[-1].append(gain(ours, theirs))
    return table(["variant", "deadlines", "darkroom", "tetriserve", "gain, paired"], rows)


def settings_table(results):
    rows = []
    for name in ["darkroom", *SETTINGS]:
        tight, loose = results[f"uniform 1.0 {name}"], results[f"uniform 1.5 {name}"]
        rows.append(["defaults" if name == "darkroom" else name, f"{mean(tight):.3f}"])
        rows[-1] += [f"{mean(loose):.3f}", f"{tight['attainment_by_resolution']['2048']:.2f}"]
        rows[-1].append(gain(tight, results["uniform 1.0 darkroom"]))
    header = ["setting", "1.0x", "1.5x", "2048 at 1.0x", "against defaults at 1.0x"]
    return table(header, rows)


def main():
    args = arguments(__doc__, trace=False).parse_args()
    runs = {}
    for mix in MIXES:
        for scale in SCALES:
            for policy, more in POLICIES.items():
                runs[f"{mix} {scale} {policy}"] = flags(mix, scale, *more)
    for scale in (1.0, 1.5):
        for name, more in VARIANTS.items():
            for policy in ("darkroom", "tetriserve"):
                runs[f"{name} {scale} {policy}"] = flags(
                    "uniform", scale, *POLICIES[policy], *more
                )
        for name, more in SETTINGS.items():
            runs[f"uniform {scale} {name}"] = flags("uniform", scale, *more)
    results = simulate_all(args, runs)
    most = bounds(args)
    lines = {
        name: [mean(results[f"uniform {scale} {name}"]) for scale in SCALES]
        for name in ("darkroom", "tetriserve")
    }
    lines["published"] = [PUBLISHED[scale] for scale in SCALES]
    svg = plot(
        "W2, uniform: share of pictures in time, by deadlines",
        SCALES,
        lines,
        least=0.5,
        dashed=("published",),
        label=lambda scale: f"{scale}x",
    )
    text = ["# W2, FLUX at four resolutions on 8 GPUs"]
    text += ["Written by `tests/bench/scheduler_sweep_w2.py`; [what it is](README.md).", ""]
    text += ["![attainment by deadlines](w2.svg)", ""]
    text += ["## TetriServe, published and here", *peer_table(results)]
    for mix in MIXES:
        text += ["", f"## Targets, {mix} mix", *target_table(results, most, mix)]
    text += ["", "## Other conditions, uniform mix", *variant_table(results)]
    text += ["", "## Settings of ours, uniform mix", *settings_table(results)]
    for mix in MIXES:
        text += ["", f"## Policies, {mix} mix", *policy_table(results, mix)]
    write(args, "w2", text, {**results, "nobody could exceed": most}, svg)


if __name__ == "__main__":
    main()
