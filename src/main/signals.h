#pragma once

#include <csignal>
#include <functional>
#include <thread>

namespace darkroom {

// SIGTERM and SIGINT as calls on a thread of their own. Made first in main, so that every thread
// that starts later has them blocked.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
  }

  void Listen(std::function<void(int)> on_signal) {
    std::thread([set = set_, on_signal = std::move(on_signal)] {
      int signal = 0;
      while (sigwait(&set, &signal) == 0) on_signal(signal);
    }).detach();  // waits for signals until the process ends
  }

 private:
  sigset_t set_{};
};

}  // namespace darkroom
