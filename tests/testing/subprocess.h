#pragma once

#include <string>
#include <vector>

namespace darkroom::testing {

// A program run by a test, with its standard output and error captured. Not thread-safe.
class Subprocess {
 public:
  struct Options {
    // Added to this process's environment: "NAME=value".
    std::vector<std::string> environment;
    // Standard error is a terminal, as for a person.
    bool terminal = false;
    // How long it may be silent before it counts as hanging.
    int silence_ms_max = 20'000;
  };
  explicit Subprocess(const std::vector<std::string>& arguments)
      : Subprocess(arguments, Options()) {}
  Subprocess(const std::vector<std::string>& arguments, const Options& options);
  // Kills what still runs.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  // Reads until the output so far (both streams together) has `text`; false when the program ends,
  // or is silent for too long, first.
  bool AwaitText(const std::string& text);
  void Signal(int signal);
  // Reads to the end and returns the exit code; minus the signal that ended it.
  int Wait();

  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

 private:
  // Waits for output and reads it; false when both streams have ended or time is up.
  bool ReadSome();

  const int silence_ms_max_;
  int pid_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  std::string out_;
  std::string err_;
};

}  // namespace darkroom::testing
