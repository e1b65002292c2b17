"""Rules about who may use whom."""

import re

import cplusplus
from registry import rule
from tree import Finding

# A layer and the layers that it may use: arrows point one way. Contracts (include/darkroom) and
# messages (proto) are open to all.
ALLOWED = {
    "base": set(),
    "ipc": {"base"},
    "config": {"base"},
    "media": {"ipc", "base"},
    "telemetry": {"base"},
    "store": {"base"},
    "tenancy": {"store", "base"},
    "ledger": {"store", "base"},
    "scheduler": {"base"},
    "supervisor": {"ipc", "base"},
    "engine": {"scheduler", "tenancy", "ledger", "store", "ipc", "media", "telemetry", "base"},
    "gateway": {"engine", "tenancy", "ledger", "media", "config", "telemetry", "base"},
    "device": {"base"},
    "parallel": {"device", "base"},
    "model": {"parallel", "device", "base"},
    "evaluation": {"model", "media", "base"},
    "worker": {"model", "parallel", "device", "ipc", "media", "telemetry", "base"},
    "client": {"base"},
    "simulator": {"scheduler", "base"},
}
ALLOWED["main"] = set(ALLOWED)

# Header prefix -> the layers that may include it.
LIBRARIES = {
    "grpc": {"gateway", "client", "main"},
    "sqlite3": {"store"},
    "oneapi/": {"device"},
    "cuda": {"device", "parallel"},
    "nccl": {"parallel"},
    "png": {"media"},
    "jpeglib": {"media"},
    "webp/": {"media"},
    "yaml-cpp/": {"config"},
    "CLI/": {"main"},
}

# The scheduler is pure: these bring threads, locks, clocks, randomness and the world outside.
IMPURE = re.compile(
    r"<?(?:thread|mutex|shared_mutex|condition_variable|atomic|future|random|chrono|fstream"
    r"|iostream|filesystem|unistd\.h|sys/.*|netinet/.*|pthread\.h"
    r"|base/(?:mutex|clock|bounded_queue|logging)\.h|spdlog/.*|absl/(?:synchronization|random)/.*"
    r"|absl/time/clock\.h)$"
)


def _layer(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


@rule
def layer_includes(tree):
    for path in tree.select(".cc", ".h", ".cu", ".cuh", under="src/"):
        layer = _layer(path)
        if layer is None or layer not in ALLOWED:
            yield Finding(path, 1, f"the layer {layer} is not in the table of layers")
            continue
        for line, name, quoted in cplusplus.includes(tree.texts[path]):
            used = name.split("/")[0]
            if quoted and used in ALLOWED and used != layer and used not in ALLOWED[layer]:
                yield Finding(path, line, f"{layer} may not use {used}")


@rule
def library_includes(tree):
    for path in tree.select(".cc", ".h", ".cu", ".cuh", under="src/"):
        for line, name, _ in cplusplus.includes(tree.texts[path]):
            for prefix, layers in LIBRARIES.items():
                if name.startswith(prefix) and _layer(path) not in layers:
                    yield Finding(path, line, f"{name} is for {', '.join(sorted(layers))} only")


@rule
def scheduler_is_pure(tree):
    for path in tree.select(".cc", ".h", under="src/scheduler/"):
        for line, name, _ in cplusplus.includes(tree.texts[path]):
            if IMPURE.match(name):
                yield Finding(path, line, f"the scheduler is pure and may not include {name}")


@rule
def kernels_stand_alone(tree):
    allowed = re.compile(r"kernels/|cuda|cub/|cute/|nv|mma\.h$")
    for path in tree.select(".cc", ".h", ".cu", ".cuh", under="kernels/"):
        for line, name, quoted in cplusplus.includes(tree.texts[path]):
            standard = not quoted and re.fullmatch(r"[a-z_0-9]+", name)
            if not standard and not allowed.match(name):
                yield Finding(path, line, "kernels/ needs CUDA and the standard library only")


@rule
def contracts(tree):
    """include/ has contracts only: no build flags, no CUDA, nothing of src/."""
    for path in tree.select(".h", under="include/"):
        code = cplusplus.blank(tree.texts[path])
        for number, line in enumerate(code.splitlines(), 1):
            if re.match(r"\s*#\s*(?:if|ifdef|ifndef|elif)\b", line):
                yield Finding(path, number, "a contract does not depend on build flags")
        for line, name, quoted in cplusplus.includes(tree.texts[path]):
            if re.match(r"cuda|nccl|cublas|kernels/", name):
                yield Finding(path, line, "no CUDA in a contract")
            elif name.startswith("grpc"):
                yield Finding(path, line, "no gRPC in a contract")
            elif quoted and name.split("/")[0] in ALLOWED and not name.startswith("base/"):
                yield Finding(path, line, "a contract stands on base, proto and other contracts")


def _layer_links(tree):
    """Yields (path, line, layer, [(line, dependency)]) of every darkroom_layer()."""
    for path in tree.select("CMakeLists.txt", under="src/"):
        code = re.sub(r"#[^\n]*", "", tree.texts[path])
        for call in re.finditer(r"darkroom_layer\(\s*(\w+)([^)]*)\)", code):
            line = code.count("\n", 0, call.start()) + 1
            depends = call.group(2).partition("DEPENDS")[2].split()
            yield path, line, call.group(1), depends


@rule
def layer_links(tree):
    for path, line, layer, depends in _layer_links(tree):
        if layer not in ALLOWED:
            yield Finding(path, line, f"the layer {layer} is not in the table of layers")
            continue
        for used in depends:
            if used in ALLOWED and used not in ALLOWED[layer]:
                yield Finding(path, line, f"{layer} may not link {used}")
            if layer == "scheduler" and not re.match(r"base$|proto$|absl::", used):
                yield Finding(path, line, f"the scheduler links base and Abseil, not {used}")
            may_grpc = layer in LIBRARIES["grpc"]
            if not may_grpc and (used == "proto_grpc" or used.startswith("gRPC::")):
                yield Finding(path, line, f"{layer} may not link gRPC")


@rule
def layers_documented(tree):
    readme = tree.texts.get("src/README.md", "")
    layers = {_layer(path) for path in tree.texts if _layer(path)}
    for layer in sorted(layers):
        if not re.search(rf"^#+ `?{layer}/?`?|^\*\*`?{layer}/?`?\*\*", readme, re.MULTILINE):
            yield Finding("src/README.md", 1, f"no paragraph about {layer}/")
