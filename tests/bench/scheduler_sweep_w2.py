#!/usr/bin/env python3
"""Compares scheduling policies on W2, FLUX at four resolutions, and writes docs/perf/scheduler/.

tests/bench/scheduler_sweep_w2.py --sim build/bin/darkroom-sim

Tables, a plot and raw figures, like scheduler_sweep.py for the other workloads; no trace is needed.
"""

import argparse
import json
import os
import subprocess
from concurrent import futures

from scheduler_sweep import HEIGHT, MARGIN, WIDTH, paired

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
COLORS = {"darkroom": "#0b6e4f", "tetriserve": "#c33c54", "published": "#254e70"}


def simulate(args, mix, scale, *flags):
    command = [args.sim, "--workload", "flux", "--gpus", "8", "--slo-scale", str(scale)]
    command += ["--seeds", str(args.seeds), "--json", *MIXES[mix], *flags]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{mix} {scale} {' '.join(flags)}: {result['attainment']['mean']:.3f}", flush=True)
    return result


def classes(result):
    shapes = result["attainment_by_resolution"]
    return " / ".join(f"{shapes[name]:.2f}" for name in sorted(shapes, key=int))


def mean(result):
    return result["attainment"]["mean"]


def peer_table(results):
    lines = ["| deadlines | published | here (95%) | distance | |", "|---|---|---|---|---|"]
    for scale in SCALES:
        at = results[f"uniform {scale} tetriserve"]["attainment"]
        gap = at["mean"] - PUBLISHED[scale]
        held = "within .02" if abs(gap) <= TOLERANCE else "not within .02"
        lines.append(
            f"| {scale}x | {PUBLISHED[scale]:.2f} "
            f"| {at['mean']:.3f} ({at['low']:.3f} to {at['high']:.3f}) | {gap:+.3f} | {held} |"
        )
    return lines


def target_table(results, mix):
    lines = [
        "| deadlines | tetriserve | nobody could exceed | half of the gap | darkroom "
        "| gain, paired | |",
        "|---|---|---|---|---|---|---|",
    ]
    for scale in SCALES:
        ours, theirs = results[f"{mix} {scale} darkroom"], results[f"{mix} {scale} tetriserve"]
        ceiling = ours["attainable"]
        half = (ceiling - mean(theirs)) / 2
        gain, interval = paired(ours, theirs)
        met = "reached" if gain >= half else "missed"
        if gain - interval >= half:
            met += ", with the whole interval"
        lines.append(
            f"| {scale}x | {mean(theirs):.3f} | {ceiling:.3f} | {half:+.3f} | {mean(ours):.3f} "
            f"| {gain:+.3f} ± {interval:.3f} | {met} |"
        )
    return lines


def policy_table(results, mix):
    lines = [
        "| deadlines | policy | attainment (95%) | darkroom's gain, paired "
        "| 256 / 512 / 1024 / 2048 | busy |",
        "|---|---|---|---|---|---|",
    ]
    for scale in SCALES:
        for policy in POLICIES:
            one = results[f"{mix} {scale} {policy}"]
            gain, interval = paired(results[f"{mix} {scale} darkroom"], one)
            at = one["attainment"]
            lines.append(
                f"| {scale}x | {policy} | {at['mean']:.3f} ({at['low']:.3f} to {at['high']:.3f}) "
                f"| {'' if policy == 'darkroom' else f'{gain:+.3f} ± {interval:.3f}'} "
                f"| {classes(one)} | {one['busy']:.2f} |"
            )
    return lines


def variant_table(results):
    lines = ["| variant | deadlines | darkroom | tetriserve | gain, paired |"]
    lines.append("|---|---|---|---|---|")
    for name in VARIANTS:
        for scale in (1.0, 1.5):
            ours = results[f"{name} {scale} darkroom"]
            theirs = results[f"{name} {scale} tetriserve"]
            gain, interval = paired(ours, theirs)
            lines.append(
                f"| {name} | {scale}x | {mean(ours):.3f} | {mean(theirs):.3f} "
                f"| {gain:+.3f} ± {interval:.3f} |"
            )
    return lines


