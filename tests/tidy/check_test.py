"""Feeds every rule a tree that breaks it and one that does not."""

import pathlib
import sys
import tempfile
import unittest

import cplusplus
import rules_layers  # noqa: F401  registers its rules
import rules_structure
import rules_text
import tree as trees
from registry import RULES
from tree import Tree

# Spelled apart so that this file itself does not break the rules that it tests.
MARK = "TO" "DO"
HOME = "/ho" "me/someone/darkroom"
HOST = "py" "pi.org"

LONG_BODY = "".join(f"  Call({i});\n" for i in range(69))
BASH = "#!/usr/bin/env bash\nset -euo pipefail\n"

# Rule -> trees that break it, each with a part of what the finding must say. A tree is a map from
# paths to texts, or a Tree.
BROKEN = {
    "file_length": [({"src/base/a.cc": "\n" * 801}, "801 lines; at most 800")],
    "function_length": [
        ({"src/base/a.cc": f"void Work() {{\n{LONG_BODY}}}\n"}, "Work has 71 lines"),
        (
            {"src/base/a.cc": f"A::A(int x)\n    : x_(x) {{\n{LONG_BODY}}}\n"},
            "src/base/a.cc:2: A::A has 71",
        ),
        ({"a.h": f"class A {{\n int Get() const {{\n{LONG_BODY}}}\n}};\n"}, "Get has 71"),
        ({"a_test.cc": f"TEST(A, B) {{\n{LONG_BODY}}}\n"}, "TEST has 71"),
        ({"a.cc": f"auto F() -> int {{\n [] {{\n{LONG_BODY} }}();\n}}\n"}, "F has 73"),
        ({"ops/a.cu": f"__global__ void K(int n) {{\n{LONG_BODY}}}\n"}, "K has 71"),
        ({"a.py": "def work():\n" + "    call()\n" * 69}, "work has 70"),
    ],
    "columns": [({"a.cc": "//" + "x" * 99 + "\n"}, "101 columns")],
    "whitespace": [
        ({"a.cc": "\tint x;\n"}, "a tab"),
        ({"a.md": "text \n"}, "at the end of the line"),
        ({"a.cc": "int x;"}, "no newline"),
        ({"a.cc": "int x;\r\n"}, "at the end of the line"),
    ],
    "todo_reason": [
        ({"a.cc": f"// {MARK} later\n"}, "without a reason"),
        ({"a.py": f"# {MARK}: short\n"}, "without a reason"),
    ],
    "machine_paths": [
        ({"a.md": f"see {HOME}\n"}, "one machine"),
        ({"a.sh": f"pip install --index https://{HOST}/simple\n"}, "registry"),
    ],
    "file_names": [
        ({"kernels/ops/gemm_v5.cu": ""}, "a version in the name"),
        (Tree({}, binaries={"deploy/logo_new.png"}), "a version in the name"),
        ({"src/base/BadName.cc": ""}, "lower_case"),
    ],
    "header_guards": [({"a.h": "#ifndef A_H\n#define A_H\n#endif\n"}, "no #pragma once")],
    "pragmas": [({"a.cc": "#pragma GCC optimize\n"}, "a #pragma other")],
    "skips_say_why": [
        ({"a_test.cc": "TEST(A, B) { GTEST_SKIP(); }\n"}, "without saying why"),
        ({"a_test.cc": "TEST(A, DISABLED_B) {}\n"}, "without saying why"),
    ],
    "python_syntax": [({"a.py": "def (:\n"}, "not Python")],
    "shell_scripts": [
        (Tree({"a.sh": BASH + "if true; then\n"}, {"a.sh"}), "not bash"),
        (Tree({"a.sh": "#!/bin/sh\nset -euo pipefail\n"}, {"a.sh"}), "the first line"),
        (Tree({"a": "#!/usr/bin/env bash\necho\n"}, {"a"}), "no `set -euo pipefail`"),
        ({"a.sh": BASH}, "not executable"),
    ],
    "layer_includes": [
        ({"src/scheduler/a.cc": '#include "engine/controller.h"\n'}, "may not use engine"),
        ({"src/model/a.cc": '#include "gateway/api.h"\n'}, "model may not use gateway"),
        ({"src/base/a.h": '#pragma once\n\n#include "config/config.h"\n'}, "a.h:3: base may not"),
        ({"src/misc/a.cc": ""}, "not in the table"),
    ],
    "library_includes": [
        ({"src/worker/a.cc": "#include <grpcpp/grpcpp.h>\n"}, "gateway, main only"),
        ({"src/engine/a.cc": "#include <sqlite3.h>\n"}, "store only"),
        ({"src/model/a.cc": '#include "oneapi/dnnl/dnnl.hpp"\n'}, "device only"),
    ],
    "scheduler_is_pure": [
        ({"src/scheduler/a.cc": "#include <thread>\n"}, "may not include thread"),
        ({"src/scheduler/a.cc": '#include "base/clock.h"\n'}, "may not include base/clock.h"),
        ({"src/scheduler/a.h": "#include <sys/socket.h>\n"}, "may not include sys/socket.h"),
    ],
    "kernels_stand_alone": [
        ({"kernels/ops/a/a.cc": '#include "absl/status/status.h"\n'}, "standard library only"),
        ({"kernels/ops/a/a.h": '#include "darkroom/ops.h"\n'}, "standard library only"),
    ],
    "contracts": [
        ({"include/darkroom/a.h": "#pragma once\n#ifdef WITH_CUDA\n#endif\n"}, "build flags"),
        ({"include/darkroom/a.h": "#include <cuda_runtime.h>\n"}, "no CUDA"),
        ({"include/darkroom/a.h": "#include <grpcpp/grpcpp.h>\n"}, "no gRPC"),
        ({"include/darkroom/a.h": '#include "engine/controller.h"\n'}, "stands on base"),
    ],
    "layer_links": [
        ({"src/store/CMakeLists.txt": "darkroom_layer(store\n DEPENDS engine)\n"}, "link engine"),
        ({"src/worker/CMakeLists.txt": "darkroom_layer(worker DEPENDS proto_grpc)\n"}, "gRPC"),
        ({"src/model/CMakeLists.txt": "darkroom_layer(model DEPENDS gRPC::grpc++)\n"}, "gRPC"),
        ({"src/scheduler/CMakeLists.txt": "darkroom_layer(scheduler DEPENDS spdlog::spdlog)\n"},
         "base and Abseil, not spdlog"),
        ({"src/misc/CMakeLists.txt": "darkroom_layer(misc)\n"}, "not in the table"),
    ],
    "layers_documented": [
        ({"src/README.md": "# Sources\n\n## `base/`\n", "src/ipc/a.h": ""}, "about ipc"),
    ],
    "dead_sources": [
        ({"src/base/CMakeLists.txt": "darkroom_layer(base SOURCES a.cc)\n# b.cc\n",
          "src/base/a.cc": "", "src/base/b.cc": ""}, "src/base/b.cc:1: in no CMakeLists.txt"),
        ({"src/base/CMakeLists.txt": "a.cc\n", "src/ipc/a.cc": ""}, "src/ipc/a.cc:1"),
    ],
    "dead_headers": [
        ({"src/base/a.h": "", "src/base/a.cc": '// #include "base/a.h"\n'}, "included nowhere"),
        ({"src/base/aa.h": "", "src/base/a.cc": '#include "a.h"\n'}, "src/base/aa.h"),
    ],
    "dead_scripts": [
        ({"tests/a.sh": "", "README.md": "b.sh"}, "named by no other file"),
        ({"tests/a.py": "", "tests/b.py": "import ab\n", "README.md": "b.py"}, "tests/a.py:1"),
    ],
    "tests_mirror_sources": [
        ({"tests/unit/base/b_test.cc": "", "src/base/a.cc": ""}, "src/base/ has no b.h or b.cc"),
        ({"tests/unit/ipc/a_test.cc": "", "src/base/a.cc": ""}, "src/ipc/ has no a.h"),
        ({"tests/unit/ipc/ab_test.cc": "", "src/ipc/a.cc": ""}, "src/ipc/ has no ab.h"),
        ({"tests/kernels/ops/norm_test.cc": ""}, "kernels/ops/ has no norm/"),
    ],
    "bounds_in_limits": [
        ({"src/ipc/a.cc": "constexpr int kFramesMax = 3;\n"}, "kFramesMax belongs"),
        ({"src/ipc/a.h": "class A {\n  static constexpr size_t kQueueCapacity{3};\n};\n"},
         "a.h:2: kQueueCapacity belongs"),
    ],
    "bounds_explained": [
        ({"src/ipc/limits.h": "#pragma once\n\ninline constexpr int kFramesMax = 3;\n"},
         "limits.h:3: kFramesMax has no comment"),
    ],
    "bounds_used": [
        ({"src/ipc/limits.h": "// Frames.\ninline constexpr int kFramesMax = 3;\n",
          "src/ipc/a.cc": "// kFramesMax is not looked at.\n"}, "kFramesMax is used nowhere"),
    ],
    "document_links": [
        ({"README.md": "\n[a](docs/a.md)\n"}, "README.md:2: the link leads nowhere: docs/a.md"),
        ({"docs/a.md": "[a](#no-such)\n# Such\n"}, "no such heading: #no-such"),
        ({"docs/a.md": "![](b.png)\n"}, "leads nowhere: b.png"),
    ],
    "document_paths": [
        ({"docs/a.md": "It is in `src/base/gone.cc`.\n"}, "no such file: src/base/gone.cc"),
    ],
    "documents_linked": [
        ({"README.md": "", "docs/a.md": "[b](b.md)", "docs/b.md": "[b](b.md)"}, "docs/a.md:1"),
    ],
}

