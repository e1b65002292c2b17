"""What the scripts that compare scheduling policies share: simulations, tables, plots, files."""

import argparse
import json
import math
import os
import subprocess
from concurrent import futures

# Two-sided 95% quantiles of Student's t by degrees of freedom; beyond, the normal's.
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]
WIDTH, HEIGHT, MARGIN = 640, 400, 50
COLORS = ["#0b6e4f", "#c33c54", "#e08e45", "#254e70", "#8d6a9f", "#7f7f7f"]


def arguments(description, trace=True, seeds=5):
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--sim", default="build/bin/darkroom-sim")
    if trace:
        parser.add_argument("--trace", required=True)
    parser.add_argument("--out", default="docs/perf/scheduler")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="simulations at a time")
    return parser


def simulate(args, *flags):
    command = [args.sim, "--gpus", "8", "--seeds", str(args.seeds), "--json", *map(str, flags)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{' '.join(map(str, flags))}: {mean(result):.3f}", flush=True)
    del result["decision_us"]  # of the machine, not of the policy
    return result


def simulate_all(args, runs):
    """Results by name of what simulate() is given."""
    with futures.ThreadPoolExecutor(args.jobs) as pool:
        pending = {name: pool.submit(simulate, args, *flags) for name, flags in runs.items()}
        return {name: future.result() for name, future in pending.items()}


def write(args, name, text, results, svg=None):
    """The page's .md, .json and .svg."""
    os.makedirs(args.out, exist_ok=True)
    contents = {"md": "\n".join(text) + "\n", "json": json.dumps(results, indent=1) + "\n"}
    if svg is not None:
        contents["svg"] = svg
    for ending, content in contents.items():
        with open(os.path.join(args.out, f"{name}.{ending}"), "w", encoding="utf-8") as file:
            file.write(content)


def table(header, rows):
    lines = [f"| {' | '.join(header)} |".replace("|  |", "| |"), "|" + "---|" * len(header)]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]


def mean(result):
    return result["attainment"]["mean"]


def interval(result):
    at = result["attainment"]
    return f"{at['mean']:.3f} ({at['low']:.3f} to {at['high']:.3f})"


def paired(ours, theirs, key="runs"):
    """Mean difference per seed, and half of its 95% interval."""
    gaps = [a - b for a, b in zip(ours[key], theirs[key])]
    average = sum(gaps) / len(gaps)
    if len(gaps) < 2:
        return average, 0.0
    deviation = math.sqrt(sum((gap - average) ** 2 for gap in gaps) / (len(gaps) - 1))
    quantile = STUDENT[len(gaps) - 2] if len(gaps) - 2 < len(STUDENT) else 1.96
    return average, quantile * deviation / math.sqrt(len(gaps))


def gain(ours, theirs, key="runs"):
    """The same in words; nothing beside itself."""
    if ours is theirs:
        return ""
    average, half = paired(ours, theirs, key)
    return f"{average:+.3f} ± {half:.3f}"


def classes(result):
    shapes = result["attainment_by_resolution"]
    return " / ".join(f"{shapes[name]:.2f}" for name in sorted(shapes, key=int))


def plot(title, points, lines, least=0.0, dashed=(), label=str):
    """Lines {name: shares} over `points` as SVG, shares from `least` to 1."""

    def place(x, share):
        at = MARGIN + (x - points[0]) / (points[-1] - points[0]) * (WIDTH - 2 * MARGIN - 80)
        return at, HEIGHT - MARGIN - (share - least) / (1 - least) * (HEIGHT - 2 * MARGIN)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="24">{title}</text>',
    ]
    for tenth in range(round(least * 10), 11, 1 if least > 0 else 2):
        x, y = place(points[0], tenth / 10)
        end, _ = place(points[-1], least)
        out.append(f'<line x1="{x}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{x - 30}" y="{y + 4:.1f}">{tenth / 10}</text>')
    for point in points:
        x, y = place(point, least)
        out.append(f'<text x="{x - 8:.1f}" y="{y + 18:.1f}">{label(point)}</text>')
    for (name, shares), color in zip(lines.items(), COLORS):
        places = [place(*at) for at in zip(points, shares)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dash = ' stroke-dasharray="4"' if name in dashed else ""
        out.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>'
        )
        x, y = places[-1]
        y += 14 if name in dashed else 0
        out.append(f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{color}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
