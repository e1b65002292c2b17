#include "model/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/json.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kLfsPointerStart = "version https://git-lfs";

struct FormatDType {
  std::string_view name;
  uint64_t bits;
  std::optional<DType> dtype;
};

constexpr FormatDType kFormatDTypes[] = {
    {"BOOL", 8, std::nullopt},    {"U8", 8, DType::kU8},        {"I8", 8, std::nullopt},
    {"F8_E4M3", 8, std::nullopt}, {"F8_E5M2", 8, std::nullopt}, {"F8_E8M0", 8, std::nullopt},
    {"I16", 16, std::nullopt},    {"U16", 16, std::nullopt},    {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBf16},   {"I32", 32, DType::kI32},     {"U32", 32, std::nullopt},
    {"F32", 32, DType::kF32},     {"I64", 64, DType::kI64},     {"U64", 64, std::nullopt},
    {"F64", 64, std::nullopt},    {"F4", 4, std::nullopt},      {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt}, {"C64", 64, std::nullopt},
};

const FormatDType* FindDType(std::string_view name) {
  for (const FormatDType& dtype : kFormatDTypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

// Exact non-negative integers only: 1.0, 1e3 and -0 are refused as they are by the format's own
// reader.
std::optional<uint64_t> Unsigned(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

// Parses one header entry; `begin` and `end` are its range of the data. Returns the problem, empty
// when there is none.
std::string ParseEntry(const Json& json, SafetensorsEntry& entry, uint64_t& begin, uint64_t& end) {
  if (!json.is_object()) return "must be an object";
  for (const auto& [key, value] : json.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return absl::StrCat("has the unknown field \"", key, "\"");
    }
  }
  const auto dtype_name = json.find("dtype");
  const auto shape = json.find("shape");
  const auto offsets = json.find("data_offsets");
  if (dtype_name == json.end() || !dtype_name->is_string()) return "has no dtype";
  if (shape == json.end() || !shape->is_array()) return "has no shape";
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2) {
    return "has no pair of data_offsets";
  }
  entry.dtype_name = dtype_name->get<std::string>();
  const FormatDType* dtype = FindDType(entry.dtype_name);
  if (dtype == nullptr) return absl::StrCat("has the unknown dtype \"", entry.dtype_name, "\"");
  entry.dtype = dtype->dtype;
  if (shape->size() > model_limits::kTensorRankMax) {
    return absl::StrCat("has ", shape->size(), " dimensions; at most ",
                        model_limits::kTensorRankMax, " can be");
  }
  uint64_t bits = dtype->bits;
  for (const Json& dim : *shape) {
    const std::optional<uint64_t> value = Unsigned(dim);
    if (!value || *value > INT64_MAX) return "has a dimension that is no non-negative integer";
    entry.shape.push_back(static_cast<int64_t>(*value));
    if (__builtin_mul_overflow(bits, *value, &bits)) return "is larger than 2^64 bits";
  }
  entry.elements = bits / dtype->bits;
  const std::optional<uint64_t> first = Unsigned((*offsets)[0]);
  const std::optional<uint64_t> last = Unsigned((*offsets)[1]);
  if (!first || !last || *first > *last) return "has data_offsets that are no range";
  if (bits % 8 != 0) return "does not fill whole bytes";
  if (*last - *first != bits / 8) {
    return absl::StrCat("takes ", bits / 8, " bytes by its dtype ", entry.dtype_name,
                        " and shape [", absl::StrJoin(entry.shape, ", "), "], but ", *last - *first,
                        " by its data_offsets");
  }
  begin = *first;
  end = *last;
  return "";
}

absl::Status CheckMetadata(const Json& json, std::string_view file) {
  if (!json.is_object()) return ModelInvalid(file, "header: __metadata__ must be an object");
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) {
      return ModelInvalid(file,
                          absl::StrCat("header: __metadata__ \"", key, "\" must be a string"));
    }
  }
  return absl::OkStatus();
}

struct Range {
  uint64_t begin;
  uint64_t end;
  const std::string* name;
};

// The data must be covered in order, each byte by exactly one tensor.
absl::Status CheckCoverage(std::vector<Range>& ranges, uint64_t data_bytes, std::string_view file) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const Range& range : ranges) {
    if (range.begin != covered) {
      return ModelInvalid(file, absl::StrCat("tensor \"", *range.name, "\" begins at data byte ",
                                             range.begin, ", but the one before it ends at ",
                                             covered, ": tensors may not overlap or leave a gap"));
    }
    covered = range.end;
  }
  if (covered > data_bytes) {
    return ModelInvalid(
        file, absl::StrCat("is cut short: its header describes ", covered, " bytes of tensors, ",
                           data_bytes, " are there; copy the file again"));
  }
  if (covered < data_bytes) {
    return ModelInvalid(file, absl::StrCat(data_bytes - covered, " bytes follow the last tensor"));
  }
  return absl::OkStatus();
}

