"""Times the kernels beside cuBLASLt and SDPA's backends in one process; called by run.sh.

    bench.py LIBRARY OUT_FOLDER

Random data, the L2 cache flushed before every launch, CUDA events, medians. Each row is also
compared with PyTorch's result. A row that fails says so and hides no other. Writes bench.json and
prints the table.
"""

import ctypes
import json
import math
import os
import statistics
import sys
import traceback

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

REPEATS = 20
WARM_UPS = 3
DEVICE = "cuda"
BF16 = torch.bfloat16
ACTIVATIONS = {"none": 0, "gelu_tanh": 1}


class BatchTables(ctypes.Structure):
    _fields_ = [
        ("rows", ctypes.c_int64),
        ("sequences", ctypes.c_int32),
        ("live_rows", ctypes.c_void_p),
        ("live_sequences", ctypes.c_void_p),
        ("boundaries", ctypes.c_void_p),
        ("row_to_sequence", ctypes.c_void_p),
    ]


class Batch:
    """Sequences of the given lengths as the kernels' tables."""

    def __init__(self, lengths):
        bounds = [0]
        for length in lengths:
            bounds.append(bounds[-1] + length)
        self.bounds = bounds
        rows = [s for s, length in enumerate(lengths) for _ in range(length)]
        tables = [[bounds[-1]], [len(lengths)], bounds, rows]
        self.tables = [torch.tensor(t, dtype=torch.int32, device=DEVICE) for t in tables]
        self.struct = BatchTables(bounds[-1], len(lengths), *(t.data_ptr() for t in self.tables))


def pointer(tensor):
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def call(function, batch, *args):
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    error = function(ctypes.byref(batch.struct), *args, stream)
    if error:
        raise RuntimeError(error.decode())


class Bench:
    def __init__(self, library):
        self.library = ctypes.CDLL(library)
        for name in ("linear", "linear_adapters", "attention", "row_norm", "qk_norm_rope"):
            getattr(self.library, f"darkroom_{name}").restype = ctypes.c_char_p
        self.flush = torch.empty(256 << 20, dtype=torch.uint8, device=DEVICE)
        self.rows = []

    def time_ms(self, function):
        times = []
        for i in range(WARM_UPS + REPEATS):
            self.flush.fill_(i)
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            torch.cuda.synchronize()
            if i >= WARM_UPS:
                times.append(begin.elapsed_time(end))
        return statistics.median(times)

    def row(self, name, ours, peers, check, flop=0, bytes_moved=0):
        """`ours` launches, `check` returns the relative error; `peers`: name -> launch."""
        entry = {"name": name, "flop": flop, "bytes": bytes_moved, "peers": {}}
        try:
            ours()
            torch.cuda.synchronize()
            entry["error"] = check()
            entry["ms"] = self.time_ms(ours)
        except Exception as error:  # pylint: disable=broad-except
            traceback.print_exc()
            entry["failed"] = str(error)
        for peer, launch in peers.items():
            try:
                entry["peers"][peer] = self.time_ms(launch)
            except Exception as error:  # pylint: disable=broad-except
                print(f"{name}: {peer}: {error}", file=sys.stderr)
        self.rows.append(entry)


def relative_error(got, want):
    want = want.float()
    return ((got.float() - want).norm() / want.norm()).item()


def bench_ceilings(bench):
    a = torch.randn(8192, 8192, device=DEVICE, dtype=BF16)
    b = torch.randn(8192, 8192, device=DEVICE, dtype=BF16)
    out = torch.empty_like(a)
    product = lambda: torch.matmul(a, b, out=out)
    bench.row("ceiling: cuBLASLt 8192^3", product, {}, lambda: 0.0, flop=2 * 8192**3)
    source = torch.randn(1 << 30, device=DEVICE)
    target = torch.empty_like(source)
    bench.row("ceiling: copy 4 GiB", lambda: target.copy_(source), {}, lambda: 0.0,
              bytes_moved=8 << 30)


