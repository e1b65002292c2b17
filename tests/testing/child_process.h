#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "gtest/gtest.h"

namespace darkroom::testing {

// A forked copy of this process that runs `body` and tells its parent numbers through a pipe. It is
// killed when this object goes, and dies with its parent. REQUIRES: no other thread runs at the
// fork.
class ChildProcess {
 public:
  // What the child says: Tell is durable as soon as it returns, also when the child is killed then.
  class Teller {
   public:
    explicit Teller(int fd) : fd_(fd) {}
    // Whole or not at all, because it is shorter than PIPE_BUF. Thread-safe.
    void Tell(int64_t number) const {
      if (::write(fd_, &number, sizeof(number)) != sizeof(number)) ::_exit(1);
    }

   private:
    int fd_;
  };

  // The child's exit status is what `body` returns.
  explicit ChildProcess(const std::function<int(const Teller&)>& body) {
    int ends[2] = {-1, -1};
    if (::pipe(ends) != 0) {
      ADD_FAILURE() << "no pipe";
      return;
    }
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::close(ends[0]);
      ::_exit(body(Teller(ends[1])));
    }
    ::close(ends[1]);
    told_ = ends[0];
    if (pid_ < 0) ADD_FAILURE() << "no child";
  }

  ~ChildProcess() {
    Kill();
    Wait();
    if (told_ >= 0) ::close(told_);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void Kill() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }

  // Everything told until the child ended, in order; `until` sees each as it comes, and kills the
  // child by returning false.
  std::vector<int64_t> ReadAll(const std::function<bool(int64_t)>& until = {}) {
    std::vector<int64_t> numbers;
    int64_t number = 0;
    while (::read(told_, &number, sizeof(number)) == sizeof(number)) {
      numbers.push_back(number);
      if (until && !until(number)) Kill();
    }
    return numbers;
  }

  // The status of waitpid; -1 when it was asked for before.
  int Wait() {
    if (pid_ <= 0) return -1;
    int status = -1;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  int told_ = -1;
};

}  // namespace darkroom::testing