# A tree that keeps every rule, with the cases that rules have gone wrong on.
CLEAN = Tree(
    {
        "README.md": "[docs](docs/index.md) [here](#a-heading-of-two) `src/base/a.cc`\n"
        "[a table](#table--of-things) [web](https://example.com) [src](src/README.md)\n"
        "# A heading of two\n# Table & of things\n```\n[not a link](gone.md)\n```\n"
        "deploy/a.sh and check.py and ${TMPDIR:-/tmp}/file\n",
        "docs/index.md": "![](a.png)\n",
        "src/README.md": "## `base/`\n\n## ipc\n**`store/`** keeps.\n## scheduler/\n",
        "CMakeLists.txt": "add(tests/unit/base/a_test.cc)\n",
        "src/base/CMakeLists.txt": "darkroom_layer(base SOURCES a.cc DEPENDS proto absl::status)\n",
        "src/base/a.h": "#pragma once\n\nextern \"C\" {\nint Version();\n}\n",
        "src/base/a.cc": '#include "base/a.h"\n\n#include <thread>\n\n#include "base/limits.h"\n'
        f"// {MARK}: the reason why this is not done now is told here.\n"
        "constexpr char kText[] = \"a // b { \\\" \";\nconstexpr int kQueue = 2 * kQueueMax;\n"
        "constexpr double kGainMax = 2.5;\nstruct Wide {\n" + "  int member = 1;\n" * 80 + "};\n"
        "constexpr auto kRaw = R\"(  {{{ #include \"gone.h\" )\";\n"
        "const int kTable[] = {\n" + "    1'000,\n" * 80 + "};\n"
        "int F(struct Wide w) { return '{' + w.member; }\n",
        "src/base/limits.h": "#pragma once\n\n// Waiting calls.\n"
        "inline constexpr int kQueueMax = kQueueHalfMax * 2;\n"
        "inline constexpr int kQueueHalfMax = 4;  // half of it\n",
        "src/scheduler/CMakeLists.txt": "darkroom_layer(scheduler SOURCES a.cc\n"
        "  DEPENDS base absl::flat_hash_map)\n",
        "src/scheduler/a.cc": '#include "base/a.h"\n#include "absl/time/time.h"\n',
        "tests/unit/base/CMakeLists.txt": "foreach(kind property real)\n"
        "  darkroom_test(base_test SOURCES a_${kind}_test.cc)\nendforeach()\n",
        "tests/unit/base/a_real_test.cc": "",
        "tests/unit/base/a_test.cc": '#include "base/a.h"\nTEST(A, B) { GTEST_SKIP() << "no"; }\n',
        "tests/unit/base/a_property_test.cc": "",
        "include/darkroom/b.h": '#pragma once\n\n#include "base/a.h"\n',
        "kernels/CMakeLists.txt": "ops/norm/norm_sm80.cu\n",
        "kernels/ops/norm/norm_sm80.cu": '#include <cuda_bf16.h>\n\n#include <cstdint>\n'
        f'#include "kernels/ops/norm/norm.h"\n__global__ void K() {{\n{LONG_BODY}}}\n',
        "kernels/ops/norm/norm.h": "#pragma once\n",
        "tests/kernels/ops/CMakeLists.txt": "norm_test.cc\n",
        "tests/kernels/ops/norm_test.cc": '#include "darkroom/b.h"\n',
        "deploy/a.sh": BASH + "echo \"$@\"\n",
        "tests/check.py": "def work():\n" + "    call()\n" * 68,
    },
    executables={"deploy/a.sh"},
    binaries={"docs/a.png"},
)


