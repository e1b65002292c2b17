#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/client.h"

namespace darkroom::testing {

// A real darkroomd on a free loopback port, with real worker processes, for tests. Ends what it
// started, by process id, when it goes.
class DaemonProcess {
 public:
  struct Options {
    std::string model;  // folder
    std::string state;  // folder; survives the process
    bool fake_worker = false;
    std::vector<std::string> arguments;              // after the usual ones
    std::map<std::string, std::string> environment;  // added
    std::string credential;                          // of `client`
    std::string log_level = "warning";
  };

  explicit DaemonProcess(Options options) : options_(std::move(options)) {}
  ~DaemonProcess() { Kill(); }
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // Returns once it listens and, unless `ready` is false, its model is ready; fails the test
  // otherwise.
  void Start(bool ready = true);
  // kill -9.
  void Kill();
  // SIGTERM; its exit code, or -1 when it had to be killed after `timeout`.
  int Terminate(absl::Duration timeout);
  // kill -9 to its first live worker; false when there is none.
  bool KillWorker();

  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  Client& client() { return *client_; }
  std::string server() const { return server_; }
  std::string admin_server() const { return admin_server_; }
  // How `client` is connected, for others.
  Client::Options ClientOptions() const;
  std::string log() const;

 private:
  int Wait(absl::Duration timeout);

  const Options options_;
  pid_t pid_ = -1;
  std::string server_;
  std::string admin_server_;
  std::unique_ptr<Client> client_;
};

// A request for one picture of the fake model or of a class.
v1::GenerateRequest PictureRequest(const std::string& prompt, int size, int steps, int64_t seed,
                                   double guidance_scale = 4.0);

// Creates, waits for the end, and returns the generation as it ended.
absl::StatusOr<v1::Generation> GenerateAndWait(Client& client, const v1::GenerateRequest& request);

}  // namespace darkroom::testing
