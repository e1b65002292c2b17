#include "scheduler/decision_log.h"

#include <bit>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "scheduler/field_count.h"
#include "scheduler/limits.h"

namespace darkroom::scheduler {
namespace {

constexpr char kMagic[] = "darkroom decisions 3";
constexpr size_t kFrameHeadBytes = 8;
constexpr size_t kFrameTailBytes = 8;

uint64_t Fnv(std::string_view bytes) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

template <typename T>
void Put(T value, std::string& out) {
  // The product runs on little-endian machines only.
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

// Writes what it is given.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  template <typename... T>
  void operator()(T&... fields) {
    (One(fields), ...);
  }

 private:
  template <typename T>
  void One(T& field);
  std::string& out_;
};

// Reads the same; `ok` turns false where the bytes end too early or make no sense.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  template <typename... T>
  void operator()(T&... fields) {
    (One(fields), ...);
  }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && in_.empty(); }

 private:
  template <typename T>
  void One(T& field);
  template <typename T>
  T Take() {
    T value{};
    if (in_.size() < sizeof(T)) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, in_.data(), sizeof(T));
    in_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view in_;
  bool ok_ = true;
};

// A struct's fields, none left out.
template <typename A, typename T, typename... F>
void Fields(A& a, T&, F&... fields) {
  static_assert(FieldCount<T>() == sizeof...(F), "the log must have every field of the struct");
  a(fields...);
}

