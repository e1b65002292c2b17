#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "darkroom/blob.h"
#include "darkroom/engine.h"
#include "darkroom/picture_decoder.h"
#include "darkroom/worker_pool.h"
#include "engine/controller.h"
#include "engine/decision_file.h"
#include "engine/event_hub.h"
#include "engine/work_queue.h"
#include "store/store_thread.h"

namespace darkroom::engine {

struct LocalEngineOptions {
  ControllerConfig controller;
  WorkerSpec worker;  // how to start one
  std::string version;
  // The file of measured costs; empty: they are not kept.
  std::string costs_path;
  // Where decisions are recorded, if the controller's configuration says so: a folder, and the
  // bytes that it may hold.
  std::string decision_folder;
  int64_t decision_bytes_max = 0;
  // Decodes again what a restart has found. Must outlive the engine; null where nothing ever does.
  PictureDecoder* pictures = nullptr;
  // Told now and then to delete what has expired; must not block. May be empty.
  std::function<void()> on_purge;
  // Called once each, while an event is handled; must only signal.
  std::function<void()> on_drained;
  std::function<void(const absl::Status&)> on_fatal;
};

// The engine of one daemon: the control thread around a Controller, and the threads that carry out
// what it orders.
//
//   gateway --calls--> [queue] --events--> control thread --commands--> store thread, worker pool,
//   workers --messages--> [queue]                                       media threads, event hub
//   store, media --completions--> [queue]
//
// A worker's message that finds the control thread asleep is handled at once by the thread that
// brings it: a step's report is the one event that everybody waits for, and a wake-up costs more
// than its handling.
//
// Lifetime: Start, then calls, then Stop. What is passed in must outlive it; the worker pool must
// have been given this object as its sink.
class LocalEngine final : public Engine, public WorkerSink {
 public:
  LocalEngine(LocalEngineOptions options, StoreThread& store, BlobStore& blobs, Clock& clock);
  ~LocalEngine() override;
  LocalEngine(const LocalEngine&) = delete;
  LocalEngine& operator=(const LocalEngine&) = delete;

  // `unfinished`: what the store held at start.
  void Start(WorkerPool& workers, Recovered unfinished);
  // A tenant is treated so from the next call on. Thread-safe; never blocks.
  void SetTenant(TenantPolicy policy);
  // Ends all that the tenant has, and takes nothing more from it until SetTenant names it again;
  // done when nothing of it is left. Likewise.
  void RemoveTenant(const std::string& tenant, Callback<absl::Status> done);

  // Refuses new work; on_drained once all that was accepted has ended.
  void Drain();
  // Ends the threads. Generations that run go on at the next start.
  void Stop();

  void SubmitGeneration(Submit submit, Callback<absl::StatusOr<v1::Generation>> done) override;
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

  void OnWorkerMessage(WorkerId worker, v1::FromWorker message,
                       std::vector<Payload> attachments) override;
  void OnWorkerLost(WorkerId worker, LostCause cause, std::string detail) override;

 private:
  using GenerationCallback = Callback<absl::StatusOr<v1::Generation>>;
  using EstimateCallback = Callback<absl::StatusOr<v1::EstimateGenerationResponse>>;
  using StatusCallback = Callback<absl::StatusOr<v1::GetStatusResponse>>;
  using AnyCallback = std::variant<GenerationCallback, EstimateCallback, StatusCallback>;

  Now Time() const;
  void RunControl();
  // False when the engine stops.
  bool HandleQueued() ABSL_EXCLUSIVE_LOCKS_REQUIRED(control_mutex_);
  void HandleOne(Event event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(control_mutex_);
  void PublishSnapshots(Now now, bool models) ABSL_EXCLUSIVE_LOCKS_REQUIRED(control_mutex_);

  void Execute() ABSL_EXCLUSIVE_LOCKS_REQUIRED(control_mutex_);
  void Do(Reply&& command);
  void Do(ReplyEstimate&& command);
  void Do(ReplyStatus&& command);
  void Do(ReplyFromStore&& command);
  void Do(ReplyRefused&& command);
  void Do(WriteCreate&& command);
  void Do(PrepareInputs&& command);
  void Do(WriteUpdate&& command);
  void Do(WriteDelete&& command);
  void Do(PurgeEnded&& command);
  void Do(StartWorker&& command);
  void Do(SendToWorker&& command);
  void Do(KillWorker&& command);
  void Do(EncodeMedia&& command);
  void Do(EncodePreview&& command);
  void Do(OpenTopic&& command);
  void Do(Publish&& command);
  void Do(CloseTopic&& command);
  void Do(SaveCosts&& command);
  void Do(RecordDecision&& command);
  void Do(Drained&& command);
  void Do(Fatal&& command);

  void WriteCostsFile(const std::string& text);
  void PostCreate(WriteCreate command);
  void DeleteBlobs(const std::string& name);
  void DecodeInput(std::shared_ptr<InputsPrepared> prepared, v1::GenerateRequest request,
                   int index);

  CallId AddCall(AnyCallback done);
  // Empty when it was taken before.
  template <typename Done = GenerationCallback>
  Done TakeCall(CallId call);
  // Posts an event that a caller waits for; the call is answered when the queue is full.
  template <typename T, typename Received>
  void PostCall(Received received, Callback<absl::StatusOr<T>> done);
  // Runs `done(value)` on the notifier.
  template <typename T>
  void Answer(Callback<T> done, T value);
  template <typename T>
  void ReadStore(absl::AnyInvocable<T(GenerationStore&)> read, Callback<T> done);

  const LocalEngineOptions options_;
  StoreThread& store_;
  BlobStore& blobs_;
  Clock& clock_;
  WorkerPool* workers_ = nullptr;

  BoundedQueue<Event> events_;
  WorkQueue notifier_;
  WorkQueue media_;
  // One thread, so that decisions are written in their order.
  WorkQueue recorder_;
  std::unique_ptr<DecisionFile> decisions_;  // its thread's; null when nothing is recorded
  bool decisions_behind_ = false;            // as control_mutex_ guards
  EventHub hub_;
  // Held by the control thread or, while that sleeps, by the pool's thread that brings a worker's
  // message: the controller sees one event at a time, in the order of the queue.
  Mutex control_mutex_;
  Controller controller_ ABSL_GUARDED_BY(control_mutex_);
  std::vector<Event> batch_ ABSL_GUARDED_BY(control_mutex_);
  Commands commands_ ABSL_GUARDED_BY(control_mutex_);
  std::thread control_thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> previews_queued_{0};

  Mutex calls_mutex_;
  CallId last_call_ ABSL_GUARDED_BY(calls_mutex_) = 0;
  std::map<CallId, AnyCallback> calls_ ABSL_GUARDED_BY(calls_mutex_);

  mutable Mutex snapshot_mutex_;
  std::vector<v1::Model> models_ ABSL_GUARDED_BY(snapshot_mutex_);
  v1::ServerInfo info_ ABSL_GUARDED_BY(snapshot_mutex_);
};

}  // namespace darkroom::engine
