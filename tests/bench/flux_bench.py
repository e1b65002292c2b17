#!/usr/bin/env python3
"""FLUX.1's transformer on the CPU, ours beside diffusers', in one run.

    flux_bench.py --build build [--threads N] [--runs 5] [--size small|large]
                  [--precision f32|bf16]

Makes random FLUX transformers of about 30 and 300 million parameters, gives both programs the same
weights and inputs, checks that ours differs from float32 by no more than theirs, or by 1e-3, and
then lets them take turns, a step each. Prints medians, the ratio, and our share of what this
machine can multiply, which is measured in the same turns: the better of our own and PyTorch's
matrix product of 2048^3, and nothing but multiply-adds in registers.

On a machine that others use too, give it the cores for a minute: `chrt -f 1 flux_bench.py ...`.
With one thread the clock is the thread's own processor time.
Needs torch and diffusers.
"""

import argparse
import copy
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = {
    # Name: (heads, head_dim, axes, double blocks, single blocks).
    "small": (6, 64, (16, 24, 24), 2, 6),
    "large": (8, 128, (16, 56, 56), 5, 9),
}
CASES = [
    # Size, rows, columns of image tokens, text tokens.
    ("small", 16, 16, 128),
    ("small", 32, 32, 128),
    ("large", 16, 16, 512),
    ("large", 32, 32, 512),
]
TEXT_WIDTH = 512
POOLED_WIDTH = 256


def flops_of_step(config, image, text):
    """Of one forward pass: two for each weight and row, and attention's two products."""
    dim = config.num_attention_heads * config.attention_head_dim
    rows = image + text
    double = 2 * rows * 12 * dim * dim + 4 * rows * rows * dim + 2 * 12 * dim * dim
    single = 2 * rows * 12 * dim * dim + 4 * rows * rows * dim + 2 * 3 * dim * dim
    ends = 2 * image * 2 * 64 * dim
    return config.num_layers * double + config.num_single_layers * single + ends


def make_model(size):
    import torch
    from diffusers import FluxTransformer2DModel

    heads, head_dim, axes, layers, single_layers = SIZES[size]
    torch.manual_seed(1)
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=layers,
        num_single_layers=single_layers,
        attention_head_dim=head_dim,
        num_attention_heads=heads,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=axes,
    ).eval()
    return model


class Diffusers:
    def __init__(self, model, folder, rows, columns, text, options):
        import torch

        threads = options.threads
        self.dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32

        # With one thread its own processor time, so that others who use the machine count for
        # little; flux_step does the same.
        self.clock = time.thread_time if threads == 1 else time.perf_counter

        generator = torch.Generator().manual_seed(2)
        latents = torch.randn(16, 2 * rows, 2 * columns, generator=generator)
        embeddings = torch.randn(text, TEXT_WIDTH, generator=generator)
        pooled = torch.randn(POOLED_WIDTH, generator=generator)
        for name, value in (("latents", latents), ("embeddings", embeddings), ("pooled", pooled)):
            (folder / f"{name}.bin").write_bytes(value.numpy().tobytes())
        # As FluxPipeline packs its latents: a token is a patch of 2 x 2, channels first.
        tokens = latents.view(16, rows, 2, columns, 2).permute(1, 3, 0, 2, 4)
        ids = torch.zeros(rows, columns, 3)
        ids[..., 1] += torch.arange(rows)[:, None]
        ids[..., 2] += torch.arange(columns)[None, :]
        self.arguments = {
            "hidden_states": tokens.reshape(1, rows * columns, 64),
            "encoder_hidden_states": embeddings[None],
            "pooled_projections": pooled[None],
            "timestep": torch.tensor([0.5]),
            "guidance": torch.tensor([3.5]),
            "img_ids": ids.reshape(-1, 3),
            "txt_ids": torch.zeros(text, 3),
            "return_dict": False,
        }
        # What both are compared with is computed in float32.
        self.model = model
        self.step()
        self.exact = self.out.numpy()
        if self.dtype != torch.float32:
            self.model = copy.deepcopy(model).to(self.dtype)
            for name, value in self.arguments.items():
                if torch.is_tensor(value) and not name.endswith("_ids"):
                    self.arguments[name] = value.to(self.dtype)

    def step(self):
        import torch

        with torch.inference_mode():
            begin = self.clock()
            self.out = self.model(**self.arguments)[0]
            return self.clock() - begin

    def gemm(self):
        import torch

        a = torch.full((2048, 2048), 0.5, dtype=self.dtype)
        b = torch.full((2048, 2048), 0.25, dtype=self.dtype)
        begin = self.clock()
        a @ b
        return 2e-9 * 2048**3 / (self.clock() - begin)


class Ours:
    def __init__(self, program, folder, rows, columns, text, options):
        arguments = [program, folder, rows, columns, text, options.threads, options.precision]
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.device = self.process.stdout.readline().strip()
        if not self.device:
            sys.exit("flux_step failed")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def run_case(model, folder, program, case, options):
    import numpy

    size, rows, columns, text = case
    theirs = Diffusers(model, folder, rows, columns, text, options)
    ours = Ours(program, folder, rows, columns, text, options)
    theirs.step()
    ours.ask("step")
    ours.ask(f"out {folder / 'out.bin'}")
    out = numpy.fromfile(folder / "out.bin", numpy.float32).reshape(theirs.out.shape)
    error = float(numpy.abs(out - theirs.exact).max())
    their_error = float(numpy.abs(theirs.out.float().numpy() - theirs.exact).max())
    if not error <= max(1e-3, their_error):
        sys.exit(f"ours differs by {error}, diffusers by {their_error}")
    seconds = {"ours": [], "theirs": []}
    gemm = {"ours": [], "theirs": []}
    fma = []
    for _ in range(options.runs):
        seconds["ours"].append(float(ours.ask("step")))
        seconds["theirs"].append(theirs.step())
        gemm["ours"].append(float(ours.ask("gemm")))
        gemm["theirs"].append(theirs.gemm())
        fma.append(float(ours.ask("fma")))
    ours.close()
    mine, other = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    best_gemm = max(statistics.median(rates) for rates in gemm.values())
    gflops = flops_of_step(model.config, rows * columns, text) / mine * 1e-9
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"| {parameters:.0f} M | {rows * columns} + {text} | {mine * 1e3:.0f} | {other * 1e3:.0f} "
        f"| {other / mine:.2f} | {gflops:.0f} | {best_gemm:.0f} | {statistics.median(fma):.0f} "
        f"| {100 * gflops / best_gemm:.0f} % "
        f"| {error:.1e} | {their_error:.1e} |",
        flush=True,
    )
    return ours.device


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build", help="build folder")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--size", choices=sorted(SIZES), help="only this one")
    options = parser.parse_args()
    program = pathlib.Path(options.build) / "tests" / "bench" / "flux_step"

    import diffusers
    import torch

    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, "
          f"{options.threads} threads,")
    print(f"{options.precision}; milliseconds per step, medians; GFLOP/s\n")
    print("| weights | tokens | ours | diffusers | ratio | ours GFLOP/s | best GEMM | FMA | share |"
          " our largest difference from float32 | diffusers' |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    device = ""
    for size in sorted(SIZES, reverse=True):
        if options.size not in (None, size):
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            model = make_model(size)
            model.save_pretrained(folder / "transformer")
            (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
            for case in CASES:
                if case[0] == size:
                    device = run_case(model, folder, program, case, options)
    print(f"\n{device}")


if __name__ == "__main__":
    main()
