#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "darkroom/engine.h"
#include "gateway/input_gatherer.h"
#include "gateway/limits.h"

namespace darkroom {

// The gRPC listener: generation, model, admin and health services on one address. Its methods may
// be called on any thread, one at a time.
class Gateway {
 public:
  struct Options {
    // See CheckedListenAddress.
    std::string address = "127.0.0.1:50051";
    // Open calls, streams included; more are refused.
    int calls_max = gateway_limits::kCallsMaxDefault;
    // The tenants that there are (CallGate); "local" is always one.
    std::vector<std::string> tenants;
    // 64 random bits for seeds that nobody chose; called on several threads at once. Unset: the
    // system's.
    std::function<uint64_t()> random;
    // Must outlive the gateway.
    PictureServices pictures;
    // Of one upload.
    int64_t upload_bytes_max = gateway_limits::kUploadBytesMaxDefault;
  };

  // Listens and serves. `engine` and `clock` must outlive the gateway. INVALID_ARGUMENT for a bad
  // option; UNAVAILABLE (LISTEN_FAILED) when the address cannot be bound. These errors are for the
  // operator and name the address.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(const Options& options, Engine& engine,
                                                        Clock& clock);
  // Shuts down without grace.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // The bound port.
  int port() const;

  // Open calls, streams included.
  int64_t open_calls() const;

  // What health probes hear of the whole server and of darkroom.v1.GenerationService: SERVING or
  // NOT_SERVING. SERVING after Start.
  void SetServing(bool serving);

  // Probes hear NOT_SERVING from now on; calls go on. New work is the engine's to refuse.
  void Drain();

  // Stops accepting, tells clients to go elsewhere (GOAWAY), gives open calls `grace` to end,
  // cancels the rest and returns when none is left. Again: nothing.
  void Shutdown(absl::Duration grace);

 private:
  struct Server;
  explicit Gateway(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace darkroom
