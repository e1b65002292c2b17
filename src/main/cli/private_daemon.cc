#include "main/cli/private_daemon.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "main/limits.h"
#include "nlohmann/json.hpp"

namespace darkroom::cli {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(20);

absl::Status NotStarted(const std::string& why) {
  return Error(absl::StatusCode::kUnavailable, "DAEMON_NOT_STARTED",
               absl::StrCat("a daemon for this evaluation did not start: ", why));
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In the child, between fork and exec: async-signal-safe calls only.
[[noreturn]] void ExecDaemon(char* const* argv, int log_fd, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::dup2(log_fd, STDOUT_FILENO);
  ::dup2(log_fd, STDERR_FILENO);
  ::execv(argv[0], argv);
  ::_exit(127);
}

}  // namespace

absl::Status PrivateDaemon::WriteConfig(const std::string& model_folder,
                                        const std::vector<std::string>& precisions) const {
  std::error_code error;
  const std::string path = std::filesystem::absolute(model_folder, error).string();
  nlohmann::json models = nlohmann::json::array();
  for (const std::string& precision : precisions) {
    models.push_back({{"path", path}, {"name", precision}, {"precision", precision}});
  }
  const nlohmann::json config = {{"models", models},
                                 {"listen", {{"grpc", "127.0.0.1:0"}}},
                                 {"store", {{"path", Path("state")}}},
                                 {"log", {{"level", "warning"}}}};
  std::ofstream file(Path("config.json"));
  file << config.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  file.close();
  return file ? absl::OkStatus() : NotStarted(absl::StrCat("cannot write into ", folder_));
}

absl::Status PrivateDaemon::Spawn() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::vector<std::string> words = {(self.parent_path() / "darkroomd").string(), "--config",
                                    Path("config.json"), "--port-file", Path("port")};
  if (::access(words[0].c_str(), X_OK) != 0) {
    return NotStarted(absl::StrCat(words[0], ": ", std::strerror(errno)));
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int log_fd =
      ::open(Path("log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (log_fd < 0) return NotStarted(absl::StrCat("cannot write into ", folder_));
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) ExecDaemon(argv.data(), log_fd, parent);
  const int fork_error = errno;
  ::close(log_fd);
  return pid_ > 0 ? absl::OkStatus() : NotStarted(std::strerror(fork_error));
}

bool PrivateDaemon::Ended() {
  if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
  return pid_ <= 0;
}

std::string PrivateDaemon::LogTail() const {
  std::string log = ReadText(Path("log"));
  if (log.size() > kDaemonLogShownBytesMax) {
    log = "..." + log.substr(log.size() - kDaemonLogShownBytesMax);
  }
  while (!log.empty() && log.back() == '\n') log.pop_back();
  return log.empty() ? "it said nothing" : absl::StrCat("its log ends with: ", log);
}

absl::Status PrivateDaemon::AwaitPort(const Canceller& interrupt) {
  const absl::Time give_up = absl::Now() + absl::Seconds(kDaemonStartSecondsMax);
  while (!std::filesystem::exists(Path("port"))) {
    if (interrupt.cancelled()) return absl::CancelledError("interrupted");
    if (Ended()) return NotStarted(absl::StrCat("it ended at once; ", LogTail()));
    if (absl::Now() > give_up) {
      return NotStarted(
          absl::StrCat("it does not listen after ", kDaemonStartSecondsMax, " s; ", LogTail()));
    }
    absl::SleepFor(kPoll);
  }
  server_ = absl::StrCat("127.0.0.1:", std::atoi(ReadText(Path("port")).c_str()));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PrivateDaemon>> PrivateDaemon::Start(
    const std::string& model_folder, const std::vector<std::string>& precisions,
    const Canceller& interrupt) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
  std::string folder = (parent / "darkroom-eval-XXXXXX").string();
  if (error || ::mkdtemp(folder.data()) == nullptr) {
    return NotStarted(absl::StrCat("cannot make a folder in ", parent.string()));
  }
  std::unique_ptr<PrivateDaemon> daemon(new PrivateDaemon());
  daemon->folder_ = folder;
  absl::Status status = daemon->WriteConfig(model_folder, precisions);
  if (status.ok()) status = daemon->Spawn();
  if (status.ok()) status = daemon->AwaitPort(interrupt);
  if (!status.ok()) return status;
  return daemon;
}

PrivateDaemon::~PrivateDaemon() {
  const absl::Time asked = absl::Now();
  // The first signal lets it finish what it has, which is nothing any more; the second says that
  // this does not matter.
  int told = 0;
  while (!Ended()) {
    const absl::Duration waited = absl::Now() - asked;
    if (waited > absl::Seconds(kDaemonStopSecondsMax)) {
      ::kill(pid_, SIGKILL);
    } else if (told == 0 || (told == 1 && waited > absl::Seconds(kDaemonDrainSecondsMax))) {
      ::kill(pid_, SIGTERM);
      ++told;
    }
    absl::SleepFor(kPoll);
  }
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

absl::Status PrivateDaemon::Explain(const absl::Status& status) {
  if (status.ok()) return status;
  // A connection breaks a moment before its process is gone, and a daemon ends when it could load
  // none of its models: calls meanwhile fail in one way or another.
  const bool ending = absl::IsUnavailable(status) || absl::IsCancelled(status) ||
                      absl::IsFailedPrecondition(status);
  const absl::Time give_up = absl::Now() + absl::Milliseconds(kDaemonGoneMillisMax);
  while (ending && !Ended() && absl::Now() < give_up) absl::SleepFor(kPoll);
  if (!Ended()) return status;
  return Error(absl::StatusCode::kUnavailable, "DAEMON_ENDED",
               absl::StrCat("the daemon of this evaluation ended; ", LogTail()));
}

}  // namespace darkroom::cli
