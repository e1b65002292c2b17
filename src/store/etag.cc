#include "store/etag.h"

#include "base/sha256.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace darkroom {
namespace {

constexpr size_t kEtagLength = 16;

std::string Serialize(const google::protobuf::MessageLite& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  // Labels are a map, whose order is otherwise random.
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

}  // namespace

std::string CanonicalBytes(const v1::Generation& generation) {
  if (generation.etag().empty()) return Serialize(generation);
  v1::Generation copy = generation;
  copy.clear_etag();
  return Serialize(copy);
}

std::string CanonicalBytes(const v1::Tenant& tenant) {
  v1::Tenant copy = tenant;
  copy.clear_etag();
  copy.clear_source();
  copy.clear_state();
  return Serialize(copy);
}

std::string Etag(const std::string& bytes) { return Sha256Hex(bytes).substr(0, kEtagLength); }

}  // namespace darkroom