def bench_linear(bench, rows, out_features, in_features, activation, fused, variant):
    kernel, tile_rows, tile_columns = variant
    batch = Batch([rows])
    x = torch.randn(rows, in_features, device=DEVICE, dtype=BF16)
    weight = (torch.randn(out_features, in_features, device=DEVICE) / in_features**0.5).to(BF16)
    bias = torch.randn(out_features, device=DEVICE)
    residual = torch.randn(rows, out_features, device=DEVICE, dtype=BF16) if fused else None
    gate = torch.randn(1, out_features, device=DEVICE) if fused else None
    out = torch.full((rows, out_features), math.nan, device=DEVICE, dtype=BF16)
    bias_bf16 = bias.to(BF16)

    def ours():
        call(bench.library.darkroom_linear, batch, pointer(x), pointer(weight), pointer(bias),
             pointer(residual), pointer(gate), pointer(out), ctypes.c_int64(in_features),
             ctypes.c_int64(out_features), ctypes.c_int(ACTIVATIONS[activation]),
             ctypes.c_int(kernel), ctypes.c_int(tile_rows), ctypes.c_int(tile_columns))

    def check():
        want = x.float() @ weight.float().T + bias
        if activation == "gelu_tanh":
            want = F.gelu(want, approximate="tanh")
        if fused:
            want = residual.float() + gate * want
        return relative_error(out, want)

    label = {0: "chosen", 1: "sm80", 2: "sm90"}[kernel]
    tile = f" {tile_rows}x{tile_columns}" if kernel else ""
    what = activation if activation != "none" else "gate+residual" if fused else "bias"
    bench.row(f"linear {rows}x{out_features}x{in_features} {what} [{label}{tile}]", ours,
              {"cuBLASLt": lambda: F.linear(x, weight, bias_bf16)}, check,
              flop=2 * rows * out_features * in_features)


