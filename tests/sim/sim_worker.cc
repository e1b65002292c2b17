#include "sim/sim_worker.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/denoise_steps.h"
#include "ipc/tensor_ref.h"

namespace darkroom::sim {
namespace {

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
  hash *= 0xff51afd7ed558ccdull;
  return hash ^ (hash >> 33);
}

Payload Bytes(uint64_t value) {
  return Payload::Copy({reinterpret_cast<const char*>(&value), sizeof value});
}

}  // namespace

uint64_t StartLatents(const v1::OpenSlot& request) {
  uint64_t hash = Mix(1, static_cast<uint64_t>(request.seed()));
  hash = Mix(
      hash, static_cast<uint64_t>(request.width()) << 32 | static_cast<uint32_t>(request.height()));
  for (const char c : request.prompt()) hash = Mix(hash, static_cast<unsigned char>(c));
  return Mix(hash, static_cast<uint64_t>(request.steps()));
}

uint64_t WithInputs(uint64_t latents, const JobInputs& inputs) {
  for (const Payload* picture : {&inputs.init_image, &inputs.mask}) {
    for (const char c : picture->bytes()) latents = Mix(latents, static_cast<unsigned char>(c));
  }
  return latents;
}

uint64_t NextLatents(uint64_t latents, int32_t step, double guidance_scale) {
  return Mix(Mix(latents, static_cast<uint64_t>(step)), std::bit_cast<uint64_t>(guidance_scale));
}

std::string PictureOf(uint64_t latents, int32_t width, int32_t height) {
  std::string rgb(static_cast<size_t>(width) * height * 3, '\0');
  for (size_t i = 0; i < rgb.size(); ++i) {
    rgb[i] = static_cast<char>(latents >> (8 * (i % 8)));
  }
  return rgb;
}

void SimWorker::Later(int64_t delay_ns, void (SimWorker::*what)()) {
  loop_.After(delay_ns, [self = shared_from_this(), what] {
    if (self->alive_) (self.get()->*what)();
  });
}

