#include "model/tokenizers/sentencepiece_model.h"

#include <random>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizers/chars_map.h"
#include "testing/flux_fixture.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

std::string FixtureBytes() {
  const testing::FluxFixture model("dev");
  std::ifstream file(model.Path("tokenizer_2/spiece.model"), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string Problem(std::string_view bytes) {
  const absl::Status status = ParseSentencePieceModel(bytes, "spiece.model").status();
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
  return std::string(status.message());
}

// Fields of the protobuf wire format, all lengths below 128.
std::string Bytes(int field, const std::string& value) {
  return std::string{static_cast<char>(field << 3 | 2), static_cast<char>(value.size())} + value;
}
std::string Varint(int field, int value) {
  std::string bytes;
  for (int tag = field << 3; tag != 0; tag >>= 7) {
    bytes += static_cast<char>((tag & 127) | (tag > 127 ? 128 : 0));
  }
  return bytes + static_cast<char>(value);
}
std::string Piece(const std::string& text) { return Bytes(1, Bytes(1, text)); }

TEST(SentencePieceModelTest, ReadsWhatTheTrainerWrites) {
  const auto model = ParseSentencePieceModel(FixtureBytes(), "spiece.model");
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_GT(model->pieces.size(), 100u);
  EXPECT_EQ(model->pieces[0].text, "<pad>");
  EXPECT_EQ(model->pieces[0].type, SentencePieceModel::PieceType::kControl);
  EXPECT_EQ(model->pieces[2].text, "<unk>");
  EXPECT_EQ(model->pieces[2].type, SentencePieceModel::PieceType::kUnknown);
  EXPECT_LT(model->pieces[50].score, 0);
  EXPECT_TRUE(CharsMap::Parse(model->precompiled_charsmap, "spiece.model").ok());
}

TEST(SentencePieceModelTest, RefusesOtherKinds) {
  EXPECT_TRUE(ParseSentencePieceModel(Piece("a"), "spiece.model").ok());
  EXPECT_THAT(Problem(Piece("a") + Bytes(2, Varint(3, 2))), HasSubstr("unigram"));
  EXPECT_THAT(Problem(Piece("a") + Bytes(2, Varint(35, 1))), HasSubstr("byte fallback"));
}

TEST(SentencePieceModelTest, RefusesWhatIsDamaged) {
  EXPECT_THAT(Problem(""), HasSubstr("damaged"));
  EXPECT_THAT(Problem("hello"), HasSubstr("damaged"));
  EXPECT_THAT(Problem(Piece("")), HasSubstr("damaged"));
  EXPECT_THAT(Problem(Piece("\xFF")), HasSubstr("damaged"));
  EXPECT_THAT(Problem(Piece("a").substr(0, 3)), HasSubstr("damaged"));
}

// Any file either loads or is refused; whatever loads can be used.
TEST(SentencePieceModelTest, DamageAnywhere) {
  const std::string good = FixtureBytes();
  std::mt19937 random(4);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string bytes = good;
    if (i % 3 == 0) bytes.resize(random() % bytes.size());
    for (int j = 0; j < 4 && !bytes.empty(); ++j) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto model = ParseSentencePieceModel(bytes, "spiece.model");
    refused += model.ok() ? 0 : 1;
    if (!model.ok()) continue;
    const auto map = CharsMap::Parse(model->precompiled_charsmap, "spiece.model");
    if (map.ok()) map->Normalize("A \u00e9 \ufb01 \u3000 e\u0301 \U0001F469\u200d\U0001F680");
  }
  EXPECT_GT(refused, 50);
}

}  // namespace
}  // namespace darkroom
