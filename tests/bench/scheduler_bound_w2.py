#!/usr/bin/env python3
"""How many of W2's pictures anybody could have in time who knew all arrivals beforehand.

build/bin/darkroom-sim --workload flux --slo-scale 1.0 --write-jobs jobs.csv
tests/bench/scheduler_bound_w2.py --jobs jobs.csv

An upper bound by mixed integer programming. Capacity is all that it keeps of the problem: between
any two arrivals or deadlines no more accelerator time is used than there is, by pictures that are
there; steps are cut at will, and ranks need no alignment. What a 2048x2048 picture takes is the
least that its deadline allows: fewer accelerators a step, or company, pay less launch cost and take
longer (a batch of n on all accelerators has the times and the launch cost of one on an nth of
them). Smaller pictures pay no launch cost at all, and parts of them in time count as parts.
"""

import argparse
import csv
import sys
from collections import defaultdict

import numpy
from scipy import optimize, sparse

# StepTable::FluxH100: seconds of a step are SLOWNESS * (LAUNCH + UNIT * units / accelerators), and
# EXCHANGE on several.
SLOWNESS, LAUNCH, UNIT, EXCHANGE = 1.43, 0.0150, 0.03813, 0.0086
GPUS = 8
WHOLE_SHAPE = "2048"


def jobs_of(path):
    """Per seed: (shape, units, steps, arrival, deadline), in seconds."""
    seeds = defaultdict(list)
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            seeds[row["seed"]].append(
                (
                    row["shape"],
                    int(row["milli_units"]) / 1000,
                    int(row["steps"]),
                    int(row["arrival_ns"]) / 1e9,
                    int(row["deadline_ns"]) / 1e9,
                )
            )
    return seeds


def least_time(units, steps, window, whole):
    """Accelerator seconds; None: not even alone in its window."""
    work = SLOWNESS * UNIT * units * steps
    fixed = LAUNCH + EXCHANGE
    # Batches of n on all accelerators, and of n on one, which exchange nothing.
    kinds = [(GPUS / n, fixed) for n in range(1, 4 * GPUS)]
    kinds += [(1 / n, LAUNCH) for n in range(1, GPUS)]
    times = [SLOWNESS * (launch + UNIT * units / share) for share, launch in kinds]
    launches = [SLOWNESS * launch * share for share, launch in kinds]
    best = optimize.linprog(
        launches, A_ub=[times], b_ub=[window], A_eq=[[1] * len(times)], b_eq=[steps], method="highs"
    )
    if best.status != 0:
        return None
    return work + (best.fun if whole else 0.0)


def most(jobs):
    """The largest share in time."""
    columns, rows, values = [], [], []
    edges = sorted({time for job in jobs for time in job[3:5]})
    at = {time: i for i, time in enumerate(edges)}
    costs = {}
    count = len(jobs)
    column = count
    limit_rows, limit_columns = [], []
    for j, (shape, units, steps, arrival, deadline) in enumerate(jobs):
        window = round(deadline - arrival, 6)
        key = (shape, window)
        if key not in costs:
            costs[key] = least_time(units, steps, window, shape == WHOLE_SHAPE)
        if costs[key] is None:
            continue
        rows.append(j)
        columns.append(j)
        values.append(-costs[key])
        for interval in range(at[arrival], at[deadline]):
            rows.append(j)
            columns.append(column)
            values.append(1.0)
            limit_rows.append(interval)
            limit_columns.append(column)
            column += 1
    equal = sparse.csr_matrix((values, (rows, columns)), shape=(count, column))
    limit = sparse.csr_matrix(
        (numpy.ones(len(limit_rows)), (limit_rows, limit_columns)), shape=(len(edges), column)
    )
    capacity = numpy.append(GPUS * numpy.diff(edges), 0.0)
    possible = [costs[(job[0], round(job[4] - job[3], 6))] is not None for job in jobs]
    upper = numpy.full(column, numpy.inf)
    upper[:count] = possible
    integer = numpy.zeros(column)
    integer[:count] = [job[0] == WHOLE_SHAPE for job in jobs]
    gain = numpy.zeros(column)
    gain[:count] = -1.0
    result = optimize.milp(
        gain,
        constraints=[
            optimize.LinearConstraint(equal, 0, 0),
            optimize.LinearConstraint(limit, -numpy.inf, capacity),
        ],
        bounds=optimize.Bounds(0, upper),
        integrality=integer,
        options={"time_limit": 60},
    )
    if result.mip_dual_bound is None:
        sys.exit(f"no bound: {result.message}")
    return -result.mip_dual_bound / count  # the proven bound, also where time ran out


def bound_of(path):
    """Mean over the file's seeds."""
    shares = [most(jobs) for jobs in jobs_of(path).values()]
    return sum(shares) / len(shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", required=True, help="of darkroom-sim --write-jobs")
    args = parser.parse_args()
    for seed, jobs in jobs_of(args.jobs).items():
        print(f"seed {seed}: {most(jobs):.3f}", flush=True)


if __name__ == "__main__":
    main()
