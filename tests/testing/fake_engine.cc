#include "testing/fake_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/sha256.h"

namespace darkroom::testing {
namespace {

constexpr int64_t kChunkBytes = 1 << 20;

absl::Status NotFound(const std::string& name) {
  // Names the generation, as a careless store might: the gateway must not let that through.
  return Error(absl::StatusCode::kNotFound, "GENERATION_NOT_FOUND",
               absl::StrCat("no row for ", name));
}

}  // namespace

// A stream's place. Shared with the task that wakes it.
struct FakeEngine::Watcher {
  bool attached = false;
  bool waiting = false;
  int64_t after_sequence = 0;
  absl::AnyInvocable<void()> on_ready;
};

class FakeEngine::Stream final : public EventStream {
 public:
  Stream(FakeEngine& engine, std::string name, std::shared_ptr<Watcher> watcher)
      : engine_(engine), name_(std::move(name)), watcher_(std::move(watcher)) {}
  ~Stream() override { engine_.Detach(name_, watcher_); }
  Next TryNext(std::shared_ptr<const v1::GenerateEvent>& event) override {
    return engine_.Next(name_, *watcher_, event);
  }

 private:
  FakeEngine& engine_;
  const std::string name_;
  const std::shared_ptr<Watcher> watcher_;
};

FakeEngine::FakeEngine(Options options) : options_(options), models_{Dit()} {
  info_.set_version("0.0.0-fake");
  info_.set_state(v1::ServerInfo::STATE_SERVING);
  thread_ = std::thread([this] { Run(); });
}

FakeEngine::~FakeEngine() {
  {
    MutexLock lock(mutex_);
    held_ = false;
    stopping_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

v1::Model FakeEngine::Dit() {
  v1::Model model;
  model.set_name("models/dit");
  model.set_state(v1::Model::STATE_READY);
  model.set_family("DiTPipeline");
  model.add_tasks(v1::TASK_TEXT_TO_IMAGE);
  model.mutable_limits()->set_size_min(64);
  model.mutable_limits()->set_size_max(256);
  model.mutable_limits()->set_size_multiple_of(8);
  model.mutable_limits()->set_square_only(true);
  model.mutable_limits()->set_steps_max(250);
  model.mutable_limits()->set_images_max(8);
  model.mutable_defaults()->set_width(128);
  model.mutable_defaults()->set_height(128);
  model.mutable_defaults()->set_steps(10);
  model.mutable_defaults()->set_guidance_scale(4);
  model.mutable_defaults()->set_sampler("ddim");
  for (const char* name :
       {"tench, Tinca tinca", "goldfish, Carassius auratus", "tiger shark, Galeocerdo cuvieri",
        "golden retriever", "volcano", "daisy"}) {
    model.add_classes(name);
  }
  return model;
}

v1::Model FakeEngine::Flux() {
  v1::Model model = Dit();
  model.set_name("models/flux");
  model.set_family("FluxPipeline");
  model.clear_classes();
  model.add_tasks(v1::TASK_IMAGE_TO_IMAGE);
  model.add_tasks(v1::TASK_INPAINT);
  model.add_samplers("flow_match_euler");
  model.add_samplers("flow_match_heun");
  model.set_guidance(v1::Model::GUIDANCE_DISTILLED);
  model.mutable_limits()->set_sequence_length_max(512);
  model.mutable_limits()->set_size_min(256);
  model.mutable_limits()->set_size_max(1024);
  model.mutable_limits()->set_size_multiple_of(16);
  model.mutable_limits()->set_square_only(false);
  model.mutable_defaults()->set_width(512);
  model.mutable_defaults()->set_height(512);
  model.mutable_defaults()->set_sampler("flow_match_euler");
  return model;
}

std::string FakeEngine::OutputBytes(int64_t size, int index) {
  std::string bytes(static_cast<size_t>(size), '\0');
  // A period that divides no chunk, so that a misplaced chunk shows.
  for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((i % 251) + index);
  return bytes;
}

void FakeEngine::SetModels(std::vector<v1::Model> models) {
  MutexLock lock(mutex_);
  models_ = std::move(models);
}

void FakeEngine::SetInfo(v1::ServerInfo info) {
  MutexLock lock(mutex_);
  info_ = std::move(info);
}

void FakeEngine::RefuseSubmissions(absl::Status status) {
  MutexLock lock(mutex_);
  refuse_submissions_ = std::move(status);
}

void FakeEngine::FailReads(absl::Status status) {
  MutexLock lock(mutex_);
  fail_reads_ = std::move(status);
}

void FakeEngine::FailWatches(absl::Status status) {
  MutexLock lock(mutex_);
  fail_watches_ = std::move(status);
}

void FakeEngine::HoldCallbacks() {
  MutexLock lock(mutex_);
  held_ = true;
}

void FakeEngine::ReleaseCallbacks() {
  MutexLock lock(mutex_);
  held_ = false;
  wake_.NotifyAll();
}

void FakeEngine::Start(const std::string& name) {
  MutexLock lock(mutex_);
  StartLocked(*Find(name));
}

void FakeEngine::Step(const std::string& name) {
  MutexLock lock(mutex_);
  StepLocked(*Find(name));
}

void FakeEngine::Finish(const std::string& name) {
  MutexLock lock(mutex_);
  FinishLocked(*Find(name));
}

void FakeEngine::Fail(const std::string& name, const absl::Status& status) {
  MutexLock lock(mutex_);
  EndLocked(*Find(name), v1::Generation::STATE_FAILED, status);
}

void FakeEngine::Insert(const v1::Generation& generation) {
  MutexLock lock(mutex_);
  Entry& entry = generations_[generation.name()];
  entry.generation = generation;
  entry.ended = true;
}

std::vector<Engine::Submit> FakeEngine::submitted() const {
  MutexLock lock(mutex_);
  return submitted_;
}

std::vector<std::string> FakeEngine::cancelled() const {
  MutexLock lock(mutex_);
  return cancelled_;
}

std::vector<std::string> FakeEngine::abandoned() const {
  MutexLock lock(mutex_);
  return abandoned_;
}

std::vector<std::string> FakeEngine::names_asked() const {
  MutexLock lock(mutex_);
  return names_asked_;
}

int FakeEngine::open_streams() const {
  MutexLock lock(mutex_);
  return open_streams_;
}

int64_t FakeEngine::events_taken() const {
  MutexLock lock(mutex_);
  return events_taken_;
}

int64_t FakeEngine::outputs_read() const {
  MutexLock lock(mutex_);
  return outputs_read_;
}

v1::Generation FakeEngine::Get(const std::string& name) const {
  MutexLock lock(mutex_);
  const auto found = generations_.find(name);
  return found == generations_.end() ? v1::Generation() : found->second.generation;
}

std::vector<v1::Model> FakeEngine::Models() const {
  MutexLock lock(mutex_);
  return models_;
}

v1::ServerInfo FakeEngine::Info() const {
  MutexLock lock(mutex_);
  return info_;
}

// The engine's thread. Callbacks run without the lock.
void FakeEngine::Run() {
  while (true) {
    Task task;
    {
      MutexLock lock(mutex_);
      const auto now = std::chrono::steady_clock::now();
      if (tasks_.empty() ? stopping_ : !held_ && (stopping_ || tasks_.begin()->first <= now)) {
        if (tasks_.empty()) return;
        task = std::move(tasks_.begin()->second);
        tasks_.erase(tasks_.begin());
      } else if (tasks_.empty() || held_) {
        wake_.Wait(mutex_);
        continue;
      } else {
        wake_.WaitUntil(mutex_, tasks_.begin()->first);
        continue;
      }
    }
    std::move(task)();
  }
}

void FakeEngine::Post(Task task, int delay_ms) {
  tasks_.emplace(std::chrono::steady_clock::now() + std::chrono::milliseconds(delay_ms),
                 std::move(task));
  wake_.NotifyAll();
}

FakeEngine::Entry* FakeEngine::Find(const std::string& name) {
  const auto found = generations_.find(name);
  return found == generations_.end() ? nullptr : &found->second;
}

absl::StatusOr<v1::Generation> FakeEngine::KnownRequest(const std::string& request_id,
                                                        const std::string& request_hash) {
  for (const auto& [name, entry] : generations_) {
    if (request_id.empty() || entry.request_id != request_id) continue;
    if (entry.request_hash == request_hash) return entry.generation;
    return absl::Status(Error(absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED",
                              "request_id was used with another request"));
  }
  return absl::Status(
      Error(absl::StatusCode::kNotFound, "REQUEST_UNKNOWN", "request_id was not used"));
}

void FakeEngine::FindRequest(const std::string&, const std::string& request_id,
                             const std::string& request_hash,
                             Callback<absl::StatusOr<v1::Generation>> done) {
  MutexLock lock(mutex_);
  Post([answer = KnownRequest(request_id, request_hash), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

void FakeEngine::SubmitGeneration(Submit submit, Callback<absl::StatusOr<v1::Generation>> done) {
  MutexLock lock(mutex_);
  absl::StatusOr<v1::Generation> answer;
  if (!refuse_submissions_.ok()) {
    answer = refuse_submissions_;
  } else {
    submitted_.push_back(submit);
    const std::string& request_id = submit.request.request_id();
    answer = KnownRequest(request_id, submit.request_hash);
    if (absl::IsNotFound(answer.status())) {
      const std::string name = absl::StrCat("tenants/", submit.tenant, "/generations/",
                                            absl::StrFormat("g%08d", static_cast<int>(++created_)));
      Entry& entry = generations_[name];
      entry.request_id = request_id;
      entry.request_hash = submit.request_hash;
      entry.abandon = submit.abandon;
      entry.generation.set_name(name);
      entry.generation.set_state(v1::Generation::STATE_QUEUED);
      entry.generation.set_steps_total(submit.request.sampling().steps() *
                                       submit.request.num_images());
      entry.generation.mutable_create_time()->set_seconds(1'700'000'000 + created_);
      *entry.generation.mutable_request() = submit.request;
      v1::GenerateEvent queued;
      *queued.mutable_queued()->mutable_resolved() = entry.generation;
      AddEvent(entry, queued);
      answer = entry.generation;
      if (options_.automatic) Post([this, name] { Advance(name); }, options_.step_ms);
    }
  }
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

void FakeEngine::EstimateGeneration(Submit submit,
                                    Callback<absl::StatusOr<v1::EstimateGenerationResponse>> done) {
  MutexLock lock(mutex_);
  v1::EstimateGenerationResponse answer;
  if (!refuse_submissions_.ok()) *answer.mutable_refusal() = ToProto(refuse_submissions_);
  answer.mutable_forecast()->mutable_start_time()->set_seconds(1'700'000'000);
  answer.mutable_forecast()->mutable_end_time()->set_seconds(1'700'000'000);
  answer.mutable_forecast()->mutable_end_time()->set_nanos(500'000'000);
  answer.mutable_forecast()->set_wait_reason(v1::WAIT_REASON_NONE);
  answer.set_accelerator_nanos(500'000'000);
  *answer.mutable_resolved() = std::move(submit.request);
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

void FakeEngine::GetStatus(Callback<absl::StatusOr<v1::GetStatusResponse>> done) {
  MutexLock lock(mutex_);
  v1::GetStatusResponse answer;
  *answer.mutable_server() = info_;
  answer.add_tenants()->set_name("tenants/local");
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

void FakeEngine::Advance(const std::string& name) {
  MutexLock lock(mutex_);
  Entry* entry = Find(name);
  if (entry == nullptr || entry->ended) return;
  if (entry->generation.state() == v1::Generation::STATE_QUEUED) {
    StartLocked(*entry);
  } else if (entry->generation.steps_done() < entry->generation.steps_total()) {
    StepLocked(*entry);
  } else {
    return FinishLocked(*entry);
  }
  Post([this, name] { Advance(name); }, options_.step_ms);
}

void FakeEngine::StartLocked(Entry& entry) {
  entry.generation.set_state(v1::Generation::STATE_RUNNING);
  v1::GenerateEvent event;
  event.mutable_started();
  AddEvent(entry, event);
}

void FakeEngine::StepLocked(Entry& entry) {
  entry.generation.set_steps_done(entry.generation.steps_done() + 1);
  const int steps = std::max(1, entry.generation.request().sampling().steps());
  v1::GenerateEvent event;
  auto& progress = *event.mutable_progress();
  progress.set_output_index((entry.generation.steps_done() - 1) / steps);
  progress.set_step((entry.generation.steps_done() - 1) % steps + 1);
  progress.set_total_steps(steps);
  progress.mutable_eta()->set_seconds(1);
  AddEvent(entry, event);
}

void FakeEngine::FinishLocked(Entry& entry) {
  const int64_t chunks =
      std::max<int64_t>(1, (options_.output_bytes + kChunkBytes - 1) / kChunkBytes);
  for (int i = 0; i < entry.generation.request().num_images(); ++i) {
    auto& output = *entry.generation.add_outputs();
    output.set_index(i);
    output.set_seed(entry.generation.request().sampling().seed() + i);
    output.set_width(entry.generation.request().width());
    output.set_height(entry.generation.request().height());
    output.set_media_type("image/png");
    output.set_size_bytes(options_.output_bytes);
    v1::GenerateEvent event;
    event.mutable_output_chunk()->set_output_index(i);
    event.mutable_output_chunk()->set_last(true);
    AddEvent(entry, event, chunks);
  }
  EndLocked(entry, v1::Generation::STATE_SUCCEEDED, absl::OkStatus());
}

void FakeEngine::EndLocked(Entry& entry, v1::Generation::State state, const absl::Status& error) {
  if (entry.ended) return;
  entry.ended = true;
  entry.generation.set_state(state);
  if (!error.ok()) *entry.generation.mutable_error() = ToProto(error);
  v1::GenerateEvent event;
  if (state == v1::Generation::STATE_SUCCEEDED) {
    *event.mutable_completed()->mutable_generation() = entry.generation;
  } else {
    *event.mutable_failed()->mutable_generation() = entry.generation;
  }
  AddEvent(entry, event);
}

void FakeEngine::AddEvent(Entry& entry, v1::GenerateEvent event, int64_t sequences) {
  event.set_sequence(entry.next_sequence);
  event.set_generation(entry.generation.name());
  entry.next_sequence += sequences;
  const bool progress = event.has_progress();
  auto shared = std::make_shared<const v1::GenerateEvent>(std::move(event));
  if (progress) {
    entry.progress = std::move(shared);
  } else {
    entry.events.push_back(std::move(shared));
  }
  WakeWatchers(entry);
}

void FakeEngine::WakeWatchers(Entry& entry) {
  for (const auto& watcher : entry.watchers) {
    if (!std::exchange(watcher->waiting, false)) continue;
    Post([watcher] { watcher->on_ready(); });
  }
}

void FakeEngine::GetGeneration(const std::string& name,
                               Callback<absl::StatusOr<v1::Generation>> done) {
  MutexLock lock(mutex_);
  names_asked_.push_back(name);
  const Entry* entry = Find(name);
  absl::StatusOr<v1::Generation> answer = NotFound(name);
  if (entry != nullptr) answer = entry->generation;
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

// The page token is the position of the next entry, newest first.
void FakeEngine::ListGenerations(const GenerationStore::ListQuery& query,
                                 Callback<absl::StatusOr<GenerationStore::ListPage>> done) {
  MutexLock lock(mutex_);
  GenerationStore::ListPage page;
  const int64_t skip = query.page_token.empty() ? 0 : std::atoll(query.page_token.c_str());
  int64_t position = 0;
  for (auto item = generations_.rbegin(); item != generations_.rend(); ++item) {
    const v1::Generation& generation = item->second.generation;
    if (!absl::StartsWith(generation.name(), absl::StrCat("tenants/", query.tenant, "/"))) continue;
    if (!query.states.empty() && std::find(query.states.begin(), query.states.end(),
                                           generation.state()) == query.states.end()) {
      continue;
    }
    if (position++ < skip) continue;
    if (page.generations.size() == static_cast<size_t>(query.page_size)) {
      page.next_page_token = absl::StrCat(position - 1);
      break;
    }
    page.generations.push_back(generation);
  }
  Post([page = std::move(page), done = std::move(done)]() mutable {
    std::move(done)(std::move(page));
  });
}

void FakeEngine::CancelGeneration(const std::string& name,
                                  Callback<absl::StatusOr<v1::Generation>> done) {
  MutexLock lock(mutex_);
  names_asked_.push_back(name);
  Entry* entry = Find(name);
  absl::StatusOr<v1::Generation> answer = NotFound(name);
  if (entry != nullptr) {
    cancelled_.push_back(name);
    EndLocked(*entry, v1::Generation::STATE_CANCELLED,
              Error(absl::StatusCode::kCancelled, "CANCELLED", "the generation was cancelled"));
    answer = entry->generation;
  }
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

void FakeEngine::DeleteGeneration(const std::string& name, Callback<absl::Status> done) {
  MutexLock lock(mutex_);
  names_asked_.push_back(name);
  const Entry* entry = Find(name);
  absl::Status answer;
  if (entry == nullptr) {
    answer = NotFound(name);
  } else if (!entry->ended) {
    answer = Error(absl::StatusCode::kFailedPrecondition, "GENERATION_LIVE",
                   "the generation has not ended; cancel it first");
  } else {
    generations_.erase(name);
  }
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

void FakeEngine::ReadOutput(const std::string& name, int index,
                            Callback<absl::StatusOr<Payload>> done) {
  MutexLock lock(mutex_);
  names_asked_.push_back(name);
  const Entry* entry = Find(name);
  absl::StatusOr<Payload> answer = NotFound(name);
  if (!fail_reads_.ok()) {
    answer = fail_reads_;
  } else if (entry != nullptr && index < entry->generation.outputs_size()) {
    const int64_t size = entry->generation.outputs(index).size_bytes();
    Payload& payload = payloads_[{size, index}];
    if (payload.empty()) payload = Payload::Copy(OutputBytes(size, index));
    answer = payload;
    ++outputs_read_;
  }
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

void FakeEngine::Watch(const std::string& name, int64_t after_sequence, bool attached,
                       absl::AnyInvocable<void()> on_ready,
                       Callback<absl::StatusOr<std::unique_ptr<EventStream>>> done) {
  MutexLock lock(mutex_);
  names_asked_.push_back(name);
  Entry* entry = Find(name);
  absl::StatusOr<std::unique_ptr<EventStream>> answer = NotFound(name);
  if (!fail_watches_.ok()) {
    answer = fail_watches_;
  } else if (entry != nullptr) {
    auto watcher = std::make_shared<Watcher>();
    watcher->attached = attached;
    watcher->after_sequence = after_sequence;
    watcher->on_ready = std::move(on_ready);
    entry->watchers.push_back(watcher);
    ++open_streams_;
    answer = std::make_unique<Stream>(*this, name, std::move(watcher));
  }
  Post([answer = std::move(answer), done = std::move(done)]() mutable {
    std::move(done)(std::move(answer));
  });
}

EventStream::Next FakeEngine::Next(const std::string& name, Watcher& watcher, Event& event) {
  MutexLock lock(mutex_);
  const Entry* entry = Find(name);
  if (entry == nullptr) return EventStream::Next::kEnded;
  event = nullptr;
  for (const Event& kept : entry->events) {
    if (kept->sequence() > watcher.after_sequence) {
      event = kept;
      break;
    }
  }
  if (entry->progress != nullptr && entry->progress->sequence() > watcher.after_sequence &&
      (event == nullptr || entry->progress->sequence() < event->sequence())) {
    event = entry->progress;
  }
  if (event != nullptr) {
    watcher.after_sequence = event->sequence();
    ++events_taken_;
    return EventStream::Next::kEvent;
  }
  if (entry->ended) return EventStream::Next::kEnded;
  watcher.waiting = true;
  return EventStream::Next::kPending;
}

void FakeEngine::Detach(const std::string& name, const std::shared_ptr<Watcher>& watcher) {
  MutexLock lock(mutex_);
  --open_streams_;
  Entry* entry = Find(name);
  if (entry == nullptr) return;
  auto& watchers = entry->watchers;
  watchers.erase(std::remove(watchers.begin(), watchers.end(), watcher), watchers.end());
  if (!watcher->attached || entry->ended ||
      std::any_of(watchers.begin(), watchers.end(), [](const auto& w) { return w->attached; })) {
    return;
  }
  abandoned_.push_back(name);
  if (entry->abandon == Abandon::kCancelNow) {
    EndLocked(*entry, v1::Generation::STATE_CANCELLED,
              Error(absl::StatusCode::kCancelled, "ABANDONED", "the client went away"));
  }
}

}  // namespace darkroom::testing