void SimWorker::Start() { Later(loop_.Random(100'000, 5'000'000), &SimWorker::SayHello); }

void SimWorker::SayHello() {
  v1::FromWorker hello;
  hello.mutable_hello()->set_protocol_version(1);
  hello.mutable_hello()->set_pid(1);
  hello.mutable_hello()->set_backend("sim");
  say_(hello, {});
}

void SimWorker::SayLoaded() {
  v1::FromWorker message;
  auto* loaded = message.mutable_model_loaded();
  loaded->mutable_status();
  loaded->mutable_model()->mutable_defaults()->set_sampler("ddim");
  loaded->mutable_numerics()->set_backend("sim");
  loaded->set_token_pixels(8);
  loaded->set_knee_tokens(64);
  loaded->set_blocks(kSimBlocks);
  say_(message, {});
}

void SimWorker::Hear(const v1::ToWorker& message, const std::vector<Payload>& attachments) {
  if (!alive_) return;
  switch (message.message_case()) {
    case v1::ToWorker::kLoadModel:
      return Later(loop_.Random(100'000, 20'000'000), &SimWorker::SayLoaded);
    case v1::ToWorker::kCloseSlot: {
      const auto it = leases_.find(message.close_slot().slot());
      if (it == leases_.end() || it->second != message.close_slot().lease_epoch()) {
        complaints_.push_back("closes a slot that is not open");
      } else {
        leases_.erase(it);
      }
      return;
    }
    case v1::ToWorker::kOpenSlot:
      if (!leases_.emplace(message.open_slot().slot(), message.open_slot().lease_epoch()).second) {
        complaints_.push_back("opens a slot twice");
      }
      queue_.emplace_back(message, attachments);
      return RunNext();
    case v1::ToWorker::kPlan:
      if (message.plan().sequence() <= last_sequence_) complaints_.push_back("plans out of order");
      last_sequence_ = message.plan().sequence();
      queue_.emplace_back(message, attachments);
      return RunNext();
    case v1::ToWorker::kRevokePlan:
      return loop_.After(loop_.Random(0, 2'000'000),
                         [self = shared_from_this(), sequence = message.revoke_plan().sequence()] {
                           if (self->alive_) self->Revoke(sequence);
                         });
    default:
      return;
  }
}

void SimWorker::Revoke(uint64_t sequence) {
  // The first plan in the queue of one that is busy is the one that runs.
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    if (!it->first.has_plan() || it->first.plan().sequence() != sequence) continue;
    if (busy_ && it == queue_.begin()) return;
    v1::FromWorker message;
    message.mutable_plan_done()->set_gang_epoch(it->first.plan().gang_epoch());
    message.mutable_plan_done()->set_sequence(sequence);
    message.mutable_plan_done()->set_revoked(true);
    queue_.erase(it);
    return say_(message, {});
  }
}

void SimWorker::RunNext() {
  if (busy_) return;
  while (!queue_.empty() && queue_.front().first.has_open_slot()) {
    Open(queue_.front().first.open_slot(), queue_.front().second);
    queue_.pop_front();
  }
  if (queue_.empty()) return;
  const v1::BatchPlan& plan = queue_.front().first.plan();
  busy_ = true;
  plan_start_ns_ = loop_.now_ns();
  v1::FromWorker started;
  started.mutable_plan_started()->set_sequence(plan.sequence());
  say_(started, {});
  CheckParked(plan);
  const v1::SegmentRange& segments = plan.segments();
  const int32_t blocks = segments.last() == 0 ? kSimBlocks : segments.last() - segments.first();
  Later(loop_.Random(quantum_ns_max_ / 15, quantum_ns_max_) * blocks / kSimBlocks,
        &SimWorker::FinishPlan);
}

// One batch at most waits inside a step.
void SimWorker::CheckParked(const v1::BatchPlan& plan) {
  if (plan.segments().first() > 0 || plan.segments().last() == 0) return;
  for (const auto& [slot, epoch] : leases_) {
    const auto it = slots_.find(slot);
    if (it != slots_.end() && it->second.epoch == epoch && it->second.block > 0) {
      complaints_.push_back("parks a second batch");
    }
  }
}

bool SimWorker::RunBlocks(const v1::BatchPlan& plan, Slot& slot) {
  const v1::SegmentRange& segments = plan.segments();
  const int32_t last = segments.last() == 0 ? kSimBlocks : segments.last();
  if (segments.first() != slot.block || last <= slot.block || last > kSimBlocks) {
    complaints_.push_back(
        absl::StrCat("blocks ", segments.first(), " to ", last, " at ", slot.block));
  }
  slot.block = last % kSimBlocks;
  return slot.block == 0;
}

void SimWorker::FinishPlan() {
  const v1::BatchPlan plan = queue_.front().first.plan();
  queue_.pop_front();
  v1::FromWorker message;
  auto* done = message.mutable_plan_done();
  done->set_gang_epoch(plan.gang_epoch());
  done->set_sequence(plan.sequence());
  done->set_start_nanos(plan_start_ns_);
  done->set_end_nanos(loop_.now_ns());
  bool ran = false;
  for (const auto& job : plan.jobs()) {
    *done->add_jobs() = RunJob(plan, job);
    ran = ran || !done->jobs().rbegin()->skipped();
  }
  if (ran) busy_ns_ += loop_.now_ns() - plan_start_ns_;
  busy_ = false;
  say_(message, {});
  RunNext();
}

void SimWorker::Open(const v1::OpenSlot& request, const std::vector<Payload>& attachments) {
  Slot& slot = slots_[request.slot()];
  slot = Slot{};
  slot.open = true;
  slot.epoch = request.lease_epoch();
  slot.request = request;
  slot.latents = StartLatents(request);
  if (request.has_init_image()) {
    const auto image = ReadTensor(request.init_image(), attachments);
    const auto mask = request.has_mask() ? ReadTensor(request.mask(), attachments)
                                         : absl::StatusOr<Payload>(Payload());
    if (!image.ok() || !mask.ok()) {
      complaints_.push_back("a picture that cannot be read");
      return;
    }
    slot.latents = WithInputs(slot.latents, {*image, *mask});
  }
  if (request.has_checkpoint()) {
    const auto latents = ReadTensor(request.checkpoint().latents(), attachments);
    if (!latents.ok() || latents->size() != sizeof slot.latents) {
      complaints_.push_back("a checkpoint that cannot be read");
      return;
    }
    std::memcpy(&slot.latents, latents->bytes().data(), sizeof slot.latents);
    slot.step = request.checkpoint().step();
  }
}

void SimWorker::PutReturns(const v1::PlanJob& job, const Slot& slot, TensorWriter& writer,
                           v1::PlanDone::JobResult& result) {
  if (job.returns().preview()) {
    auto* preview = result.mutable_preview();
    preview->set_dtype(v1::DTYPE_U8);
    for (const int64_t dim : {1, 1, 3}) preview->add_shape(dim);
    if (!writer.Put(Payload::Copy("abc"), *preview).ok()) {
      complaints_.push_back("a preview that does not fit");
    }
  }
  if (job.returns().checkpoint() && !loop_.Chance(checkpoint_loss_)) {
    auto* checkpoint = result.mutable_checkpoint();
    checkpoint->set_step(slot.step);
    checkpoint->mutable_latents()->set_dtype(v1::DTYPE_U8);
    checkpoint->mutable_latents()->add_shape(sizeof slot.latents);
    if (!writer.Put(Bytes(slot.latents), *checkpoint->mutable_latents()).ok()) {
      complaints_.push_back("a checkpoint that does not fit");
    }
  }
}

v1::PlanDone::JobResult SimWorker::RunJob(const v1::BatchPlan& plan, const v1::PlanJob& job) {
  const v1::Stage stage = plan.stage();
  v1::PlanDone::JobResult result;
  result.set_slot(job.slot());
  result.set_lease_epoch(job.lease_epoch());
  const auto lease = leases_.find(job.slot());
  Slot& slot = slots_[job.slot()];
  if (lease == leases_.end() || lease->second != job.lease_epoch() ||
      slot.epoch != job.lease_epoch()) {
    result.set_skipped(true);
    return result;
  }
  result.mutable_status();
  result.set_step_index(job.step_index());
  TensorWriter writer;
  if (stage == v1::STAGE_ENCODE) {
    slot.encoded = true;
  } else if (stage == v1::STAGE_IMAGE_ENCODE) {
    if (!slot.encoded || !slot.request.has_init_image()) {
      complaints_.push_back("encodes a picture out of order");
    }
    slot.image_encoded = true;
  } else if (stage == v1::STAGE_DENOISE) {
    if (slot.request.has_init_image() != slot.image_encoded) {
      complaints_.push_back("denoises without its picture");
    }
    // One that comes with latents is encoded with its first step.
    if (!slot.encoded && !slot.request.has_checkpoint()) {
      complaints_.push_back("denoises before it encodes");
    }
    if (slot.step != job.step_index()) {
      complaints_.push_back(absl::StrCat("step ", job.step_index(), " at ", slot.step));
    }
    if (!RunBlocks(plan, slot)) {
      if (job.returns().preview() || job.returns().checkpoint()) {
        complaints_.push_back("wants something back inside a step");
      }
      return result;
    }
    slot.latents = NextLatents(slot.latents, slot.step++, slot.request.guidance_scale());
    PutReturns(job, slot, writer, result);
  } else if (stage == v1::STAGE_DECODE) {
    const double strength = slot.request.has_init_image() ? slot.request.strength() : 1;
    if (slot.step != DenoiseEvaluations(slot.request.sampler(), slot.request.steps(), strength))
      complaints_.push_back("decodes too early");
    auto* output = result.mutable_output();
    output->set_dtype(v1::DTYPE_U8);
    output->add_shape(slot.request.height());
    output->add_shape(slot.request.width());
    output->add_shape(3);
    const std::string picture =
        PictureOf(slot.latents, slot.request.width(), slot.request.height());
    if (!writer.Put(Payload::Copy(picture), *output).ok()) {
      complaints_.push_back("a picture that does not fit");
    }
  }
  return result;
}

}  // namespace darkroom::sim
