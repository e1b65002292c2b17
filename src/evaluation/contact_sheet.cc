#include "evaluation/contact_sheet.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "evaluation/bitmap_font.h"
#include "evaluation/limits.h"
#include "media/png.h"

namespace darkroom {
namespace {

constexpr int kCell = evaluation_limits::kSheetCellPixelsMax;
constexpr int kGap = 8;
constexpr int kCaptionWidth = evaluation_limits::kSheetLineCharactersMax * kGlyphWidth;
constexpr int kHeader = kGlyphHeight + 2 * kGap;
constexpr uint8_t kWhite = 255;

// The smallest factor that brings the picture into a cell; sides that it does not divide lose their
// last few pixels.
RgbPicture Reduced(const RgbPicture& picture) {
  const int factor = (std::max(picture.width, picture.height) + kCell - 1) / kCell;
  if (factor <= 1) return picture;
  RgbPicture whole{picture.width / factor * factor, picture.height / factor * factor, {}};
  for (int y = 0; y < whole.height; ++y) {
    const auto row = picture.rgb.begin() + std::ptrdiff_t{3} * y * picture.width;
    whole.rgb.insert(whole.rgb.end(), row, row + std::ptrdiff_t{3} * whole.width);
  }
  return ReducePicture(whole, factor);
}

void DrawPicture(const RgbPicture& cell, int x, int y, RgbPicture& sheet) {
  const int factor = std::max(1, kCell / std::max({cell.width, cell.height, 1}));
  for (int row = 0; row < cell.height * factor; ++row) {
    for (int column = 0; column < cell.width * factor; ++column) {
      const uint8_t* from =
          &cell.rgb[3 * (size_t(row / factor) * cell.width + size_t(column / factor))];
      std::copy(from, from + 3, &sheet.rgb[3 * (size_t(y + row) * sheet.width + x + column)]);
    }
  }
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Bytes of the first `characters` characters, at most all.
size_t Prefix(std::string_view text, int characters) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    if (!IsContinuation(text[bytes]) && characters-- == 0) break;
    ++bytes;
  }
  return bytes;
}

}  // namespace

std::vector<std::string> WrapText(std::string_view text, int characters, int lines) {
  std::vector<std::string> out;
  while (!text.empty()) {
    size_t end = Prefix(text, characters);
    if (end < text.size() && static_cast<int>(out.size()) + 1 == lines) {
      constexpr std::string_view kMore = "...";
      end = Prefix(text, characters - static_cast<int>(kMore.size()));
      out.push_back(std::string(text.substr(0, end)) + std::string(kMore));
      break;
    }
    size_t next = end;
    if (end < text.size()) {
      const size_t space = text.rfind(' ', end);
      if (space != std::string_view::npos && space > 0) {
        end = space;
        next = space + 1;
      }
    }
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(next);
  }
  return out;
}

bool ContactSheet::full() const { return rows() >= evaluation_limits::kSheetRowsMax; }

void ContactSheet::Add(std::string_view caption, absl::Span<const RgbPicture* const> pictures) {
  Row& row = rows_.emplace_back();
  row.caption = std::string(caption);
  for (const RgbPicture* picture : pictures) row.cells.push_back(Reduced(*picture));
}

absl::StatusOr<std::string> ContactSheet::Png() const {
  if (rows_.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "SHEET_EMPTY",
                 "there is no picture for the contact sheet");
  }
  constexpr int kStep = kCell + kGap;
  RgbPicture sheet{kGap + kCaptionWidth + kGap + static_cast<int>(columns_.size()) * kStep,
                   kHeader + rows() * kStep,
                   {}};
  sheet.rgb.assign(size_t{3} * sheet.width * sheet.height, kWhite);
  const auto column_x = [](size_t column) {
    return 2 * kGap + kCaptionWidth + static_cast<int>(column) * kStep;
  };
  for (size_t column = 0; column < columns_.size(); ++column) {
    const auto name = WrapText(columns_[column], kCell / kGlyphWidth, 1);
    if (!name.empty()) DrawText(name.front(), column_x(column), kGap, sheet);
  }
  int y = kHeader;
  for (const Row& row : rows_) {
    int line_y = y;
    for (const std::string& line : WrapText(row.caption, evaluation_limits::kSheetLineCharactersMax,
                                            evaluation_limits::kSheetLinesMax)) {
      DrawText(line, kGap, line_y, sheet);
      line_y += kGlyphHeight + 2;
    }
    for (size_t column = 0; column < row.cells.size(); ++column) {
      DrawPicture(row.cells[column], column_x(column), y, sheet);
    }
    y += kStep;
  }
  return EncodePng(sheet.rgb, sheet.width, sheet.height, {});
}

}  // namespace darkroom
