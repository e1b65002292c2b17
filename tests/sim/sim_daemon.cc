#include "sim/sim_daemon.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "engine/job_terms.h"

namespace darkroom::sim {
namespace {

constexpr char kModel[] = "models/sim";

}  // namespace

SimDaemon::SimDaemon(SimLoop& loop, Options options, std::unique_ptr<GenerationStore> store)
    : loop_(loop), options_(options), store_(std::move(store)) {}

engine::Now SimDaemon::Time() const {
  return {loop_.now_ns(), absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(loop_.now_ns())};
}

// Nothing reaches a life that is not the one it was meant for.
template <typename Action>
void SimDaemon::Soon(int64_t low_ns, int64_t high_ns, Action action) {
  loop_.After(loop_.Random(low_ns, high_ns),
              [this, life = life_, action = std::move(action)]() mutable {
                if (up() && life == life_) action();
              });
}

void SimDaemon::Boot() {
  ++life_;
  engine::ControllerConfig config;
  config.fleet.models = {{kModel, "/sim"}};
  config.fleet.workers_per_model = options_.workers;
  config.fleet.slots = options_.slots;
  config.fleet.quantum_ns_max = options_.cut_ns;
  config.fleet.move_ns_min = options_.move_ns;
  config.checkpoint_steps = options_.checkpoint_steps;
  config.generations_per_tenant_max = options_.generations_max;
  config.tenants = options_.tenants;
  config.policy = options_.policy;
  config.record_decisions = options_.record_decisions;
  decisions_.clear();
  engine::Recovered recovered;
  const absl::Status read = store_->Transact([&] {
    config.boot = *store_->NextBoot();
    auto unfinished = store_->Unfinished();
    if (!unfinished.ok()) return unfinished.status();
    for (auto& generation : *unfinished) {
      auto events = *store_->EventsAfter(generation.name(), 0);
      recovered.items.push_back({std::move(generation), std::move(events)});
    }
    return absl::OkStatus();
  });
  if (!read.ok()) complaints_.push_back(std::string(read.message()));
  controller_ = std::make_unique<engine::Controller>(config);
  engine::Commands commands;
  controller_->Start(Time(), commands);
  for (auto& command : commands) std::visit([this](auto& c) { Do(c); }, command);
  Handle(std::move(recovered));
  Tick();
}

void SimDaemon::Kill() {
  controller_.reset();
  for (auto& [id, worker] : workers_) worker->Die();
  workers_.clear();
  writes_.clear();
  commit_scheduled_ = false;
  calls_.clear();
  topics_.clear();
  pending_.clear();
}

void SimDaemon::Tick() {
  Handle(engine::Tick{});
  Soon(100'000'000, 100'000'000, [this] { Tick(); });
}

void SimDaemon::Handle(engine::Event event) {
  pending_.push_back(std::move(event));
  if (handling_) return;
  handling_ = true;
  while (!pending_.empty()) {
    engine::Event next = std::move(pending_.front());
    pending_.erase(pending_.begin());
    engine::Commands commands;
    controller_->Handle(std::move(next), Time(), commands);
    for (const auto& broken : controller_->scheduler().BrokenInvariants()) {
      complaints_.push_back(broken);
    }
    for (auto& command : commands) {
      digest_ = digest_ * 31 + command.index();
      std::visit([this](auto& c) { Do(c); }, command);
    }
  }
  handling_ = false;
}

void SimDaemon::Submit(Engine::Submit submit, Answer answer) {
  if (!up()) return;
  const auto call = ++last_call_;
  calls_[call] = std::move(answer);
  Handle(engine::SubmitReceived{call, std::move(submit), loop_.Bits(), loop_.Bits()});
}

void SimDaemon::Cancel(const std::string& name, Answer answer) {
  if (!up()) return;
  const auto call = ++last_call_;
  calls_[call] = std::move(answer);
  Handle(engine::CancelReceived{call, name});
}

void SimDaemon::SetTenant(engine::TenantPolicy policy) {
  Handle(engine::TenantChanged{std::move(policy)});
}

void SimDaemon::RemoveTenant(const std::string& tenant, Answer answer) {
  const auto call = ++last_call_;
  calls_[call] = std::move(answer);
  Handle(engine::TenantGone{call, tenant});
}

v1::EstimateGenerationResponse SimDaemon::Estimate(Engine::Submit submit) {
  Handle(engine::EstimateReceived{0, std::move(submit)});
  return estimate_;
}

void SimDaemon::Drain() { Handle(engine::DrainRequested{}); }

void SimDaemon::Streams(const std::string& name, bool attached) {
  if (attached) {
    Handle(engine::StreamsBack{name});
  } else {
    Handle(engine::StreamsGone{name});
  }
}

void SimDaemon::KillWorker() {
  if (workers_.empty()) return;
  auto it = workers_.begin();
  std::advance(it, loop_.Random(0, static_cast<int64_t>(workers_.size()) - 1));
  Lose(it->first, "killed");
}

void SimDaemon::Lose(WorkerId id, const std::string& detail) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return;
  for (const auto& complaint : it->second->complaints()) complaints_.push_back(complaint);
  it->second->Die();
  workers_.erase(it);
  Soon(10'000, 50'000'000, [this, id, detail] {
    Handle(engine::WorkerGone{id, LostCause::kKilled, detail});
  });
}