class AdapterTables(ctypes.Structure):
    _fields_ = [
        ("ranges", ctypes.c_void_p),
        ("range_count", ctypes.c_void_p),
        ("matrices", ctypes.c_void_p),
        ("matrix_count", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("hidden", ctypes.c_void_p),
    ]


def pack_up(up):
    """`up` [out, rank] as kernels/common/adapters.h lays it out, one part, whole chunks of 32."""
    out, rank = up.shape
    # Column within eight, half of 16 ranks, pairs: a lane has two pairs of each 16 ranks.
    parts = up.reshape(out // 8, 8, rank // 32, 4, 4, 2)  # block, column, chunk, word, lane, pair
    return parts.permute(0, 2, 1, 4, 3, 5).contiguous()


def bench_adapters(bench, jobs, rows, out_features, in_features, rank):
    """Jobs of as many rows, each with an adapter of its own, beside two matmuls per adapter."""
    batch = Batch([rows] * jobs)
    total = rows * jobs
    x = torch.randn(total, in_features, device=DEVICE, dtype=BF16)
    weight = (torch.randn(out_features, in_features, device=DEVICE) / in_features**0.5).to(BF16)
    downs = [(torch.randn(rank, in_features, device=DEVICE) / in_features**0.5).to(BF16)
             for _ in range(jobs)]
    ups = [torch.randn(out_features, rank, device=DEVICE).to(BF16) for _ in range(jobs)]
    packed = [pack_up(up) for up in ups]
    chunks = rank // 32
    # As kernels::UpBlock, LowRank and AdapterRange.
    blocks = torch.tensor([[i * chunks, chunks << 16] for i in range(out_features // 8)],
                          dtype=torch.int32, device=DEVICE)
    matrices = torch.tensor([[d.data_ptr(), u.data_ptr(), blocks.data_ptr(), rank]
                             for d, u in zip(downs, packed)], dtype=torch.int64, device=DEVICE)
    one = torch.tensor([1.0]).view(torch.int32).item()
    ranges = torch.tensor([[i * rows, (i + 1) * rows, i, 0, one] for i in range(jobs)],
                          dtype=torch.int32, device=DEVICE)
    count = torch.tensor([jobs], dtype=torch.int32, device=DEVICE)
    hidden = torch.zeros((total + 15) // 16 * 16 * rank, device=DEVICE, dtype=BF16)
    tables = AdapterTables(ranges.data_ptr(), count.data_ptr(), matrices.data_ptr(), jobs, rank,
                           hidden.data_ptr())
    out = torch.full((total, out_features), math.nan, device=DEVICE, dtype=BF16)

    def ours():
        call(bench.library.darkroom_linear_adapters, batch, pointer(x), pointer(weight),
             pointer(out), ctypes.c_int64(in_features), ctypes.c_int64(out_features),
             ctypes.byref(tables))

    def want():
        whole = x @ weight.T
        for i in range(jobs):
            part = slice(i * rows, (i + 1) * rows)
            whole[part] += (x[part] @ downs[i].T) @ ups[i].T
        return whole

    stacked_down, stacked_up = torch.stack(downs), torch.stack(ups)

    def batched():
        whole = x @ weight.T
        low = torch.bmm(x.view(jobs, rows, -1), stacked_down.transpose(1, 2))
        whole.view(jobs, rows, -1).add_(torch.bmm(low, stacked_up.transpose(1, 2)))

    bench.row(f"linear {total}x{out_features}x{in_features}, {jobs} adapters of {rank}", ours,
              {"two matmuls each": want, "bmm": batched, "plain": lambda: F.linear(x, weight)},
              lambda: relative_error(out, want()),
              flop=2 * total * out_features * in_features)


def bench_attention(bench, lengths, heads, head_dim, kernel=0):
    batch = Batch(lengths)
    rows = sum(lengths)
    qkv = torch.randn(rows, 3, heads, head_dim, device=DEVICE, dtype=BF16)
    out = torch.full((rows, heads, head_dim), math.nan, device=DEVICE, dtype=BF16)
    scale = head_dim**-0.5
    first = slice(0, lengths[0])
    q, k, v = (qkv[first, i].transpose(0, 1).unsqueeze(0).contiguous() for i in range(3))

    def ours():
        call(bench.library.darkroom_attention, batch, pointer(qkv), pointer(out),
             ctypes.c_int32(heads), ctypes.c_int32(head_dim), ctypes.c_float(scale),
             ctypes.c_int(0), ctypes.c_int(kernel))

    def check():
        head = slice(0, 1)  # in f32, one head of the first sequence
        score = q[0, head].float() @ k[0, head].float().transpose(1, 2) * scale
        want = score.softmax(-1) @ v[0, head].float()
        return relative_error(out[first, 0], want[0])

    def peer(backend):
        def launch():
            with sdpa_kernel(backend):
                F.scaled_dot_product_attention(q, k, v)
        return launch

    peers = {}
    if len(lengths) == 1:
        peers = {"cuDNN": peer(SDPBackend.CUDNN_ATTENTION),
                 "flash": peer(SDPBackend.FLASH_ATTENTION)}
    label = {0: "chosen", 1: "sm80", 2: "sm90"}[kernel]
    bench.row(f"attention hd{head_dim} {heads} heads {'+'.join(map(str, lengths))} [{label}]", ours,
              peers, check, flop=sum(4 * n * n * heads * head_dim for n in lengths))


def bench_row_norm(bench, rows, dim):
    batch = Batch([rows])
    x = torch.randn(rows, dim, device=DEVICE, dtype=BF16)
    scale = torch.randn(1, dim, device=DEVICE)
    shift = torch.randn(1, dim, device=DEVICE)
    out = torch.full_like(x, math.nan)

    def ours():
        call(bench.library.darkroom_row_norm, batch, pointer(x), pointer(scale), pointer(shift),
             pointer(out), ctypes.c_int64(dim))

    check = lambda: relative_error(out, F.layer_norm(x.float(), (dim,), eps=1e-6) * (1 + scale)
                                   + shift)
    bench.row(f"row_norm modulated {rows}x{dim}", ours,
              {"layer_norm": lambda: F.layer_norm(x, (dim,))}, check, bytes_moved=4 * rows * dim)


def bench_qk_norm_rope(bench, rows, heads, head_dim):
    batch = Batch([rows])
    qkv = torch.randn(rows, 3, heads, head_dim, device=DEVICE, dtype=BF16)
    weight = torch.ones(head_dim, device=DEVICE)
    angles = torch.rand(rows, head_dim // 2, device=DEVICE) * 6
    cos, sin = angles.cos(), angles.sin()
    before = qkv.float()

    def ours():
        call(bench.library.darkroom_qk_norm_rope, batch, pointer(qkv), pointer(weight),
             pointer(cos), pointer(sin), ctypes.c_int32(heads), ctypes.c_int32(head_dim))

    def check():
        x = before[:, :2]
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        even, odd = x[..., 0::2], x[..., 1::2]
        c, s = cos[:, None, None], sin[:, None, None]
        want = torch.stack((even * c - odd * s, odd * c + even * s), -1).flatten(-2)
        return relative_error(qkv[:, :2], want)

    bench.row(f"qk_norm_rope {rows} rows {heads}x{head_dim}", ours, {}, check,
              bytes_moved=rows * (8 * heads * head_dim + 4 * head_dim))


def run_all(bench):
    chosen, wide, half = (0, 0, 0), (1, 128, 128), (1, 64, 128)
    variants = [wide, half, (2, 128, 128), (2, 128, 256), chosen]
    bench_ceilings(bench)
    for variant in variants:
        bench_linear(bench, 4608, 3072, 3072, "none", False, variant)
    for shape in ((4608, 9216, 3072), (4608, 21504, 3072), (4608, 3072, 15360), (512, 3072, 3072)):
        bench_linear(bench, *shape, "none", False, chosen)
    bench_linear(bench, 4608, 12288, 3072, "gelu_tanh", False, chosen)
    bench_linear(bench, 4608, 3072, 12288, "none", True, chosen)
    for rank in (32, 64):
        bench_adapters(bench, 1, 4608, 3072, 3072, rank)
        bench_adapters(bench, 8, 1536, 12288, 3072, rank)
    bench_adapters(bench, 8, 1536, 3072, 12288, 64)
    for length in (4608, 8192, 16384):
        bench_attention(bench, [length], 24, 128)
    bench_attention(bench, [4608, 1536, 4096], 24, 128)
    bench_attention(bench, [4429], 38, 64)
    for heads, head_dim in ((24, 128), (38, 64)):
        bench_attention(bench, [4608], heads, head_dim, kernel=1)
    for rows in (4608, 65536):
        bench_row_norm(bench, rows, 3072)
    bench_qk_norm_rope(bench, 4608, 24, 128)


def print_table(rows):
    print(f"{'':58} {'ms':>8} {'TFLOP/s':>8} {'TB/s':>6} {'error':>8}  against")
    for row in rows:
        if "failed" in row:
            print(f"{row['name']:58} FAILED: {row['failed'][:60]}")
            continue
        ms = row["ms"]
        flops = f"{row['flop'] / ms / 1e9:8.1f}" if row["flop"] else " " * 8
        speed = f"{row['bytes'] / ms / 1e9:6.2f}" if row["bytes"] else " " * 6
        peers = ", ".join(f"{peer} {t:.3f} ms: {t / ms:.2f}x" for peer, t in row["peers"].items())
        print(f"{row['name']:58} {ms:8.4f} {flops} {speed} {row['error']:8.1e}  {peers}")


def main():
    library, folder = sys.argv[1:]
    torch.manual_seed(1)
    bench = Bench(library)
    try:
        run_all(bench)
    finally:
        result = {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version(),
            "repeats": REPEATS,
            "rows": bench.rows,
        }
        with open(os.path.join(folder, "bench.json"), "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
        print_table(bench.rows)


if __name__ == "__main__":
    main()
