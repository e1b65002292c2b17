#include "testing/daemon_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

extern char** environ;

namespace darkroom::testing {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(60);
constexpr char kPrograms[] = DARKROOM_BIN_DIR;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

std::string DaemonProcess::log() const { return ReadFile(options_.state + ".log"); }

void DaemonProcess::Start(bool ready) {
  const std::string port_file = options_.state + ".port";
  std::filesystem::remove(port_file);
  if (options_.fake_worker) std::filesystem::create_directories(options_.model);
  std::vector<std::string> arguments = {std::string(kPrograms) + "/darkroomd",
                                        "--model",
                                        options_.model,
                                        "--listen",
                                        "127.0.0.1:0",
                                        "--port-file",
                                        port_file,
                                        "--state-dir",
                                        options_.state,
                                        "--log-level",
                                        options_.log_level};
  if (options_.fake_worker) {
    arguments.insert(arguments.end(),
                     {"--worker-program", std::string(kPrograms) + "/darkroom-fake-worker"});
  }
  arguments.insert(arguments.end(), options_.arguments.begin(), options_.arguments.end());
  std::vector<std::string> environment;
  for (const auto& [name, value] : options_.environment) environment.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (auto& argument : arguments) argv.push_back(argument.data());
  for (auto& entry : environment) envp.push_back(entry.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  const std::string log_path = options_.state + ".log";
  pid_ = ::fork();
  if (pid_ == 0) {
    const int log_fd = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    ::dup2(log_fd, 1);
    ::dup2(log_fd, 2);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  const absl::Time deadline = absl::Now() + kStartTimeout;
  while (!std::filesystem::exists(port_file)) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_ || absl::Now() > deadline) {
      pid_ = -1;
      FAIL() << "darkroomd did not start: " << log();
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  std::istringstream ports(ReadFile(port_file));
  std::string port;
  std::string admin_port;
  ports >> port >> admin_port;
  server_ = "127.0.0.1:" + port;
  admin_server_ = "127.0.0.1:" + admin_port;
  client_ = std::make_unique<Client>(ClientOptions());
  while (ready) {
    const auto models = client_->ListModels();
    if (models.ok() && !models->empty() && models->front().state() == v1::Model::STATE_READY)
      return;
    if (absl::Now() > deadline) FAIL() << "the model did not load: " << log();
    absl::SleepFor(absl::Milliseconds(2));
  }
}

Client::Options DaemonProcess::ClientOptions() const {
  return {.server = server_, .admin_server = admin_server_, .credential = options_.credential};
}

void DaemonProcess::Kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

int DaemonProcess::Terminate(absl::Duration timeout) {
  // kill(-1) would reach every process there is.
  if (pid_ <= 0) return -1;
  ::kill(pid_, SIGTERM);
  return Wait(timeout);
}

int DaemonProcess::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  int status = 0;
  while (::waitpid(pid_, &status, WNOHANG) == 0) {
    if (absl::Now() > deadline) {
      Kill();
      return -1;
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool DaemonProcess::KillWorker() {
  const auto info = client_->GetServerInfo();
  if (!info.ok()) return false;
  for (const auto& worker : info->workers()) {
    if (worker.state() == v1::ServerInfo::Worker::STATE_READY && worker.pid() > 1) {
      return ::kill(worker.pid(), SIGKILL) == 0;
    }
  }
  return false;
}

v1::GenerateRequest PictureRequest(const std::string& prompt, int size, int steps, int64_t seed,
                                   double guidance_scale) {
  v1::GenerateRequest request;
  request.set_prompt(prompt);
  request.set_width(size);
  request.set_height(size);
  request.mutable_sampling()->set_steps(steps);
  request.mutable_sampling()->set_seed(seed);
  request.mutable_sampling()->set_guidance_scale(guidance_scale);
  return request;
}

absl::StatusOr<v1::Generation> GenerateAndWait(Client& client, const v1::GenerateRequest& request) {
  v1::Generation ended;
  const absl::Status status = client.Generate(
      request,
      [&](const v1::GenerateEvent& event) {
        if (event.has_completed()) ended = event.completed().generation();
        if (event.has_failed()) ended = event.failed().generation();
        return absl::OkStatus();
      },
      nullptr);
  if (!status.ok()) return status;
  return ended;
}

}  // namespace darkroom::testing