def settings_table(results):
    lines = ["| setting | 1.0x | 1.5x | 2048 at 1.0x | against defaults at 1.0x |"]
    lines.append("|---|---|---|---|---|")
    for name in ["darkroom", *SETTINGS]:
        tight, loose = results[f"uniform 1.0 {name}"], results[f"uniform 1.5 {name}"]
        gap, interval = paired(tight, results["uniform 1.0 darkroom"])
        lines.append(
            f"| {'defaults' if name == 'darkroom' else name} | {mean(tight):.3f} "
            f"| {mean(loose):.3f} | {tight['attainment_by_resolution']['2048']:.2f} "
            f"| {'' if name == 'darkroom' else f'{gap:+.3f} ± {interval:.3f}'} |"
        )
    return lines


def plot(results):
    """Attainment over the deadlines' scale as SVG, the uniform mix."""

    def point(scale, share):
        x = MARGIN + (scale - SCALES[0]) / (SCALES[-1] - SCALES[0]) * (WIDTH - 2 * MARGIN - 80)
        return x, HEIGHT - MARGIN - (share - 0.5) * 2 * (HEIGHT - 2 * MARGIN)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="24">W2, uniform: share of pictures in time, by deadlines</text>',
    ]
    for tenth in range(5, 11):
        x, y = point(SCALES[0], tenth / 10)
        end, _ = point(SCALES[-1], 0.5)
        out.append(f'<line x1="{x}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{x - 30}" y="{y + 4:.1f}">{tenth / 10}</text>')
    for scale in SCALES:
        x, y = point(scale, 0.5)
        out.append(f'<text x="{x - 8:.1f}" y="{y + 18}">{scale}x</text>')
    for name, color in COLORS.items():
        points = [
            point(
                scale,
                PUBLISHED[scale]
                if name == "published"
                else mean(results[f"uniform {scale} {name}"]),
            )
            for scale in SCALES
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="4"' if name == "published" else ""
        out.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>'
        )
        x, y = points[-1]
        shift = 14 if name == "published" else 0
        out.append(f'<text x="{x + 6:.1f}" y="{y + 4 + shift:.1f}" fill="{color}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sim", default="build/bin/darkroom-sim")
    parser.add_argument("--out", default="docs/perf/scheduler")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="simulations at a time")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    runs = {}
    for mix in MIXES:
        for scale in SCALES:
            for policy, flags in POLICIES.items():
                runs[f"{mix} {scale} {policy}"] = (mix, scale, *flags)
    for scale in (1.0, 1.5):
        for name, flags in VARIANTS.items():
            for policy in ("darkroom", "tetriserve"):
                runs[f"{name} {scale} {policy}"] = ("uniform", scale, *POLICIES[policy], *flags)
        for name, flags in SETTINGS.items():
            runs[f"uniform {scale} {name}"] = ("uniform", scale, *flags)
    with futures.ThreadPoolExecutor(args.jobs) as pool:
        pending = {name: pool.submit(simulate, args, *run) for name, run in runs.items()}
        results = {name: future.result() for name, future in pending.items()}
    for result in results.values():
        del result["decision_us"]  # of the machine, not of the policy
    with open(os.path.join(args.out, "w2.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    with open(os.path.join(args.out, "w2.svg"), "w", encoding="utf-8") as file:
        file.write(plot(results))
    text = ["# W2, FLUX at four resolutions on 8 GPUs"]
    text += ["Written by `tests/bench/scheduler_sweep_w2.py`; [what it is](README.md).", ""]
    text += ["![attainment by deadlines](w2.svg)", ""]
    text += ["## TetriServe, published and here", *peer_table(results)]
    for mix in MIXES:
        text += ["", f"## Targets, {mix} mix", *target_table(results, mix)]
    text += ["", "## Other conditions, uniform mix", *variant_table(results)]
    text += ["", "## Settings of ours, uniform mix", *settings_table(results)]
    for mix in MIXES:
        text += ["", f"## Policies, {mix} mix", *policy_table(results, mix)]
    with open(os.path.join(args.out, "w2.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
