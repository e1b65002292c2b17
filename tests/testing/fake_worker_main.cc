// darkroom-fake-worker: the real worker around a model without weights, and some ways of starting
// badly. For tests of everything above the worker.

#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "base/logging.h"
#include "ipc/unix_stream.h"
#include "testing/fake_pipeline.h"
#include "worker/worker_process.h"

namespace darkroom::testing {
namespace {

[[noreturn]] void Sleep() {
  for (;;) ::pause();
}

// Stands in for a worker that is broken, of another version, or hostile.
[[noreturn]] void StartBadly(const std::string& how, int socket_fd) {
  if (how == "exit") ::_exit(7);
  if (how == "silent") Sleep();
  if (how == "garbage") {
    const std::string garbage(4096, '\xff');
    (void)!::send(socket_fd, garbage.data(), garbage.size(), MSG_NOSIGNAL);
    Sleep();
  }
  UnixStream* stream = new UnixStream(UniqueFd(socket_fd), UnixStream::Mode::kBlocking);
  FrameConnection connection{std::unique_ptr<ByteStream>(stream)};
  v1::FromWorker message;
  message.mutable_hello()->set_protocol_version(how == "version" ? 999 : 1);
  message.mutable_hello()->set_pid(static_cast<int32_t>(::getpid()));
  connection.Queue(message, {}).IgnoreError();
  connection.Flush().IgnoreError();
  if (how == "close") ::shutdown(socket_fd, SHUT_RDWR);
  if (how == "empty") {
    connection.Queue(v1::FromWorker(), {}).IgnoreError();
    connection.Flush().IgnoreError();
  }
  // "version", "close", "deaf", "empty": never reads.
  Sleep();
}

int Main(int argc, char** argv) {
  BecomeWorkerProcess();
  CLI::App app("Worker with a fake model, for tests");
  int socket_fd = -1;
  int threads = 1;
  std::string device = "cpu";
  std::string start;
  std::string log_level = "warning";
  FakePipelineOptions fake;
  int64_t probe_us = 100'000;
  app.add_option("--socket-fd", socket_fd)->required();
  app.add_option("--threads", threads);
  app.add_option("--device", device);
  app.add_option("--log-level", log_level);
  const auto option = [&](const std::string& name, const char* variable, auto& value) {
    app.add_option(name, value)->envname(variable);
  };
  option("--step-us", "DARKROOM_FAKE_STEP_US", fake.step_us);
  option("--blocks", "DARKROOM_FAKE_BLOCKS", fake.blocks);
  option("--job-us", "DARKROOM_FAKE_JOB_US", fake.job_us);
  option("--token-ns", "DARKROOM_FAKE_TOKEN_NS", fake.token_ns);
  option("--encode-us", "DARKROOM_FAKE_ENCODE_US", fake.encode_us);
  option("--decode-us", "DARKROOM_FAKE_DECODE_US", fake.decode_us);
  option("--load-us", "DARKROOM_FAKE_LOAD_US", fake.load_us);
  option("--load-error", "DARKROOM_FAKE_LOAD_ERROR", fake.load_error);
  option("--timeline", "DARKROOM_FAKE_TIMELINE", fake.timeline);
  option("--once-dir", "DARKROOM_FAKE_ONCE_DIR", fake.once_dir);
  option("--isa", "DARKROOM_FAKE_ISA", fake.isa);
  option("--probe-us", "DARKROOM_FAKE_PROBE_US", probe_us);
  // exit, silent, garbage, version, close, deaf, empty
  option("--start", "DARKROOM_FAKE_START", start);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  if (!InitLogging("fake-worker", log_level, false).ok()) return 2;
  if (!start.empty()) StartBadly(start, socket_fd);
  WorkerOptions options;
  options.backend = "fake";
  options.device = "fake " + device + ", " + std::to_string(threads) + " threads";
  options.memory_bytes = int64_t{1} << 30;
  options.cost_probe_ns_max = probe_us * 1000;
  ServeAndExit(
      socket_fd,
      [fake](const std::string& path, const LoadOptions& load) {
        return LoadFakePipeline(fake, path, load);
      },
      std::move(options));
}

}  // namespace
}  // namespace darkroom::testing

int main(int argc, char** argv) { return darkroom::testing::Main(argc, argv); }
