#include "base/error.h"

#include "google/rpc/error_details.pb.h"

namespace darkroom {
namespace {

constexpr std::string_view kTypePrefix = "type.googleapis.com/";
constexpr std::string_view kDomain = "darkroom";

template <typename Detail>
std::string TypeUrl() {
  return std::string(kTypePrefix) + Detail::descriptor()->full_name();
}

// The detail of this type that the status carries, or an empty one.
template <typename Detail>
Detail GetDetail(const absl::Status& status) {
  Detail detail;
  if (auto payload = status.GetPayload(TypeUrl<Detail>())) {
    detail.ParseFromString(std::string(*payload));
  }
  return detail;
}

template <typename Detail>
void SetDetail(absl::Status& status, const Detail& detail) {
  status.SetPayload(TypeUrl<Detail>(), absl::Cord(detail.SerializeAsString()));
}

}  // namespace

Error::Error(absl::StatusCode code, std::string_view reason, std::string_view message)
    : status_(code, absl::string_view(message.data(), message.size())) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kDomain));
  SetDetail(status_, info);
}

Error& Error::Field(std::string_view field, std::string_view description) {
  auto detail = GetDetail<google::rpc::BadRequest>(status_);
  auto* violation = detail.add_field_violations();
  violation->set_field(std::string(field));
  violation->set_description(std::string(description));
  SetDetail(status_, detail);
  return *this;
}

Error& Error::RetryAfter(absl::Duration delay) {
  google::rpc::RetryInfo detail;
  const int64_t nanos = absl::ToInt64Nanoseconds(delay);
  detail.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
  detail.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  SetDetail(status_, detail);
  return *this;
}

Error& Error::Quota(std::string_view subject, std::string_view description) {
  auto detail = GetDetail<google::rpc::QuotaFailure>(status_);
  auto* violation = detail.add_violations();
  violation->set_subject(std::string(subject));
  violation->set_description(std::string(description));
  SetDetail(status_, detail);
  return *this;
}

std::string ErrorReason(const absl::Status& status) {
  return GetDetail<google::rpc::ErrorInfo>(status).reason();
}

google::rpc::Status ToProto(const absl::Status& status) {
  google::rpc::Status proto;
  proto.set_code(static_cast<int>(status.code()));
  proto.set_message(std::string(status.message()));
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    auto* detail = proto.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  return proto;
}

absl::Status FromProto(const google::rpc::Status& proto) {
  absl::Status status(static_cast<absl::StatusCode>(proto.code()), proto.message());
  for (const auto& detail : proto.details()) {
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return status;
}

}  // namespace darkroom
