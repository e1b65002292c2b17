#include "engine/local_engine.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "engine/job_terms.h"
#include "engine/limits.h"
#include "media/overlay.h"
#include "media/png.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {
namespace {

absl::Status Busy() {
  return Error(absl::StatusCode::kResourceExhausted, "SERVER_BUSY",
               "the server has too many calls waiting; try again soon")
      .RetryAfter(absl::Milliseconds(200));
}

uint64_t Random64() {
  thread_local std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

absl::Span<const uint8_t> AsPixels(std::string_view bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

// The pixels with what the mask keeps put back; empty where there is nothing to put back.
absl::StatusOr<std::string> WithOverlay(const EncodeMedia& command) {
  if (command.overlay.mask.empty()) return std::string();
  std::string pixels(command.pixels.bytes());
  const absl::Status status = OverlayUnmasked(
      AsPixels(command.overlay.init_image.bytes()), AsPixels(command.overlay.mask.bytes()),
      absl::MakeSpan(reinterpret_cast<uint8_t*>(pixels.data()), pixels.size()));
  if (!status.ok()) return status;
  return pixels;
}

}  // namespace

LocalEngine::LocalEngine(LocalEngineOptions options, StoreThread& store, BlobStore& blobs,
                         Clock& clock)
    : options_(std::move(options)),
      store_(store),
      blobs_(blobs),
      clock_(clock),
      events_(kControlQueueMax),
      notifier_(1, kControlQueueMax),
      media_(options_.controller.media_threads, kControlQueueMax),
      recorder_(1, kControlQueueMax),
      hub_([this](absl::AnyInvocable<void()> work) { notifier_.Post(std::move(work)); },
           [this](const std::string& name, bool attached) {
             if (attached) {
               events_.Push(StreamsBack{name});
             } else {
               events_.Push(StreamsGone{name});
             }
           }),
      controller_(options_.controller) {}

LocalEngine::~LocalEngine() { Stop(); }

void LocalEngine::Start(WorkerPool& workers, Recovered unfinished) {
  workers_ = &workers;
  if (options_.controller.record_decisions) {
    auto file = DecisionFile::Open(options_.decision_folder, options_.controller.boot,
                                   options_.decision_bytes_max);
    if (file.ok()) {
      decisions_ = *std::move(file);
    } else {
      spdlog::warn("{}; nothing is recorded", std::string(file.status().message()));
    }
  }
  {
    MutexLock lock(control_mutex_);
    controller_.Start(Time(), commands_);
    controller_.Handle(std::move(unfinished), Time(), commands_);
    PublishSnapshots(Time(), true);
    Execute();
  }
  control_thread_ = std::thread([this] { RunControl(); });
}

void LocalEngine::Drain() { events_.Push(DrainRequested{}); }

void LocalEngine::Stop() {
  if (stopping_.exchange(true)) return;
  events_.Close();
  if (control_thread_.joinable()) control_thread_.join();
  media_.Stop();
  notifier_.Stop();
  recorder_.Stop();
  MutexLock lock(control_mutex_);
  WriteCostsFile(controller_.CostsText());
}

// ---- the control thread ----

Now LocalEngine::Time() const { return {clock_.MonotonicNanos(), clock_.WallTime()}; }

void LocalEngine::RunControl() {
  int64_t tick_at_ns = 0;
  while (true) {
    events_.WaitForItem(std::max<int64_t>(0, tick_at_ns - clock_.MonotonicNanos()));
    MutexLock lock(control_mutex_);
    if (!HandleQueued()) return;
    const Now now = Time();
    if (now.mono_ns >= tick_at_ns) {
      tick_at_ns = now.mono_ns + kTickNs;
      HandleOne(Tick{});
      PublishSnapshots(now, false);
    }
  }
}

bool LocalEngine::HandleQueued() {
  batch_.clear();
  if (!events_.PopAll(batch_, kControlBatchMax, 0)) return false;
  // Closing means now: what is queued is on disk or will be asked for again.
  if (stopping_.load()) return false;
  for (Event& event : batch_) HandleOne(std::move(event));
  return true;
}

void LocalEngine::HandleOne(Event event) {
  const auto* said = std::get_if<WorkerSaid>(&event);
  const bool changes_models = (said != nullptr && said->message.has_model_loaded()) ||
                              std::holds_alternative<WorkerGone>(event) ||
                              std::holds_alternative<DrainRequested>(event);
  const Now now = Time();
  controller_.Handle(std::move(event), now, commands_);
  if (changes_models) PublishSnapshots(now, true);
  Execute();
}

void LocalEngine::PublishSnapshots(Now now, bool models) {
  v1::ServerInfo info = controller_.Describe(now);
  info.set_version(options_.version);
  MutexLock lock(snapshot_mutex_);
  info_ = std::move(info);
  if (models) models_ = controller_.Models();
}

void LocalEngine::Execute() {
  for (Command& command : commands_) {
    std::visit([this](auto& c) { Do(std::move(c)); }, command);
  }
  commands_.clear();
}

void LocalEngine::Do(Reply&& command) {
  if (GenerationCallback done = TakeCall(command.call)) {
    Answer(std::move(done), std::move(command.result));
  }
}

void LocalEngine::Do(ReplyEstimate&& command) {
  if (auto done = TakeCall<EstimateCallback>(command.call)) {
    Answer(std::move(done), std::move(command.result));
  }
}

void LocalEngine::Do(ReplyStatus&& command) {
  command.status.mutable_server()->set_version(options_.version);
  if (auto done = TakeCall<StatusCallback>(command.call)) {
    Answer(std::move(done), absl::StatusOr<v1::GetStatusResponse>(std::move(command.status)));
  }
}

void LocalEngine::Do(ReplyFromStore&& command) {
  if (GenerationCallback done = TakeCall(command.call)) {
    GetGeneration(command.name, std::move(done));
  }
}

void LocalEngine::Do(ReplyRefused&& command) {
  GenerationCallback done = TakeCall(command.call);
  if (!done) return;
  FindRequest(command.tenant, command.request_id, command.request_hash,
              [done = std::move(done),
               refusal = std::move(command.status)](absl::StatusOr<v1::Generation> found) mutable {
                const bool known = found.ok() || absl::IsAlreadyExists(found.status());
                if (!known) found = std::move(refusal);
                std::move(done)(std::move(found));
              });
}

void LocalEngine::Do(WriteCreate&& command) {
  if (command.inputs.empty()) return PostCreate(std::move(command));
  // The pictures first: a generation that is in the store has them.
  media_.Post([this, command = std::move(command)]() mutable {
    const std::string name = command.create.generation.name();
    for (size_t i = 0; i < command.inputs.size(); ++i) {
      const absl::Status put =
          blobs_.Put(InputBlobKey(name, static_cast<int>(i)), command.inputs[i].bytes());
      if (put.ok()) continue;
      blobs_.Delete(name).IgnoreError();
      events_.Push(CreateDone{command.call, name, {}, put});
      return;
    }
    PostCreate(std::move(command));
  });
}

void LocalEngine::PostCreate(WriteCreate command) {
  struct State {
    WriteCreate command;
    absl::StatusOr<GenerationStore::Created> created;
  };
  auto state = std::make_shared<State>(State{std::move(command), absl::InternalError("not run")});
  const std::string name = state->command.create.generation.name();
  auto body = [state](GenerationStore& store) {
    state->created = store.Create(state->command.create);
    if (state->created.ok() && state->created->inserted) {
      const absl::Status appended =
          store.Update(state->created->generation, {&state->command.queued, 1});
      if (!appended.ok()) state->created = appended;
    }
  };
  auto done = [this, state, name](const absl::Status& committed) {
    if (!committed.ok()) state->created = committed;
    const bool inserted = state->created.ok() && state->created->inserted;
    if (!inserted && !state->command.inputs.empty()) {
      media_.Post([this, name] { DeleteBlobs(name); });
    }
    events_.Push(CreateDone{state->command.call, name, std::move(state->command.queued),
                            std::move(state->created)});
  };
  if (!store_.Post(StoreThread::Write{std::move(body), std::move(done)})) {
    events_.Push(CreateDone{state->command.call, name, {}, Busy()});
  }
}

void LocalEngine::DeleteBlobs(const std::string& name) {
  const absl::Status deleted = blobs_.Delete(name);
  if (!deleted.ok()) spdlog::error("pictures of {} could not be deleted", name);
}

void LocalEngine::Do(PrepareInputs&& command) {
  auto prepared = std::make_shared<InputsPrepared>();
  prepared->name = command.name;
  DecodeInput(std::move(prepared), std::move(command.request), 0);
}

// Reads and decodes input `index`, then the others, then tells the control thread.
void LocalEngine::DecodeInput(std::shared_ptr<InputsPrepared> prepared, v1::GenerateRequest request,
                              int index) {
  if (!prepared->status.ok() || index == request.inputs_size()) {
    events_.Push(std::move(*prepared));
    return;
  }
  media_.Post([this, prepared = std::move(prepared), request = std::move(request),
               index]() mutable {
    auto bytes = blobs_.Get(InputBlobKey(prepared->name, index));
    if (bytes.ok() && options_.pictures == nullptr) {
      bytes = absl::UnavailableError("no decoder of pictures");
    }
    if (!bytes.ok()) {
      prepared->status = bytes.status();
      events_.Push(std::move(*prepared));
      return;
    }
    const v1::InputImage input = request.inputs(index);
    auto next = [this, prepared, request = std::move(request), index,
                 is_mask =
                     input.role() == v1::INPUT_ROLE_MASK](absl::StatusOr<Picture> picture) mutable {
      prepared->status = picture.status();
      if (picture.ok()) {
        (is_mask ? prepared->inputs.mask : prepared->inputs.init_image) = picture->pixels;
      }
      DecodeInput(std::move(prepared), std::move(request), index + 1);
    };
    options_.pictures->Decode(*std::move(bytes), UseOf(input), std::move(next));
  });
}

void LocalEngine::Do(WriteUpdate&& command) {
  auto state =
      std::make_shared<std::pair<WriteUpdate, absl::Status>>(std::move(command), absl::OkStatus());
  // Bounded by the generations that are live, each with a few changes on the way: never refused.
  store_.PostAlways(StoreThread::Write{
      [state](GenerationStore& store) {
        state->second = store.Update(state->first.generation, state->first.events);
      },
      [this, state](const absl::Status& committed) {
        events_.Push(UpdateDone{state->first.write, committed.ok() ? state->second : committed});
      }});
}

void LocalEngine::Do(WriteDelete&& command) {
  auto state =
      std::make_shared<std::pair<WriteDelete, absl::Status>>(std::move(command), absl::OkStatus());
  const bool posted = store_.Post(StoreThread::Write{
      [state](GenerationStore& store) { state->second = store.Delete(state->first.name); },
      [this, state](const absl::Status& committed) {
        const absl::Status result = committed.ok() ? state->second : committed;
        if (result.ok()) {
          // The row is gone first: a crash in between leaves bytes that nobody can name.
          media_.Post([this, name = state->first.name] { DeleteBlobs(name); });
        }
        if (GenerationCallback done = TakeCall(state->first.call)) {
          Answer<absl::StatusOr<v1::Generation>>(
              std::move(done), result.ok() ? absl::StatusOr<v1::Generation>(v1::Generation())
                                           : absl::StatusOr<v1::Generation>(result));
        }
      }});
  if (!posted) {
    if (GenerationCallback done = TakeCall(state->first.call)) {
      Answer<absl::StatusOr<v1::Generation>>(std::move(done), Busy());
    }
  }
}

void LocalEngine::Do(PurgeEnded&& command) {
  if (options_.on_purge) options_.on_purge();
  auto purged = std::make_shared<std::vector<std::string>>();
  store_.Post(StoreThread::Write{[purged, before = command.before](GenerationStore& store) {
                                   auto names = store.PurgeEnded(before, kPurgeMax);
                                   if (names.ok()) *purged = *std::move(names);
                                 },
                                 [this, purged](const absl::Status& committed) {
                                   if (!committed.ok() || purged->empty()) return;
                                   media_.Post([this, purged] {
                                     for (const auto& name : *purged) DeleteBlobs(name);
                                   });
                                 }});
}

void LocalEngine::Do(StartWorker&& command) {
  WorkerSpec spec = options_.worker;
  spec.args.insert(spec.args.end(), {"--device", command.device});
  workers_->Start(command.worker, spec);
}

void LocalEngine::Do(SendToWorker&& command) {
  // A worker that is gone says so through the sink; nothing else to do here.
  workers_->Send(command.worker, std::move(command.message), std::move(command.attachments));
}

void LocalEngine::Do(KillWorker&& command) { workers_->Kill(command.worker); }

void LocalEngine::Do(EncodeMedia&& command) {
  media_.Post([this, command = std::move(command)] {
    const int64_t start_ns = clock_.MonotonicNanos();
    MediaDone done{command.job, command.sequence, 0, absl::OkStatus(), "", 0};
    std::vector<PngText> texts;
    for (const auto& [key, value] : command.texts) texts.push_back({key, value});
    const absl::StatusOr<std::string> overlaid = WithOverlay(command);
    const std::string_view rgb =
        overlaid.ok() && !overlaid->empty() ? std::string_view(*overlaid) : command.pixels.bytes();
    const auto png = overlaid.ok() ? EncodePng(AsPixels(rgb), command.width, command.height, texts)
                                   : absl::StatusOr<std::string>(overlaid.status());
    done.status = png.status();
    if (png.ok()) {
      done.sha256 = Sha256Hex(*png);
      done.size_bytes = static_cast<int64_t>(png->size());
      done.status = blobs_.Put(command.blob_key, *png);
    }
    done.duration_ns = clock_.MonotonicNanos() - start_ns;
    events_.Push(std::move(done));
  });
}

void LocalEngine::Do(EncodePreview&& command) {
  if (previews_queued_.fetch_add(1) >= kPreviewsQueuedMax) {
    --previews_queued_;
    return;
  }
  media_.Post([this, command = std::move(command)] {
    --previews_queued_;
    auto png = EncodePng(AsPixels(command.pixels.bytes()), command.width, command.height, {});
    if (!png.ok() || png->size() > kPreviewBytesMax) return;
    events_.Push(
        PreviewEncoded{command.generation, command.output_index, command.step, *std::move(png)});
  });
}

void LocalEngine::Do(OpenTopic&& command) { hub_.Open(command.name, command.past); }

void LocalEngine::Do(Publish&& command) {
  hub_.Publish(command.name, std::move(command.event), command.transient);
}

void LocalEngine::Do(CloseTopic&& command) { hub_.Close(command.name); }

void LocalEngine::WriteCostsFile(const std::string& text) {
  if (options_.costs_path.empty() || text.empty()) return;
  const absl::Status written = WriteCosts(options_.costs_path, text);
  if (!written.ok()) spdlog::warn("{}", std::string(written.message()));
}

void LocalEngine::Do(SaveCosts&& command) {
  // The recorder's one thread, so that the latest is written last.
  recorder_.Post([this, text = std::move(command.text)] { WriteCostsFile(text); });
}

void LocalEngine::Do(RecordDecision&& command) {
  if (decisions_ == nullptr || decisions_behind_) return;
  // A log with a gap would be worth nothing: where its writer falls behind, it ends.
  decisions_behind_ =
      !recorder_.TryPost([this, bytes = std::move(command.bytes)] { decisions_->Append(bytes); });
  if (decisions_behind_) spdlog::warn("the decision log ends here: the disk is too slow for it");
}

void LocalEngine::Do(Drained&&) {
  if (options_.on_drained) options_.on_drained();
}

void LocalEngine::Do(Fatal&& command) {
  if (options_.on_fatal) options_.on_fatal(command.status);
}

// ---- calls ----

CallId LocalEngine::AddCall(AnyCallback done) {
  MutexLock lock(calls_mutex_);
  calls_[++last_call_] = std::move(done);
  return last_call_;
}

template <typename Done>
Done LocalEngine::TakeCall(CallId call) {
  MutexLock lock(calls_mutex_);
  auto node = calls_.extract(call);
  return node.empty() ? Done() : std::get<Done>(std::move(node.mapped()));
}

template <typename T>
void LocalEngine::Answer(Callback<T> done, T value) {
  notifier_.Post([done = std::move(done), value = std::move(value)]() mutable {
    std::move(done)(std::move(value));
  });
}

template <typename T, typename Received>
void LocalEngine::PostCall(Received received, Callback<absl::StatusOr<T>> done) {
  const CallId call = AddCall(std::move(done));
  received.call = call;
  if (events_.TryPush(std::move(received))) return;
  if (auto refused = TakeCall<Callback<absl::StatusOr<T>>>(call)) {
    Answer<absl::StatusOr<T>>(std::move(refused), Busy());
  }
}

template <typename T>
void LocalEngine::ReadStore(absl::AnyInvocable<T(GenerationStore&)> read, Callback<T> done) {
  auto shared_done = std::make_shared<Callback<T>>(std::move(done));
  const bool posted = store_.Post(StoreThread::Read{
      [this, read = std::move(read), shared_done](GenerationStore& store) mutable {
        Answer<T>(std::move(*shared_done), read(store));
      }});
  if (!posted) Answer<T>(std::move(*shared_done), Busy());
}

void LocalEngine::SubmitGeneration(Submit submit, GenerationCallback done) {
  PostCall<v1::Generation>(SubmitReceived{0, std::move(submit), Random64(), Random64()},
                           std::move(done));
}

void LocalEngine::FindRequest(const std::string& tenant, const std::string& request_id,
                              const std::string& request_hash, GenerationCallback done) {
  ReadStore<absl::StatusOr<v1::Generation>>(
      [tenant, request_id, request_hash](GenerationStore& store) {
        return store.FindRequest(tenant, request_id, request_hash);
      },
      std::move(done));
}

void LocalEngine::EstimateGeneration(
    Submit submit, Callback<absl::StatusOr<v1::EstimateGenerationResponse>> done) {
  PostCall<v1::EstimateGenerationResponse>(EstimateReceived{0, std::move(submit)}, std::move(done));
}

void LocalEngine::GetStatus(Callback<absl::StatusOr<v1::GetStatusResponse>> done) {
  PostCall<v1::GetStatusResponse>(StatusReceived{}, std::move(done));
}

void LocalEngine::GetGeneration(const std::string& name, GenerationCallback done) {
  ReadStore<absl::StatusOr<v1::Generation>>(
      [this, name](GenerationStore& store) -> absl::StatusOr<v1::Generation> {
        auto generation = store.Get(name);
        if (generation.ok() && generation->state() == v1::Generation::STATE_RUNNING) {
          if (const auto steps = hub_.StepsDone(name)) generation->set_steps_done(*steps);
        }
        return generation;
      },
      std::move(done));
}

void LocalEngine::ListGenerations(const GenerationStore::ListQuery& query,
                                  Callback<absl::StatusOr<GenerationStore::ListPage>> done) {
  ReadStore<absl::StatusOr<GenerationStore::ListPage>>(
      [query](GenerationStore& store) { return store.List(query); }, std::move(done));
}

void LocalEngine::CancelGeneration(const std::string& name, GenerationCallback done) {
  PostCall<v1::Generation>(CancelReceived{0, name}, std::move(done));
}

void LocalEngine::DeleteGeneration(const std::string& name, Callback<absl::Status> done) {
  PostCall<v1::Generation>(DeleteReceived{0, name},
                           [done = std::move(done)](absl::StatusOr<v1::Generation> result) mutable {
                             std::move(done)(result.status());
                           });
}

void LocalEngine::SetTenant(TenantPolicy policy) {
  // Not refused: it is durable, and operators are few.
  events_.Push(TenantChanged{std::move(policy)});
}

void LocalEngine::RemoveTenant(const std::string& tenant, Callback<absl::Status> done) {
  const CallId call = AddCall(
      GenerationCallback([done = std::move(done)](absl::StatusOr<v1::Generation> result) mutable {
        std::move(done)(result.status());
      }));
  events_.Push(TenantGone{call, tenant});
}

void LocalEngine::ReadOutput(const std::string& name, int index,
                             Callback<absl::StatusOr<Payload>> done) {
  auto shared_done = std::make_shared<Callback<absl::StatusOr<Payload>>>(std::move(done));
  const bool posted = media_.TryPost([this, name, index, shared_done] {
    Answer<absl::StatusOr<Payload>>(std::move(*shared_done),
                                    blobs_.Get(absl::StrCat(name, "/", index)));
  });
  if (!posted) Answer<absl::StatusOr<Payload>>(std::move(*shared_done), Busy());
}

void LocalEngine::Watch(const std::string& name, int64_t after_sequence, bool attached,
                        absl::AnyInvocable<void()> on_ready,
                        Callback<absl::StatusOr<std::unique_ptr<EventStream>>> done) {
  using Result = absl::StatusOr<std::unique_ptr<EventStream>>;
  auto live = hub_.Watch(name, after_sequence, attached, std::move(on_ready));
  if (live != nullptr) return Answer<Result>(std::move(done), std::move(live));
  ReadStore<Result>(
      [name, after_sequence](GenerationStore& store) -> Result {
        const auto generation = store.Get(name);
        if (!generation.ok()) return generation.status();
        auto events = store.EventsAfter(name, after_sequence);
        if (!events.ok()) return events.status();
        return EventHub::Replay(*std::move(events));
      },
      std::move(done));
}

std::vector<v1::Model> LocalEngine::Models() const {
  MutexLock lock(snapshot_mutex_);
  return models_;
}

v1::ServerInfo LocalEngine::Info() const {
  MutexLock lock(snapshot_mutex_);
  return info_;
}

// ---- workers ----

void LocalEngine::OnWorkerMessage(WorkerId worker, v1::FromWorker message,
                                  std::vector<Payload> attachments) {
  WorkerSaid said{worker, std::move(message), std::move(attachments)};
  if (!control_mutex_.TryLock()) {
    events_.Push(std::move(said));
    return;
  }
  // What was queued first is handled first; beyond a full batch this message waits its turn too.
  const bool running = HandleQueued();
  if (running && batch_.size() < kControlBatchMax) {
    HandleOne(std::move(said));
  } else {
    events_.Push(std::move(said));
  }
  control_mutex_.Unlock();
}

void LocalEngine::OnWorkerLost(WorkerId worker, LostCause cause, std::string detail) {
  events_.Push(WorkerGone{worker, cause, std::move(detail)});
}

}  // namespace darkroom::engine
