#include "model/tokenizers/added_tokens.h"

#include <algorithm>
#include <utility>

#include "model/tokenizers/unicode.h"

namespace darkroom {
namespace {

// Bytes of white space at the begin.
size_t SpaceBefore(std::string_view text) {
  size_t end = 0;
  for (size_t next = 0; next < text.size(); end = next) {
    if (!IsWhiteSpace(NextCodePoint(text, next))) break;
  }
  return end;
}

// Where the white space at the end begins.
size_t SpaceBehind(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    size_t previous = begin - 1;
    while (previous > 0 && (text[previous] & 0xC0) == 0x80) --previous;
    size_t position = previous;
    if (!IsWhiteSpace(NextCodePoint(text, position))) break;
    begin = previous;
  }
  return begin;
}

}  // namespace

void AddedTokens::Finder::Add(AddedToken token) {
  by_first_byte_[static_cast<unsigned char>(token.content.front())].push_back(std::move(token));
}

void AddedTokens::Finder::Sort() {
  for (std::vector<AddedToken>& tokens : by_first_byte_) {
    std::stable_sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.content.size() > b.content.size();
    });
  }
}

const AddedToken* AddedTokens::Finder::FindAt(std::string_view text) const {
  for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(text.front())]) {
    if (text.starts_with(token.content)) return &token;
  }
  return nullptr;
}

void AddedTokens::Finder::Split(std::string_view text, absl::FunctionRef<void(int32_t id)> token,
                                absl::FunctionRef<void(std::string_view text)> rest) const {
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const AddedToken* found = FindAt(text.substr(i));
    if (found == nullptr) {
      ++i;
      continue;
    }
    size_t begin = i;
    size_t end = i + found->content.size();
    if (found->strip_left) begin = done + SpaceBehind(text.substr(done, begin - done));
    if (found->strip_right) end += SpaceBefore(text.substr(end));
    if (done < begin) rest(text.substr(done, begin - done));
    token(found->id);
    done = i = end;
  }
  if (done < text.size()) rest(text.substr(done));
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens,
                         absl::FunctionRef<std::string(std::string_view)> normalize) {
  for (AddedToken& token : tokens) {
    if (!token.normalized) {
      plain_.Add(std::move(token));
      continue;
    }
    token.content = normalize(token.content);
    if (!token.content.empty()) normalized_.Add(std::move(token));
  }
  plain_.Sort();
  normalized_.Sort();
}

void AddedTokens::Split(std::string_view text,
                        absl::FunctionRef<std::string(std::string_view)> normalize,
                        absl::FunctionRef<void(int32_t id)> token,
                        absl::FunctionRef<void(std::string_view text)> rest) const {
  plain_.Split(text, token, [&](std::string_view part) {
    const std::string normalized = normalize(part);
    normalized_.Split(normalized, token, rest);
  });
}

}  // namespace darkroom
