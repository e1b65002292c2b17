#include "testing/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

namespace darkroom::testing {
namespace {

// Two ends: the test's, the program's.
std::array<int, 2> OpenPipe() {
  std::array<int, 2> ends{-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  return ends;
}

std::array<int, 2> OpenTerminal() {
  const int controller = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (controller < 0 || grantpt(controller) != 0 || unlockpt(controller) != 0) std::abort();
  const int terminal = open(ptsname(controller), O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) std::abort();
  return {controller, terminal};
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// True when there may be more.
bool ReadFrom(int fd, std::string& text) {
  std::array<char, 65'536> buffer;
  const ssize_t size = read(fd, buffer.data(), buffer.size());
  // A terminal whose last program ended gives EIO.
  if (size <= 0) return false;
  text.append(buffer.data(), static_cast<size_t>(size));
  return true;
}

}  // namespace

Subprocess::Subprocess(const std::vector<std::string>& arguments, const Options& options)
    : silence_ms_max_(options.silence_ms_max) {
  const auto out = OpenPipe();
  const auto err = options.terminal ? OpenTerminal() : OpenPipe();
  out_fd_ = out[0];
  err_fd_ = err[0];
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  std::vector<std::string> owned_arguments = arguments;
  std::vector<std::string> owned_environment = options.environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    owned_environment.emplace_back(*variable);
  }
  const std::vector<char*> argv = Pointers(owned_arguments);
  const std::vector<char*> envp = Pointers(owned_environment);
  pid_t pid = -1;
  if (posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), envp.data()) == 0) pid_ = pid;
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  close(err[1]);
}

Subprocess::~Subprocess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (out_fd_ >= 0) close(out_fd_);
  if (err_fd_ >= 0) close(err_fd_);
}

bool Subprocess::ReadSome() {
  std::array<pollfd, 2> fds = {pollfd{out_fd_, POLLIN, 0}, pollfd{err_fd_, POLLIN, 0}};
  if ((out_fd_ < 0 && err_fd_ < 0) || poll(fds.data(), fds.size(), silence_ms_max_) <= 0)
    return false;
  if (fds[0].revents != 0 && !ReadFrom(out_fd_, out_)) {
    close(out_fd_);
    out_fd_ = -1;
  }
  if (fds[1].revents != 0 && !ReadFrom(err_fd_, err_)) {
    close(err_fd_);
    err_fd_ = -1;
  }
  return true;
}

bool Subprocess::AwaitText(const std::string& text) {
  while (out_.find(text) == std::string::npos && err_.find(text) == std::string::npos) {
    if (!ReadSome()) return false;
  }
  return true;
}

void Subprocess::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

int Subprocess::Wait() {
  if (pid_ < 0) return -1;
  while (ReadSome()) {
  }
  // Both streams ended, or it hangs.
  if (out_fd_ >= 0 || err_fd_ >= 0) kill(pid_, SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace darkroom::testing
