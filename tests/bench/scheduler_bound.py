#!/usr/bin/env python3
"""How many deadlines of a workload anybody could keep who knew all arrivals beforehand.

build/bin/darkroom-sim --trace FILE --load 0.9 --write-jobs jobs.csv
tests/bench/scheduler_bound.py --jobs jobs.csv

An upper bound by linear programming. It takes from the real problem everything but capacity: all
accelerators are one that does the work of --nanos-per-unit for a unit and step, whatever the batch;
jobs are cut at will; a bin of time counts whole for a job that is there for a part of it; a part of
a job in time counts as a part. No schedule meets more deadlines, however it orders, packs or moves
jobs. Four figures per seed: the most jobs in time (which sacrifices the large), the most work in
time, the most of the worst class (resolution), and the most jobs in time such that no class is
below --floor, where that can be.
"""

import argparse
import csv
from collections import defaultdict

import numpy
from scipy import optimize, sparse


def requests_of(path):
    """Per seed: (shape, pictures, work of one in unit steps, its arrival, deadline, time alone)."""
    seeds = defaultdict(dict)
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            request = (
                row["shape"],
                int(row["request_jobs"]),
                int(row["milli_units"]) / 1000 * int(row["steps"]),
                int(row["arrival_ns"]) / 1e9,
                int(row["deadline_ns"]) / 1e9,
                int(row["solo_ns"]) / 1e9,
            )
            seeds[row["seed"]][row["request"]] = request
    return {seed: list(requests.values()) for seed, requests in seeds.items()}


class Bound:
    """The feasible sets: x_r pictures of request r in time, and the work of each in each bin."""

    def __init__(self, requests, capacity, bin_s):
        self.requests = requests
        rows, columns, values = [], [], []  # work of r in its bins - work of x_r pictures = 0
        bins, in_bin, uppers = [], [], []
        count = len(requests)
        column = count
        for r, (_, pictures, work, arrival, deadline, solo) in enumerate(requests):
            rows.append(r)
            columns.append(r)
            values.append(-work)
            for at in range(int(arrival // bin_s), int(deadline // bin_s) + 1):
                rows.append(r)
                columns.append(column)
                values.append(1.0)
                bins.append(at)
                in_bin.append(column)
                # One picture runs no faster than alone.
                uppers.append(min(pictures * work / solo, capacity) * bin_s)
                column += 1
        names = {at: i for i, at in enumerate(sorted(set(bins)))}
        self.equal = sparse.csr_matrix((values, (rows, columns)), shape=(count, column))
        self.limit = sparse.csr_matrix(
            (numpy.ones(len(bins)), ([names[at] for at in bins], in_bin)),
            shape=(len(names), column),
        )
        self.capacity = numpy.full(len(names), capacity * bin_s)
        self.bounds = [(0, request[1]) for request in requests] + [(0, upper) for upper in uppers]
        self.shapes = sorted({request[0] for request in requests}, key=int)
        self.totals = {
            shape: sum(request[1] for request in requests if request[0] == shape)
            for shape in self.shapes
        }

    def _class_row(self, shape):
        row = numpy.zeros(self.equal.shape[1])
        for r, request in enumerate(self.requests):
            if request[0] == shape:
                row[r] = 1.0 / self.totals[shape]
        return row

    def _solve(self, gain, limit, at_most, equal, bounds):
        result = optimize.linprog(
            -gain,
            A_ub=limit,
            b_ub=at_most,
            A_eq=equal,
            b_eq=numpy.zeros(equal.shape[0]),
            bounds=bounds,
            method="highs",
        )
        return result.x if result.status == 0 else None

    def most(self, by_work=False, floor=0.0):
        """Shares in time: of all, weighted, and by shape; None: no schedule holds the floor."""
        gain = numpy.zeros(self.equal.shape[1])
        for r, request in enumerate(self.requests):
            gain[r] = request[2] if by_work else 1.0
        limit, at_most = self.limit, self.capacity
        if floor > 0:
            classes = [-self._class_row(shape) for shape in self.shapes]
            limit = sparse.vstack([limit, sparse.csr_matrix(numpy.array(classes))])
            at_most = numpy.concatenate([at_most, numpy.full(len(classes), -floor)])
        return self._shares(self._solve(gain, limit, at_most, self.equal, self.bounds))

    def most_of_the_worst(self):
        """The largest share that every class can have at once."""
        columns = self.equal.shape[1]
        equal = sparse.hstack([self.equal, sparse.csr_matrix((self.equal.shape[0], 1))]).tocsr()
        classes = [numpy.append(-self._class_row(shape), 1.0) for shape in self.shapes]
        limit = sparse.vstack(
            [
                sparse.hstack([self.limit, sparse.csr_matrix((self.limit.shape[0], 1))]),
                sparse.csr_matrix(numpy.array(classes)),
            ]
        ).tocsr()
        at_most = numpy.concatenate([self.capacity, numpy.zeros(len(classes))])
        gain = numpy.zeros(columns + 1)
        gain[columns] = 1.0
        solution = self._solve(gain, limit, at_most, equal, [*self.bounds, (0, 1)])
        return self._shares(solution)

    def _shares(self, solution):
        if solution is None:
            return None
        met, work, all_work = defaultdict(float), 0.0, 0.0
        for r, (shape, pictures, each, *_) in enumerate(self.requests):
            met[shape] += solution[r]
            work += solution[r] * each
            all_work += pictures * each
        shares = {shape: met[shape] / self.totals[shape] for shape in self.shapes}
        return sum(met.values()) / sum(self.totals.values()), work / all_work, shares


def describe(name, shares):
    if shares is None:
        return f"  {name}: not possible"
    classes = " / ".join(f"{shares[2][shape]:.3f}" for shape in shares[2])
    return f"  {name}: jobs {shares[0]:.3f}, by work {shares[1]:.3f}, by class {classes}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", required=True, help="of darkroom-sim --write-jobs")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--nanos-per-unit", type=float, default=50.875e6, help="at best")
    parser.add_argument("--bin", type=float, default=1.0, help="seconds")
    parser.add_argument("--floor", type=float, default=0.0, help="share that no class is below")
    args = parser.parse_args()
    capacity = args.gpus / (args.nanos_per_unit / 1e9)
    sums = defaultdict(list)
    for seed, requests in requests_of(args.jobs).items():
        bound = Bound(requests, capacity, args.bin)
        figures = {"most jobs": bound.most(), "most work": bound.most(by_work=True)}
        figures["most of the worst class"] = bound.most_of_the_worst()
        if args.floor > 0:
            figures[f"no class below {args.floor}"] = bound.most(floor=args.floor)
        print(f"seed {seed}")
        for name, shares in figures.items():
            print(describe(name, shares), flush=True)
            if shares is not None:
                sums[name].append([shares[0], shares[1], *shares[2].values()])
    print("mean")
    for name, rows in sums.items():
        mean = [sum(column) / len(rows) for column in zip(*rows)]
        classes = " / ".join(f"{value:.3f}" for value in mean[2:])
        print(f"  {name} ({len(rows)} seeds): jobs {mean[0]:.3f}, work {mean[1]:.3f}, {classes}")


if __name__ == "__main__":
    main()
