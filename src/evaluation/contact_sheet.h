#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "evaluation/rgb_picture.h"

namespace darkroom {

// Pictures side by side on white: a column for every mode, a row for every prompt, with the prompt
// at its left and the modes' names above.
class ContactSheet {
 public:
  explicit ContactSheet(std::vector<std::string> columns) : columns_(std::move(columns)) {}

  // Whether another row can be added: there are at most kSheetRowsMax.
  bool full() const;
  int rows() const { return static_cast<int>(rows_.size()); }
  // One picture for every column. Larger ones than a cell are reduced by a whole factor, smaller
  // ones enlarged by one, so that every pixel is a square. REQUIRES: not full.
  void Add(std::string_view caption, absl::Span<const RgbPicture* const> pictures);

  // The sheet as PNG. INVALID_ARGUMENT (SHEET_EMPTY) without rows.
  absl::StatusOr<std::string> Png() const;

 private:
  struct Row {
    std::string caption;
    std::vector<RgbPicture> cells;
  };

  const std::vector<std::string> columns_;
  std::vector<Row> rows_;
};

// `text` in lines of at most `characters` characters, broken at spaces where there are some, at
// most `lines` of them; the last ends in "..." when there was more.
std::vector<std::string> WrapText(std::string_view text, int characters, int lines);

}  // namespace darkroom
