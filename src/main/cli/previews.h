#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "darkroom/v1/generation.pb.h"

namespace darkroom::cli {

// How a terminal shows pictures, if it does.
enum class TerminalPictures { kNone, kKitty, kIterm };

// By what the terminal says of itself in the environment. `is_terminal`: what is written reaches
// one.
TerminalPictures DetectTerminalPictures(bool is_terminal);

// The bytes that show `png` in such a terminal: kitty's graphics protocol, or iTerm2's inline
// images.
std::string TerminalPicture(TerminalPictures kind, const std::string& png);

// What becomes of previews: files in a folder, or, without one, pictures in the terminal.
class Previews {
 public:
  // `folder`: empty for the terminal.
  Previews(std::string folder, TerminalPictures terminal)
      : folder_(std::move(folder)), terminal_(terminal) {}

  // NOT_FOUND or PERMISSION_DENIED when the folder cannot be made or written to; before anything is
  // generated.
  absl::Status Check() const;
  // Writes {folder}/preview-{output}-{step}.png, or shows it.
  absl::Status Show(const v1::GenerateEvent::Preview& preview) const;
  bool wanted() const { return !folder_.empty() || terminal_ != TerminalPictures::kNone; }

 private:
  const std::string folder_;
  const TerminalPictures terminal_;
};

}  // namespace darkroom::cli