class RulesTest(unittest.TestCase):
    def test_every_rule_is_tested(self):
        self.assertEqual(set(BROKEN), set(RULES))

    def test_every_rule_fires(self):
        for name, cases in BROKEN.items():
            for texts, expected in cases:
                broken = texts if isinstance(texts, Tree) else Tree(texts)
                found = [str(finding) for finding in RULES[name](broken)]
                with self.subTest(rule=name, expected=expected):
                    self.assertTrue(any(expected in finding for finding in found), found)

    def test_clean_tree_has_no_findings(self):
        for name, rule in RULES.items():
            with self.subTest(rule=name):
                self.assertEqual([str(finding) for finding in rule(CLEAN)], [])

    def test_long_files_are_told(self):
        tree = Tree({"a.cc": "\n" * 501, "b.cc": "\n" * 500})
        self.assertEqual([f.path for f in rules_text.long_files(tree)], ["a.cc"])

    def test_bounds_are_listed(self):
        listed = [(name, value, why) for _, _, name, value, why in rules_structure.bounds(CLEAN)]
        self.assertEqual(
            listed,
            [
                ("kQueueMax", "kQueueHalfMax * 2", "Waiting calls."),
                ("kQueueHalfMax", "4", "half of it"),
            ],
        )

    def test_functions_are_found_where_they_are(self):
        code = (
            "namespace a {\nclass B : public C<int()> {\n public:\n  B() : x_{1}, y_(2) {}\n"
            "  template <typename T>\n  void F(T t) noexcept {\n    if (t) {\n    }\n  }\n"
            "  int x_ = 1;\n};\nstd::array<int, 2> table = {1, 2};\nenum class E { kA };\n"
            "bool operator==(const B& a, const B& b) {\n  return true;\n}\n}\n"
        )
        found = [(line, length) for line, _, length in cplusplus.functions(code)]
        self.assertEqual(found, [(4, 1), (6, 4), (14, 3)])

    def test_a_folder_is_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "a.sh").write_text(BASH)
            (root / "a.sh").chmod(0o755)
            (root / "b.png").write_bytes(b"\x89PNG\xff")
            (root / "build").mkdir()
            (root / "build" / "c.cc").write_text("int x;\n")
            tree = trees.load(root)
        self.assertEqual(tree.texts, {"a.sh": BASH})
        self.assertEqual(tree.executables, {"a.sh"})
        self.assertEqual(tree.binaries, {"b.png"})


if __name__ == "__main__":
    sys.exit(unittest.main())
