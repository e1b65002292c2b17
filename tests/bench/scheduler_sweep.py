#!/usr/bin/env python3
"""Compares scheduling policies on W1, W3 and W6 and writes docs/perf/scheduler/.

tests/bench/scheduler_sweep.py --sim build/bin/darkroom-sim --trace gentd26_requests_nov.csv

Tables, plots and raw figures. Policies run on the same seeds, and are compared by the difference
per seed with its 95% interval: between seeds the spread is larger than most gaps.
"""

import argparse
import json
import math
import os
import subprocess
from concurrent import futures

POLICIES = ["darkroom", "srtf", "srtf-equal", "vtc", "edf", "fifo"]
COLORS = ["#0b6e4f", "#c33c54", "#e08e45", "#254e70", "#8d6a9f", "#7f7f7f"]
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
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]
WIDTH, HEIGHT, MARGIN = 640, 400, 50


def simulate(args, policy, load, *extra):
    command = [args.sim, "--trace", args.trace, "--format", "gentd26", "--gpus", "8"]
    command += ["--load", str(load), "--policy", policy, "--seeds", str(args.seeds)]
    command += ["--json", *extra]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{policy} at {load} {' '.join(extra)}: {result['attainment']['mean']:.3f}", flush=True)
    return result


def paired(ours, theirs):
    """Mean difference per seed, and half of its 95% interval."""
    gaps = [a - b for a, b in zip(ours["runs"], theirs["runs"])]
    mean = sum(gaps) / len(gaps)
    if len(gaps) < 2:
        return mean, 0.0
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1))
    quantile = STUDENT[len(gaps) - 2] if len(gaps) - 2 < len(STUDENT) else 1.96
    return mean, quantile * deviation / math.sqrt(len(gaps))


def classes(result):
    shapes = result["attainment_by_resolution"]
    return " / ".join(f"{shapes[name]:.2f}" for name in sorted(shapes, key=int))


def worst_class(result):
    return min(
        value
        for group in ("attainment_by_resolution", "attainment_by_count")
        for value in result[group].values()
    )


