#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/v1/generation.pb.h"
#include "main/cli/command.h"
#include "main/cli/output_files.h"
#include "main/cli/previews.h"
#include "main/cli/progress_bar.h"

namespace darkroom::cli {

// Follows the events of one generation: shows progress, writes outputs, remembers how it ended.
// Events that were already seen are skipped, so that a stream can be taken up again.
class Follower {
 public:
  // `out_pattern`: see OutputFiles; empty writes nothing.
  Follower(const Session& session, const std::string& out_pattern,
           Previews previews = {"", TerminalPictures::kNone})
      : session_(session),
        bar_(!session.output.json()),
        files_(out_pattern),
        previews_(std::move(previews)),
        writes_(!out_pattern.empty()) {}

  absl::Status OnEvent(const v1::GenerateEvent& event);

  // A state of the client's own: waiting for the model, or to reconnect.
  void Show(const std::string& text) { bar_.Show(text); }
  void Clear() { bar_.Clear(); }

  bool seen_any() const { return last_sequence_ > 0; }
  int64_t last_sequence() const { return last_sequence_; }
  const std::string& name() const { return name_; }
  const std::optional<v1::Generation>& ended() const { return ended_; }

  // Once the generation has ended: writes what is to be written and tells it, paths last. Returns
  // the exit code.
  int Conclude();

 private:
  void ShowProgress(const v1::GenerateEvent::Progress& progress);

  const Session& session_;
  ProgressBar bar_;
  OutputFiles files_;
  const Previews previews_;
  const bool writes_;
  std::string name_;
  int64_t last_sequence_ = 0;
  int64_t steps_total_ = 0;
  std::vector<int64_t> steps_done_;  // of each output
  std::optional<v1::Generation> ended_;
};

}  // namespace darkroom::cli
