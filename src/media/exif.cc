#include "media/exif.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace darkroom {
namespace {

constexpr uint8_t kMarker[] = {'E', 'x', 'i', 'f', 0, 0};
constexpr size_t kEntryBytes = 12;
constexpr uint32_t kTagOrientation = 0x0112;
constexpr uint32_t kTypeShort = 3;
constexpr int kUpright = 1;

// Numbers of a TIFF structure; what lies outside reads as 0.
class TiffReader {
 public:
  TiffReader(absl::Span<const uint8_t> bytes, bool little) : bytes_(bytes), little_(little) {}

  uint32_t Read(size_t offset, size_t size) const {
    if (offset > bytes_.size() || bytes_.size() - offset < size) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      value = value << 8 | bytes_[offset + (little_ ? size - 1 - i : i)];
    }
    return value;
  }

 private:
  absl::Span<const uint8_t> bytes_;
  bool little_;
};

}  // namespace

int ExifOrientation(absl::Span<const uint8_t> exif) {
  if (exif.size() >= std::size(kMarker) &&
      std::equal(std::begin(kMarker), std::end(kMarker), exif.begin())) {
    exif.remove_prefix(std::size(kMarker));
  }
  if (exif.size() < 8 || exif[0] != exif[1] || (exif[0] != 'I' && exif[0] != 'M')) return kUpright;
  const TiffReader tiff(exif, exif[0] == 'I');
  const size_t directory = tiff.Read(4, 4);
  // At most 65,535, which the field's own size bounds.
  const size_t entries = tiff.Read(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > exif.size()) return kUpright;
    if (tiff.Read(entry, 2) != kTagOrientation) continue;
    const auto orientation = static_cast<int>(tiff.Read(entry + 8, 2));
    const bool is_valid =
        tiff.Read(entry + 2, 2) == kTypeShort && orientation >= 1 && orientation <= 8;
    return is_valid ? orientation : kUpright;
  }
  return kUpright;
}

}  // namespace darkroom
