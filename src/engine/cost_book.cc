#include "engine/cost_book.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/sha256.h"
#include "engine/limits.h"
#include "scheduler/cost_error.h"
#include "scheduler/limits.h"

namespace darkroom::engine {
namespace {

constexpr char kMagic[] = "darkroom costs 1";
constexpr size_t kSha256HexBytes = 64;

absl::Status Damaged() {
  return Error(absl::StatusCode::kInvalidArgument, "COSTS_DAMAGED",
               "the file of measured costs is damaged or of another version");
}

absl::Status Io(std::string_view reason, const char* what) {
  return Error(absl::StatusCode::kUnavailable, reason,
               absl::StrCat("the file of measured costs cannot be ", what, ": ",
                            std::generic_category().message(errno)));
}

// A field must not end its line.
std::string Clean(const std::string& text) {
  std::string clean = text.substr(0, kCostFieldBytesMax);
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return clean;
}

bool ParseStage(const std::string& text, scheduler::Stage& stage) {
  int32_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < 0 || value >= scheduler::kStages) return false;
  stage = static_cast<scheduler::Stage>(value);
  return true;
}

bool ParsePoint(const std::vector<std::string>& fields, CostBook::Entry& entry) {
  scheduler::CostPoint point;
  if (fields.size() != 4 || !ParseStage(fields[1], point.stage) ||
      !absl::SimpleAtoi(fields[2], &point.tokens) || !absl::SimpleAtoi(fields[3], &point.nanos) ||
      point.tokens <= 0 || point.nanos <= 0 || entry.points.size() >= kCostPointsMax) {
    return false;
  }
  entry.points.push_back(point);
  return true;
}

bool ParseErrors(const std::vector<std::string>& fields, std::vector<int64_t>& errors) {
  for (size_t i = 1; i < fields.size(); ++i) {
    int64_t count = 0;
    if (!absl::SimpleAtoi(fields[i], &count) || count < 0 || count > scheduler::kCostErrorJobsMax) {
      return false;
    }
    errors.push_back(count);
  }
  return errors.size() == scheduler::CostError::kBuckets;
}

bool ParseLearned(const std::vector<std::string>& fields, CostBook::Entry& entry) {
  scheduler::CostLearned learned;
  if (fields.size() != 4 || !ParseStage(fields[1], learned.stage) ||
      !absl::SimpleAtod(fields[2], &learned.correction) ||
      !absl::SimpleAtoi(fields[3], &learned.observations) || !(learned.correction > 0) ||
      learned.observations < 0 || entry.learned.size() >= scheduler::kStages) {
    return false;
  }
  entry.learned.push_back(learned);
  return true;
}

}  // namespace

const CostBook::Entry* CostBook::Find(const Key& key) const {
  const auto it =
      entries_.find({Clean(key.hardware), Clean(key.model), Clean(key.precision), key.degree});
  return it == entries_.end() ? nullptr : &it->second;
}

void CostBook::Set(const Key& key, Entry entry) {
  Key clean{Clean(key.hardware), Clean(key.model), Clean(key.precision), key.degree};
  if (entries_.size() >= kCostEntriesMax && !entries_.contains(clean)) {
    entries_.erase(entries_.begin());
  }
  entries_[std::move(clean)] = std::move(entry);
}

std::string CostBook::Format() const {
  std::string body;
  if (!errors_.empty()) {
    absl::StrAppend(&body, "errors\t", absl::StrJoin(errors_, "\t"), "\n");
  }
  for (const auto& [key, entry] : entries_) {
    absl::StrAppend(&body, "entry\t", key.hardware, "\t", key.model, "\t", key.precision, "\t",
                    key.degree, "\n");
    for (const scheduler::CostPoint& point : entry.points) {
      absl::StrAppend(&body, "point\t", static_cast<int>(point.stage), "\t", point.tokens, "\t",
                      point.nanos, "\n");
    }
    for (const scheduler::CostLearned& learned : entry.learned) {
      absl::StrAppend(&body, "learned\t", static_cast<int>(learned.stage), "\t",
                      absl::StrFormat("%.17g", learned.correction), "\t", learned.observations,
                      "\n");
    }
  }
  return absl::StrCat(kMagic, "\n", Sha256Hex(body), "\n", body);
}

absl::StatusOr<CostBook> CostBook::Parse(std::string_view text) {
  const std::string head = absl::StrCat(kMagic, "\n");
  const size_t body_at = head.size() + kSha256HexBytes + 1;
  if (text.size() < body_at || text.size() > kCostFileBytesMax ||
      text.substr(0, head.size()) != head) {
    return Damaged();
  }
  const std::string body(text.substr(body_at));
  if (text.substr(head.size(), kSha256HexBytes + 1) != Sha256Hex(body) + "\n") return Damaged();
  CostBook book;
  Entry* entry = nullptr;
  const std::vector<std::string> lines = absl::StrSplit(body, '\n', absl::SkipEmpty());
  for (const std::string& line : lines) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    bool good = false;
    if (fields[0] == "errors") {
      good = book.errors_.empty() && ParseErrors(fields, book.errors_);
    } else if (fields[0] == "entry") {
      Key key;
      good = fields.size() == 5 && book.entries_.size() < kCostEntriesMax &&
             absl::SimpleAtoi(fields[4], &key.degree) && key.degree > 0;
      if (good) {
        key.hardware = fields[1];
        key.model = fields[2];
        key.precision = fields[3];
        entry = &book.entries_[key];
      }
    } else if (entry != nullptr && fields[0] == "point") {
      good = ParsePoint(fields, *entry);
    } else if (entry != nullptr && fields[0] == "learned") {
      good = ParseLearned(fields, *entry);
    }
    if (!good) return Damaged();
  }
  return book;
}

absl::StatusOr<CostBook> ReadCosts(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return CostBook();
  std::ifstream file(path, std::ios::binary);
  // One byte more than is allowed tells a file that is too large without reading all of it.
  std::string text(kCostFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || !file.eof()) return Io("COSTS_UNREADABLE", "read");
  text.resize(static_cast<size_t>(file.gcount()));
  return CostBook::Parse(text);
}

absl::Status WriteCosts(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Io("COSTS_UNWRITABLE", "written");
  std::string_view rest = text;
  bool good = true;
  while (good && !rest.empty()) {
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    good = written >= 0;
    if (good) rest.remove_prefix(static_cast<size_t>(written));
  }
  good = good && ::fsync(fd) == 0;
  ::close(fd);
  if (!good || ::rename(temporary.c_str(), path.c_str()) != 0) {
    return Io("COSTS_UNWRITABLE", "written");
  }
  return absl::OkStatus();
}

}  // namespace darkroom::engine