def policy_table(results):
    lines = [
        "| load | policy | attainment (95%) | darkroom's gain, paired | 512 / 768 / 1024 | by work "
        "| slowdown p50 / p99 | worst tenth of tenants |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for load in LOADS:
        ours = results[f"darkroom {load}"]
        for policy in POLICIES:
            one = results[f"{policy} {load}"]
            mean, half = paired(ours, one)
            gain = "" if policy == "darkroom" else f"{mean:+.3f} ± {half:.3f}"
            at = one["attainment"]
            lines.append(
                f"| {load} | {policy} | {at['mean']:.3f} ({at['low']:.3f} to {at['high']:.3f}) "
                f"| {gain} | {classes(one)} | {one['attainment_work']:.3f} "
                f"| {one['slowdown']['p50']:.1f} / {one['slowdown']['p99']:.1f} "
                f"| {one['tenants']['worst_decile']:.2f} |"
            )
    return lines


def target_table(results):
    lines = ["| load | best peer | gain | target | worst class | floor |"]
    lines.append("|---|---|---|---|---|---|")
    for load, (gain, floor) in TARGETS.items():
        ours = results[f"darkroom {load}"]
        best = max(POLICIES[1:], key=lambda p: results[f"{p} {load}"]["attainment"]["mean"])
        mean, half = paired(ours, results[f"{best} {load}"])
        gained = "met" if mean >= gain else "missed"
        held = "met" if worst_class(ours) >= floor else "missed"
        lines.append(
            f"| {load} | {best} | {mean:+.3f} ± {half:.3f} | {gain} {gained} "
            f"| {worst_class(ours):.2f} | {floor} {held} |"
        )
    return lines


def settings_table(results):
    lines = [
        "| setting | .7 | .9 | 1.1 | 512 / 768 / 1024 at .9 | by work at .9 "
        "| against defaults at .9 |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name in ["", *SETTINGS]:
        runs = [results[f"darkroom {load} {name}".rstrip()] for load in TARGETS]
        means = " | ".join(f"{run['attainment']['mean']:.3f}" for run in runs)
        mean, half = paired(runs[1], results["darkroom 0.9"])
        gap = f"{mean:+.3f} ± {half:.3f}" if name else ""
        lines.append(
            f"| {name or 'defaults'} | {means} | {classes(runs[1])} "
            f"| {runs[1]['attainment_work']:.3f} | {gap} |"
        )
    return lines


def axis_table(results, name, values):
    lines = [f"| {name} | darkroom | srtf | gain, paired |", "|---|---|---|---|"]
    for value in values:
        ours, theirs = results[f"darkroom {name} {value}"], results[f"srtf {name} {value}"]
        mean, half = paired(ours, theirs)
        lines.append(
            f"| {value} | {ours['attainment']['mean']:.3f} | {theirs['attainment']['mean']:.3f} "
            f"| {mean:+.3f} ± {half:.3f} |"
        )
    return lines


def outage_table(results):
    lines = ["| policy | every GPU lost once for 60 s | without |", "|---|---|---|"]
    for policy in POLICIES:
        lost, calm = results[f"{policy} 0.8 outage"], results[f"{policy} 0.8 calm"]
        lines.append(
            f"| {policy} | {lost['attainment']['mean']:.3f} | {calm['attainment']['mean']:.3f} |"
        )
    return lines


def video_table(results):
    lines = ["| policy | wait behind a clip's step, p50 / p99 | pictures in time | clips in time |"]
    lines.append("|---|---|---|---|")
    for name in VIDEO:
        run = results[f"video {name}"]
        shapes = run["attainment_by_resolution"]
        pictures = min(share for shape, share in shapes.items() if shape != "720")
        wait = run["behind_video_s"]
        lines.append(
            f"| {name} | {wait['p50']:.3f} / {wait['p99']:.3f} s | {pictures:.3f} "
            f"| {shapes['720']:.3f} |"
        )
    return lines


def variant_table(results, variants):
    lines = ["| variant | darkroom | srtf | gain, paired |", "|---|---|---|---|"]
    for name, (load, _) in variants.items():
        ours, theirs = results[f"darkroom {load} {name}"], results[f"srtf {load} {name}"]
        mean, half = paired(ours, theirs)
        lines.append(
            f"| {name}, load {load} | {ours['attainment']['mean']:.3f} "
            f"| {theirs['attainment']['mean']:.3f} | {mean:+.3f} ± {half:.3f} |"
        )
    return lines


def flood_table(results):
    lines = ["| policy | victims' attainment | without the flood | worst tenth of tenants |"]
    lines.append("|---|---|---|---|")
    for policy in [*POLICIES, *FLOOD_SETTINGS]:
        flood, calm = results[f"{policy} 0.8 flood"], results[f"{policy} 0.8 calm"]
        lines.append(
            f"| {policy} | {flood['attainment_victims']:.3f} | {calm['attainment_victims']:.3f} "
            f"| {flood['tenants']['worst_decile']:.2f} |"
        )
    return lines


def plot(results):
    """Attainment over load as SVG."""

    def point(load, share):
        x = MARGIN + (load - LOADS[0]) / (LOADS[-1] - LOADS[0]) * (WIDTH - 2 * MARGIN - 80)
        return x, HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="24">W1: share of pictures in time, by load (8 GPUs)</text>',
    ]
    for tenth in range(0, 11, 2):
        x, y = point(LOADS[0], tenth / 10)
        end, _ = point(LOADS[-1], 0)
        out.append(f'<line x1="{x}" y1="{y}" x2="{end}" y2="{y}" stroke="#ddd"/>')
        out.append(f'<text x="{x - 30}" y="{y + 4}">{tenth / 10}</text>')
    for load in LOADS:
        x, y = point(load, 0)
        out.append(f'<text x="{x - 8}" y="{y + 18}">{load}</text>')
    for policy, color in zip(POLICIES, COLORS):
        points = [point(load, results[f"{policy} {load}"]["attainment"]["mean"]) for load in LOADS]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        x, y = points[-1]
        out.append(f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{color}">{policy}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sim", default="build/bin/darkroom-sim")
    parser.add_argument("--trace", required=True)
    parser.add_argument("--out", default="docs/perf/scheduler")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="simulations at a time")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    variants = {
        "no launch cost": (0.9, ["--step-table", "no-launch-cost"]),
    }
    runs = {}
    for policy in POLICIES:
        for load in LOADS:
            runs[f"{policy} {load}"] = (policy, load)
        runs[f"{policy} 0.8 calm"] = (policy, 0.8)
        runs[f"{policy} 0.8 flood"] = (policy, 0.8, "--flood", "0.6")
        runs[f"{policy} 0.8 outage"] = (policy, 0.8, "--outage", "60")
    for name, extra in SETTINGS.items():
        for load in TARGETS:
            runs[f"darkroom {load} {name}"] = ("darkroom", load, *extra)
    for name, extra in FLOOD_SETTINGS.items():
        runs[f"{name} 0.8 calm"] = ("darkroom", 0.8, *extra)
        runs[f"{name} 0.8 flood"] = ("darkroom", 0.8, "--flood", "0.6", *extra)
    for policy in ("darkroom", "srtf"):
        for slo in SLOS:
            runs[f"{policy} SLO {slo}"] = (policy, 0.9, "--slo", str(slo))
        for error in COST_ERRORS:
            runs[f"{policy} cost error {error}"] = (policy, 0.9, "--cost-error", str(error))
    for name, (policy, extra) in VIDEO.items():
        runs[f"video {name}"] = (policy, 0.3, "--workload", "video", *extra)
    for name, (load, extra) in variants.items():
        for policy in ("darkroom", "srtf"):
            runs[f"{policy} {load} {name}"] = (policy, load, *extra)
    with futures.ThreadPoolExecutor(args.jobs) as pool:
        pending = {name: pool.submit(simulate, args, *run) for name, run in runs.items()}
        results = {name: future.result() for name, future in pending.items()}
    for result in results.values():
        del result["decision_us"]  # of the machine, not of the policy
    with open(os.path.join(args.out, "w1.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    with open(os.path.join(args.out, "w1.svg"), "w", encoding="utf-8") as file:
        file.write(plot(results))
    text = ["# W1, the production trace, and W3, W6"]
    text += ["Written by `tests/bench/scheduler_sweep.py`.", ""]
    text += ["![attainment by load](w1.svg)", "", "## Policies", *policy_table(results)]
    text += ["", "## Targets", *target_table(results)]
    text += ["", "## Settings of ours", *settings_table(results)]
    text += ["", "## Deadlines, load .9", *axis_table(results, "SLO", SLOS)]
    text += ["", "## Cost error, load .9", *axis_table(results, "cost error", COST_ERRORS)]
    text += ["", "## Other conditions", *variant_table(results, variants)]
    text += ["", "## One tenant floods by 60%, load .8", *flood_table(results)]
    text += ["", "## W6: accelerators are lost, load .8", *outage_table(results)]
    text += ["", "## W3: pictures at load .3 beside clips at .4", *video_table(results)]
    with open(os.path.join(args.out, "w1.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
