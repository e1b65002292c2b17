#include "client/error_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "google/rpc/error_details.pb.h"

namespace darkroom {
namespace {

std::string NameOf(const std::string& field, const std::map<std::string, std::string>& names) {
  const auto found = names.find(field);
  return found == names.end() ? field : found->second;
}

// A server could send anything; a terminal obeys control characters.
std::string Printable(std::string text) {
  for (char& c : text) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

std::string ErrorText(const absl::Status& status, const std::map<std::string, std::string>& names) {
  const google::rpc::Status proto = ToProto(status);
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  bool has_retry = false;
  for (const auto& detail : proto.details()) {
    detail.UnpackTo(&bad_request);
    has_retry = detail.UnpackTo(&retry) || has_retry;
  }
  std::string text;
  if (bad_request.field_violations_size() <= 1) {
    // The whole story of one mistake; it begins with the field's name.
    text = std::string(status.message());
    if (bad_request.field_violations_size() == 1) {
      const std::string& field = bad_request.field_violations(0).field();
      if (absl::StartsWith(text, field + " ") || absl::StartsWith(text, field + ":")) {
        text = NameOf(field, names) + text.substr(field.size());
      }
    }
  } else {
    text = absl::StrCat(bad_request.field_violations_size(), " things are wrong:");
    for (const auto& violation : bad_request.field_violations()) {
      absl::StrAppend(&text, "\n  ", NameOf(violation.field(), names), " ",
                      violation.description());
    }
  }
  if (has_retry) {
    const double seconds = static_cast<double>(retry.retry_delay().seconds()) +
                           static_cast<double>(retry.retry_delay().nanos()) / 1e9;
    absl::StrAppend(&text, "; retry in ", seconds, " s");
  }
  const std::string reason = ErrorReason(status);
  absl::StrAppend(&text, bad_request.field_violations_size() > 1 ? "\n  (" : " (",
                  absl::StatusCodeToString(status.code()), reason.empty() ? "" : ", ", reason, ")");
  return Printable(std::move(text));
}

}  // namespace darkroom
