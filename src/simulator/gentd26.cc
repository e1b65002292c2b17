#include "simulator/gentd26.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "simulator/limits.h"

namespace darkroom::simulator {
namespace {

enum Column { kCreated, kTenant, kImages, kSteps, kModel, kAdapters, kColumns };
constexpr std::array<absl::string_view, kColumns> kNames = {"gmt_create",
                                                            "groupId",
                                                            "num_images_per_prompt",
                                                            "num_inference_steps",
                                                            "checkpoint_model_version_id",
                                                            "num_lora"};

absl::Status Invalid(size_t line, absl::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument, "TRACE_INVALID",
               absl::StrCat("trace, line ", line, ": ", what));
}

// Whole numbers are written as "30.0" there.
bool ParseWhole(absl::string_view text, int64_t low, int64_t high, int64_t& value) {
  double number = 0;
  if (!absl::SimpleAtod(text, &number)) return false;
  // Written so that NaN fails, and before the cast, which is undefined beyond the range.
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high))) return false;
  value = static_cast<int64_t>(number);
  return static_cast<double>(value) == number;
}

// "G0264" is 264.
bool ParseLabel(absl::string_view text, char prefix, uint32_t& value) {
  return !text.empty() && text.front() == prefix && absl::SimpleAtoi(text.substr(1), &value);
}

class Reader {
 public:
  absl::Status Header(const std::vector<absl::string_view>& fields) {
    for (int column = 0; column < kColumns; ++column) {
      const auto it = std::find(fields.begin(), fields.end(), kNames[column]);
      if (it == fields.end()) return Invalid(1, absl::StrCat("no column ", kNames[column]));
      index_[column] = static_cast<size_t>(it - fields.begin());
    }
    width_ = fields.size();
    return absl::OkStatus();
  }

  absl::Status Line(size_t number, const std::vector<absl::string_view>& fields, Trace& trace) {
    if (fields.size() != width_) {
      return Invalid(number, absl::StrCat(fields.size(), " fields; the header has ", width_));
    }
    const auto field = [&](Column column) { return fields[index_[column]]; };
    if (field(kImages).empty() || field(kSteps).empty() || field(kTenant).empty()) {
      ++trace.incomplete;
      return absl::OkStatus();
    }
    TraceRequest request;
    absl::CivilSecond created;
    if (!absl::ParseCivilTime(
            absl::StrCat(field(kCreated).substr(0, 10), "T",
                         field(kCreated).substr(std::min<size_t>(11, field(kCreated).size()))),
            &created)) {
      return Invalid(number, "gmt_create must be a time such as 2024-11-15 16:57:50");
    }
    request.created_s = created - absl::CivilSecond(1970, 1, 1);
    int64_t images = 0;
    int64_t steps = 0;
    int64_t adapters = 0;
    if (!ParseWhole(field(kImages), 1, kTraceImagesMax, images)) {
      return Invalid(number, absl::StrCat("num_images_per_prompt must be 1 to ", kTraceImagesMax));
    }
    if (!ParseWhole(field(kSteps), 1, kTraceStepsMax, steps)) {
      return Invalid(number, absl::StrCat("num_inference_steps must be 1 to ", kTraceStepsMax));
    }
    if (!ParseWhole(field(kAdapters), 0, 100, adapters)) {
      return Invalid(number, "num_lora must be 0 to 100");
    }
    if (!ParseLabel(field(kTenant), 'G', request.tenant)) {
      return Invalid(number, "groupId must be G and a number, such as G0264");
    }
    if (!field(kModel).empty() && !ParseLabel(field(kModel), 'M', request.model)) {
      return Invalid(number, "checkpoint_model_version_id must be M and a number, such as M0002");
    }
    request.images = static_cast<int32_t>(images);
    request.steps = static_cast<int32_t>(steps);
    request.adapters = static_cast<int32_t>(adapters);
    trace.requests.push_back(request);
    return absl::OkStatus();
  }

 private:
  std::array<size_t, kColumns> index_{};
  size_t width_ = 0;
};

}  // namespace

absl::StatusOr<Trace> ParseGentd26(std::string_view csv) {
  Trace trace;
  Reader reader;
  size_t number = 0;
  for (const absl::string_view raw :
       absl::StrSplit(absl::string_view(csv.data(), csv.size()), '\n')) {
    ++number;
    if (number > kTraceLinesMax) {
      return Invalid(number, absl::StrCat("more than ", kTraceLinesMax, " lines"));
    }
    if (raw.size() > kLineBytesMax) {
      return Invalid(number, absl::StrCat("more than ", kLineBytesMax, " characters"));
    }
    const absl::string_view line = absl::StripTrailingAsciiWhitespace(raw);
    if (line.empty()) continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ',');
    const absl::Status status =
        number == 1 ? reader.Header(fields) : reader.Line(number, fields, trace);
    if (!status.ok()) return status;
  }
  if (trace.requests.empty()) return Invalid(number, "no request in it");
  std::stable_sort(
      trace.requests.begin(), trace.requests.end(),
      [](const TraceRequest& a, const TraceRequest& b) { return a.created_s < b.created_s; });
  return trace;
}

}  // namespace darkroom::simulator