// The JSON header's text, once its place is known to be sound.
absl::StatusOr<std::string_view> HeaderText(std::string_view bytes, std::string_view file) {
  if (absl::StartsWith(absl::string_view(bytes.data(), bytes.size()),
                       absl::string_view(kLfsPointerStart.data(), kLfsPointerStart.size()))) {
    return ModelInvalid(file, "is a Git LFS pointer, not the file itself; run: git lfs pull");
  }
  if (bytes.size() < kLengthBytes) {
    return ModelInvalid(
        file, absl::StrCat("is cut short: ", bytes.size(), " bytes are no safetensors file"));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  if (bytes.size() > kLengthBytes && bytes[kLengthBytes] != '{') {
    return ModelInvalid(file, "is no safetensors file: its header does not begin with '{'");
  }
  if (length > model_limits::kSafetensorsHeaderBytesMax) {
    return ModelInvalid(file,
                        absl::StrCat("gives a header of ", length, " bytes; at most ",
                                     model_limits::kSafetensorsHeaderBytesMax, " are allowed"));
  }
  if (length > bytes.size() - kLengthBytes) {
    return ModelInvalid(file, absl::StrCat("is cut short within its header of ", length,
                                           " bytes; copy the file again"));
  }
  if (length == 0) return ModelInvalid(file, "has an empty header");
  return bytes.substr(kLengthBytes, length);
}

}  // namespace

absl::StatusOr<SafetensorsEntries> ParseSafetensors(std::string_view bytes, std::string_view file) {
  absl::StatusOr<std::string_view> header = HeaderText(bytes, file);
  if (!header.ok()) return header.status();
  absl::StatusOr<Json> json = ParseJsonObject(*header, absl::StrCat(std::string(file), ": header"));
  if (!json.ok()) return json.status();

  const uint64_t data_begin = kLengthBytes + header->size();
  const uint64_t data_bytes = bytes.size() - data_begin;
  SafetensorsEntries entries;
  std::vector<Range> ranges;
  for (const auto& [name, value] : json->items()) {
    if (name == kMetadataKey) {
      if (absl::Status status = CheckMetadata(value, file); !status.ok()) return status;
      continue;
    }
    if (name.size() > model_limits::kTensorNameBytesMax) {
      return ModelInvalid(file,
                          absl::StrCat("a tensor's name has ", name.size(), " bytes; at most ",
                                       model_limits::kTensorNameBytesMax, " can be"));
    }
    SafetensorsEntry entry;
    Range range{};
    const std::string problem = ParseEntry(value, entry, range.begin, range.end);
    if (!problem.empty()) {
      return ModelInvalid(file, absl::StrCat("tensor \"", name, "\" ", problem));
    }
    entry.size_bytes = range.end - range.begin;
    // Cannot overflow once coverage holds; until then nothing reads it.
    entry.offset_bytes = data_begin + range.begin;
    range.name = &entries.emplace(name, std::move(entry)).first->first;
    ranges.push_back(range);
  }
  if (absl::Status status = CheckCoverage(ranges, data_bytes, file); !status.ok()) return status;
  return entries;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path,
                                                                       std::string_view file) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return ModelInvalid(file, absl::StrCat("cannot be opened: ", std::strerror(errno)));
  }
  struct stat info {};
  void* mapping = MAP_FAILED;
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const auto size = static_cast<size_t>(info.st_size);
  if (regular && size > 0) mapping = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (!regular) return ModelInvalid(file, "is not a regular file");
  if (size == 0) return ModelInvalid(file, "is empty; copy the file again");
  if (mapping == MAP_FAILED) return ModelInvalid(file, "cannot be mapped into memory");

  std::unique_ptr<SafetensorsFile> opened(
      new SafetensorsFile(file, std::string_view(static_cast<const char*>(mapping), size)));
  opened->identity_ =
      absl::StrCat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ".",
                   info.st_mtim.tv_nsec, ":", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec);
  absl::StatusOr<SafetensorsEntries> entries = ParseSafetensors(opened->bytes_, file);
  if (!entries.ok()) return entries.status();
  opened->entries_ = *std::move(entries);
  return opened;
}

void SafetensorsFile::ReleasePages() const {
  // Best effort: where the kernel refuses, the pages stay.
  madvise(const_cast<char*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

SafetensorsFile::~SafetensorsFile() { munmap(const_cast<char*>(bytes_.data()), bytes_.size()); }

Tensor SafetensorsFile::View(const SafetensorsEntry& entry) const {
  Tensor view;
  view.data = const_cast<char*>(bytes_.data() + entry.offset_bytes);
  view.dtype = *entry.dtype;
  view.rank = static_cast<int>(entry.shape.size());
  std::copy(entry.shape.begin(), entry.shape.end(), view.dims.begin());
  return view;
}

}  // namespace darkroom