void SimDaemon::Commit() {
  // One transaction for everything that was waiting, as the store thread does it.
  auto writes = std::exchange(writes_, {});
  commit_scheduled_ = false;
  const absl::Status committed = store_->Transact([&] {
    for (auto& write : writes) write.apply();
    return absl::OkStatus();
  });
  if (!committed.ok()) complaints_.push_back(std::string(committed.message()));
  for (auto& write : writes) {
    Soon(1'000, 1'000, std::move(write.report));
  }
}

// ---- carrying out commands ----

void SimDaemon::Do(engine::Reply& command) {
  auto node = calls_.extract(command.call);
  if (node.empty()) {
    complaints_.push_back("a call is answered twice");
  } else {
    node.mapped()(command.result);
  }
}

void SimDaemon::Do(engine::ReplyEstimate& command) { estimate_ = *command.result; }

void SimDaemon::Do(engine::ReplyFromStore& command) {
  engine::Reply reply{command.call, store_->Get(command.name)};
  Do(reply);
}

void SimDaemon::Do(engine::ReplyRefused& command) {
  // Behind what is on its way to the store.
  auto reply = std::make_shared<engine::Reply>(engine::Reply{command.call, command.status});
  writes_.push_back({[this, reply, command] {
                       auto found = store_->FindRequest(command.tenant, command.request_id,
                                                        command.request_hash);
                       const bool known = found.ok() || absl::IsAlreadyExists(found.status());
                       if (known) reply->result = std::move(found);
                     },
                     [this, reply] { Do(*reply); }});
  if (!std::exchange(commit_scheduled_, true)) {
    Soon(100'000, 4'000'000, [this] { Commit(); });
  }
}

void SimDaemon::Do(engine::WriteCreate& command) {
  auto state = std::make_shared<engine::CreateDone>(
      engine::CreateDone{command.call, command.create.generation.name(), command.queued,
                         absl::InternalError("not run")});
  for (size_t i = 0; i < command.inputs.size(); ++i) {
    blobs_[engine::InputBlobKey(command.create.generation.name(), static_cast<int>(i))] =
        std::string(command.inputs[i].bytes());
  }
  writes_.push_back(
      {[this, state, create = command.create] {
         state->result = store_->Create(create);
         if (state->result.ok() && state->result->inserted) {
           const auto updated = store_->Update(state->result->generation, {&state->queued, 1});
           if (!updated.ok()) complaints_.push_back("an update failed");
         }
       },
       [this, state] { Handle(*state); }});
  if (!std::exchange(commit_scheduled_, true)) {
    Soon(100'000, 4'000'000, [this] { Commit(); });
  }
}

void SimDaemon::Do(engine::PrepareInputs& command) {
  auto prepared = std::make_shared<engine::InputsPrepared>();
  prepared->name = command.name;
  for (int i = 0; i < command.request.inputs_size(); ++i) {
    const auto blob = blobs_.find(engine::InputBlobKey(command.name, i));
    if (blob == blobs_.end()) {
      complaints_.push_back("an acknowledged generation has lost a picture");
      continue;
    }
    // What SimDaemon's clients upload are the pixels themselves.
    const bool is_mask = command.request.inputs(i).role() == v1::INPUT_ROLE_MASK;
    (is_mask ? prepared->inputs.mask : prepared->inputs.init_image) = Payload::Copy(blob->second);
  }
  if (loop_.Chance(0.2)) {
    // As when the decoders are busy: a later attempt finds them free.
    prepared->inputs = {};
    prepared->status = absl::UnavailableError("no decoder now");
  }
  Soon(100'000, 20'000'000, [this, prepared] { Handle(*prepared); });
}

void SimDaemon::Do(engine::WriteUpdate& command) {
  auto status = std::make_shared<absl::Status>();
  writes_.push_back(
      {[this, status, command] { *status = store_->Update(command.generation, command.events); },
       [this, status, write = command.write] {
         Handle(engine::UpdateDone{write, *status});
       }});
  if (!std::exchange(commit_scheduled_, true)) {
    Soon(100'000, 4'000'000, [this] { Commit(); });
  }
}

void SimDaemon::Do(engine::WriteDelete&) {}
void SimDaemon::Do(engine::PurgeEnded&) {}

void SimDaemon::Do(engine::StartWorker& command) {
  const WorkerId id = command.worker;
  auto worker = std::make_shared<SimWorker>(
      loop_, options_.quantum_ns_max, options_.checkpoint_loss,
      [this, id, life = life_](v1::FromWorker message, std::vector<Payload> attachments) {
        plans_revoked_ += message.plan_done().revoked() ? 1 : 0;
        if (message.has_plan_done()) {
          bool ran = false;
          for (const auto& job : message.plan_done().jobs()) ran = ran || !job.skipped();
          if (ran) {
            reported_busy_ns_ +=
                message.plan_done().end_nanos() - message.plan_done().start_nanos();
          }
        }
        if (up() && life == life_) {
          Handle(engine::WorkerSaid{id, std::move(message), std::move(attachments)});
        }
      });
  workers_[id] = worker;
  worker->Start();
}

void SimDaemon::Do(engine::SendToWorker& command) {
  const auto it = workers_.find(command.worker);
  const int32_t last = command.message.plan().segments().last();
  cuts_ += last > 0 && last < kSimBlocks ? 1 : 0;
  slots_resumed_ += command.message.open_slot().has_checkpoint() ? 1 : 0;
  if (it != workers_.end()) it->second->Hear(command.message, command.attachments);
}

void SimDaemon::Do(engine::KillWorker& command) { Lose(command.worker, "hung"); }

void SimDaemon::Do(engine::EncodeMedia& command) {
  const int64_t delay_ns = loop_.Random(50'000, 1'000'000);
  Soon(delay_ns, delay_ns, [this, command, delay_ns] {
    std::string bytes(command.pixels.bytes());
    const std::string_view mask = command.overlay.mask.bytes();
    for (size_t k = 0; k < mask.size(); ++k) {
      if (static_cast<unsigned char>(mask[k]) >= 128) continue;
      bytes.replace(3 * k, 3, command.overlay.init_image.bytes().substr(3 * k, 3));
    }
    blobs_[command.blob_key] = bytes;
    reported_busy_ns_ += delay_ns;
    Handle(engine::MediaDone{command.job, command.sequence, delay_ns, absl::OkStatus(),
                             Sha256Hex(bytes), static_cast<int64_t>(bytes.size())});
  });
}

void SimDaemon::Do(engine::EncodePreview& command) {
  const int64_t delay_ns = loop_.Random(50'000, 1'000'000);
  Soon(delay_ns, delay_ns, [this, command] {
    Handle(engine::PreviewEncoded{command.generation, command.output_index, command.step,
                                  std::string(command.pixels.bytes())});
  });
}

void SimDaemon::Do(engine::OpenTopic& command) {
  if (!topics_.insert(command.name).second) complaints_.push_back("a topic is opened twice");
  for (const auto& event : command.past) {
    last_sequence_[command.name] = std::max(last_sequence_[command.name], event.sequence());
  }
}

void SimDaemon::Do(engine::Publish& command) {
  if (!topics_.contains(command.name)) complaints_.push_back("publishes without a topic");
  int64_t& last = last_sequence_[command.name];
  if (command.event->sequence() <= last) complaints_.push_back("sequence numbers go back");
  last = command.event->sequence();
  digest_ = digest_ * 31 + static_cast<uint64_t>(last);
  if (command.event->has_preview()) ++previews_[command.name];
  if (command.event->has_progress()) {
    ++steps_[GenerationName::Parse(command.name, "name")->tenant];
  }
  if (command.transient) return;
  // What a client sees, a crash must not take back.
  const auto stored = store_->EventsAfter(command.name, last - 1);
  if (!stored.ok() || stored->empty() || stored->front().sequence() != last) {
    complaints_.push_back("an event is published before it is durable");
  }
}

void SimDaemon::Do(engine::CloseTopic& command) {
  if (topics_.erase(command.name) == 0) complaints_.push_back("closes a topic that is not open");
}

void SimDaemon::Do(engine::Drained&) { drained_ = true; }

void SimDaemon::Do(engine::Fatal& command) {
  complaints_.push_back(absl::StrCat("fatal: ", std::string(command.status.message())));
}

}  // namespace darkroom::sim
