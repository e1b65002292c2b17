#include "main/cli/input_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "main/cli/output.h"
#include "main/limits.h"

namespace darkroom::cli {
namespace {

absl::Status Unusable(const std::string& path, const std::string& what) {
  return Error(absl::StatusCode::kInvalidArgument, "FILE_UNUSABLE",
               absl::StrCat("\"", Printable(path, 200), "\" ", what));
}

}  // namespace

absl::StatusOr<std::string> ReadPictureFile(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return Unusable(path, errno == ENOENT ? "does not exist"
                                          : absl::StrCat("cannot be read: ", std::strerror(errno)));
  }
  if (S_ISDIR(info.st_mode)) return Unusable(path, "is a folder; name a PNG, JPEG or WebP file");
  if (!S_ISREG(info.st_mode)) return Unusable(path, "is no file; name a PNG, JPEG or WebP file");
  if (info.st_size == 0) return Unusable(path, "is empty; name a PNG, JPEG or WebP file");
  if (static_cast<size_t>(info.st_size) > kPictureFileBytesMax) {
    return Unusable(path, absl::StrCat("has ", info.st_size, " bytes; at most ",
                                       kPictureFileBytesMax, " are sent"));
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  if (!file || bytes.str().empty()) {
    return Unusable(path, absl::StrCat("cannot be read: ", std::strerror(errno)));
  }
  return std::move(bytes).str();
}

absl::Status AttachPicture(const std::string& path, Client& client, v1::InputImage& input) {
  auto bytes = ReadPictureFile(path);
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() <= kInlinePictureBytesMax) {
    input.set_data(*std::move(bytes));
    return absl::OkStatus();
  }
  const auto asset = client.UploadAsset(*bytes);
  if (!asset.ok()) return asset.status();
  input.set_asset(asset->name());
  return absl::OkStatus();
}

}  // namespace darkroom::cli