// The fields of each struct, for both.
template <typename A>
void Visit(A& a, CostPoint& v) {
  Fields(a, v, v.stage, v.tokens, v.nanos);
}
template <typename A>
void Visit(A& a, CostLearned& v) {
  Fields(a, v, v.stage, v.correction, v.observations);
}
template <typename A>
void Visit(A& a, DegreeCost& v) {
  Fields(a, v, v.degree, v.cost, v.learned);
}
template <typename A>
void Visit(A& a, JobSpec& v) {
  Fields(a, v, v.id, v.tenant, v.model, v.service_class, v.isolation, v.deadline_ns, v.stages,
         v.steps, v.image_encode, v.step_tokens, v.image_tokens, v.segments, v.adapter, v.held,
         v.admitted);
}
template <typename A>
void Visit(A& a, ReplicaSpec& v) {
  Fields(a, v, v.stages, v.hardware, v.dedicated_to, v.models, v.any_model, v.slots,
         v.step_tokens_max, v.plans_in_flight_max, v.numerics, v.cost, v.learned, v.adapters_max,
         v.quantum_ns_max, v.moves, v.move_ns, v.weights_bytes, v.adapter_ns, v.revokes, v.gang,
         v.gang_rank, v.degrees);
}
template <typename A>
void Visit(A& a, ReplicaAttached& v) {
  Fields(a, v, v.replica, v.spec);
}
template <typename A>
void Visit(A& a, ReplicaLost& v) {
  Fields(a, v, v.replica);
}
template <typename A>
void Visit(A& a, TenantWeight& v) {
  Fields(a, v, v.tenant, v.weight);
}
template <typename A>
void Visit(A& a, TenantLimits& v) {
  Fields(a, v, v.tenant, v.jobs_max, v.running_max, v.jobs_per_second, v.jobs_burst);
}
template <typename A>
void Visit(A& a, TenantRemoved& v) {
  Fields(a, v, v.tenant);
}
template <typename A>
void Visit(A& a, JobSubmitted& v) {
  Fields(a, v, v.spec);
}
template <typename A>
void Visit(A& a, JobReleased& v) {
  Fields(a, v, v.job);
}
template <typename A>
void Visit(A& a, JobEnded& v) {
  Fields(a, v, v.job);
}
template <typename A>
void Visit(A& a, PlanFinished::Item& v) {
  Fields(a, v, v.job, v.outcome, v.checkpointed);
}
template <typename A>
void Visit(A& a, PlanFinished& v) {
  Fields(a, v, v.replica, v.sequence, v.duration_ns, v.items);
}
template <typename A>
void Visit(A& a, WeightsId& v) {
  Fields(a, v, v.model, v.adapter);
}
template <typename A>
void Visit(A& a, WeightsKnown& v) {
  Fields(a, v, v.weights, v.bytes, v.load_ns);
}
template <typename A>
void Visit(A& a, WeightsLoaded& v) {
  Fields(a, v, v.replica, v.weights, v.duration_ns);
}
template <typename A>
void Visit(A& a, WeightsFailed& v) {
  Fields(a, v, v.replica, v.weights);
}
template <typename A>
void Visit(A& a, WeightsEvicted& v) {
  Fields(a, v, v.replica, v.weights);
}
template <typename A>
void Visit(A& a, ClockTicked& v) {
  Fields(a, v);
}
template <typename A>
void Visit(A& a, CostErrorKnown& v) {
  Fields(a, v, v.counts);
}
template <typename A>
void Visit(A& a, PlanRevoked& v) {
  Fields(a, v, v.replica, v.sequence);
}
template <typename A>
void Visit(A& a, PlanBegun& v) {
  Fields(a, v, v.replica, v.sequence);
}
template <typename A>
void Visit(A& a, RevokePlan& v) {
  Fields(a, v, v.replica, v.sequence);
}
template <typename A>
void Visit(A& a, OpenSlot& v) {
  Fields(a, v, v.replica, v.job, v.slot, v.epoch, v.resume_step, v.from_replica, v.from_slot,
         v.from_epoch);
}
template <typename A>
void Visit(A& a, CloseSlot& v) {
  Fields(a, v, v.replica, v.job, v.slot, v.epoch);
}
template <typename A>
void Visit(A& a, RunPlan::Item& v) {
  Fields(a, v, v.job, v.slot, v.epoch, v.step, v.checkpoint);
}
template <typename A>
void Visit(A& a, RunPlan& v) {
  Fields(a, v, v.replica, v.sequence, v.stage, v.predicted_ns, v.segment_begin, v.segment_end,
         v.items, v.helpers);
}
template <typename A>
void Visit(A& a, Charge& v) {
  Fields(a, v, v.job, v.stage, v.nanos);
}
template <typename A>
void Visit(A& a, JobFinished& v) {
  Fields(a, v, v.job);
}
template <typename A>
void Visit(A& a, JobRequeued& v) {
  Fields(a, v, v.job, v.resume_step);
}
template <typename A>
void Visit(A& a, JobQuarantined& v) {
  Fields(a, v, v.job);
}
template <typename A>
void Visit(A& a, JobRefused& v) {
  Fields(a, v, v.job, v.why, v.retry_after_ns, v.offered_deadline_ns, v.offered_steps);
}
template <typename A>
void Visit(A& a, EvictWeights& v) {
  Fields(a, v, v.replica, v.weights);
}
template <typename A>
void Visit(A& a, LoadWeights& v) {
  Fields(a, v, v.replica, v.weights);
}
template <typename A>
void Visit(A& a, PolicyConfig& v) {
  Fields(a, v, v.priority, v.burst_credit_ns, v.reserve_share, v.size_weight, v.guaranteed_slack,
         v.target_slack, v.best_effort_slack, v.deadline_grace_ns);
}

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

template <typename T>
void Writer::One(T& field) {
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    Put(field, out_);
  } else if constexpr (IsVector<T>::value) {
    Put(static_cast<uint32_t>(field.size()), out_);
    for (auto& element : field) One(element);
  } else if constexpr (std::is_same_v<T, std::optional<TenantId>>) {
    Put(static_cast<uint8_t>(field.has_value()), out_);
    Put(field.value_or(0), out_);
  } else {
    Visit(*this, field);
  }
}

