#pragma once

#include <cstddef>
#include <cstdint>

// Every bound of the evaluation layer. A scorer's folder may be damaged or made by somebody else,
// and pictures come from a server.
namespace darkroom::evaluation_limits {

// Side of the pictures that a scorer looks at, pixels, and dimensions of what it makes of them.
inline constexpr int kScorerSizeMax = 512;
inline constexpr int kProjectionMax = 8192;
// Device memory that a scorer may take for one picture.
inline constexpr size_t kScorerWorkspaceBytesMax = size_t{1} << 30;
// How many times wider than the scorer's a picture may be.
inline constexpr int kReductionMax = 64;

// Captions of a gallery.
inline constexpr int kCaptionsMax = 10'000;

// Width and height of a picture that is measured, pixels. A dozen planes of its numbers are held in
// double precision meanwhile: 400 MiB at most.
inline constexpr int kPictureSideMax = 2048;

// A contact sheet: rows, as many as fit into the largest PNG that is written, and the side that
// larger pictures are reduced to and smaller ones are enlarged to where a whole factor gets there.
inline constexpr int kSheetRowsMax = 120;
inline constexpr int kSheetCellPixelsMax = 128;
// Characters of a caption, or of a mode's name, that a sheet shows: lines of one, and their length.
inline constexpr int kSheetLinesMax = 6;
inline constexpr int kSheetLineCharactersMax = 26;

}  // namespace darkroom::evaluation_limits
