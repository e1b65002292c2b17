#include "main/cli/previews.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "main/cli/output.h"

namespace darkroom::cli {
namespace {

// What kitty takes in one escape sequence.
constexpr size_t kKittyChunkBytes = 4096;

std::string_view Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status FolderUnusable(const std::string& folder, const std::string& why) {
  return Error(
      absl::StatusCode::kPermissionDenied, "FOLDER_UNUSABLE",
      absl::StrCat("previews cannot be written to \"", Printable(folder, 200), "\": ", why));
}

}  // namespace

TerminalPictures DetectTerminalPictures(bool is_terminal) {
  if (!is_terminal) return TerminalPictures::kNone;
  if (!Variable("KITTY_WINDOW_ID").empty() || Variable("TERM") == "xterm-kitty") {
    return TerminalPictures::kKitty;
  }
  if (Variable("TERM_PROGRAM") == "iTerm.app") return TerminalPictures::kIterm;
  return TerminalPictures::kNone;
}

std::string TerminalPicture(TerminalPictures kind, const std::string& png) {
  std::string encoded;
  absl::Base64Escape(png, &encoded);
  if (kind == TerminalPictures::kIterm) {
    return absl::StrCat("\x1b]1337;File=inline=1;size=", png.size(), ":", encoded, "\x07\n");
  }
  if (kind != TerminalPictures::kKitty) return "";
  std::string shown;
  for (size_t at = 0; at < encoded.size(); at += kKittyChunkBytes) {
    const bool more = at + kKittyChunkBytes < encoded.size();
    absl::StrAppend(&shown, "\x1b_G", at == 0 ? "a=T,f=100," : "", "m=", more ? 1 : 0, ";",
                    encoded.substr(at, kKittyChunkBytes), "\x1b\\");
  }
  return shown + "\n";
}

absl::Status Previews::Check() const {
  if (folder_.empty()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return FolderUnusable(folder_, error.message());
  if (::access(folder_.c_str(), W_OK | X_OK) != 0) return FolderUnusable(folder_, "not allowed");
  return absl::OkStatus();
}

absl::Status Previews::Show(const v1::GenerateEvent::Preview& preview) const {
  if (folder_.empty()) {
    const std::string shown = TerminalPicture(terminal_, preview.data());
    std::fwrite(shown.data(), 1, shown.size(), stderr);
    return absl::OkStatus();
  }
  const std::string path =
      absl::StrFormat("%s/preview-%d-%04d.png", folder_, preview.output_index(), preview.step());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << preview.data();
  if (!file.flush()) return FolderUnusable(folder_, "the disk may be full");
  return absl::OkStatus();
}

}  // namespace darkroom::cli