// The greatest value of an enumeration.
template <typename T>
constexpr uint8_t GreatestOf() {
  if constexpr (std::is_same_v<T, Stage>) return kStages - 1;
  if constexpr (std::is_same_v<T, Priority>) return 1;
  if constexpr (std::is_same_v<T, Refusal>) return static_cast<uint8_t>(Refusal::kTenantRemoved);
  return 2;  // Isolation, ServiceClass, PlanFinished::Outcome
}

template <typename T>
void Reader::One(T& field) {
  if constexpr (std::is_same_v<T, bool>) {
    field = Take<uint8_t>() != 0;
  } else if constexpr (std::is_enum_v<T>) {
    const auto value = Take<uint8_t>();
    if (value > GreatestOf<T>()) ok_ = false;
    field = ok_ ? static_cast<T>(value) : T{};
  } else if constexpr (std::is_arithmetic_v<T>) {
    field = Take<T>();
  } else if constexpr (IsVector<T>::value) {
    const auto size = Take<uint32_t>();
    // Each element takes a byte at least: no more is taken for it than there can be.
    if (size > in_.size()) ok_ = false;
    for (uint32_t i = 0; ok_ && i < size; ++i) {
      field.emplace_back();
      One(field.back());
    }
  } else if constexpr (std::is_same_v<T, std::optional<TenantId>>) {
    const bool has = Take<uint8_t>() != 0;
    const auto value = Take<TenantId>();
    if (has) field = value;
  } else {
    Visit(*this, field);
  }
}

void AppendFrame(std::string_view payload, std::string& log) {
  const auto length = static_cast<uint32_t>(payload.size());
  Put(length, log);
  Put(~length, log);
  log.append(payload.data(), payload.size());
  Put(Fnv(payload), log);
}

// The payload of the frame at `at`; nothing at the end or where the tail is torn.
absl::StatusOr<std::optional<std::string_view>> ReadFrame(std::string_view log, size_t at) {
  const auto damaged = absl::DataLossError("");
  const std::string_view rest = log.substr(at);
  if (rest.size() < kFrameHeadBytes) return std::optional<std::string_view>();
  uint32_t length = 0;
  uint32_t inverse = 0;
  std::memcpy(&length, rest.data(), sizeof length);
  std::memcpy(&inverse, rest.data() + sizeof length, sizeof inverse);
  if (length != ~inverse) return damaged;
  if (rest.size() < kFrameHeadBytes + length + kFrameTailBytes) {
    return std::optional<std::string_view>();
  }
  const std::string_view payload = rest.substr(kFrameHeadBytes, length);
  uint64_t sum = 0;
  std::memcpy(&sum, rest.data() + kFrameHeadBytes + length, sizeof sum);
  if (sum != Fnv(payload)) return damaged;
  return std::optional<std::string_view>(payload);
}

size_t FrameBytes(std::string_view payload) {
  return kFrameHeadBytes + payload.size() + kFrameTailBytes;
}

void EncodeCommands(const std::vector<Command>& commands, std::string& out) {
  Writer writer(out);
  for (const Command& command : commands) {
    Put(static_cast<uint8_t>(command.index()), out);
    std::visit(
        [&](const auto& c) {
          auto copy = c;
          writer(copy);
        },
        command);
  }
}

template <size_t I = 0>
void ReadEvent(size_t index, Reader& reader, Event& event) {
  if constexpr (I < std::variant_size_v<Event>) {
    if (index != I) return ReadEvent<I + 1>(index, reader, event);
    reader(event.emplace<I>());
  }
}

absl::Status At(std::string_view reason, std::string_view what, int64_t decision, size_t byte) {
  return Error(absl::StatusCode::kDataLoss, reason,
               absl::StrCat("decision ", decision, ", at byte ", byte, ", ",
                            std::string(what.data(), what.size())));
}

}  // namespace

std::string DecisionLogHead(const PolicyConfig& config, int32_t checkpoint_steps) {
  std::string payload = kMagic;
  Writer writer(payload);
  PolicyConfig copy = config;
  writer(copy, checkpoint_steps);
  std::string log;
  AppendFrame(payload, log);
  return log;
}

