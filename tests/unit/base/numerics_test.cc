#include "base/numerics.h"

#include <set>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

v1::Numerics Example() {
  v1::Numerics numerics;
  numerics.set_model_digest("m");
  numerics.add_adapter_digests("ab");
  numerics.add_adapter_digests("c");
  numerics.set_precision("f32");
  numerics.set_backend("cpu");
  numerics.set_isa("avx512_core");
  numerics.set_version(1);
  numerics.add_libraries("onednn 2.6.3");
  numerics.set_tensor_degree(1);
  numerics.set_ring_degree(1);
  numerics.set_expert_degree(1);
  numerics.set_acceleration("exact");
  return numerics;
}

TEST(NumericsTest, EveryFieldChangesTheId) {
  const auto* descriptor = v1::Numerics::descriptor();
  std::set<std::string> ids = {NumericsId(Example())};
  for (int i = 0; i < descriptor->field_count(); ++i) {
    v1::Numerics changed = Example();
    const auto* field = descriptor->field(i);
    const auto* reflection = changed.GetReflection();
    using Field = google::protobuf::FieldDescriptor;
    if (field->is_repeated()) {
      reflection->AddString(&changed, field, "more");
    } else if (field->cpp_type() == Field::CPPTYPE_STRING) {
      reflection->SetString(&changed, field, "other");
    } else if (field->cpp_type() == Field::CPPTYPE_INT32) {
      reflection->SetInt32(&changed, field, 7);
    } else if (field->cpp_type() == Field::CPPTYPE_UINT32) {
      reflection->SetUInt32(&changed, field, 7);
    } else {
      FAIL() << "teach this test the type of " << field->name();
    }
    EXPECT_TRUE(ids.insert(NumericsId(changed)).second) << field->name() << " does not count";
  }
}

TEST(NumericsTest, ListsDoNotRunIntoEachOther) {
  v1::Numerics other = Example();
  other.set_adapter_digests(0, "a");
  other.set_adapter_digests(1, "bc");
  EXPECT_NE(NumericsId(other), NumericsId(Example()));
}

}  // namespace
}  // namespace darkroom
