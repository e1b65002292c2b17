"""Breaks production kernels on purpose, a fault at a time, and wants the emulator's cases to fail.

    mutations_test.py BUILD_FOLDER COMPILER [WORD]

Each mutation replaces a text that occurs once in a kernel's source or header, compiles the one
source file that it matters to, and links it before the library that has the right one. WORD: only
mutations whose description contains it.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLAGS = ["-x", "c++", "-std=c++20", "-O1", "-fno-strict-aliasing", "-w", "-c"]
SECONDS_MAX = 600

LINEAR_SM80 = "kernels/ops/linear/linear_sm80.cu"
LINEAR_SM90 = "kernels/ops/linear/linear_sm90.cu"
LINEAR_SIMT = "kernels/ops/linear/linear_simt_sm80.cu"
ATTENTION_SM80 = "kernels/ops/attention/attention_sm80.cu"
ATTENTION_SM90 = "kernels/ops/attention/attention_sm90.cu"
CONV2D = "kernels/ops/conv2d/conv2d_sm80.cu"
GROUP_NORM = "kernels/ops/group_norm/group_norm_sm80.cu"
ROW_NORM = "kernels/ops/row_norm/row_norm_sm80.cu"
ADAPTER_DOWN = "kernels/ops/adapter_down/adapter_down_sm80.cu"
ADAPTER_DOWN_SIMT = "kernels/ops/adapter_down/adapter_down_simt_sm80.cu"
ADAPTER_SUM = "kernels/common/adapter_sum.h"
ADAPTERS = "kernels/common/adapters.h"
MMA_TILE = "kernels/common/mma_tile.h"
SIMT_TILE = "kernels/common/simt_tile.h"
TILES = "kernels/common/sequence_tiles.h"

# What is broken, the file, its text and what it becomes, the source that is compiled, the cases.
MUTATIONS = [
    ("linear sm90: a stage is filled before it is empty", LINEAR_SM90,
     "ptx::WaitParity(&empty[turn.stage], turn.parity ^ 1);", "", LINEAR_SM90, "linear/sm90"),
    ("linear sm90: a stage is read before it is full", LINEAR_SM90,
     "ptx::WaitParity(&full[turn.stage], turn.parity);", "", LINEAR_SM90, "linear/sm90"),
    ("linear sm90: a stage is given back while it is read", LINEAR_SM90,
     "ptx::WaitProducts<1>();", "ptx::WaitProducts<2>();", LINEAR_SM90, "linear/sm90"),
    ("linear sm90: sums are stored before they are there", LINEAR_SM90,
     "ptx::WaitProducts<0>();", "", LINEAR_SM90, "linear/sm90"),
    ("linear sm90: fewer bytes are expected than come", LINEAR_SM90,
     "ptx::ArriveExpecting(&full[turn.stage], R::kStageBytes);",
     "ptx::ArriveExpecting(&full[turn.stage], R::kXBytes);", LINEAR_SM90, "linear/sm90"),
    ("linear sm90: rows beyond the live ones are stored", LINEAR_SM90,
     "if (row >= live) continue;", "", LINEAR_SM90, "linear/sm90"),
    ("linear sm80: columns of K behind the end are not zeros", LINEAR_SM80,
     "first + row < rows && column < depth", "first + row < rows", LINEAR_SM80, "linear/"),
    ("mma tile: a stage is read before it has come", MMA_TILE,
     "ptx::WaitCopies<kMmaStages - 2>();", "ptx::WaitCopies<kMmaStages - 1>();", LINEAR_SM80,
     "linear/"),
    ("mma tile: no barrier between stages", MMA_TILE,
     "ptx::SyncBlock();  // this stage", "// this stage", LINEAR_SM80, "linear/"),
    ("mma tile: no empty groups at the end", MMA_TILE,
     "    ptx::CommitCopies();  // an empty", "    if (step < steps) ptx::CommitCopies();  // an",
     LINEAR_SM80, "linear/"),
    ("simt tile: read before it is written", SIMT_TILE,
     "    ptx::SyncBlock();\n#pragma unroll\n    for (int k", "#pragma unroll\n    for (int k",
     LINEAR_SIMT, "linear/simt"),
    ("adapters: rows outside of a range are changed", ADAPTER_SUM,
     "sum[0] = low ? added[0] : sum[0];", "sum[0] = added[0];", LINEAR_SM80, "adapters/sm80"),
    ("adapters: the other eight rows take the first eight's range", ADAPTER_SUM,
     "const bool high = row + 8 >= range.row_begin && row + 8 < range.row_end;",
     "const bool high = low;", LINEAR_SM90, "adapters/sm90"),
    ("adapters: only the first range of a tile counts", ADAPTER_SUM,
     "met &= met - 1;", "met = 0;", LINEAR_SM80, "adapters/sm80"),
    ("adapters: only the first 32 ranges are seen", ADAPTER_SUM,
     "for (int32_t base = 0; base < count; base += ptx::kWarpThreads) {",
     "for (int32_t base = 0; base < 1; ++base) {", LINEAR_SM90, "adapters/sm90"),
    ("adapters: a part takes another one's ranks", ADAPTER_SUM,
     "const bool has = in_block >= 0 && in_block < mine.chunks;",
     "const bool has = in_block >= 0;", LINEAR_SM80, "adapters/sm80"),
    ("adapters: numbers that nobody bound are read", ADAPTER_SUM,
     "range.adapter < adapters.matrix_count && ", "", LINEAR_SIMT, "adapters/simt"),
    ("adapters: the levels share their hidden rows", ADAPTERS,
     "(level * row_blocks + row / kHiddenRows)", "(row / kHiddenRows)", ADAPTER_DOWN,
     "adapters/sm80"),
    ("adapters down: no weight", ADAPTER_DOWN,
     "range.weight * second", "second", ADAPTER_DOWN, "adapters/sm80"),
    ("adapters down: the groups' sums are read before they are there", ADAPTER_DOWN,
     "  ptx::SyncBlock();\n  if (Tile::Group() == 0)", "  if (Tile::Group() == 0)", ADAPTER_DOWN,
     "adapters/sm80"),
    ("adapters down: sums are passed in stages that are still read", ADAPTER_DOWN,
     "  ptx::SyncBlock();  // the stages,", "  // the stages,", ADAPTER_DOWN, "adapters/sm80"),
    ("adapters down: stages come where sums are still passed", ADAPTER_DOWN,
     "  ptx::SyncBlock();  // the next", "  // the next", ADAPTER_DOWN, "adapters/sm80"),
    ("adapters down: rows of other ranges are written", ADAPTER_DOWN_SIMT,
     "!has_row(first_row + row) || ", "", ADAPTER_DOWN_SIMT, "adapters/simt"),
    ("attention sm80: no barrier before keys are read", ATTENTION_SM80,
     "ptx::SyncBlock();  // these keys", "// these keys", ATTENTION_SM80, "attention/sm80"),
    ("attention sm80: no barrier before values are read", ATTENTION_SM80,
     "ptx::SyncBlock();  // these values", "// these values", ATTENTION_SM80, "attention/sm80"),
    ("attention sm80: keys behind the end count", ATTENTION_SM80,
     "key >= rows.length || (args.causal && key > query)", "args.causal && key > query",
     ATTENTION_SM80, "attention/sm80"),
    ("attention sm90: keys behind a run's end count", ATTENTION_SM90,
     "state.score[i] = -INFINITY;", "state.score[i] += 0.0f;", ATTENTION_SM90, "attention/sm90"),
    ("attention sm90: values behind a run's end are others'", ATTENTION_SM90,
     "const bool whole = keys.rows == P::kKeys;", "const bool whole = true;", ATTENTION_SM90,
     "attention/sm90"),
    ("attention sm90: keys are overwritten while they are read", ATTENTION_SM90,
     "ptx::WaitParity(&shared.keys_empty[turn.stage], turn.parity ^ 1);", "", ATTENTION_SM90,
     "attention/sm90"),
    ("attention sm90: values are overwritten while they are read", ATTENTION_SM90,
     "ptx::WaitParity(&shared.values_empty[turn.stage], turn.parity ^ 1);", "", ATTENTION_SM90,
     "attention/sm90"),
    ("attention sm90: the last values are read before they have come", ATTENTION_SM90,
     "ptx::SyncNamed(kProducerBarrier, ptx::kWarpgroupThreads);  // all", "// all",
     ATTENTION_SM90, "attention/sm90"),
    ("attention sm90: scores are read before they are there", ATTENTION_SM90,
     "ptx::WaitProducts<1>();", "", ATTENTION_SM90, "attention/sm90"),
    ("attention sm90: weights change while they are multiplied", ATTENTION_SM90,
     "    ptx::WaitProducts<0>();\n    give_back(shared.values_empty, behind);",
     "    give_back(shared.values_empty, behind);", ATTENTION_SM90, "attention/sm90"),
    ("attention sm90: sums are not scaled to a new maximum", ATTENTION_SM90,
     "state.out[i] *= correction[i / 2 % 2];", "state.out[i] *= 1.0f;", ATTENTION_SM90,
     "attention/sm90"),
    ("attention sm90: values are waited for in the wrong phase", ATTENTION_SM90,
     "behind.parity", "behind.parity ^ 1", ATTENTION_SM90, "attention/sm90"),
    ("attention sm90: a tile goes beyond its run", TILES,
     "return {int64_t{in_prefix ? rows.prefix_begin : rows.begin} + first,\n"
     "          left < rows_per_tile ? left : rows_per_tile};",
     "return {int64_t{in_prefix ? rows.prefix_begin : rows.begin} + first, rows_per_tile};",
     ATTENTION_SM90, "attention/sm90"),
    ("conv2d: taps left of the picture wrap round", "kernels/ops/conv2d/conv2d_patches.h",
     "|| x < 0 ", "", CONV2D, "conv2d/sm80"),
    ("group norm: no barrier between the sums", GROUP_NORM,
     "  ptx::SyncBlock();  // the sum before has been read\n", "", GROUP_NORM, "group_norm"),
    ("row norm: no barrier before warps' sums are added", "kernels/common/block_sum.h",
     "  ptx::SyncBlock();\n", "", ROW_NORM, "row_norm"),
]


def includes(shadow):
    return ["-I" + folder for folder in
            (os.path.join(ROOT, "tests/kernels/emulator/include"), shadow, ROOT,
             os.path.join(ROOT, "tests"))]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX,
                          check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def broken_object(folder, compiler, mutation):
    """The object file of the mutation's source, or raises."""
    _, path, old, new, source, _ = mutation
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    if text.count(old) != 1:
        raise RuntimeError(f"{path} has {text.count(old)} times: {old}")
    shadow = os.path.join(folder, "shadow")
    os.makedirs(os.path.dirname(os.path.join(shadow, path)))
    with open(os.path.join(shadow, path), "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))
    compiled = os.path.join(shadow if path == source else ROOT, source)
    target = os.path.join(folder, "broken.o")
    status, output = run(compiler + FLAGS + includes(shadow) + [compiled, "-o", target])
    if status != 0:
        raise RuntimeError(output[-2000:])
    return target


def test(mutation, build, compiler):
    """What was found, or raises when nothing was."""
    with tempfile.TemporaryDirectory() as folder:
        broken = broken_object(folder, compiler, mutation)
        program = os.path.join(folder, "cases")
        library = os.path.join(build, "tests/kernels")
        # The object comes first: what it defines is not looked for in the library.
        status, output = run(compiler[-1:] + [
            broken, os.path.join(library, "libdarkroom_mutation_main.a"),
            os.path.join(library, "libdarkroom_kernel_cases.a"),
            os.path.join(library, "libdarkroom_emulated_kernels.a"), "-o", program])
        if status != 0:
            raise RuntimeError(output[-2000:])
        status, output = run([program, mutation[5]])
        if status == 0:
            raise RuntimeError("not found: " + output)
        return output.splitlines()[-1] if output else f"ended with {status}"


def main():
    build, compiler = sys.argv[1], sys.argv[2].split(";")
    word = sys.argv[3] if len(sys.argv) > 3 else ""
    chosen = [mutation for mutation in MUTATIONS if word in mutation[0]]
    failures = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [(mutation, pool.submit(test, mutation, build, compiler)) for mutation in chosen]
        for mutation, future in running:
            try:
                print(f"found: {mutation[0]}: {future.result()[:100]}", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                failures += 1
                print(f"NOT FOUND: {mutation[0]}: {error}", flush=True)
    print(f"{len(chosen) - failures} of {len(chosen)} mutations found")
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