void AppendDecision(const Event& event, int64_t now_ns, const std::vector<Command>& commands,
                    std::string& log) {
  std::string payload;
  Put(now_ns, payload);
  Put(static_cast<uint8_t>(event.index()), payload);
  Writer writer(payload);
  std::visit(
      [&](const auto& e) {
        auto copy = e;
        writer(copy);
      },
      event);
  std::string ordered;
  EncodeCommands(commands, ordered);
  Put(static_cast<uint32_t>(commands.size()), payload);
  Put(Fnv(ordered), payload);
  AppendFrame(payload, log);
}

absl::StatusOr<DecisionReader> DecisionReader::Open(std::string_view log) {
  const absl::Status invalid =
      Error(absl::StatusCode::kInvalidArgument, "DECISION_LOG_INVALID",
            "this is no decision log of this version, or its head is damaged");
  const auto frame = ReadFrame(log, 0);
  if (!frame.ok() || !frame->has_value()) return invalid;
  const std::string_view head = **frame;
  const std::string_view magic = kMagic;
  if (head.substr(0, magic.size()) != magic) return invalid;
  Reader reader(head.substr(magic.size()));
  PolicyConfig config;
  int32_t steps = 0;
  reader(config, steps);
  // Written so that NaN fails.
  const auto sane = [](double slack) { return slack >= 0 && slack <= 1e6; };
  const bool policy_sane = sane(config.guaranteed_slack) && sane(config.target_slack) &&
                           sane(config.best_effort_slack) && config.reserve_share >= 0 &&
                           config.reserve_share < 1 && config.size_weight >= 0 &&
                           config.size_weight <= 1;
  if (!reader.done() || steps < 1 || !policy_sane) return invalid;
  DecisionReader opened(log);
  opened.policy_ = config;
  opened.checkpoint_steps_ = steps;
  opened.at_ = FrameBytes(head);
  return opened;
}

absl::StatusOr<bool> DecisionReader::Next(Decision& decision) {
  if (at_ == log_.size()) return false;
  const auto frame = ReadFrame(log_, at_);
  if (!frame.ok()) {
    return At("DECISION_LOG_DAMAGED", "is damaged: its bytes do not match their checksum",
              decisions_, at_);
  }
  if (!frame->has_value()) {
    torn_bytes_ = static_cast<int64_t>(log_.size() - at_);
    at_ = log_.size();
    return false;
  }
  const std::string_view payload = **frame;
  Reader reader(payload);
  uint8_t index = 0;
  reader(decision.now_ns, index);
  const bool known = index < std::variant_size_v<Event>;
  if (known) ReadEvent(index, reader, decision.event);
  reader(decision.commands, decision.digest);
  if (!known || !reader.done()) {
    return At("DECISION_LOG_DAMAGED", "is damaged: it is no event that this version knows",
              decisions_, at_);
  }
  began_ = std::exchange(at_, at_ + FrameBytes(payload));
  ++decisions_;
  return true;
}

absl::StatusOr<DecisionReplay> DecisionReplay::Open(std::string_view log) {
  const auto reader = DecisionReader::Open(log);
  if (!reader.ok()) return reader.status();
  return DecisionReplay(*reader);
}

absl::StatusOr<bool> DecisionReplay::Next() {
  const auto more = reader_.Next(decision_);
  if (!more.ok() || !*more) return more;
  ordered_.clear();
  scheduler_.Handle(decision_.event, decision_.now_ns, ordered_);
  bytes_.clear();
  EncodeCommands(ordered_, bytes_);
  if (ordered_.size() != decision_.commands || Fnv(bytes_) != decision_.digest) {
    return At("DECISIONS_DIFFER",
              absl::StrCat("gave ", decision_.commands, " commands when it was recorded and gives ",
                           ordered_.size(), " others now"),
              decisions_, reader_.at());
  }
  ++decisions_;
  commands_ += decision_.commands;
  return true;
}

}  // namespace darkroom::scheduler
