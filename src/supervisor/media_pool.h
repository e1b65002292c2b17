#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "darkroom/picture_decoder.h"
#include "darkroom/worker_pool.h"
#include "supervisor/limits.h"

namespace darkroom {

// Decodes pictures in processes of their own: one per thread of the pool, started when the first
// picture comes, given one picture at a time, and killed and started again whenever one crashes,
// says nonsense or takes too long. That costs the picture it had, and nothing else.
//
// Destruction answers what is queued with UNAVAILABLE and ends the processes.
class MediaPool final : public PictureDecoder {
 public:
  struct Options {
    WorkerSpec decoder;  // darkroom-media
    int processes = kMediaProcesses;
    int64_t timeout_ns = kMediaTimeoutNanos;
  };
  explicit MediaPool(Options options);
  ~MediaPool() override;
  MediaPool(const MediaPool&) = delete;
  MediaPool& operator=(const MediaPool&) = delete;

  void Decode(Payload bytes, PictureUse use, Done done) override;

  // Processes started so far. Any thread.
  int started() const { return started_.load(); }

 private:
  class Decoder;
  struct Task {
    Payload bytes;
    PictureUse use = PictureUse::kCheck;
    Done done;
  };

  void Run();

  const Options options_;
  BoundedQueue<Task> queue_;
  std::atomic<bool> closing_{false};
  std::atomic<int> started_{0};
  std::vector<std::thread> threads_;
};

}  // namespace darkroom
