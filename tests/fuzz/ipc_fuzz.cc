// What one process says to another. The first byte says who is listening, the second how the bytes
// are cut on their way.
#include <algorithm>
#include <cstring>

#include "darkroom/v1/media.pb.h"
#include "darkroom/v1/worker.pb.h"
#include "fuzz/fuzz_target.h"
#include "ipc/frame_connection.h"
#include "worker/plan_check.h"

namespace darkroom::fuzz {
namespace {

// A peer that said all of `bytes` and is gone. No descriptors travel.
class Said final : public ByteStream {
 public:
  Said(std::string_view bytes, size_t piece) : bytes_(bytes), piece_(piece) {}

  absl::StatusOr<Progress> Read(absl::Span<char> buffer, std::vector<UniqueFd>&) override {
    if (bytes_.empty()) return Progress{State::kEnd, 0};
    const size_t size = std::min({buffer.size(), bytes_.size(), piece_});
    std::memcpy(buffer.data(), bytes_.data(), size);
    bytes_.remove_prefix(size);
    return Progress{State::kMoved, size};
  }
  absl::StatusOr<Progress> Write(std::string_view bytes, absl::Span<const int>) override {
    return Progress{State::kMoved, bytes.size()};
  }
  bool CarriesDescriptors() const override { return false; }
  int PollFd() const override { return -1; }
  void CloseRead() override {}

 private:
  std::string_view bytes_;
  const size_t piece_;
};

template <typename Message, typename Check>
void Listen(std::string_view bytes, size_t piece, Check check) {
  FrameConnection connection(std::make_unique<Said>(bytes, piece));
  Message message;
  std::vector<Payload> attachments;
  while (true) {
    const auto state = connection.Read(message, attachments);
    if (!state.ok() || *state != FrameConnection::ReadState::kMessage) return;
    Require(attachments.empty(), "nothing was attached");
    check(message);
  }
}

std::string Frame(const google::protobuf::MessageLite& message) {
  const std::string body = message.SerializeAsString();
  std::string bytes(8, '\0');
  for (int i = 0; i < 4; ++i)
    bytes[static_cast<size_t>(i)] = static_cast<char>(body.size() >> 8 * i);
  return bytes + body;
}

}  // namespace

void Run(std::string_view bytes) {
  if (bytes.size() < 2) return;
  const size_t piece = 1 + static_cast<uint8_t>(bytes[1]);
  const std::string_view rest = bytes.substr(2);
  switch (bytes[0] % 3) {
    case 0: {
      PlanOrder order;
      Listen<v1::ToWorker>(rest, piece, [&order](const v1::ToWorker& message) {
        if (CheckOpenSlot(message.open_slot()).ok()) {
          Require(SlotEvaluations(message.open_slot()) >= 0, "a slot's evaluations can be counted");
        }
        if (CheckPlan(message.plan()).ok()) (void)order.Check(message.plan());
      });
      return;
    }
    case 1:
      Listen<v1::FromWorker>(rest, piece, [](const v1::FromWorker&) {});
      return;
    default:
      Listen<v1::DecodePictureReply>(rest, piece, [](const v1::DecodePictureReply&) {});
  }
}

std::vector<std::string> Seeds() {
  v1::ToWorker plan;
  plan.mutable_plan()->set_sequence(1);
  plan.mutable_plan()->set_gang_epoch(1);
  plan.mutable_plan()->set_stage(v1::STAGE_DENOISE);
  plan.mutable_plan()->add_jobs()->set_slot(3);
  v1::ToWorker open;
  open.mutable_open_slot()->set_slot(3);
  open.mutable_open_slot()->set_prompt("strawberry");
  open.mutable_open_slot()->set_width(64);
  open.mutable_open_slot()->set_height(64);
  open.mutable_open_slot()->set_steps(20);
  v1::FromWorker hello;
  hello.mutable_hello()->set_pid(7);
  v1::DecodePictureReply reply;
  return {std::string("\0\xff", 2) + Frame(open) + Frame(plan),
          std::string("\1\3", 2) + Frame(hello) + Frame(hello),
          std::string("\2\0", 2) + Frame(reply)};
}

}  // namespace darkroom::fuzz
