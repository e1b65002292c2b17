#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "base/mutex.h"
#include "darkroom/engine.h"

namespace darkroom::testing {

// An engine without workers or disk: keeps generations and their events in memory, and makes
// outputs of bytes that the test chooses. Generations advance by themselves, or only when the test
// says so. All callbacks run on one thread of its own, as the contract asks. Thread-safe.
class FakeEngine final : public Engine {
 public:
  struct Options {
    // True: each accepted generation runs through at once. False: Start, Step, Finish move it.
    bool automatic = true;
    // Encoded size of every output.
    int64_t output_bytes = 1000;
    // Milliseconds that one step of an automatic generation takes.
    int step_ms = 0;
  };
  FakeEngine() : FakeEngine(Options()) {}
  explicit FakeEngine(Options options);
  // Runs what callbacks are due, then stops its thread.
  ~FakeEngine() override;
  FakeEngine(const FakeEngine&) = delete;
  FakeEngine& operator=(const FakeEngine&) = delete;

  // Two models, both ready: "models/dit", class-conditional, sizes 64 to 256 by 8, square, at most
  // 250 steps and 8 images; and "models/flux", free prompts of up to 512 tokens, 256 to 1024 by 16,
  // distilled guidance, pictures in.
  static v1::Model Dit();
  static v1::Model Flux();

  void SetModels(std::vector<v1::Model> models);
  void SetInfo(v1::ServerInfo info);
  // Every later submission fails with this; OK ends it.
  void RefuseSubmissions(absl::Status status);
  // Every later ReadOutput, Watch fails with this; OK ends it.
  void FailReads(absl::Status status);
  void FailWatches(absl::Status status);
  // Callbacks wait from now on until ReleaseCallbacks.
  void HoldCallbacks();
  void ReleaseCallbacks();

  // Moves a generation by hand; it must exist.
  void Start(const std::string& name);
  void Step(const std::string& name);
  void Finish(const std::string& name);
  void Fail(const std::string& name, const absl::Status& status);
  // Puts a finished generation of any tenant into the store.
  void Insert(const v1::Generation& generation);

  // What happened.
  std::vector<Submit> submitted() const;
  std::vector<std::string> cancelled() const;
  // Generations whose last attached stream went before their end, in order.
  std::vector<std::string> abandoned() const;
  // Names asked for with Get, Cancel, Delete, Watch or ReadOutput.
  std::vector<std::string> names_asked() const;
  int open_streams() const;
  // Events handed out by TryNext, and outputs read.
  int64_t events_taken() const;
  int64_t outputs_read() const;
  v1::Generation Get(const std::string& name) const;

  // The bytes of output `index`, a pattern of `size` bytes.
  static std::string OutputBytes(int64_t size, int index);

  // Engine.
  void SubmitGeneration(Submit submit, Callback<absl::StatusOr<v1::Generation>> done) override;
  // Refuses as a submission would; otherwise half a second from 2023-11-14T22:13:20Z on.
  void FindRequest(const std::string& tenant, const std::string& request_id,
                   const std::string& request_hash,
                   Callback<absl::StatusOr<v1::Generation>> done) override;
  void EstimateGeneration(Submit submit,
                          Callback<absl::StatusOr<v1::EstimateGenerationResponse>> done) override;
  void GetStatus(Callback<absl::StatusOr<v1::GetStatusResponse>> done) override;
  void GetGeneration(const std::string& name,
                     Callback<absl::StatusOr<v1::Generation>> done) override;
  void ListGenerations(const GenerationStore::ListQuery& query,
                       Callback<absl::StatusOr<GenerationStore::ListPage>> done) override;
  void CancelGeneration(const std::string& name,
                        Callback<absl::StatusOr<v1::Generation>> done) override;
  void DeleteGeneration(const std::string& name, Callback<absl::Status> done) override;
  void ReadOutput(const std::string& name, int index,
                  Callback<absl::StatusOr<Payload>> done) override;
  void Watch(const std::string& name, int64_t after_sequence, bool attached,
             absl::AnyInvocable<void()> on_ready,
             Callback<absl::StatusOr<std::unique_ptr<EventStream>>> done) override;
  std::vector<v1::Model> Models() const override;
  v1::ServerInfo Info() const override;

 private:
  using Task = absl::AnyInvocable<void() &&>;
  using Event = std::shared_ptr<const v1::GenerateEvent>;
  class Stream;
  struct Watcher;

  struct Entry {
    v1::Generation generation;
    std::string request_id;
    std::string request_hash;
    Abandon abandon = Abandon::kKeep;
    std::vector<Event> events;  // kept ones
    Event progress;             // the latest
    std::vector<std::shared_ptr<Watcher>> watchers;
    int64_t next_sequence = 1;
    bool ended = false;
  };

  void Run();
  void Post(Task task, int delay_ms = 0) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Steps of a generation's life.
  void StartLocked(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StepLocked(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishLocked(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLocked(Entry& entry, v1::Generation::State state, const absl::Status& error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddEvent(Entry& entry, v1::GenerateEvent event, int64_t sequences = 1)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeWatchers(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Advance(const std::string& name);
  absl::StatusOr<v1::Generation> KnownRequest(const std::string& request_id,
                                              const std::string& request_hash)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry* Find(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Detach(const std::string& name, const std::shared_ptr<Watcher>& watcher);
  EventStream::Next Next(const std::string& name, Watcher& watcher, Event& event);

  const Options options_;
  mutable Mutex mutex_;
  CondVar wake_;
  std::multimap<std::chrono::steady_clock::time_point, Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, Entry> generations_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<int64_t, int>, Payload> payloads_ ABSL_GUARDED_BY(mutex_);  // size, index
  int64_t created_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<v1::Model> models_ ABSL_GUARDED_BY(mutex_);
  v1::ServerInfo info_ ABSL_GUARDED_BY(mutex_);
  absl::Status refuse_submissions_ ABSL_GUARDED_BY(mutex_);
  absl::Status fail_reads_ ABSL_GUARDED_BY(mutex_);
  absl::Status fail_watches_ ABSL_GUARDED_BY(mutex_);
  std::vector<Submit> submitted_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> abandoned_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> names_asked_ ABSL_GUARDED_BY(mutex_);
  int open_streams_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t events_taken_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t outputs_read_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace darkroom::testing
